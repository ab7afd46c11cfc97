"""Error rates by how often training has a word are counted over the words that were said."""

import subprocess
import sys
from pathlib import Path

from asr.files import write_jsonl

EXAMPLE = Path(__file__).parents[2] / "examples" / "rare_words.py"


def test_words_are_counted_by_their_occurrences_in_training(tmp_path: Path) -> None:
    texts = ["A " * 4 + "B", "A C", "C " * 49]
    write_jsonl(tmp_path / "train.jsonl.gz", [{"supervisions": [{"text": text}]} for text in texts])
    rows = [
        {"reference": "A B NEW", "hypothesis": "A MORE B"},  # MORE is inserted, NEW deleted
        {"reference": "A B C", "hypothesis": "X B"},
    ]
    for split in ("", "-dev"):
        write_jsonl(tmp_path / "run" / f"hypotheses{split}.jsonl.gz", rows if split else [])
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "train.jsonl.gz"), str(tmp_path / "run")]
    printed = [
        subprocess.run([*command, *split], capture_output=True, text=True, check=True).stdout.splitlines()
        for split in ((), ("--split", "dev"))
    ]
    assert printed[0][2] == "| 0 | 0 | – |"
    assert printed[1] == [
        "| times in training | words | run |",
        "|---|---:|---:|",
        "| 0 | 1 | 100.0 % |",
        "| 1 to 4 | 2 | 0.0 % |",
        "| 5 to 49 | 2 | 50.0 % |",
        "| 50 to 499 | 1 | 100.0 % |",
        "| 500 or more | 0 | – |",
    ]
