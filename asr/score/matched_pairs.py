"""The matched-pairs sentence-segment word error test (MAPSSWE) of Gillick and Cox (ICASSP 1989), as NIST has it.

Utterances are cut into segments that hold the errors of either system and that are parted by stretches which both
systems have right, of two reference words or more: errors in different segments are taken to be independent. With
Z_i = errors of the first system in segment i less those of the second, of n segments,

    mean = sum Z_i / n,    variance = sum (Z_i - mean)^2 / (n - 1),    W = mean / sqrt(variance / n),

and W is standard normal for many segments where the systems do not differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.score.errors import Alignment

RIGHT_WORDS = 2
"""Reference words that both systems must have right between two segments."""
FEW_SEGMENTS = 30
"""Below this many segments the normal distribution is a rough approximation."""


@dataclass(frozen=True)
class MatchedPairs:
    """The outcome of the test.

    Args:
        segments: number n of segments with errors.
        difference: errors of the first system less those of the second, over all segments.
        mean: of Z, errors a segment; 0 without segments.
        standard_deviation: sample standard deviation of Z; None for fewer than two segments.
        statistic: W; None where the deviation is not known, or is 0 while the mean is not.
        p: two-sided p-value of "there is no difference"; 1 if no segment differs; None where the statistic is.
    """

    segments: int
    difference: int
    mean: float
    standard_deviation: float | None
    statistic: float | None
    p: float | None


@dataclass(frozen=True)
class ErrorPositions:
    """Errors of one system along the references of a corpus.

    A reference of N words has 2 N + 1 places: a gap, word 1, a gap, ..., word N, a gap. Insertions are errors in gaps.

    Args:
        errors: (P,) at each place of all utterances.
        is_word: (P,) whether a place is a word.
        utterance: (P,) number of its utterance.
    """

    errors: npt.NDArray[np.int64]
    is_word: npt.NDArray[np.bool_]
    utterance: npt.NDArray[np.int64]

    @classmethod
    def of(cls, alignments: Sequence[Alignment]) -> "ErrorPositions":
        """Read them off the word alignments of all utterances."""
        errors: list[int] = []
        places: list[int] = []
        for alignment in alignments:
            start = len(errors)
            errors.append(0)
            for edit in alignment:
                if edit.kind == "insertion":
                    errors[-1] += 1
                else:
                    errors += [int(edit.kind != "hit"), 0]
            places.append(len(errors) - start)
        lengths = np.array(places, dtype=np.int64)
        utterance = np.repeat(np.arange(len(places)), lengths)
        offsets = np.arange(len(errors)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(np.array(errors, dtype=np.int64), offsets % 2 == 1, utterance)


def mapsswe(first: Sequence[Alignment], second: Sequence[Alignment]) -> MatchedPairs:
    """Test whether two systems make equally many errors.

    Args:
        first, second: word alignments of the two systems with the same references, in the same order
            (`asr.score.errors.align_words`, or the alignments of `asr.score.scores.score`).

    Raises:
        ValueError: the references are not the same.

    >>> from asr.score.errors import align_words
    >>> first, second = (align_words(["A B C D E"], [heard]) for heard in ("X B C D Y", "X B C D E"))
    >>> mapsswe(first, second).segments, mapsswe(first, second).difference
    (2, 1)
    """
    words = [
        [[edit.reference for edit in alignment if edit.reference] for alignment in side] for side in (first, second)
    ]
    if words[0] != words[1]:
        raise ValueError("the alignments of the two systems are not with the same references")
    return matched_pairs(ErrorPositions.of(first), ErrorPositions.of(second))


def matched_pairs(first: ErrorPositions, second: ErrorPositions) -> MatchedPairs:
    """`mapsswe` of positions, which are made once where a system is in several pairs."""
    return normal_test(segment_differences(first, second))


def segment_differences(first: ErrorPositions, second: ErrorPositions) -> npt.NDArray[np.int64]:
    """Z of every segment, (n,)."""
    wrong = np.flatnonzero((first.errors > 0) | (second.errors > 0))
    if not wrong.size:
        return np.zeros(0, dtype=np.int64)
    right = np.cumsum(first.is_word & (first.errors == 0) & (second.errors == 0))[wrong]
    begins = (np.diff(right) >= RIGHT_WORDS) | (np.diff(first.utterance[wrong]) > 0)
    starts = np.concatenate([[0], 1 + np.flatnonzero(begins)])
    return np.add.reduceat((first.errors - second.errors)[wrong], starts)


def normal_test(differences: npt.NDArray[np.int64]) -> MatchedPairs:
    """The test of given segments."""
    number, total = len(differences), int(differences.sum())
    mean = total / number if number else 0.0
    deviation = float(differences.std(ddof=1)) if number > 1 else None
    statistic: float | None = None
    if not differences.any():
        statistic = 0.0
    elif deviation:
        statistic = mean / (deviation / math.sqrt(number))
    p = None if statistic is None else math.erfc(abs(statistic) / math.sqrt(2))
    return MatchedPairs(number, total, mean, deviation, statistic, p)
