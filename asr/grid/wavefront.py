"""The plain-PyTorch engine: all directions at once, one anti-diagonal at a time, on any device.

The usual cells have a hand-written recurrence (`asr.grid.recurrence`), which runs whole stacks where that is faster
(`asr.grid.stack`), all other options one that autograd records (`asr.grid.recorded`).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from asr.grid.cells import Cell, GridCell, MultidimensionalCell
from asr.grid.compiling import untraced
from asr.grid.inputs import real_cells
from asr.grid.options import (
    Direction,
    GridOptions,
    GridState,
    LayerOutput,
    LayerState,
    LayerWeights,
    MultidimensionalOptions,
    Options,
)
from asr.grid.recorded import TRANSFERS, Scan, grid_cell, multidimensional_cell, own, product, recorded_scan
from asr.grid.recurrence import Plan, Scanned, gate_weight, recurrence, transform
from asr.grid.schedule import ScanOrder, bands_of_steps
from asr.grid.stack import pays, run_stack


class Wavefront:
    """The engine; see `asr.grid.options.Engine`. Memory along depth stays in scan order from layer to layer."""

    recomputes: ClassVar[bool] = False

    def __init__(
        self,
        extents: tuple[int, ...],
        lengths: Tensor,
        directions: Sequence[Direction],
        products: torch.dtype,
        recompute: bool = False,
    ) -> None:
        self.axes = len(extents)
        self.shape = (len(lengths), *extents, len(directions))
        if not extents:  # a grid without axes is one cell an utterance, and so is one with a single axis of extent 1
            extents, lengths, directions = (1,), lengths.new_ones(len(lengths), 1), [(False,)]
        self.extents, self.lengths, self.directions = extents, lengths, directions

    @cached_property
    def order(self) -> ScanOrder:
        """Of one layer."""
        return ScanOrder(self.extents, self.lengths, self.directions)

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        return None

    @untraced
    def depth_memory(self, memory: Tensor) -> Tensor:
        return self.order.to_scan(memory.reshape(-1, *memory.shape[-2:]))

    @untraced
    def grid_layer(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        x = self.order.to_every_scan(inputs.reshape(-1, inputs.shape[-1]))
        if not hand_written(options):
            return self._recorded_grid(inputs, x, memory, weights, options, state, mask)
        gate_inside = options.output_gate == "inside"
        along_axes = GridCell(options.axes, options.hidden_size, gate_inside)
        rows = options.rows_of(options.axes).start
        axes, depth = (
            LayerWeights(*(w[:, :rows] for w in weights[:3])),
            LayerWeights(*(w[:, rows:] for w in weights[:3])),
        )
        scanned = self._recurrence(x, axes, along_axes, state, options.bands)
        leaving = self._leaving(scanned.hidden[..., : options.hidden_size], scanned.memory)
        if options.depth == "none":
            return LayerOutput(self._natural(scanned.hidden), None, leaving)
        seen = torch.cat([scanned.hidden if options.priority else scanned.incoming, x], dim=-1)
        if memory is None:
            return LayerOutput(self._natural(transferred(seen, depth, options)), None, leaving)
        along_depth = GridCell(1, options.hidden_size, gate_inside)
        hidden, memory = transform(seen, memory, gate_weight(depth, along_depth), along_depth)
        return LayerOutput(self._natural(hidden), memory, leaving)

    @untraced
    def grid_stack(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        layers: Sequence[LayerWeights],
        options: GridOptions,
        state: Sequence[LayerState | None],
    ) -> tuple[Tensor, GridState] | None:
        if not hand_written(options) or options.priority or options.bands > 1:
            return None
        widest = max(options.output_size, inputs.shape[-1])
        sizes = options.hidden_size * inputs.element_size(), widest * inputs.element_size()
        if not pays(len(layers), len(self.lengths), self.extents, *sizes):
            return None
        entering = None if memory is None else memory.squeeze(-2)
        return run_stack(inputs, entering, layers, options, self.lengths, self.directions[0], GridState.of(state))

    @untraced
    def multidimensional_layer(
        self,
        inputs: Tensor,
        weights: LayerWeights,
        options: MultidimensionalOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        x = self.order.to_every_scan(inputs.reshape(-1, inputs.shape[-1]))
        usual = MultidimensionalOptions(options.axes, options.hidden_size, options.cell)
        if options == usual:
            cell = MultidimensionalCell(options.axes, options.hidden_size, stable=options.cell == "stable")
            scanned = self._recurrence(x, weights, cell, state)
            return LayerOutput(self._natural(scanned.hidden), None, self._leaving(scanned.hidden, scanned.memory))
        nothing, bands = x[..., :0], self._bands(options.bands, x)
        scan = Scan(x, from_input(x, weights, bands), nothing, nothing, bands)
        entering = self._entering(state, x, options.width, options.hidden_size)
        left = recorded_scan(self.order, multidimensional_cell(weights, options, mask), scan, entering, options.axes)
        return LayerOutput(self._natural(left.output), None, self._leaving(left.hidden[0], left.memory[0]))

    def _recorded_grid(
        self,
        inputs: Tensor,
        x: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        bands = self._bands(options.bands, x)
        hidden = x[..., :0]
        if options.depth == "gru":  # each direction's part of the input, which is one for all where they are summed
            parts = torch.unflatten(inputs, -1, (-1, options.hidden_size)).expand(*self.shape, -1)
            hidden = self.order.to_scan(parts.reshape(-1, *parts.shape[-2:]))
        depth_memory = x[..., :0] if memory is None else memory
        scan = Scan(x, from_input(x, weights, bands), hidden, depth_memory, bands)
        entering = self._entering(state, x, options.width, options.memory_size)
        left = recorded_scan(self.order, grid_cell(weights, options, mask), scan, entering, options.axes)
        leaving = self._leaving(left.hidden[0], left.memory[0]) if options.axes else None
        return LayerOutput(self._natural(left.output), None if memory is None else left.depth_memory, leaving)

    def _recurrence(
        self, x: Tensor, weights: LayerWeights, cell: Cell, state: LayerState | None, bands: int = 1
    ) -> Scanned:
        weight = gate_weight(weights, cell)
        border = None
        if state is not None:
            hidden, memory = self._entering(state, x, cell.hidden_size, cell.hidden_size)
            border = torch.stack([memory, hidden], dim=2)
        parts = None
        if bands > 1:
            last = tuple(direction[-1] for direction in self.directions)
            parts = bands_of_steps(self.extents, self.order.batch, bands, last)
            by_direction = torch.unflatten(weight, 0, (-1, bands))
            weight = torch.cat(
                [own if backward else own.flip(0) for own, backward in zip(by_direction, last, strict=True)]
            )
        return recurrence(x, weight, Plan(cell, self.order.schedule, self.order.batch, parts=parts), border)

    def _bands(self, bands: int, x: Tensor) -> Tensor:
        """Which band each row belongs to, (D, rows, K), as a one in its column; 0 wide with one band."""
        if bands == 1:
            return x[..., :0]
        band = self.order.last_coordinates() * bands // self.shape[-2]
        return torch.nn.functional.one_hot(band, bands).to(x.dtype)

    def _entering(
        self, state: LayerState | None, x: Tensor, hidden_size: int, memory_size: int
    ) -> tuple[Tensor, Tensor]:
        """What enters along the first axis, in scan order; memory of cells without memory is 0 wide."""
        rows = len(self.order.schedule.borders[0]) * self.order.batch
        hidden, memory = (x.new_zeros(len(x), rows, size) for size in (hidden_size, memory_size))
        if state is not None:
            hidden = self.order.entering(state.hidden)
            memory = memory if state.memory is None else self.order.entering(state.memory)
        return hidden, memory

    def _leaving(self, hidden: Tensor, memory: Tensor) -> LayerState:
        """What leaves along the first axis, from all cells' vectors along it in scan order."""
        real = real_cells(self.shape[1:-1], self.lengths)[:, 0].unsqueeze(-1)
        left = [self.order.leaving(tensor).masked_fill(~real, 0) for tensor in (hidden, memory) if tensor.shape[-1]]
        return LayerState(left[0], left[1] if len(left) > 1 else None)

    def _natural(self, scanned: Tensor) -> Tensor:
        return self.order.from_scan(scanned).view(*self.shape, -1)


def hand_written(options: GridOptions) -> bool:
    """Whether `asr.grid.recurrence` covers the options; `asr.grid.recorded` covers all."""
    return options == GridOptions(
        options.axes,
        options.hidden_size,
        depth=options.depth,
        bands=options.bands if options.depth == "none" else 1,
        priority=("depth",) if options.priority else (),
        output_gate=options.output_gate,
    ) and bool(options.axes)


def transferred(seen: Tensor, weights: LayerWeights, options: GridOptions) -> Tensor:
    """The depth hidden of all cells where the depth is a transfer, (D, rows, H), from [h_1 ... h_A, x] of each."""
    weight = torch.cat([weights.weight_hh, weights.weight_ih], dim=2).transpose(1, 2)
    return TRANSFERS[options.depth](torch.baddbmm(weights.bias.unsqueeze(1), seen, weight))


def from_input(x: Tensor, weights: LayerWeights, bands: Tensor) -> Tensor:
    """What input and bias add to the gates of all cells, (D, rows, R)."""
    return product(x, weights.weight_ih, bands) + own(weights.bias, bands)
