"""The gates and memories of a Grid LSTM at every cell, which its engines keep to themselves.

They are computed by `asr.grid.definition`, cell by cell, from the weights of a trained grid; a few thousand cells a
second.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from asr.errors import InputError
from asr.grid import GridLSTM
from asr.grid.definition import Arriving, Cell, Leaving, Utterance, grid_cell, scan
from asr.grid.layers import ScanParameters
from asr.grid.options import Direction, GridOptions, LayerWeights


class Gates(NamedTuple):
    """What one dimension of a layer does, in one direction of the scan, at every cell of one utterance.

    Attributes:
        layer: number of the layer, from 0.
        direction: of the scan, for each axis whether it is backward.
        dimension: number of the axis, or the number of axes for the depth.
        input: gate (*extents, H), between 0 and 1; one minus the forget gate if they are coupled.
        forget: the same.
        output: the same.
        memory: that leaves the cell along the dimension, (*extents, H).
        hidden: the same, (*extents, P).
    """

    layer: int
    direction: Direction
    dimension: int
    input: Tensor
    forget: Tensor
    output: Tensor
    memory: Tensor
    hidden: Tensor


class _Dimension(NamedTuple):
    """What one dimension does in one cell: gates and memory (H,), and the hidden vector (P,)."""

    input: Tensor
    forget: Tensor
    output: Tensor
    memory: Tensor
    hidden: Tensor


class _Recorded(NamedTuple):
    """One direction of a layer: what its dimensions do in each cell, row by row, and what leaves it (*extents, ...)."""

    cells: list[list[_Dimension]]
    output: Tensor
    depth_memory: Tensor


@torch.no_grad()
def grid_gates(grid: GridLSTM, inputs: Tensor) -> tuple[list[Gates], Tensor]:
    """Run one utterance through a grid, as it is in evaluation.

    Args:
        grid: with LSTM cells and one axis at least.
        inputs: (*extents, input_size).

    Returns:
        Gates and memories by layer, direction and dimension, and the output (*extents, output_size), which is that of
        the grid.

    Raises:
        InputError: the cells have no gates, or there are no axes.
    """
    options = grid.options
    if options.cell != "lstm" or options.axes == 0:
        raise InputError(f"gates can be shown of LSTM cells on a grid with axes; this one has {options}")
    x, memory = inputs, None
    if options.recurrent_depth:
        x, memory = grid.input_projection(inputs).tensor_split([grid.output_size], dim=-1)
        memory = memory.unflatten(-1, (len(grid.directions), -1))
    gates = []
    for number, merge in enumerate(grid.merges):
        weights = cast(ScanParameters, grid.layers[number % len(grid.layers)]).weights()
        scans = [
            _record(x, None if memory is None else memory[..., d, :], _of_direction(weights, d, options), options, way)
            for d, way in enumerate(grid.directions)
        ]
        for way, recorded in zip(grid.directions, scans, strict=True):
            gates += _gates(number, way, recorded.cells, x.shape[:-1])
        memory = None if memory is None else torch.stack([recorded.depth_memory for recorded in scans], dim=-2)
        was_training = merge.training
        x = merge.eval()(torch.stack([recorded.output for recorded in scans], dim=-2))
        merge.train(was_training)
    return gates, x


def _of_direction(weights: LayerWeights, direction: int, options: GridOptions) -> list[LayerWeights]:
    """The weights of one direction, one set a band."""
    return list(weights.each())[direction * options.bands : (direction + 1) * options.bands]


def _record(
    inputs: Tensor, memory: Tensor | None, weights: Sequence[LayerWeights], options: GridOptions, direction: Direction
) -> _Recorded:
    """Scan one direction of a layer; `cells` of the result are in the order of the axes, whatever the scan's."""
    extents = inputs.shape[:-1]
    back = [axis for axis, backward in enumerate(direction) if backward]
    cells: list[list[_Dimension]] = []
    bands = [_recording(grid_cell(own, options), own, options, cells) for own in weights]
    along_last = [bands[index * options.bands // extents[-1]] for index in range(extents[-1])]
    utterance = Utterance(
        inputs.flip(back),
        inputs.new_zeros(*extents, 0),
        (inputs.new_zeros(*extents, 0) if memory is None else memory).flip(back),
        inputs.new_zeros(*extents[1:], options.width),
        inputs.new_zeros(*extents[1:], options.memory_size),
    )
    scanned = scan(utterance, along_last[::-1] if direction[-1] else along_last, None)
    places = torch.arange(len(cells)).view(extents).flip(back).flatten().tolist()
    return _Recorded([cells[n] for n in places], scanned.values.flip(back), scanned.depth_memory.flip(back))


def _recording(
    cell: Cell, weights: LayerWeights, options: GridOptions, cells: list[list[_Dimension]]
) -> Callable[[Arriving], Leaving]:
    """A cell that also notes what its dimensions do."""

    def recording(arriving: Arriving) -> Leaving:
        leaving = cell(arriving)
        cells.append(cell_gates(arriving, leaving, weights, options))
        return leaving

    return recording


def cell_gates(arriving: Arriving, leaving: Leaving, weights: LayerWeights, options: GridOptions) -> list[_Dimension]:
    """The gates of each dimension of a cell with gates, from what arrives at it and leaves it."""
    before, after = [*arriving.memory, arriving.depth_memory], [*leaving.memory, leaving.depth_memory]
    sent = [*leaving.hidden, leaving.output]
    x, seen = arriving.x, list(arriving.hidden)
    found: dict[int, _Dimension] = {}
    for group in options.order:
        for n in group:
            if n < options.transforms:
                rows = options.rows_of(n)
                own = weights.weight_ih[rows] @ x + weights.weight_hh[rows] @ torch.cat(seen) + weights.bias[rows]
                peephole = None
                if weights.peephole is not None:
                    peephole = weights.peephole.chunk(options.weight_sets)[options.weight_set(n)]
                opened = _opened(own, before[n], after[n], peephole, options)
                found[n] = _Dimension(*opened, after[n], sent[n])
        for n in group:
            if n == options.axes:
                x = leaving.output
            else:
                seen[n] = leaving.hidden[n]
    return [found[n] for n in sorted(found)]


def _opened(
    pre: Tensor, before: Tensor, after: Tensor, peephole: Tensor | None, options: GridOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, forget and output gates, from the pre-activations and the memory before and after."""
    *pre_i, pre_f, _, pre_o = pre.chunk(options.gates)
    *p_i, p_f, p_o = torch.zeros(3, 1).to(pre) if peephole is None else peephole.chunk(2 if options.coupled else 3)
    forget = torch.sigmoid(pre_f + p_f * before)
    entering = 1 - forget if options.coupled else torch.sigmoid(pre_i[0] + p_i[0] * before)
    return entering, forget, torch.sigmoid(pre_o + p_o * after)


def _gates(layer: int, direction: Direction, cells: list[list[_Dimension]], extents: Sequence[int]) -> list[Gates]:
    """The cells' values side by side, (*extents, ...), for each dimension that has gates."""
    return [
        Gates(layer, direction, n, *(torch.stack(values).view(*extents, -1) for values in zip(*of_cells, strict=True)))
        for n, of_cells in enumerate(zip(*cells, strict=True))
    ]
