"""Stacked recurrent layers along time, the baseline."""

import itertools
from typing import Literal, cast

import torch
from torch import Tensor, nn

from asr.encoders.contract import Encoder
from asr.encoders.options import option_errors
from asr.encoders.patches import Patches
from asr.encoders.recurrent import RecurrentStack
from asr.encoders.sequences import zero_padding
from asr.grid.arguments import at_least


class ConvolutionalFrontEnd(nn.Module):
    """3 x 3 convolutions with ReLU, each halving time and frequency: (B, T, M) -> (B, T', output_size).

    Args:
        num_features: M.
        channels: of each convolution; with none, features pass unchanged.
    """

    def __init__(self, num_features: int, channels: list[int]) -> None:
        super().__init__()
        sizes = [1, *(at_least("convolution_channels", size, 1) for size in channels)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(size, next_size, kernel_size=3, stride=2, padding=1)
            for size, next_size in itertools.pairwise(sizes)
        )
        self.num_features = num_features
        for _ in channels:
            num_features = -(-num_features // 2)
        self.output_size = num_features * sizes[-1]
        self.subsampling = 2 ** len(channels)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), lengths (B,) -> (B, T', output_size), lengths (B,); zeros stand in for the padding."""
        image = zero_padding(features, lengths)[..., None]  # (B, T, M, channels)
        for convolution in self.convolutions:
            lengths = -(-lengths // 2)
            image = convolution(image.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
            image = zero_padding(image, lengths)
        frames: Tensor = image.flatten(2)
        return frames, lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        frames: Tensor = -(-lengths // self.subsampling)
        return frames

    def multiply_adds(self, num_frames: int) -> int:
        total, mels = 0, self.num_features
        for convolution in self.convolutions:
            num_frames, mels = -(-num_frames // 2), -(-mels // 2)
            total += num_frames * mels * cast(nn.Conv2d, convolution).weight.numel()
        return total


class StackedRNNEncoder(Encoder):
    """RNN, GRU or LSTM layers over stacked frames (Graves, Mohamed, Hinton, ICASSP 2013, arXiv 1303.5778).

    Features pass, in this order: convolutions, if any; frame stacking; recurrent layers, each followed by layer
    normalisation and dropout.

    Args:
        num_features: M, mel bins of the input.
        hidden_size: units of each layer and direction.
        num_layers: recurrent layers.
        cell: "lstm", "gru" or "rnn" (tanh).
        bidirectional: whether layers run both ways along time. If not, the encoder can stream.
        stacked_frames: frames that are concatenated to one.
        frame_stride: frames from one stack to the next; None is stacked_frames.
        convolution_channels: channels of 3 x 3 convolutions, each of which halves time and frequency; none by default.
        layer_norm: normalise the output of each recurrent layer.
        dropout: probability, on the output of each recurrent layer.

    Raises:
        InputError: an option's value is wrong; the message names both.
    """

    @option_errors()
    def __init__(
        self,
        num_features: int,
        hidden_size: int = 256,
        num_layers: int = 3,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        bidirectional: bool = True,
        stacked_frames: int = 3,
        frame_stride: int | None = None,
        convolution_channels: list[int] | None = None,
        layer_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        at_least("num_layers", num_layers, 1)
        self.num_features = at_least("num_features", num_features, 1)
        self.front_end = ConvolutionalFrontEnd(num_features, convolution_channels or [])
        size = self.front_end.output_size
        at_least("stacked_frames", stacked_frames, 1)
        if frame_stride is not None and at_least("frame_stride", frame_stride, 1) > stacked_frames:
            raise ValueError(
                f"frame_stride must be at most stacked_frames, {stacked_frames}, or frames are skipped, "
                f"got {frame_stride}"
            )
        self.stacking = Patches(size, stacked_frames, size, frame_stride)
        self.recurrent = RecurrentStack(
            self.stacking.size, hidden_size, num_layers, cell, bidirectional, layer_norm, dropout
        )
        self.output_size = self.recurrent.output_size
        self.subsampling = self.front_end.subsampling * self.stacking.subsampling
        self.streamable = not bidirectional

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames, lengths = self.front_end(features, lengths)
        stacked = self.stacking(frames, lengths).squeeze(2)
        lengths = self.stacking.output_lengths(lengths)
        return self.recurrent(stacked, lengths), lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.stacking.output_lengths(self.front_end.output_lengths(lengths))

    def multiply_adds(self, num_frames: int) -> int:
        output = int(self.output_lengths(torch.tensor(num_frames)))
        return self.front_end.multiply_adds(num_frames) + self.recurrent.multiply_adds(output)
