"""Word confidences that mean what they say: the beam's belief, mapped to how often such words are right on dev."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError

NEAREST = 1e-4
"""Evidence closer to 0 or 1 than this counts as that far from it, so that a calibrated confidence is neither."""
MOST = 1e6
"""No weight is larger; those of a fit are around 1."""
PRIOR = 1.0
"""Weight of the prior that the share is right as it is: that of a handful of words."""
STEPS = 100
"""Most steps of the fit; ten are enough as a rule."""


class Evidence(NamedTuple):
    """What a beam search knows of a word that it wrote.

    Args:
        share: of the beam's probability that had the word; see `asr.decode.trace.beam_confidences`.
        posterior: product of its tokens' posteriors by the acoustic model alone.
    """

    share: float
    posterior: float


@dataclass(frozen=True)
class Calibration:
    """A logistic map from evidence to the probability that the word is right.

    log(p / (1 - p)) = bias + share * logit(share) + posterior * logit(posterior). Weights of a language model are
    chosen for few errors, and not for scores that are probabilities: shares are far too sure.

    >>> Calibration(0.0, 0.5, 0.0)(Evidence(share=0.9, posterior=0.2))
    0.75
    """

    bias: float
    share: float
    posterior: float

    def __call__(self, evidence: Evidence) -> float:
        logit = float(_features([evidence])[0] @ [self.bias, self.share, self.posterior])
        return round(0.5 * (1.0 + math.tanh(logit / 2)), 4)  # the logistic function, which nothing overflows

    def to_dict(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)


def calibration_from_dict(data: Any, where: str) -> Calibration:
    """The inverse of `Calibration.to_dict`.

    Raises:
        InputError: it has not this form, or more evidence would lower a confidence; `where` is named.
    """
    names = [field.name for field in fields(Calibration)]
    if not isinstance(data, dict) or sorted(data) != sorted(names):
        raise InputError(f"{where} must be an object with {', '.join(names)}, or null, got {data!r}")
    for name, value in data.items():
        least = -MOST if name == "bias" else 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MOST:
            raise InputError(f"{where}: {name} must be a number between {least:g} and {MOST:g}, got {value!r}")
    return Calibration(**{name: float(value) for name, value in data.items()})


def fit(evidence: Sequence[Evidence], right: Sequence[bool]) -> Calibration | None:
    """The map under which words of a development split are likeliest, with a weak prior for the share as it is.

    More evidence never lowers the probability: what would is left out.

    Args:
        evidence: of words.
        right: whether each is one of the reference's.

    Returns:
        None if there are not both right and wrong words to tell apart.
    """
    outcome = np.asarray(right, dtype=np.float64)
    if not 0 < outcome.sum() < len(outcome):
        return None
    used = [0, 1, 2]
    while True:
        weights = np.zeros(3)
        weights[used] = _newton(_features(evidence)[:, used], outcome, np.array([0.0, 1.0, 0.0])[used])
        falling = [place for place in used[1:] if weights[place] < 0]
        if not falling:
            return Calibration(*(round(float(weight), 4) + 0.0 for weight in weights))
        used.remove(min(falling, key=lambda place: weights[place]))


def _features(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """(words, 3): 1 and two log-odds."""
    known = np.clip(np.array(evidence, dtype=np.float64).reshape(-1, 2), NEAREST, 1 - NEAREST)
    return np.column_stack([np.ones(len(known)), np.log(known / (1 - known))])


def _newton(
    features: NDArray[np.float64], outcome: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of a logistic regression, by damped Newton steps from the prior's mean."""

    def loss(weights: NDArray[np.float64]) -> float:
        logits = features @ weights
        return float((np.logaddexp(0, logits) - outcome * logits).sum() + PRIOR / 2 * ((weights - prior) ** 2).sum())

    weights = prior.copy()
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (chance - outcome) + PRIOR * (weights - prior)
        curvature = (features.T * (chance * (1 - chance))) @ features + PRIOR * np.eye(len(weights))
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-6 and loss(weights - size * step) > loss(weights):
            size /= 2
        weights -= size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return weights
