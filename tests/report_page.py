"""Pages of reports for tests: made, read, and made of texts that mean harm."""

from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.report.compare import compared
from asr.report.html.choice import choose
from asr.report.html.hearing import load_models, show
from asr.report.html.page import page
from asr.report.html.records import gather
from asr.report.runs import read_runs

MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
CURVE = "epoch,seconds,train_loss,val_loss,val_wer\n1,2.5,3.0,2.0,0.9\n2,5.0,1.0,1.5,0.8\n"
MODEL = {"name": "m", "parameters": 1_000_000, "multiply_adds_per_second": 5_000_000, "source": "gone/best.ckpt"}


class Elements(HTMLParser):
    """All elements of a page: names, attributes by id, texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))

    def values(self, tag: str, name: str) -> list[str]:
        return [value for of, attribute, value in self.attributes if (of, attribute) == (tag, name)]


def html_of(*folders: Path, number: int = 3, manifest: Path | None = None) -> str:
    gathered = gather(compared(read_runs(folders)), "test", manifest)
    models, missing = load_models(gathered) if gathered.cuts else ({}, [])
    choices = choose(gathered, number) if gathered.utterances else []
    return page(gathered, show(gathered, choices, models), missing, MADE)


EVIL = '"><script>document.documentElement.dataset.broken="yes"</script><img src=x onerror=alert(1)>&amp;{{7*7}}'


def evil_runs(folder: Path, evil: str = EVIL) -> list[Path]:
    """Two runs whose every text is `evil`, as far as files let it be."""
    rows = [Hypothesis(f"{evil}{i}", f"{evil} B", f"B {evil}", evil, 1.0 + i) for i in range(3)]
    record = {"data": f"train: {evil}, x", "data_root": evil, "epochs": evil, "commit": evil}
    texts = {
        "model": {**MODEL, "name": evil, "source": evil, "sha256": evil},
        "manifest": evil,
        "decoding": evil,
        "seed": evil,
        "commit": evil,
        "versions": {evil: evil},
        "machine": {"cpu": evil, "device": "cpu", "processes": evil, "threads": evil},
        "real_time_factor": 0.5,
    }
    names = [f"{evil.replace('/', '∕')}{i}" for i in range(2)]
    return [write_scored_run(folder / name, rows, CURVE, record, **texts) for name in names]
