"""All layers of a stack as one wavefront: with a memory along depth, a stack is a grid with one axis more.

A cell of layer l receives from the same cell of layer l - 1 what it receives from its predecessors along the axes: a
hidden vector and a memory. So the depth is the first axis of a larger grid, along which each index has weights of its
own, and the projected input enters at its border. L layers over T frames and F blocks take T + F + L - 2 steps in the
place of L * (T + F - 1). A step costs more, so that this pays only where steps are small.

It takes a single direction, since more are merged after each layer, and nothing else between layers. The direction is
forward along depth, whatever it is along the axes.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from asr.grid.arguments import real_cells
from asr.grid.cells import GridCell
from asr.grid.options import Direction, GridOptions, GridState, LayerWeights
from asr.grid.recurrence import Plan, gate_weight, recurrence
from asr.grid.schedule import ScanOrder, diagonal_schedule

LARGEST_HIDDEN = 256
LARGEST_STEP = 16384
"""Bytes of a hidden vector, and of those of a step's rows, up to which a stack was not slower on one CPU core."""


def pays(layers: int, batch: int, extents: tuple[int, ...], hidden_bytes: int) -> bool:
    """Whether a stack's steps, whose hidden vectors have so many bytes each, are so small that fewer take less time.

    Measured on a CPU with 2 to 8 layers: 1.9 times as fast forward and in training with 4 layers of H = 16 in float32,
    1.4 and 1.2 times with H = 48, the same with H = 80 or in float64 with H = 48, and slower with H = 96, where a step
    takes as long as its weights take to arrive.

    >>> pays(4, 1, (100, 10), 192), pays(4, 16, (100, 10), 192), pays(4, 1, (100, 10), 512), pays(1, 1, (100, 10), 192)
    (True, False, False, False)
    """
    steps = sum(extents) - len(extents) + 1
    small = batch * math.prod(extents) * hidden_bytes <= LARGEST_STEP * steps
    return layers > 1 and hidden_bytes <= LARGEST_HIDDEN and small


def run_stack(
    inputs: Tensor,
    memory: Tensor,
    layers: Sequence[LayerWeights],
    options: GridOptions,
    lengths: Tensor,
    direction: Direction,
    state: GridState | None,
) -> tuple[Tensor, GridState]:
    """Run all layers of a Grid LSTM whose options `asr.grid.wavefront.hand_written` covers, without priority.

    Args:
        inputs: projected, what enters along depth, (B, *extents, H).
        memory: what enters with it, (B, *extents, H).
        layers: of one direction each.
        options: of every layer, with depth "lstm".
        lengths: (B, A).
        direction: of the scan.
        state: what enters along the first axis.

    Returns:
        The last layer's output (B, *extents, H), and what leaves along the first axis.
    """
    extents, size = inputs.shape[1:-1], options.hidden_size
    deep = torch.cat([lengths.new_full((len(lengths), 1), len(layers)), lengths], dim=1)
    order = ScanOrder((len(layers), *extents), deep, [(False, *direction)])
    cell = GridCell(options.axes + 1, size, options.output_gate == "inside")
    entering = torch.stack([order.entering(x.unsqueeze(0)) for x in (memory, inputs)], dim=2)
    earlier = None
    if state is not None:
        assert state.memory is not None
        along_first = (x.transpose(0, 2).transpose(0, 1) for x in (state.memory, state.hidden))
        earlier = torch.stack([order.entering(x, axis=1) for x in along_first], dim=2)
    plan = Plan(cell, order.schedule, order.batch, along=1, parts=layers_of_steps(order.extents, order.batch))
    nothing = entering.new_empty(1, len(order.schedule.order) * order.batch, 0)
    weight = torch.cat([gate_weight(depth_first(own, options), cell) for own in layers])
    scanned = recurrence(nothing, weight, plan, entering, earlier)
    output = order.leaving(scanned.hidden[..., :size]).squeeze(0)
    padded = ~real_cells(extents, lengths)[:, 0].unsqueeze(-1)
    left = (scanned.hidden[..., size : 2 * size], scanned.memory)
    left_by_layer = [order.leaving(x, axis=1).transpose(0, 1).transpose(0, 2).masked_fill(padded, 0) for x in left]
    return output, GridState(*left_by_layer)


def depth_first(weights: LayerWeights, options: GridOptions) -> LayerWeights:
    """Weights whose dimensions are the axes and then the depth -> the depth and then the axes, its input among them."""
    rows = 4 * options.hidden_size
    weight_ih, weight_hh, bias = (tensor.roll(rows, dims=1) for tensor in weights[:3] if tensor is not None)
    return LayerWeights(weight_ih[..., :0], torch.cat([weight_ih, weight_hh], dim=2), bias)


@lru_cache(maxsize=64)
def layers_of_steps(extents: tuple[int, ...], batch: int) -> tuple[tuple[tuple[int, slice], ...], ...]:
    """For each step of a grid, which of its rows have which index along the first axis.

    >>> layers_of_steps((2, 3), batch=1)[1]
    ((0, slice(0, 1, None)), (1, slice(1, 2, None)))
    """
    schedule = diagonal_schedule(extents, torch.device("cpu"))
    first = schedule.coordinates[schedule.order, 0]
    parts = []
    for step in schedule.steps:
        indices, counts = torch.unique_consecutive(first[step.start : step.stop], return_counts=True)
        stops = (counts.cumsum(0) * batch).tolist()
        within = zip([0, *stops[:-1]], stops, strict=True)
        parts.append(tuple((int(index), slice(*rows)) for index, rows in zip(indices, within, strict=True)))
    return tuple(parts)
