"""The search for the weights of a beam search that make the fewest word errors, over stored log-probabilities."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from lhotse import MonoCut
from numpy.typing import NDArray
from tqdm import tqdm

from asr.data.cuts import text_of
from asr.decode.options import DecodingOptions
from asr.decode.parts import idle
from asr.decode.pool import ReaderPool
from asr.randomness import generator
from asr.score.errors import align_words, count

RANGES = {"alpha": (0.0, 1.5), "beta": (-1.0, 4.0), "unknown_penalty": (0.0, 5.0), "char_alpha": (0.0, 1.5)}
"""Where random trials look for each weight."""
BATCH = 16
"""Utterances that are decoded together."""


@dataclass(frozen=True)
class Trial:
    """The weights of one decoding of the split, and what came of it."""

    weights: dict[str, float]
    errors: int
    words: int
    seconds: float

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.errors / self.words


class Task(NamedTuple):
    """What is decoded in every trial: batches of utterances of similar length, and their references."""

    batches: list[list[NDArray[np.float32]]]
    references: list[list[str]]

    @property
    def utterances(self) -> int:
        """Their number."""
        return sum(map(len, self.batches))


def free_weights(options: DecodingOptions) -> tuple[str, ...]:
    """The weights that have a part in what these options decode.

    Words of a lexicon's file may be unknown to the language model, which charges them.

    >>> free_weights(DecodingOptions("beam", lm="3-gram.arpa"))
    ('alpha', 'beta', 'unknown_penalty')
    """
    return tuple(name for name in RANGES if name not in idle(vars(options)))


def grid_points(grid: dict[str, list[float]]) -> list[dict[str, float]]:
    """Every combination of the values.

    >>> grid_points({"alpha": [0.5, 1.0], "beta": [0.0]})
    [{'alpha': 0.5, 'beta': 0.0}, {'alpha': 1.0, 'beta': 0.0}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def proposals(names: Sequence[str], start: dict[str, float], trials: int, seed: int) -> Iterator[dict[str, float]]:
    """Weights to try: the start, then random ones up to half of the trials, then ones near the best.

    The generator is told the best weights so far by `send`.
    """
    best = start
    for number in range(trials):
        rng = generator(seed, number, "decoder")
        if number == 0:
            point = dict(start)
        elif number < (trials + 1) // 2:
            point = {name: _rounded(rng.uniform(*RANGES[name]), name) for name in names}
        else:
            left = (trials - number) / trials  # from 1/2 down to 0: closer and closer
            point = {
                name: _rounded(best[name] + rng.normal() * (RANGES[name][1] - RANGES[name][0]) * left / 4, name)
                for name in names
            }
        best = (yield point) or best


def _rounded(value: float, name: str) -> float:
    return round(max(value, 0.0) if name != "beta" else value, 3)


def search(
    task: Task, readers: ReaderPool, options: DecodingOptions, points: Iterator[dict[str, float]], total: int
) -> list[Trial]:
    """Decode the task with each of the weights. `points` may be a generator that is told the best so far."""
    trials: list[Trial] = []
    bar = tqdm(total=total * task.utterances, desc="tuning", unit="utt", disable=None)
    with bar:
        point = next(points, None)
        while point is not None:
            started = time.perf_counter()
            errors = words = 0
            decoded = readers.texts(task.batches, replace(options, **point))
            for references, texts in zip(task.references, decoded, strict=True):
                counts = [count(alignment) for alignment in align_words(references, texts)]
                errors += sum(found.errors for found in counts)
                words += sum(found.length for found in counts)
                bar.update(len(texts))
            trials.append(Trial(point, errors, words, round(time.perf_counter() - started, 2)))
            best = best_of(trials)
            bar.set_postfix_str(f"best WER {100 * best.wer:.2f} %")
            try:
                point = points.send(best.weights) if hasattr(points, "send") else next(points)
            except StopIteration:
                point = None
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the fewest errors, the first of equal ones."""
    return min(trials, key=lambda trial: trial.errors)


def make_task(log_probs: dict[str, NDArray[np.float32]], cuts: Sequence[MonoCut]) -> Task:
    """Batches of similar length, the longest first."""
    order = sorted(cuts, key=lambda cut: (-len(log_probs[cut.id]), cut.id))
    groups = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    return Task(
        [[log_probs[cut.id] for cut in group] for group in groups],
        [[text_of(cut) for cut in group] for group in groups],
    )


def joined(tasks: Sequence[Task]) -> Task:
    """The utterances of all tasks, which are not told apart."""
    return Task(
        [batch for task in tasks for batch in task.batches], [texts for task in tasks for texts in task.references]
    )


def format_trials(trials: Sequence[Trial], most: int = 20) -> str:
    """A table, the best first."""
    names = list(trials[0].weights)
    ordered = sorted(trials, key=lambda trial: trial.errors)
    lines = ["  ".join([f"{name:>15}" for name in names] + ["    WER", " errors", "seconds"])]
    for trial in ordered[:most]:
        values = [f"{trial.weights[name]:>15.3f}" for name in names]
        lines.append("  ".join([*values, f"{100 * trial.wer:5.2f} %", f"{trial.errors:7d}", f"{trial.seconds:7.1f}"]))
    if len(ordered) > most:
        lines.append(f"... and {len(ordered) - most} more, in decoder.json")
    return "\n".join(lines)


def edges(trials: Sequence[Trial]) -> list[str]:
    """Weights whose best value is the lowest or highest of several that were tried, and not a limit of its own."""
    best = best_of(trials).weights
    found = []
    for name, value in best.items():
        values = {trial.weights[name] for trial in trials}
        if len(values) > 1 and value in (min(values), max(values)) and not (value == 0 and name != "beta"):
            found.append(name)
    return found
