"""Training a language model of characters on a stream of text."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.lm.neural import CharacterLanguageModel, State, pieces


@dataclass(frozen=True)
class TrainingOptions:
    """How a language model is trained: truncated backpropagation through time, Adam, a constant rate, an average.

    The rate is constant after the warm-up, and what is measured and kept is an exponential moving average of the
    weights. So the model of every moment is a finished one, and one training shows all shorter ones.

    Args:
        learning_rate: of Adam.
        streams: places in the text that are read side by side.
        length: characters of each stream in a step; the state is carried on, the gradient is not.
        warmup: steps over which the rate rises linearly.
        clip: largest norm of the gradient.
        decay: of the average; smaller at the beginning, (1 + n) / (10 + n) at step n.
        seed: of the initial weights.

    Raises:
        InputError: a value is out of its range.
    """

    learning_rate: float = 3e-3
    streams: int = 64
    length: int = 64
    warmup: int = 100
    clip: float = 1.0
    decay: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be more than 0 and finite, got {self.learning_rate}")
        if not self.clip > 0:
            raise InputError(f"clip must be more than 0, got {self.clip}")
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay must be from 0 to 1, got {self.decay}")
        for name, least in (("streams", 1), ("length", 1), ("warmup", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


class Point(NamedTuple):
    """One moment of a training.

    Attributes:
        seconds: CPU time of the training so far, measurements not counted.
        steps: of the optimiser so far.
        characters: that were trained on so far, each time counted.
        training_bits: mean bits per character of the training since the last point, before each step's update.
        unseen_bits: of the averaged weights on unseen text.
    """

    seconds: float
    steps: int
    characters: int
    training_bits: float
    unseen_bits: float


class Training:
    """A training that goes on from mark to mark.

    Args:
        model: with its initial weights; it is trained in place.
        codes: the text, (N,).
        options: how.

    Attributes:
        averaged: the model with averaged weights.

    Raises:
        InputError: the text is too short for the streams.
    """

    def __init__(self, model: CharacterLanguageModel, codes: Tensor, options: TrainingOptions) -> None:
        if len(codes) < 2 * options.streams:
            raise InputError(f"{len(codes)} characters are too few to train on in {options.streams} streams")
        self.model, self.codes, self.options = model, codes, options
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(model.parameters(), options.learning_rate)
        self.seconds, self.steps, self.characters = 0.0, 0, 0
        self._pieces = pieces(codes, options.streams, options.length)
        self._state: State = None

    def until(self, seconds: float = float("inf"), characters: float = float("inf")) -> float:
        """Train until that much CPU time or that many characters are reached; the mean bits per character of it.

        That is NaN where they were reached before, so that there was no step.

        Raises:
            InputError: the loss is no longer finite.
        """
        total, count = torch.zeros((), dtype=torch.float64), 0
        while self.seconds < seconds and self.characters < characters:
            began = time.process_time()
            given, expected = self._next()
            total += self._step(given, expected) * expected.numel()
            self.seconds += time.process_time() - began
            self.steps, self.characters = self.steps + 1, self.characters + expected.numel()
            count += expected.numel()
        if not bool(total.isfinite()):
            raise InputError(f"the loss is {float(total)} at step {self.steps}: train at a smaller learning rate")
        return float(total / count / math.log(2))

    def _next(self) -> tuple[Tensor, Tensor]:
        """The next pieces; from the beginning, and from a state of zeros, when the text is over."""
        piece = next(self._pieces, None)
        if piece is None:
            self._pieces, self._state = pieces(self.codes, self.options.streams, self.options.length), None
            piece = next(self._pieces)
        return piece

    def _step(self, given: Tensor, expected: Tensor) -> Tensor:
        """One update. Returns the mean loss in nats."""
        rate = self.options.learning_rate * min(1.0, (self.steps + 1) / max(self.options.warmup, 1))
        self.optimizer.param_groups[0]["lr"] = rate
        scores, state = self.model(given, self._state)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), expected.flatten())
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        if state is not None:
            self._state = (state[0].detach(), None if state[1] is None else state[1].detach())
        decay = min(self.options.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)
        return loss.detach()


def train(
    training: Training,
    seconds: Sequence[float],
    measure: Callable[[CharacterLanguageModel], float],
    characters: Sequence[int] = (),
) -> list[Point]:
    """Train to the last of the marks in CPU seconds; measure the averaged model at each, and at marks in characters.

    Raises:
        InputError: the loss is no longer finite.
    """
    points = []
    for mark in sorted(seconds):
        while training.seconds < mark:
            to_come = [count for count in characters if count > training.characters]
            bits = training.until(mark, min(to_come, default=float("inf")))
            unseen = measure(training.averaged)
            points.append(Point(training.seconds, training.steps, training.characters, bits, unseen))
    return points
