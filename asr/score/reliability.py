"""Whether the confidences of words mean what they say: how often words are right that are said to be so surely."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.score.errors import Alignment

LEAST = 5e-5
"""Confidences are written with four digits, so that 1 is anything above this less."""
BINS = 10


class Bin(NamedTuple):
    """Words whose confidences are in one tenth of 0 to 1."""

    words: int
    right: int
    expected: float


@dataclass(frozen=True)
class Reliability:
    """Confidences of recognised words beside whether they are right.

    Args:
        confidences: of each recognised word, between 0 and 1.
        right: of each, whether it is aligned with the same word of the reference.
    """

    confidences: NDArray[np.float64]
    right: NDArray[np.bool_]

    @property
    def expected(self) -> float:
        """The mean confidence: the share of right words that it promises."""
        return float(self.confidences.mean())

    @property
    def normalised_cross_entropy(self) -> float | None:
        """What confidences say of which words are right, over all there is to be said; by NIST's definition.

        1 is perfect, 0 is what one confidence for all words says that is the share of right ones, and below 0 they
        mislead. None where all words are right, or none.
        """
        share = float(self.right.mean())
        if share in (0.0, 1.0):
            return None
        most = -(share * math.log(share) + (1 - share) * math.log(1 - share))
        sure = np.clip(np.where(self.right, self.confidences, 1 - self.confidences), LEAST, 1 - LEAST)
        return (most + float(np.log(sure).mean())) / most

    @property
    def area(self) -> float | None:
        """The probability that a right word has the higher confidence of two, of which the other is wrong; ties half.

        It is the area under the receiver operating characteristic. None where all words are right, or none.
        """
        right, wrong = np.sort(self.confidences[self.right]), np.sort(self.confidences[~self.right])
        if not len(right) or not len(wrong):
            return None
        below, not_above = (np.searchsorted(wrong, right, side=side) for side in ("left", "right"))
        return float((below + not_above).mean() / 2 / len(wrong))

    def bins(self) -> list[Bin]:
        """Words by tenths of confidence, the lowest first; a tenth without words is there too."""
        tenths = np.minimum((self.confidences * BINS).astype(int), BINS - 1)
        groups = [tenths == number for number in range(BINS)]
        return [
            Bin(
                int(group.sum()),
                int(self.right[group].sum()),
                float(self.confidences[group].sum() / max(1, group.sum())),
            )
            for group in groups
        ]

    def to_dict(self) -> dict[str, Any]:
        """For scores.json."""
        return {
            "words": len(self.right),
            "right": int(self.right.sum()),
            "expected": self.expected,
            "normalised_cross_entropy": self.normalised_cross_entropy,
            "area": self.area,
        }


def reliability(alignments: Iterable[Alignment], confidences: Iterable[Sequence[float] | None]) -> Reliability | None:
    """Confidences of utterances beside their alignments with references.

    Returns:
        None if an utterance has no confidences or another number of them than words (a normaliser may join or drop
        words), or no word was recognised.
    """
    sure: list[float] = []
    right: list[bool] = []
    for alignment, values in zip(alignments, confidences, strict=True):
        hits = [edit.kind == "hit" for edit in alignment if edit.kind != "deletion"]
        if values is None or len(values) != len(hits):
            return None
        sure += values
        right += hits
    return Reliability(np.array(sure, dtype=np.float64), np.array(right, dtype=np.bool_)) if sure else None


def format_reliability(found: Reliability) -> str:
    """A sentence.

    >>> format_reliability(Reliability(np.array([0.9, 0.6, 0.6, 0.3]), np.array([True, True, False, False])))
    'confidences of 4 words: 60.0 % expected right, 50.0 % are; normalised cross entropy 0.319, area under ROC 0.875'
    """
    quality = ""
    if found.normalised_cross_entropy is not None and found.area is not None:
        quality = f"; normalised cross entropy {found.normalised_cross_entropy:.3f}, area under ROC {found.area:.3f}"
    return (
        f"confidences of {len(found.right)} words: {100 * found.expected:.1f} % expected right, "
        f"{100 * found.right.mean():.1f} % are{quality}"
    )
