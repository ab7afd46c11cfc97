"""The measured comparison is of systems that differ as they say."""

import pytest

from asr.bench.comparison import main, write_runs
from asr.report.compare import compared
from asr.report.evidence import Settings
from asr.report.runs import read_runs


def test_systems_make_the_errors_they_are_made_with_on_the_same_references(tmp_path):
    runs = read_runs(write_runs(tmp_path, 3, 400, 7, 0))
    found = compared(runs, settings=Settings(draws=100))
    for rate, run in zip((0.10, 0.11, 0.12), found.runs, strict=True):
        assert run.scores["wer"] == pytest.approx(rate, abs=0.02)
    assert found.evidence.blocks == (7, "speakers")


def test_the_same_seed_writes_the_same_runs(tmp_path):
    first, second = (write_runs(tmp_path / name, 1, 20, 0, 3)[0] for name in ("a", "b"))
    assert (first / "hypotheses.jsonl").read_bytes() == (second / "hypotheses.jsonl").read_bytes()


def test_time_and_memory_are_printed_below_the_comparison(capfd):
    assert main(["--systems", "2", "--utterances", "30", "--draws", "100"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("model ")
    assert "2 systems, 30 utterances, 100 draws of utterances: " in printed
    assert " MiB (" in printed.splitlines()[-1]
