"""The table of confidences is one of counts by hand."""

import subprocess
import sys
from pathlib import Path

from asr.decode.hypotheses import Hypothesis, write_hypotheses

EXAMPLE = Path(__file__).parents[2] / "examples" / "reliability.py"


def test_words_are_counted_by_tenths_of_confidence(tmp_path: Path) -> None:
    rows = [
        Hypothesis("a", "A B X", "A B C", confidences=(0.95, 0.55, 0.52)),
        Hypothesis("b", "Y", "A", confidences=(0.0,)),
    ]
    write_hypotheses(tmp_path / "rows.jsonl", rows)
    command = [sys.executable, str(EXAMPLE), f"mine={tmp_path / 'rows.jsonl'}", "-o", str(tmp_path / "drawn.png")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[:3] == ["| confidence | mine |", "|---|---:|", "| 0.0 to 0.1 | 0 % (0/1) |"]
    assert printed[3] == "| 0.1 to 0.2 | – |"
    assert printed[7] == "| 0.5 to 0.6 | 50 % (1/2) |"
    assert printed[11] == "| 0.9 to 1.0 | 100 % (1/1) |"
    assert printed[12] == "| all: right, expected | 50.0 %, 50.5 % |"
    assert printed[14] == "| area under ROC | 1.000 |"
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_are_not_there_or_of_one_name_are_refused_in_one_line(tmp_path: Path) -> None:
    write_hypotheses(tmp_path / "rows.jsonl", [Hypothesis("a", "A", "A", confidences=(0.5,))])
    row = f"a={tmp_path / 'rows.jsonl'}"
    for files, message in (([row, row], "two files are called 'a'"), (["a=no.jsonl"], "cannot read no.jsonl")):
        done = subprocess.run([sys.executable, str(EXAMPLE), *files], capture_output=True, text=True)
        assert done.returncode in (1, 2)
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_words_without_confidences_are_refused_by_file(tmp_path: Path) -> None:
    write_hypotheses(tmp_path / "rows.jsonl", [Hypothesis("a", "A", "A")])
    done = subprocess.run([sys.executable, str(EXAMPLE), str(tmp_path / "rows.jsonl")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "rows.jsonl has words without confidences" in done.stderr
