"""The page in a real browser: no error, no request, everything there, and audio that can be played."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from report_page import CURVE, MODEL, Elements, evil_runs, html_of
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom"),
)

ATTEMPTS = 5  # the browser's virtual clock does not wait for its audio decoder


class Opened(NamedTuple):
    """A page after its scripts ran.

    Args:
        elements: of its document as it is then.
        complaints: what the browser's console says.
    """

    elements: Elements
    complaints: list[str]


def open_page(content: str, folder: Path, *flags: str) -> Opened:
    """Open a page in a headless browser; skips where there is none."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser to open the page in: none of {', '.join(BROWSERS)} is installed")
    (folder / "report.html").write_text(content, encoding="utf-8")
    command = [browser, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", (folder / "report.html").as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return Opened(Elements(run.stdout), [line for line in run.stderr.splitlines() if "CONSOLE" in line])


@pytest.fixture(scope="module")
def opened(two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The page of two runs that have everything."""
    for run in two_runs:
        (run / "metrics.csv").write_text(CURVE)
    content = html_of(*two_runs)
    for _ in range(ATTEMPTS):
        page = open_page(content, tmp_path_factory.mktemp("page"))
        answers = page.elements.values("audio", "data-seconds") + page.elements.values("audio", "data-failed")
        if len(answers) == page.elements.tags["audio"]:
            break
    return page


def test_the_page_loads_without_complaints_and_its_script_runs_to_the_end(opened: Opened) -> None:
    assert opened.complaints == []
    assert opened.elements.values("html", "data-ready") == ["yes"]


def test_every_figure_and_every_recording_is_there(opened: Opened) -> None:
    tags = opened.elements.tags
    assert (tags["article"], tags["audio"], tags["image"]) == (3, 3, 3)
    labels = opened.elements.values("svg", "aria-label")
    for name in ("training loss", "dev loss", "dev WER"):
        assert {f"{name} against epoch", f"{name} against wall time in seconds"} <= set(labels)
    assert sum(label.startswith("Spectrogram and posteriors of utterance test-00") for label in labels) == 3
    assert {"WER by speaker", "WER by seconds", "WER against parameters"} <= set(labels)


def test_every_recording_is_decoded_to_its_whole_length(opened: Opened, two_runs: tuple[Path, Path]) -> None:
    rows = [json.loads(line) for line in (two_runs[0] / "hypotheses.jsonl").read_text().splitlines()]
    seconds = {row["id"]: row["seconds"] for row in rows}
    heard = [float(value) for value in opened.elements.values("audio", "data-seconds")]
    names = [label.removeprefix("Utterance ") for label in opened.elements.values("audio", "aria-label")]
    assert heard == pytest.approx([seconds[name] for name in names], abs=0.001)
    assert opened.elements.values("audio", "data-failed") == []


def test_only_the_chosen_patches_are_drawn(opened: Opened) -> None:
    shown: dict[int, str] = {}
    for tag, name, value in opened.elements.attributes:
        if (tag, name) == ("g", "class") and value.startswith("grid-"):
            shown[len(shown)] = value
        elif (tag, name, value) == ("g", "style", "display: none;"):
            shown[len(shown) - 1] = "hidden"
    assert list(shown.values()) == ["grid-0", "hidden"] * 3


MEASURE = """<script>for (const part of document.querySelectorAll(".scroll"))
part.dataset.hidden = part.scrollWidth - part.clientWidth;</script></body>"""


def test_no_table_is_cut_off_at_a_width_of_1200(tmp_path: Path) -> None:
    texts = {
        "model": {**MODEL, "source": "/home/somebody/runs/an4/grid_lstm/checkpoints/best.ckpt", "sha256": "a" * 64},
        "machine": {"cpu": "Intel(R) Xeon(R) CPU @ 2.70GHz", "device": "cpu", "processes": 1, "threads": 1},
        "commit": f"{'b' * 40}-dirty",
        "decoding": "beam 100, 3gram.npz",
        "training_seconds": 56250.2,
        "real_time_factor": 0.01,
        "seed": 0,
    }
    record = {
        "data": "train: 2156 utterances, 7.48 h, 264 batches (train)",
        "data_root": "/home/somebody/runs/an4/data",
        "epochs": 140,
        "finished": False,
        "commit": "c" * 40,
    }
    rows = [Hypothesis(f"u{n}", "A B C" if n % 3 else "A X", "A B C", f"speaker-{n}", 2.0) for n in range(40)]
    runs = [write_scored_run(tmp_path / name, rows, CURVE, record, **texts) for name in ("grid_lstm", "stacked_lstm")]
    content = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html_of(*runs))
    opened = open_page(content.replace("</body>", MEASURE), tmp_path, "--window-size=1200,900")
    hidden = opened.elements.values("div", "data-hidden")
    assert len(hidden) == 1 + 3 + 2 + 1  # rates, words, speakers and lengths, origins
    assert set(hidden) == {"0"}


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address that answers, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_texts_that_mean_harm_run_nothing_and_fetch_nothing(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    evil = f'"><script>document.documentElement.dataset.broken=1</script><img src="{address}/image" onerror="alert(1)">'
    found = open_page(html_of(*evil_runs(tmp_path, evil)), tmp_path)
    assert found.complaints == []
    assert found.elements.values("html", "data-ready") == ["yes"]
    assert found.elements.values("html", "data-broken") == []
    assert asked == []


def test_even_markup_in_the_page_could_neither_run_nor_fetch(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    harm = f'<script>document.documentElement.dataset.broken=1</script><img src="{address}/image"></footer>'
    found = open_page(html_of(*evil_runs(tmp_path, "A")).replace("</footer>", harm), tmp_path)
    assert len(found.complaints) == 2  # so that complaints would be seen
    assert all("Content Security Policy" in complaint for complaint in found.complaints)
    assert found.elements.values("html", "data-broken") == []
    assert asked == []


def test_a_request_would_be_seen(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    open_page(f'<!doctype html><title>page</title><img src="{address}/image">', tmp_path)
    assert asked == ["/image"]
