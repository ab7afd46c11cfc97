"""Which words were taken for which in collected runs, and how many spelt letters were wrong.

python examples/confusions.py results/an4/grid_lstm-seed?
"""

import argparse
from collections import Counter
from pathlib import Path

import jiwer

from asr.files import read_jsonl

NOTHING = "-"


def confusions(files: list[Path]) -> tuple[Counter[tuple[str, str]], Counter[bool]]:
    """Pairs (said, written) of all errors, and words said, by whether they are single letters."""
    wrong: Counter[tuple[str, str]] = Counter()
    words: Counter[bool] = Counter()
    for file in files:
        for row in read_jsonl(file):
            said, written = row["reference"].split(), row["hypothesis"].split()
            words.update(len(word) == 1 for word in said)
            for chunk in jiwer.process_words(" ".join(said), " ".join(written)).alignments[0]:
                if chunk.type != "equal":
                    left = said[chunk.ref_start_idx : chunk.ref_end_idx] or [NOTHING] * len(written)
                    right = written[chunk.hyp_start_idx : chunk.hyp_end_idx] or [NOTHING] * len(said)
                    wrong.update(zip(left, right, strict=False))
    return wrong, words


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `asr results collect`")
    wrong, words = confusions([run / "hypotheses.jsonl.gz" for run in parser.parse_args().runs])
    for letters, name in ((True, "letters"), (False, "other words")):
        count = sum(n for (said, _), n in wrong.items() if said != NOTHING and (len(said) == 1) == letters)
        print(f"{name}: {count} of {words[letters]} wrong, {100 * count / max(words[letters], 1):.1f} %")
    for (said, written), count in sorted(wrong.items(), key=lambda item: (-item[1], item[0])):
        if count > 2:
            print(f"{count:4d}  {said} -> {written}")


if __name__ == "__main__":
    main()
