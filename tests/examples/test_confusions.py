"""The confusions of runs are counted over their alignments."""

import subprocess
import sys
from pathlib import Path

from asr.files import write_jsonl

EXAMPLE = Path(__file__).parents[2] / "examples" / "confusions.py"


def test_letters_words_and_pairs_are_counted_over_all_runs(tmp_path: Path) -> None:
    rows = [{"reference": "M TWO", "hypothesis": "N TWO"}, {"reference": "E", "hypothesis": ""}]
    for name in ("a", "b", "c"):
        write_jsonl(tmp_path / name / "hypotheses.jsonl.gz", rows)
    command = [sys.executable, str(EXAMPLE), *(str(tmp_path / name) for name in ("a", "b", "c"))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [
        "letters: 6 of 6 wrong, 100.0 %",
        "other words: 0 of 3 wrong, 0.0 %",
        "   3  E -> -",
        "   3  M -> N",
    ]
