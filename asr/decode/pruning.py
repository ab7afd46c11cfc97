"""What a beam search leaves out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.decode.greedy import BLANK_ID
from asr.errors import InputError

FLOOR = -1000.0
"""Log-probabilities below this count as this, so that no score is ever infinite."""


@dataclass(frozen=True)
class Pruning:
    """What the search leaves out. None turns a limit off.

    Args:
        beam: prefixes kept after each frame.
        beam_threshold: prefixes whose score is this much (nats) below the best are dropped.
        token_threshold: in each frame, tokens whose log-probability is this much (nats) below that of the most probable
            token or blank extend no prefix.
        top_tokens: in each frame, only so many of the most probable tokens extend prefixes.
        blank_skip: a run of frames whose blank has at least this probability counts as one frame in which only the
            blank is possible.
    """

    beam: int = 100
    beam_threshold: float | None = 20.0
    token_threshold: float | None = 6.0
    top_tokens: int | None = None
    blank_skip: float | None = None

    def __post_init__(self) -> None:
        for name in ("beam", "top_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be a number of at least 1, got {value}")
        for name in ("beam_threshold", "token_threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name.replace('_', '-')} must be a positive number of nats, got {value}")
        if self.blank_skip is not None and not 0.5 < self.blank_skip <= 1:
            raise InputError(f"--blank-skip must be a probability above 0.5, got {self.blank_skip}")


NOTHING_PRUNED = Pruning(beam=1 << 30, beam_threshold=None, token_threshold=None)
"""Exact, and for small cases only: time and memory grow exponentially."""


def skip_blanks(log_probs: NDArray[np.float64], probability: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make each run of frames of log-probabilities (T, V) that are almost surely blank one frame, all blank.

    Returns:
        The frames, and which of the T they are, of runs the first.

    >>> shorter, kept = skip_blanks(np.log([[0.9, 0.1], [0.99, 0.01], [0.99, 0.01], [0.5, 0.5]]), 0.95)
    >>> shorter.round(2).tolist(), kept.tolist()
    ([[-0.11, -2.3], [-0.02, -1000.0], [-0.69, -0.69]], [0, 1, 3])
    """
    sure = log_probs[:, BLANK_ID] >= np.log(probability)
    first = sure & ~np.concatenate([[False], sure[:-1]])
    kept = np.flatnonzero(~sure | first)
    result = log_probs[kept].copy()
    sums = np.add.reduceat(np.where(sure, log_probs[:, BLANK_ID], 0.0), kept) if len(kept) else np.zeros(0)
    runs = sure[kept]
    result[runs] = FLOOR
    result[runs, BLANK_ID] = sums[runs]
    return result, kept
