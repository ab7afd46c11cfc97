"""What all models of a sweep have in common."""

import math
from dataclasses import dataclass
from typing import Literal

from asr.errors import InputError


@dataclass(frozen=True)
class Match:
    """What all models of a sweep have in common.

    Args:
        parameters: trainable ones, with the CTC head.
        multiply_adds_per_second: for a second of audio, as `asr models` counts them.
        training_seconds: of a whole training, validations included, as run.json has it.
        vary: what is solved for where `training_seconds` is given: the "epochs", or the "size".
        tolerance: the greatest relative difference from what is asked for.
        calibration_share: of an epoch's batches, by which the time of an epoch is measured.
    """

    parameters: float | None = None
    multiply_adds_per_second: float | None = None
    training_seconds: float | None = None
    vary: Literal["epochs", "size"] = "epochs"
    tolerance: float = 0.02
    calibration_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("parameters", "multiply_adds_per_second", "training_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"match.{name} must be positive, got {value}")
        for name in ("tolerance", "calibration_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"match.{name} must lie between 0 and 1, got {getattr(self, name)}")
        by = [name for name in ("parameters", "multiply_adds_per_second") if getattr(self, name) is not None]
        by += ["training_seconds (vary: size)"] if self.times_size else []
        if len(by) > 1:
            raise InputError(f"match solves for one size, and cannot meet {' and '.join(by)} by it: name one of them")
        if self.vary == "size" and self.training_seconds is None:
            raise InputError("match.vary 'size' is about training_seconds, which is not given")

    @property
    def times_size(self) -> bool:
        """Whether sizes are solved for by time."""
        return self.training_seconds is not None and self.vary == "size"

    @property
    def times_epochs(self) -> bool:
        """Whether epochs are solved for by time."""
        return self.training_seconds is not None and self.vary == "epochs"

    @property
    def solves_sizes(self) -> bool:
        """Whether there is a size to be solved for."""
        return bool(self.parameters or self.multiply_adds_per_second or self.times_size)

    def __str__(self) -> str:
        named = {
            "parameters": self.parameters,
            "multiply-adds/s": self.multiply_adds_per_second,
            "seconds of training": self.training_seconds,
        }
        parts = [f"{value:,.0f} {name}" for name, value in named.items() if value is not None]
        if not parts:
            return "nothing is matched"
        return f"matched in {' and '.join(parts)} within {100 * self.tolerance:g} %"
