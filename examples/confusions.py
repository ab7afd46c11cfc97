"""Which words were taken for which in collected runs, and how many spelt letters were wrong.

python examples/confusions.py results/an4/grid_lstm-seed?
"""

import argparse
from collections import Counter
from pathlib import Path

from asr.files import read_jsonl
from asr.score.errors import align_words

NOTHING = "-"


def confusions(files: list[Path]) -> tuple[Counter[tuple[str, str]], Counter[bool]]:
    """Pairs (said, written) of all errors, and words said, by whether they are single letters."""
    wrong: Counter[tuple[str, str]] = Counter()
    words: Counter[bool] = Counter()
    for file in files:
        rows = list(read_jsonl(file))
        for alignment in align_words([row["reference"] for row in rows], [row["hypothesis"] for row in rows]):
            for edit in alignment:
                if edit.kind != "insertion":
                    words[len(edit.reference) == 1] += 1
                if edit.kind != "hit":
                    wrong[edit.reference or NOTHING, edit.hypothesis or NOTHING] += 1
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
