"""The contract that every encoder keeps."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Features (B, T, M) with lengths (B,) -> frames (B, T', D) with lengths (B,).

    The result of an utterance depends on its own first `lengths[b]` features alone: not on the padding, not on the
    rest of the batch. Frames beyond an utterance's output length are zero. `tests/encoders` holds every encoder to
    the same table of properties.

    Constructors take plain data only (str, int, float, bool, list, dict), so that a checkpoint can rebuild them, and
    `num_features` (M) is one of them.

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

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), lengths int64 (B,) -> frames (B, T', D), lengths int64 (B,)."""

    @abstractmethod
    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of inputs with `lengths` frames, int64 of any shape."""

    @abstractmethod
    def multiply_adds(self, num_frames: int) -> int:
        """Multiply-adds of the matrix products and convolutions for one utterance of `num_frames` input frames."""
