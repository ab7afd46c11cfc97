"""Parts that the Grid LSTM and the multidimensional LSTM share: the parameters of a layer, and what leaves it."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available

from asr.grid.compiling import constant
from asr.grid.options import LayerWeights


@dataclass(frozen=True)
class ParameterShapes:
    """Shapes of a layer's parameters; see `asr.grid.options.LayerWeights`."""

    sets: int
    rows: int
    hidden_size: int
    input_size: int
    incoming_size: int
    peephole: int = 0
    projection: tuple[int, int] | None = None
    bias_hh: int = 0


class ScanParameters(nn.Module):
    """Parameters of one layer in all directions and bands, named as in torch.nn.LSTM, with a leading dimension of sets.

    `weight_ih` (S, rows, input_size), `weight_hh` (S, rows, incoming_size), `bias` (S, rows), and where wanted
    `peephole`, `weight_hr` and `bias_hh`, uniform in +-1/sqrt(hidden_size). Rows come in blocks of `hidden_size`, one
    a gate; those numbered in `forget_blocks` start with the bias `forget_bias`, if one is given. Without bias both are
    None, and `weights` has zeros in their place.
    """

    bias: Tensor | None
    bias_hh: Tensor | None
    peephole: Tensor | None
    weight_hr: Tensor | None

    def __init__(
        self, shapes: ParameterShapes, bias: bool, forget_blocks: Sequence[int], forget_bias: float | None
    ) -> None:
        super().__init__()
        sets, rows = shapes.sets, shapes.rows
        self.shapes = shapes
        self.forget_blocks = tuple(forget_blocks)
        self.forget_bias = forget_bias
        self.weight_ih = nn.Parameter(torch.empty(sets, rows, shapes.input_size))
        self.weight_hh = nn.Parameter(torch.empty(sets, rows, shapes.incoming_size))
        for name, size in (("bias", rows), ("bias_hh", shapes.bias_hh)):
            self.register_parameter(name, nn.Parameter(torch.empty(sets, size)) if bias and size else None)
        peephole = nn.Parameter(torch.empty(sets, shapes.peephole)) if shapes.peephole else None
        self.register_parameter("peephole", peephole)
        width = shapes.projection
        projection = nn.Parameter(torch.empty(sets, *width, shapes.hidden_size)) if width else None
        self.register_parameter("weight_hr", projection)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.shapes.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        if self.forget_bias is not None and self.bias is not None:
            blocks = self.bias.detach().view(len(self.bias), -1, self.shapes.hidden_size)
            blocks[:, list(self.forget_blocks)] = self.forget_bias

    def weights(self) -> LayerWeights:
        """The parameters, for an engine."""
        weight_ih, bias, bias_hh = self.weight_ih, self.bias, self.bias_hh
        if bias is None:
            bias = weight_ih.new_zeros(self.shapes.sets, self.shapes.rows)
        if bias_hh is None and self.shapes.bias_hh:
            bias_hh = weight_ih.new_zeros(self.shapes.sets, self.shapes.bias_hh)
        return LayerWeights(weight_ih, self.weight_hh, bias, self.peephole, self.weight_hr, bias_hh)


class Merge(nn.Module):
    """What a layer hands on: directions concatenated or summed, then layer normalisation and dropout if wanted."""

    def __init__(
        self, directions: int, size: int, merge: Literal["concat", "sum"], layer_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.merge = merge
        self.directions = directions
        self.output_size = size * directions if merge == "concat" else size
        self.norm = nn.LayerNorm(self.output_size) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    @property
    def idle(self) -> bool:
        """Whether there is a single direction, and its output is handed on as it is."""
        dropping = self.dropout.training and self.dropout.p > 0
        return self.directions == 1 and isinstance(self.norm, nn.Identity) and not dropping

    def forward(self, outputs: Tensor) -> Tensor:
        """(B, *extents, D, size) -> (B, *extents, output_size)."""
        merged = outputs.flatten(-2) if self.merge == "concat" else outputs.sum(-2)
        dropped: Tensor = self.dropout(self.norm(merged))
        return dropped


def product_type(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The type that autocast, where it is on, wants products of float32 tensors in; else the tensors' own."""
    if dtype == torch.float32 and autocasting(device):
        return torch.get_autocast_dtype(device.type)
    return dtype


def autocasting(device: torch.device) -> bool:
    """Whether autocast is on there."""
    return _has_autocast(device.type) and torch.is_autocast_enabled(device.type)


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """A context without autocast: a memory that is added to at every cell needs more than bfloat16's 8 bits."""
    if _has_autocast(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


@constant
def _has_autocast(device_type: str) -> bool:
    return is_autocast_available(device_type)
