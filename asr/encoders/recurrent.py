"""Recurrent layers along time."""

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from asr.encoders.dropout import Dropout
from asr.encoders.sequences import reverse, zero_padding
from asr.grid.arguments import at_least, one_of, probability
from asr.grid.torch_layers import kernel_is_faster, recurrent_layer

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
"""tanh RNN; gated recurrent unit (Cho et al. 2014, arXiv 1406.1078); LSTM (Hochreiter and Schmidhuber 1997)."""


class RecurrentStack(nn.Module):
    """Stacked RNN, GRU or LSTM layers: frames (B, T, C) with lengths (B,) -> (B, T, output_size).

    Each direction of each layer is a torch.nn module of its own, and the backward one runs on input that is reversed
    within each utterance's length. So it starts at the last real frame, as with packed sequences, but stays on the
    fast paths of oneDNN and cuDNN, which packed sequences leave (on a CPU at more than twice the time). LSTM and GRU
    layers under autocast to bfloat16 on a CPU run on the C++ kernel of the Grid LSTM where it can be built
    (`asr.grid.torch_layers`), and so without hooks and second derivatives.

    Args:
        input_size: C.
        hidden_size: per direction.
        num_layers: layers; with none, frames pass unchanged.
        cell: "lstm", "gru" or "rnn".
        bidirectional: whether each layer also runs backward; the directions' outputs are concatenated.
        layer_norm: normalise each layer's output (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
        dropout: probability, on the output of each layer.

    Attributes:
        output_size: features a frame of the output.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        bidirectional: bool = False,
        layer_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        one_of("cell", cell, tuple(CELLS))
        at_least("hidden_size", hidden_size, 1)
        at_least("num_layers", num_layers, 0)
        self.bidirectional = bidirectional
        width = hidden_size * (2 if bidirectional else 1)
        sizes = [input_size] + [width] * (num_layers - 1) if num_layers else []
        self.forwards = nn.ModuleList(CELLS[cell](size, hidden_size, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(
            CELLS[cell](size, hidden_size, batch_first=True) for size in (sizes if bidirectional else [])
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) if layer_norm else nn.Identity() for _ in sizes)
        self.dropout = Dropout(probability("dropout", dropout))
        self.output_size = width if num_layers else input_size

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, C), finite also in the padding, and lengths (B,) -> (B, T, output_size), padded with zeros."""
        for number, norm in enumerate(self.norms):
            frames = self.dropout(norm(self._layer(number, frames, lengths)))
        return zero_padding(frames, lengths)

    def _layer(self, number: int, frames: Tensor, lengths: Tensor) -> Tensor:
        """One layer in its directions, (B, T, C) -> (B, T, width)."""
        forward = cast(nn.RNNBase, self.forwards[number])
        backward = cast(nn.RNNBase, self.backwards[number]) if self.bidirectional else None
        if kernel_is_faster(frames, forward):
            return recurrent_layer(frames, lengths, forward, backward)
        outputs: Tensor = forward(frames)[0]
        if backward is None:
            return outputs
        reversed_outputs = reverse(backward(reverse(frames, lengths))[0], lengths)
        return torch.cat([outputs, reversed_outputs], dim=-1)

    def multiply_adds(self, num_frames: int) -> int:
        """Multiply-adds of the matrix products over `num_frames` frames."""
        layers = [*self.forwards, *self.backwards]
        weights = [cast(Tensor, w) for layer in layers for w in (layer.weight_ih_l0, layer.weight_hh_l0)]
        return num_frames * sum(weight.numel() for weight in weights)
