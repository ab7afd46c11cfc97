"""What a layer computes, as plain values that every engine is given."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

Direction = tuple[bool, ...]
"""Per axis, whether a scan runs backward along it."""


@dataclass(frozen=True)
class GridOptions:
    """A Grid LSTM layer: A axes, H wide; see `asr.grid.GridLSTM` for what the options mean."""

    axes: int
    hidden_size: int
    depth: Literal["lstm", "none"] = "none"
    depth_priority: bool = False
    output_gate: Literal["outside", "inside"] = "outside"

    @property
    def dimensions(self) -> int:
        """The axes, and the depth where it has a memory."""
        return self.axes + (self.depth == "lstm")

    @property
    def output_size(self) -> int:
        """Features of a cell's output in one direction: the depth hidden, else the axes' hiddens side by side."""
        return self.hidden_size if self.depth == "lstm" else self.axes * self.hidden_size


@dataclass(frozen=True)
class MultidimensionalOptions:
    """A multidimensional LSTM layer; see `asr.grid.MultidimensionalLSTM` for what the options mean."""

    axes: int
    hidden_size: int
    cell: Literal["stable", "sum"] = "stable"


class LayerWeights(NamedTuple):
    """Parameters of a layer: a row a gate and hidden unit, the D directions stacked.

    Shapes: weight_ih (D, rows, I), weight_hh (D, rows, A * H), bias (D, rows).
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor


class Engine(Protocol):
    """Computes layers over one batch. Made anew for each batch: `Engine(extents, lengths, directions)`.

    All tensors are in natural order, (B, *extents, ...), but the memory along depth, which an engine keeps in an
    order of its own from layer to layer. Values at padded cells are finite and otherwise arbitrary.
    """

    def __init__(self, extents: tuple[int, ...], lengths: Tensor, directions: tuple[Direction, ...]) -> None: ...

    def depth_memory(self, memory: Tensor) -> Tensor:
        """The first layer's memory along depth (B, *extents, D, H) -> the same in the engine's own order."""

    def grid_layer(
        self, inputs: Tensor, memory: Tensor | None, weights: LayerWeights, options: GridOptions
    ) -> tuple[Tensor, Tensor | None]:
        """Inputs (B, *extents, I) and memory along depth -> outputs (B, *extents, D, output_size) and memory."""

    def multidimensional_layer(self, inputs: Tensor, weights: LayerWeights, options: MultidimensionalOptions) -> Tensor:
        """Inputs (B, *extents, I) -> hidden vectors (B, *extents, D, H)."""
