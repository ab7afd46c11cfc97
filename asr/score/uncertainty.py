"""How far an error rate, or the difference of two, can be trusted: bootstrap intervals over utterances or speakers.

A recogniser is judged by a sample of utterances. The percentile bootstrap (Efron 1979; for error rates Bisani and Ney
2004) draws test sets of as many blocks with replacement from the blocks there are, and looks at how the rate varies. A
block is an utterance or, where speakers are known, all utterances of a speaker: errors of one voice belong together,
and an interval over utterances would be too narrow. Blocks of unequal size prove as little as a smaller number of equal
ones, (sum of sizes)^2 / sum of squares (Kish 1965, for weights): a test set of three voices and a few words each of
sixty others counts as about three. Draws are a function of the seed and of the number of blocks, so that systems, and
words and characters, see the same ones.

`mapsswe` is the other test of a difference; how a model varies with its seed is in `asr.score.seeds`.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asr.randomness import generator
from asr.score.matched_pairs import MatchedPairs, mapsswe

__all__ = [
    "Blocks",
    "Interval",
    "MatchedPairs",
    "PairedDifference",
    "Resampling",
    "blocks_of",
    "equal_number",
    "holm",
    "interval",
    "mapsswe",
    "paired",
]

DRAWS = 10_000
LEVEL = 0.95
FEW_BLOCKS = 20
"""Below this many equal blocks a percentile interval is noticeably too narrow, and is said to be of few."""
CHUNK = 1 << 21
"""Drawn indices held in memory at once (16 MB)."""

Counts = npt.ArrayLike
Floats = npt.NDArray[np.float64]


class Blocks(NamedTuple):
    """What is drawn as a whole.

    Args:
        assignment: block of every utterance, 0 to number - 1.
        number: of blocks.
        kind: "speakers" or "utterances".
    """

    assignment: npt.NDArray[np.int64]
    number: int
    kind: str


@dataclass(frozen=True)
class Interval:
    """An error rate with its percentile bootstrap interval.

    Args:
        rate: errors over reference length.
        lower, upper: ends of the interval; None where a single block says nothing of what another would give.
        level: of the interval, for example 0.95.
        blocks: number of blocks that were drawn from.
        draws: whose rate is defined, which is all of them unless some blocks have empty references only.
    """

    rate: float
    lower: float | None
    upper: float | None
    level: float
    blocks: int
    draws: int


@dataclass(frozen=True)
class PairedDifference:
    """The error rate of a first system less that of a second one, both on the same draws.

    Args:
        difference: of the rates; negative where the first makes fewer errors.
        lower, upper, level, blocks, draws: as in `Interval`.
        probability: share of draws in which the first makes fewer errors, those in which both make as many counting
            half (Bisani and Ney's probability of improvement).
        p: two-sided p-value of "there is no difference": 1 minus the level at which the interval has 0 at its edge,
            2 (1 + draws on the rarer side of 0, and on it) / (1 + draws), at most 1. It is not below
            2 / 2^equal_blocks, the probability that so many agree by chance: few blocks prove nothing. None for a
            single block.
        equal_blocks: as how many of equal size the blocks count, rounded up.
    """

    difference: float
    lower: float | None
    upper: float | None
    level: float
    blocks: int
    draws: int
    probability: float
    p: float | None
    equal_blocks: int

    @property
    def least_p(self) -> float | None:
        """The smallest `p` that so many blocks and draws can give; None for a single block."""
        return _least_p(self.equal_blocks, self.draws) if self.blocks > 1 else None


def _least_p(equal_blocks: int, draws: int) -> float:
    return max(2 / (1 + draws), 2.0 ** (1 - equal_blocks))


def equal_number(sizes: Floats) -> float:
    """As how many of equal size blocks of these sizes (K,) count: (sum of sizes)^2 / sum of squares (Kish 1965).

    >>> equal_number(np.array([5.0, 5.0, 5.0])), round(equal_number(np.array([30.0, 30.0, 1.0, 1.0])), 2)
    (3.0, 2.13)
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def blocks_of(speakers: Sequence[str | None]) -> Blocks:
    """Speakers as blocks where every utterance has one and there are two or more; else utterances.

    >>> blocks_of(["ann", "bob", "ann"])
    Blocks(assignment=array([0, 1, 0]), number=2, kind='speakers')
    >>> blocks_of(["ann", None, "ann"]).kind, blocks_of(["ann", "ann"]).kind
    ('utterances', 'utterances')
    """
    if None not in speakers and len(set(speakers)) > 1:
        index, number = _numbered(speakers)
        return Blocks(index, number, "speakers")
    return Blocks(np.arange(len(speakers)), len(speakers), "utterances")


def interval(
    errors: Counts,
    lengths: Counts,
    blocks: Sequence[Hashable] | Blocks | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The error rate of a corpus and its percentile bootstrap interval.

    Args:
        errors: (U,) of every utterance.
        lengths: (U,) reference words (or characters) of every utterance.
        blocks: (U,) names of what is drawn as a whole, for example speakers; by default each utterance is.
        draws: test sets that are drawn.
        seed: of the draws.
        level: probability that the interval is meant to cover.

    Raises:
        ValueError: there is no reference word, or shapes, draws or level make no sense.
    """
    drawn = Resampling.of([errors], lengths, blocks, draws, seed)
    return drawn.interval(0, level)


def paired(
    first: Counts,
    second: Counts,
    lengths: Counts,
    blocks: Sequence[Hashable] | Blocks | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> PairedDifference:
    """Whether two systems differ on the utterances that both were scored on: both see the same draws.

    Args:
        first, second: (U,) errors of the two systems in every utterance.
        lengths, blocks, draws, seed, level: as in `interval`.

    Raises:
        ValueError: as in `interval`.
    """
    return Resampling.of([first, second], lengths, blocks, draws, seed).difference(0, 1, level)


@dataclass(frozen=True)
class Resampling:
    """Error rates of S systems on D drawn test sets; made once for all intervals and pairs.

    Args:
        rates: (S,) on the test set itself.
        drawn: (S, D) on the drawn ones whose references have words.
        blocks: number of blocks.
        equal_blocks: as how many of equal size they count.
    """

    rates: Floats
    drawn: Floats
    blocks: int
    equal_blocks: float

    @classmethod
    def of(
        cls,
        errors: Sequence[Counts],
        lengths: Counts,
        blocks: Sequence[Hashable] | Blocks | None = None,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> "Resampling":
        """Draw; `errors` are those of the systems, one (U,) each, and may be means over seeds.

        Raises:
            ValueError: as in `interval`.
        """
        columns = np.array([*errors, lengths], dtype=np.float64).T  # (U, S + 1)
        if columns.ndim != 2 or not len(columns) or draws < 1:
            raise ValueError(f"expected errors and lengths of some utterances and draws, got {columns.shape}, {draws}")
        if not np.isfinite(columns).all() or (columns < 0).any() or not columns[:, -1].any():
            raise ValueError("errors and lengths are counts, and some reference must have words")
        index, number = _numbered(range(len(columns)) if blocks is None else blocks)
        if len(index) != len(columns):
            raise ValueError(f"{len(columns)} utterances and {len(index)} blocks' names")
        sums = np.zeros((number, columns.shape[1]))
        np.add.at(sums, index, columns)
        totals = columns.sum(axis=0)
        drawn = resampled_sums(sums, draws, seed)
        drawn = drawn[drawn[:, -1] > 0]
        return cls(totals[:-1] / totals[-1], (drawn[:, :-1] / drawn[:, -1:]).T, number, equal_number(sums[:, -1]))

    def means(self, groups: Sequence[Sequence[int]]) -> "Resampling":
        """Groups of systems, each as one system with the mean of their rates."""
        rates, drawn = (np.array([of[list(group)].mean(axis=0) for group in groups]) for of in (self.rates, self.drawn))
        return Resampling(rates, drawn, self.blocks, self.equal_blocks)

    def interval(self, system: int, level: float = LEVEL) -> Interval:
        """The rate of a system."""
        lower, upper = self._ends(self.drawn[system], level)
        return Interval(float(self.rates[system]), lower, upper, level, self.blocks, self.drawn.shape[1])

    def difference(self, first: int, second: int, level: float = LEVEL) -> PairedDifference:
        """The rate of a system less that of another."""
        drawn = self.drawn[first] - self.drawn[second]
        lower, upper = self._ends(drawn, level)
        below, above = int((drawn < 0).sum()), int((drawn > 0).sum())
        ties = drawn.size - below - above
        p = 2 * (1 + min(below, above) + ties) / (1 + drawn.size)
        equal_blocks = math.ceil(self.equal_blocks - 1e-6)  # ten equal ones are ten, whatever their sum is rounded to
        return PairedDifference(
            float(self.rates[first] - self.rates[second]),
            lower,
            upper,
            level,
            self.blocks,
            drawn.size,
            (below + ties / 2) / drawn.size,
            min(1.0, max(p, _least_p(equal_blocks, drawn.size))) if self.blocks > 1 else None,
            equal_blocks,
        )

    def _ends(self, drawn: Floats, level: float) -> tuple[float | None, float | None]:
        if not 0 < level < 1:
            raise ValueError(f"an interval's level is between 0 and 1, not {level}")
        if self.blocks < 2:
            return None, None
        lower, upper = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        return float(lower), float(upper)


def resampled_sums(sums: Floats, draws: int, seed: int) -> Floats:
    """Sums over the blocks of every drawn test set.

    How often each block is drawn is a row of multinomial counts (D, K); times the sums of the blocks (K, C) these are
    the sums of the draws (D, C), some draws at a time, so that memory does not grow with their number.

    Args:
        sums: (K, C) of each block.
        draws: D.
        seed: the draws are a function of it and of K.

    Returns:
        (D, C).
    """
    number = len(sums)
    random = generator("bootstrap", seed, number)
    rows = max(1, CHUNK // number)
    result = np.empty((draws, sums.shape[1]))
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        chosen = random.integers(number, size=(size, number))
        chosen += number * np.arange(size)[:, None]
        times = np.bincount(chosen.ravel(), minlength=size * number).reshape(size, number)
        result[start : start + size] = times.astype(np.float64) @ sums
    return result


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): below a level with one wrong rejection or more in so many.

    The smallest of m is multiplied by m, the next one by m - 1, and so on; none becomes smaller than one before it.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def _numbered(names: Sequence[Hashable] | Blocks) -> tuple[npt.NDArray[np.int64], int]:
    """Names as numbers, in the order in which they first occur."""
    if isinstance(names, Blocks):
        return names.assignment, names.number
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
    return index, len(numbers)
