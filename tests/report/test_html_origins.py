"""Where numbers come from is said as it was recorded, and differences are not hidden."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.report.compare import compared
from asr.report.html.origins import HEADINGS, decoding, facts, origin_rows, versions
from asr.report.html.records import Gathered, gather
from asr.report.runs import read_runs

ROWS = [Hypothesis("u1", "A B", "A B", "ann", 90.0), Hypothesis("u2", "A", "B", "bob", 30.0)]
RECORD = {
    "data": "train: 5 utterances, 0.5 h, 2 batches\ndev: 1 utterances",
    "data_root": "/data",
    "epochs": 3,
    "finished": False,
}
MACHINE = {"cpu": "Some CPU", "device": "cpu", "processes": 1, "threads": 2}


def gathered_from(folder: Path, *changes: dict[str, Any], record: dict[str, Any] | None = None) -> Gathered:
    runs = [write_scored_run(folder / f"run{i}", ROWS, None, record, **change) for i, change in enumerate(changes)]
    return gather(compared(read_runs(runs)), "test")


def facts_of(gathered: Gathered) -> dict[str, str]:
    return dict(facts(gathered, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)))


def test_what_all_runs_have_is_said_once(tmp_path: Path) -> None:
    found = facts_of(gathered_from(tmp_path, {"machine": MACHINE}, {"machine": MACHINE}, record=RECORD))
    assert found["machine"] == "Some CPU, 1 process(es) with 2 thread(s)"
    assert found["training data"] == "5 utterances, 0.5 h of data"
    assert found["utterances, words"] == "2 utterances, 3 words, 2 speakers, 2.0 minutes"
    assert found["page made"].startswith("2026-01-02 03:04 UTC")


def test_what_differs_and_what_is_known_of_some_is_said_to_be_so(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, {"machine": MACHINE, "decoding": "greedy"}, {"decoding": {"beam": 8}}, {})
    found = facts_of(gathered)
    assert found["machine"].endswith("(known of 1 of 3)")
    assert found["decoding"] == "not the same for all: see the end of the page"
    assert [row[HEADINGS.index("decoding")] for row in origin_rows(gathered)] == ["greedy", "beam 8", "–"]


def test_options_of_a_decoder_are_listed_with_the_names_of_files() -> None:
    options = {"decoder": "beam", "width": 16, "lm": {"path": "/models/words.arpa", "sha256": "0"}, "lexicon": None}
    assert decoding({"decoding": options}) == "decoder beam, width 16, lm words.arpa"


def test_a_run_is_named_by_its_weights_and_an_imported_system_by_its_file(tmp_path: Path) -> None:
    model = {"source": "runs/a/best.ckpt", "sha256": "0123456789abcdef", "step": 1200}
    imported = {"file": "other.trn", "missing_as_empty": ["u2"]}
    gathered = gathered_from(tmp_path, {"model": model, "commit": "0123456789abcdef-dirty"}, {"imported": imported})
    first, second = origin_rows(gathered)
    assert first[0] == "runs/a/best.ckpt, step 1,200, sha256 0123456789"
    assert first[HEADINGS.index("scored at")] == "0123456789 with changes"
    assert second[0] == "imported from other.trn, 1 utterances that it lacks count as empty"


def test_an_unfinished_training_is_said_to_be_unfinished(tmp_path: Path) -> None:
    [row] = origin_rows(gathered_from(tmp_path, {}, record=RECORD))
    assert row[HEADINGS.index("epochs")] == "3, not finished"


def test_versions_are_said_once_or_by_run(tmp_path: Path) -> None:
    one, other = {"versions": {"torch": "2", "lhotse": None}}, {"versions": {"torch": "3"}}
    assert versions(gathered_from(tmp_path / "a", one, one)) == ["Scored with torch 2."]
    said = versions(gathered_from(tmp_path / "b", one, other))
    assert said == ["run0: scored with torch 2.", "run1: scored with torch 3."]
