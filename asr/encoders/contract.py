"""The contract that every encoder keeps."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Features (B, T, M) with lengths (B,) -> frames (B, T', D) with lengths (B,).

    The result of an utterance depends on its own first `lengths[b]` features alone: not on the padding, not on the
    rest of the batch. Frames beyond an utterance's output length are zero. `tests/encoders` holds every encoder to
    the same table of properties.

    Constructors take plain data only (str, int, float, bool, None, list, dict), and `num_features` (M) is one of the
    arguments: a checkpoint keeps `describe()` and rebuilds the encoder from it.

    Attributes:
        num_features: M, features a frame of the input.
        output_size: D, features a frame of the output.
        subsampling: input frames per output frame.
        streamable: whether an output frame depends on no more than a bounded number of later input frames.
    """

    num_features: int
    output_size: int
    subsampling: int
    streamable: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        encoder = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(encoder, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        object.__setattr__(encoder, "_arguments", arguments)
        return encoder

    def describe(self) -> dict[str, Any]:
        """Class path and constructor arguments, as plain data: `{"class_path": ..., "init_args": {...}}`."""
        return {"class_path": f"{type(self).__module__}.{type(self).__qualname__}", "init_args": dict(self._arguments)}

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), lengths int64 (B,) -> frames (B, T', D), lengths int64 (B,)."""

    @abstractmethod
    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of inputs with `lengths` frames, int64 of any shape."""

    @abstractmethod
    def multiply_adds(self, num_frames: int) -> int:
        """Multiply-adds of the matrix products and convolutions for one utterance of `num_frames` input frames."""
