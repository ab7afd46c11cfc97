"""Spectrogram -> a grid of patches."""

import math
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from asr.encoders.sequences import zero_padding
from asr.grid.arguments import at_least

Lengths = TypeVar("Lengths", int, Tensor)


@dataclass(frozen=True)
class Patches:
    """Cuts features (B, T, M) into overlapping or adjacent patches (B, T', F, patch_frames * patch_mels).

    Frame k of the output covers input frames k * frame_stride ... k * frame_stride + patch_frames - 1, and there are
    T' = ceil(T / frame_stride) of them. Blocks cover the mel bins likewise, until the last bin is covered. Zeros stand
    in for what lies beyond an utterance's end or beyond the last bin, so the padding's content does not matter.

    The literature on time-frequency LSTMs calls patch_mels the feature size, and mel_stride the frequency skip.

    Args:
        num_features: M.
        patch_frames: height in time.
        patch_mels: width in frequency.
        frame_stride: input frames from one patch to the next; None is patch_frames.
        mel_stride: mel bins from one patch to the next; None is patch_mels.

    Raises:
        ValueError: a size is below 1 or larger than the spectrogram, or a stride would skip frames or bins.
    """

    num_features: int
    patch_frames: int = 1
    patch_mels: int = 1
    frame_stride: int | None = None
    mel_stride: int | None = None

    def __post_init__(self) -> None:
        at_least("num_features", self.num_features, 1)
        for name, stride_name in (("patch_frames", "frame_stride"), ("patch_mels", "mel_stride")):
            size, stride = at_least(name, getattr(self, name), 1), getattr(self, stride_name)
            if stride is not None and at_least(stride_name, stride, 1) > size:
                raise ValueError(f"{stride_name} must be at most {name}, {size}, or features are skipped, got {stride}")
        if self.patch_mels > self.num_features:
            raise ValueError(f"patch_mels must be at most num_features, {self.num_features}, got {self.patch_mels}")

    @property
    def subsampling(self) -> int:
        """Input frames per output frame."""
        return self.frame_stride or self.patch_frames

    @property
    def num_blocks(self) -> int:
        """F, patches along frequency."""
        return 1 + math.ceil((self.num_features - self.patch_mels) / (self.mel_stride or self.patch_mels))

    @property
    def size(self) -> int:
        """Features of a patch."""
        return self.patch_frames * self.patch_mels

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, M), lengths (B,) -> patches (B, T', F, size), a patch's features frame by frame."""
        mel_stride = self.mel_stride or self.patch_mels
        frames = (self.output_lengths(features.shape[1]) - 1) * self.subsampling + self.patch_frames
        mels = (self.num_blocks - 1) * mel_stride + self.patch_mels
        beyond = (0, mels - features.shape[2], 0, frames - features.shape[1])
        padded = nn.functional.pad(zero_padding(features, lengths), beyond)
        patches = padded.unfold(1, self.patch_frames, self.subsampling).unfold(2, self.patch_mels, mel_stride)
        return patches.flatten(-2)

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """T' of T frames."""
        return -(-lengths // self.subsampling)
