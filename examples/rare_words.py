"""Of the words said, how many each run gets wrong, by how often the training transcripts have them.

python examples/rare_words.py runs/librispeech/bpe/train.jsonl.gz results/librispeech/*-seed0 --split dev
"""

import argparse
from collections import Counter
from pathlib import Path

from asr.files import read_jsonl
from asr.score.errors import align_words

MOST = (0, 4, 49, 499)
"""Occurrences of the words in each row but the last."""


def row_of(occurrences: int) -> int:
    """
    >>> [row_of(count) for count in (0, 1, 4, 5, 500)]
    [0, 1, 1, 2, 4]
    """
    return sum(occurrences > most for most in MOST)


def errors(file: Path, known: Counter[str]) -> tuple[Counter[int], Counter[int]]:
    """Row -> words said, and those of them that were substituted or deleted; what was inserted is in no row."""
    said: Counter[int] = Counter()
    wrong: Counter[int] = Counter()
    rows = list(read_jsonl(file))
    for alignment in align_words([row["reference"] for row in rows], [row["hypothesis"] for row in rows]):
        for edit in alignment:
            if edit.kind != "insertion":
                row = row_of(known[edit.reference])
                said[row] += 1
                wrong[row] += edit.kind != "hit"
    return said, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path, help="manifest")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `asr results collect`")
    parser.add_argument("--split", help="default: test")
    options = parser.parse_args()
    known = Counter(word for cut in read_jsonl(options.train) for word in cut["supervisions"][0]["text"].split())
    name = f"hypotheses-{options.split}.jsonl.gz" if options.split else "hypotheses.jsonl.gz"
    counted = [errors(run / name, known) for run in options.runs]
    print(f"| times in training | words | {' | '.join(run.name for run in options.runs)} |")
    print(f"|---|---:|{'---:|' * len(counted)}")
    for row in range(len(MOST) + 1):
        low = MOST[row - 1] + 1 if row else 0
        times = f"{low} or more" if row == len(MOST) else f"{low} to {MOST[row]}" if row else "0"
        rates = [f"{100 * wrong[row] / said[row]:.1f} %" if said[row] else "–" for said, wrong in counted]
        print(f"| {times} | {counted[0][0][row]} | {' | '.join(rates)} |")


if __name__ == "__main__":
    main()
