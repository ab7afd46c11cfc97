"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, section 3; Heafield et al. 2013)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.lm.counts import START_INDEX, Counts

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of n-grams counted once, twice and more often where a text is too small to tell them (those of KenLM)."""
NEVER = 1e-99
"""P(<s>), which is not said."""


class Discounts(NamedTuple):
    """What is taken off the counts of an order.

    Attributes:
        amounts: off counts of 1, 2, and 3 or more.
        counts_of_counts: n-grams that are counted 1, 2, 3 and 4 times.
        fallback: whether the counts of counts did not yield discounts, so that these are `FALLBACK`.
    """

    amounts: tuple[float, float, float]
    counts_of_counts: tuple[int, int, int, int]
    fallback: bool


class Level(NamedTuple):
    """The n-grams of one order with their probabilities; rows as in `Counts`.

    Attributes:
        parent, word, suffix, occurrences: as in `Counts`.
        probability: P(last word | the others), (N,).
        backoff: weight of what is backed off to after this n-gram, (N,); 1 where it is no context.
    """

    parent: NDArray[np.int64]
    word: NDArray[np.int64]
    suffix: NDArray[np.int64]
    occurrences: NDArray[np.int64]
    probability: NDArray[np.float64]
    backoff: NDArray[np.float64]

    def only(self, kept: NDArray[np.bool_]) -> "Level":
        """The rows that are kept."""
        return Level(
            self.parent[kept],
            self.word[kept],
            self.suffix[kept],
            self.occurrences[kept],
            self.probability[kept],
            self.backoff[kept],
        )


def discounts_of(counts: NDArray[np.int64]) -> Discounts:
    """The three discounts of an order: with t_k n-grams counted k times and Y = t_1 / (t_1 + 2 t_2),

        D_k = k - (k + 1) Y t_{k+1} / t_k    for k = 1, 2, 3 (Chen and Goodman 1998, equation 26).

    If t_1, t_2 or t_3 is 0, or a discount is not above 0 or above k, the text is too small (or the n-grams are too few,
    as single characters are), and `FALLBACK` is taken.

    >>> discounts_of(np.array([1, 1, 1, 1, 2, 2, 3, 4])).amounts
    (0.5, 1.25, 1.0)
    """
    found = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    of_counts = (found[0], found[1], found[2], found[3])
    if all(of_counts[:3]):
        y = found[0] / (found[0] + 2 * found[1])
        once, twice, more = (k - (k + 1) * y * found[k] / found[k - 1] for k in (1, 2, 3))
        if 0 < once <= 1 and 0 < twice <= 2 and 0 < more <= 3:
            return Discounts((once, twice, more), of_counts, False)
    return Discounts(FALLBACK, of_counts, True)


def estimate(levels: Sequence[Counts], cutoffs: Sequence[int] = ()) -> tuple[list[Level], list[Discounts]]:
    """Smoothed probabilities of all n-grams, and the back-off weights of all contexts.

    With counts c, which are true counts at the highest order and for n-grams that begin with `<s>`, and elsewhere
    the number of different words before the n-gram:

        P(w | h) = (c(h w) - D(c(h w))) / sum_x c(h x) + backoff(h) P(w | h without its first word)
        backoff(h) = sum_x D(c(h x)) / sum_x c(h x)

    and below the single words the uniform distribution over the vocabulary, with `<unk>` and `</s>`, without `<s>`.

    Args:
        levels: counts of the orders 1, 2, ...
        cutoffs: n-grams of order n that occur `cutoffs[n - 1]` times or less are left out, and what they would have
            had goes to the back-off weight; the last number holds for the orders above too.

    Raises:
        InputError: the cut-offs decrease, or the first is not 0.
    """
    limits = _limits(cutoffs, len(levels))
    result: list[Level] = []
    discounts: list[Discounts] = []
    below = np.array([1.0 / (len(levels[0].word) - 1)])
    for n, level in enumerate(levels, start=1):
        adjusted = _adjusted(level, levels[n] if n < len(levels) else None)
        if n == 1:
            adjusted[START_INDEX] = 0
        discounts.append(discounts_of(adjusted))
        kept = (level.occurrences > limits[n - 1]) | (n == 1)
        contexts = 1 if n == 1 else len(levels[n - 2].word)
        taken = np.where(kept, np.array([0.0, *discounts[-1].amounts])[np.minimum(adjusted, 3)], adjusted)
        total = np.bincount(level.parent, weights=adjusted, minlength=contexts)
        total[total == 0] = 1.0
        backoff = np.bincount(level.parent, weights=taken, minlength=contexts) / total
        probability = (adjusted - taken) / total[level.parent] + backoff[level.parent] * below[level.suffix]
        if n == 1:
            probability[START_INDEX] = NEVER
        else:
            backoff[np.bincount(level.parent, minlength=contexts) == 0] = 1.0
            result[-1] = result[-1]._replace(backoff=backoff)
        result.append(
            Level(level.parent, level.word, level.suffix, level.occurrences, probability, np.ones(len(level.word)))
        )
        below = probability
    for n in range(len(levels) - 1, 0, -1):
        if limits[n]:
            result = _without(result, n, levels[n].occurrences > limits[n])
    return result, discounts


def _limits(cutoffs: Sequence[int], order: int) -> list[int]:
    limits = list(cutoffs[:order]) or [0]
    limits += [limits[-1]] * (order - len(limits))
    if limits[0] != 0 or any(after < before for before, after in itertools.pairwise(limits)):
        raise InputError(
            f"cut-offs {' '.join(map(str, cutoffs))}: the first must be 0, and none may be smaller than the one before "
            "(words are left out by the vocabulary)"
        )
    return limits


def _adjusted(level: Counts, above: Counts | None) -> NDArray[np.int64]:
    """The counts that an order is estimated from."""
    if above is None:
        return level.occurrences.copy()
    before = np.bincount(above.suffix, minlength=len(level.word))
    return np.where(level.initial, level.occurrences, before).astype(np.int64)


def _without(levels: list[Level], n: int, kept: NDArray[np.bool_]) -> list[Level]:
    """Leave out n-grams of order n + 1 (row n); those of the order above must not need them."""
    levels = list(levels)
    levels[n] = levels[n].only(kept)
    if n + 1 < len(levels):
        rows = np.cumsum(kept) - 1
        above = levels[n + 1]
        levels[n + 1] = above._replace(parent=rows[above.parent], suffix=rows[above.suffix])
    return levels
