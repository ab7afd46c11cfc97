"""What a layer computes, as plain values that every engine is given, and the protocol that engines keep.

Legend: B batch, A axes, D directions, K bands, S = D * K sets of weights (direction-major), H hidden_size, P the width
of a hidden vector where cells pass it on, G the gates of a cell, N the dimensions whose cells have gates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._pytree import _register_namedtuple

Direction = tuple[bool, ...]
"""Per axis, whether a scan runs backward along it."""


@dataclass(frozen=True)
class GridOptions:
    """A Grid LSTM layer; see `asr.grid.GridLSTM` for what the options mean.

    Dimensions are numbered: the axes in turn, and `axes` is the depth. A depth of "relu", "tanh" or "identity" is a
    transfer, one layer of which has no gates; it counts as a dimension, but not among the N `transforms`.
    """

    axes: int
    hidden_size: int
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    depth: Literal["none", "lstm", "gru", "relu", "tanh", "identity"] = "none"
    priority: tuple[int | Literal["depth"], ...] = ()
    shared: bool = False
    output_gate: Literal["outside", "inside"] = "outside"
    peepholes: bool = False
    coupled: bool = False
    cell_clip: float | None = None
    proj_size: int = 0
    bands: int = 1
    recurrent_dropout: float = 0.0

    @property
    def recurrent_depth(self) -> bool:
        """Whether the depth is a dimension with a cell like the axes'."""
        return self.depth in ("lstm", "gru")

    @property
    def transfer_depth(self) -> bool:
        """Whether the depth is h' = alpha(V [H; x] + b)."""
        return self.depth in ("relu", "tanh", "identity")

    @property
    def transforms(self) -> int:
        """N: the axes, and the depth if it is recurrent."""
        return self.axes + self.recurrent_depth

    @property
    def weight_sets(self) -> int:
        """Of N transforms, how many have parameters of their own."""
        return min(1, self.transforms) if self.shared else self.transforms

    @property
    def gates(self) -> int:
        """G: blocks of rows of one transform."""
        gates: int = {"lstm": 3 if self.coupled else 4, "gru": 3, "rnn": 1}[self.cell]
        return gates

    @property
    def rows(self) -> int:
        """R: rows of weight_ih, weight_hh and bias."""
        return (self.weight_sets * self.gates + self.transfer_depth) * self.hidden_size

    @property
    def width(self) -> int:
        """P: features of a hidden vector that leaves a cell along an axis, or along a recurrent depth."""
        return self.proj_size or self.hidden_size

    @property
    def memory_size(self) -> int:
        """H, or 0 where cells have no memory."""
        return self.hidden_size if self.cell == "lstm" else 0

    @property
    def output_size(self) -> int:
        """Features of a cell's output in one direction: the depth hidden, else the axes' hiddens side by side."""
        if self.depth == "none":
            return self.axes * self.width
        return self.hidden_size if self.transfer_depth else self.width

    @property
    def order(self) -> tuple[tuple[int, ...], ...]:
        """The dimensions in groups: a group sees what arrives, and what the groups before it have sent out.

        >>> GridOptions(3, 8, depth="lstm", priority=(0, "depth")).order
        ((1, 2), (0,), (3,))
        """
        last = [self.axes if dimension == "depth" else dimension for dimension in self.priority]
        dimensions = range(self.axes + (self.depth != "none"))
        first = tuple(dimension for dimension in dimensions if dimension not in last)
        return (*((first,) if first else ()), *((dimension,) for dimension in last))

    def weight_set(self, dimension: int) -> int:
        """Which of the `weight_sets` a transform uses."""
        return 0 if self.shared else dimension

    def rows_of(self, dimension: int) -> slice:
        """The rows of weight_ih, weight_hh and bias that compute a dimension.

        >>> GridOptions(2, 8, depth="relu").rows_of(1), GridOptions(2, 8, depth="relu").rows_of(2)
        (slice(32, 64, None), slice(64, 72, None))
        """
        if self.transfer_depth and dimension == self.axes:
            return slice(self.rows - self.hidden_size, self.rows)
        size = self.gates * self.hidden_size
        return slice(self.weight_set(dimension) * size, (self.weight_set(dimension) + 1) * size)

    def multiply_adds(self, input_size: int) -> int:
        """Multiply-adds of one cell's matrix products in one direction: rows that see the same are computed once."""
        seen_input: set[tuple[bool, int, int]] = set()
        seen_hidden: set[tuple[int, int, int]] = set()
        after_depth = False
        for number, group in enumerate(self.order):
            for rows in map(self.rows_of, group):
                seen_input.add((after_depth, rows.start, rows.stop))
                seen_hidden.add((number, rows.start, rows.stop))
            after_depth = after_depth or self.axes in group
        from_input = sum(stop - start for _, start, stop in seen_input) * input_size
        from_hidden = sum(stop - start for _, start, stop in seen_hidden) * self.axes * self.width
        return from_input + from_hidden + self.transforms * self.proj_size * self.hidden_size


@dataclass(frozen=True)
class MultidimensionalOptions:
    """A multidimensional LSTM layer; see `asr.grid.MultidimensionalLSTM` for what the options mean."""

    axes: int
    hidden_size: int
    cell: Literal["stable", "sum"] = "stable"
    bands: int = 1
    output_gate: Literal["outside", "inside"] = "outside"
    peepholes: bool = False
    coupled: bool = False
    cell_clip: float | None = None
    proj_size: int = 0
    recurrent_dropout: float = 0.0

    @property
    def gates(self) -> int:
        """Blocks of rows: input unless it is coupled, forget (one an axis), candidate, output."""
        return 3 + self.axes - self.coupled

    @property
    def forget_gates(self) -> int:
        """How many gates forget a memory: one an axis, or with the stable cell one alone, the others mixing."""
        return 1 if self.cell == "stable" else self.axes

    @property
    def peephole_blocks(self) -> int:
        """Blocks of H in `LayerWeights.peephole`: for i and f one a forget gate, coupled none for i; one for o."""
        return self.forget_gates * (1 if self.coupled else 2) + 1

    @property
    def width(self) -> int:
        """P: features of a hidden vector that leaves a cell."""
        return self.proj_size or self.hidden_size


Options = GridOptions | MultidimensionalOptions


def unusual(options: Options) -> str:
    """The options that are not as by default.

    >>> unusual(GridOptions(2, 8, cell="gru"))
    "axes=2, hidden_size=8, cell='gru'"
    """
    given = ((field.name, getattr(options, field.name), field.default) for field in fields(options))
    return ", ".join(f"{name}={value!r}" for name, value, default in given if value != default)


class LayerWeights(NamedTuple):
    """Parameters of a layer, in S sets: direction d and band k are number d * K + k.

    Attributes:
        weight_ih: (S, R, I).
        weight_hh: (S, R, A * P).
        bias: (S, R).
        peephole: (S, N * 3 * H), per transform of i, f, o; coupled (S, N * 2 * H), of f, o. Of the multidimensional
            LSTM (S, `peephole_blocks` * H).
        weight_hr: (S, N, P, H), the projections of the hidden vectors; of the multidimensional LSTM N is 1.
        bias_hh: (S, N * H), the GRU's bias of W_h H in the candidate, which the reset gate multiplies.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor
    peephole: Tensor | None = None
    weight_hr: Tensor | None = None
    bias_hh: Tensor | None = None

    def each(self) -> Iterator["LayerWeights"]:
        """One set of weights after the other, without the leading S."""
        for s in range(len(self.weight_ih)):
            optional = (None if tensor is None else tensor[s] for tensor in self[3:])
            yield LayerWeights(self.weight_ih[s], self.weight_hh[s], self.bias[s], *optional)


class LayerState(NamedTuple):
    """What enters a layer's first cells along the first axis, or leaves its last real ones, in scan direction.

    Attributes:
        hidden: (D, B, *extents[1:], P).
        memory: (D, B, *extents[1:], H), None where cells have none.
    """

    hidden: Tensor
    memory: Tensor | None


class GridState(NamedTuple):
    """The `LayerState` of every layer.

    Attributes:
        hidden: (num_layers, D, B, *extents[1:], P).
        memory: (num_layers, D, B, *extents[1:], H), None where cells have none.
    """

    hidden: Tensor
    memory: Tensor | None

    def layer(self, number: int) -> LayerState:
        """The state of one layer."""
        return LayerState(self.hidden[number], None if self.memory is None else self.memory[number])

    @staticmethod
    def layers(state: "GridState | None", count: int) -> list[LayerState | None]:
        """The states of so many layers; None of each, if there is none."""
        return [None if state is None else state.layer(number) for number in range(count)]

    @classmethod
    def of(cls, layers: Sequence[LayerState | None]) -> "GridState | None":
        """The state of all layers; None of a grid without axes."""
        states = [state for state in layers if state is not None]
        memories = [state.memory for state in states if state.memory is not None]
        if not states:
            return None
        return cls(torch.stack([state.hidden for state in states]), torch.stack(memories) if memories else None)


_register_namedtuple(GridState, serialized_type_name="asr.grid.GridState")  # so that exported programs can be saved


class LayerOutput(NamedTuple):
    """What a layer computes.

    Attributes:
        output: (B, *extents, D, output_size).
        depth_memory: for the next layer, in the engine's own order; None without one.
        state: what leaves along the first axis, zero where an utterance has no cell; None with axes=0.
    """

    output: Tensor
    depth_memory: Tensor | None
    state: LayerState | None


class Engine(Protocol):
    """Computes layers over one batch. Made anew for each: `Engine(extents, lengths, directions, products, recompute)`.

    `products` is the type that matrix products may be computed in, narrower than the tensors' under autocast.
    `recompute` asks to keep less for the backward pass and to compute it again there; engines that do not are run
    under torch.utils.checkpoint by their caller.

    All tensors are in natural order, (B, *extents, ...), but the memory along depth, which an engine keeps in an
    order of its own from layer to layer. Values at padded cells are finite and otherwise arbitrary.
    """

    recomputes: ClassVar[bool]
    """Whether it minds `recompute`."""

    def __init__(
        self,
        extents: tuple[int, ...],
        lengths: Tensor,
        directions: tuple[Direction, ...],
        products: torch.dtype,
        recompute: bool = False,
    ) -> None: ...

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why this engine cannot run these options on this device with products in this type; None if it can."""

    def depth_memory(self, memory: Tensor) -> Tensor:
        """The first layer's memory along depth (B, *extents, D, H) -> the same in the engine's own order."""

    def grid_layer(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        """Run one layer of a Grid LSTM.

        Args:
            inputs: (B, *extents, I).
            memory: along depth, from `depth_memory` or the layer before; None unless depth is "lstm".
            weights: of the layer.
            options: of the layer.
            state: what enters along the first axis; None is zeros.
            mask: (D, B, A, P), of recurrent dropout, multiplied with the arriving hidden vectors; None is ones.
        """

    def multidimensional_layer(
        self,
        inputs: Tensor,
        weights: LayerWeights,
        options: MultidimensionalOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        """Run one layer of a multidimensional LSTM, with the same arguments."""


@runtime_checkable
class StackEngine(Engine, Protocol):
    """An engine that can also run the layers of a Grid LSTM as one: in one direction, with nothing between them."""

    def grid_stack(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        layers: Sequence[LayerWeights],
        options: GridOptions,
        state: Sequence[LayerState | None],
    ) -> tuple[Tensor, GridState] | None:
        """Run all layers, each on the output of the one before.

        Args:
            inputs: (B, *extents, I).
            memory: along depth, (B, *extents, 1, H), in natural order; None unless depth is "lstm".
            layers: their weights.
            options: of each layer.
            state: what enters each layer along the first axis; None is zeros.

        Returns:
            The last layer's output (B, *extents, output_size) and what leaves all layers along the first axis; None
            where they are better run one after the other.
        """
