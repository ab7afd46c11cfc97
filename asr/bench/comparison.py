"""`python -m asr.bench.comparison`: how long a comparison of several systems takes, and how much memory.

Runs of the size of a test set are made from a seed in a temporary folder, and `asr compare` reads, scores and compares
them in a process of its own, as a user would have it.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.files import write_json
from asr.provenance import cpu_model
from asr.randomness import generator
from asr.score.scores import score

VOCABULARY = 8000
MEAN_WORDS = 20
"""As in LibriSpeech's test-clean, which has 2,620 utterances and 52,576 words."""


def corpus(utterances: int, seed: int) -> list[list[str]]:
    """References of random words, 1 to 2 `MEAN_WORDS` - 1 each."""
    random = generator("comparison", seed, "references")
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    words = ["".join(letters[random.integers(26, size=random.integers(1, 9))]) for _ in range(VOCABULARY)]
    lengths = random.integers(1, 2 * MEAN_WORDS, size=utterances)
    return [[words[n] for n in random.integers(VOCABULARY, size=length)] for length in lengths]


def recognised(words: Sequence[str], rate: float, random: np.random.Generator) -> list[str]:
    """Words of which a share is left out, misspelt or doubled, as often each."""
    chances = random.random(len(words))
    heard: list[str] = []
    for word, chance in zip(words, chances, strict=True):
        if chance >= rate / 3:
            heard.append(word if chance >= 2 * rate / 3 else word[:-1] + "X")
        if chance > 1 - rate / 3:
            heard.append("A")
    return heard


def write_runs(folder: Path, systems: int, utterances: int, speakers: int, seed: int) -> list[Path]:
    """Run folders with scores and hypotheses, the first system making 10 % errors and each further one a point more."""
    said = corpus(utterances, seed)
    runs = []
    for number in range(systems):
        random = generator("comparison", seed, number)
        rows = [
            Hypothesis(
                f"{n:06}",
                " ".join(recognised(words, 0.1 + 0.01 * number, random)),
                " ".join(words),
                f"{n % speakers}" if speakers else None,
            )
            for n, words in enumerate(said)
        ]
        runs.append(folder / f"system{number}")
        write_hypotheses(runs[-1] / "hypotheses.jsonl", rows)
        write_json(runs[-1] / "scores.json", score(rows, "verbatim/1").to_dict())
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what `asr compare` prints, then its seconds and its peak of memory."""
    parser = argparse.ArgumentParser(prog="python -m asr.bench.comparison", description=__doc__)
    parser.add_argument("--systems", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=2620)
    parser.add_argument("--speakers", type=int, default=0, help="0: not known, so that utterances are drawn (slower)")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = write_runs(Path(folder), options.systems, options.utterances, options.speakers, options.seed)
        command = [sys.executable, "-m", "asr.cli", "compare", *map(str, runs), "--draws", str(options.draws)]
        begin = time.perf_counter()
        code = subprocess.run(command, check=False).returncode
        seconds = time.perf_counter() - begin
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    drawn = f"{options.speakers} speakers" if options.speakers else "utterances"
    print(
        f"\n{options.systems} systems, {options.utterances:,} utterances, {options.draws:,} draws of {drawn}: "
        f"{seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of CPU), at most {usage.ru_maxrss / 1024:.0f} MiB "
        f"({cpu_model()}, {os.cpu_count()} cores)"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
