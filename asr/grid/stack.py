"""All layers of a stack as one wavefront: depth is the first axis of a larger grid.

A cell of layer l receives along depth what the same cell of layer l - 1 sends, so that the sum of all coordinates, the
layer's number among them, orders the cells of the whole stack: L layers over T frames and F blocks take T + F + L - 2
steps in the place of L * (T + F - 1). Each index along depth has its own weights. With a memory along depth, it is an
axis like the others, at whose border the projected input enters; without, a layer feeds its hidden vectors, or a
transfer of them, to the next as its input. A step costs more, so that this pays only where steps are small.

It takes a single direction, since more are merged after each layer, and nothing else between layers: with layer
normalisation, or dropout in training, they run one after the other. The direction is forward along depth, whatever it
is along the axes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from asr.grid.cells import Cell, GridCell, TransferCell
from asr.grid.inputs import real_cells
from asr.grid.options import Direction, GridOptions, GridState, LayerWeights
from asr.grid.recurrence import Plan, Scanned, gate_weight, recurrence
from asr.grid.schedule import ScanOrder, layers_of_steps

LARGEST_HIDDEN = 256
LARGEST_INPUT = 512
LARGEST_STEP = 16384
"""Bytes of a hidden vector, of a layer's input, and of the hidden vectors along one axis of a step's rows, up to which
a stack of 5 layers or more was not slower on one CPU core."""


def pays(layers: int, batch: int, extents: tuple[int, ...], hidden_bytes: int, input_bytes: int) -> bool:
    """Whether a stack's steps are so small that fewer of them take less time.

    Measured on a CPU, forward and in training, one utterance of 100 x 10 cells, float32: 1.6 to 2.1 times as fast with
    4 layers of H = 16, with memory along depth or without; 1.1 to 1.4 with H = 48, the same to 1.2 with H = 64, and no
    faster with H = 96, where a step takes as long as its weights take to arrive. With 8 layers of H = 16: 2.3 to 2.6;
    with 2 of them: 1.05 to 1.2, so that the limits of fewer layers are lower.

    Args:
        layers: of the stack.
        batch: utterances.
        extents: of the grid.
        hidden_bytes: of a hidden vector.
        input_bytes: of the widest input of a layer.

    >>> pays(4, 1, (100, 10), 192, 384), pays(4, 16, (100, 10), 192, 384), pays(4, 1, (100, 10), 512, 512)
    (True, False, False)
    """
    steps = sum(extents) - len(extents) + 1
    hidden_limit = min(LARGEST_HIDDEN // 4 * layers, LARGEST_HIDDEN)
    step_limit = min(LARGEST_STEP // 4 * (layers - 1), LARGEST_STEP)
    small = batch * math.prod(extents) * hidden_bytes <= step_limit * steps
    return layers > 1 and hidden_bytes <= hidden_limit and input_bytes <= LARGEST_INPUT and small


def run_stack(
    inputs: Tensor,
    memory: Tensor | None,
    layers: Sequence[LayerWeights],
    options: GridOptions,
    lengths: Tensor,
    direction: Direction,
    state: GridState | None,
) -> tuple[Tensor, GridState]:
    """Run all layers of a Grid LSTM whose options `asr.grid.wavefront.hand_written` covers, without priority.

    Args:
        inputs: what enters along depth, (B, *extents, I); projected, where there is a memory.
        memory: what enters with it, (B, *extents, H); None unless depth is "lstm".
        layers: of one direction each.
        options: of every layer.
        lengths: (B, A).
        direction: of the scan.
        state: what enters along the first axis.

    Returns:
        The last layer's output (B, *extents, output_size), and what leaves along the first axis.
    """
    extents, size = inputs.shape[1:-1], options.hidden_size
    deep = torch.cat([lengths.new_full((len(lengths), 1), len(layers)), lengths], dim=1)
    order = ScanOrder((len(layers), *extents), deep, [(False, *direction)])
    earlier = None
    if state is not None:
        assert state.memory is not None
        along_first = (x.transpose(0, 2).transpose(0, 1) for x in (state.memory, state.hidden))
        earlier = torch.stack([order.entering(x, axis=1) for x in along_first], dim=2)
    if memory is None:
        scanned, sent, first = _without_memory(inputs, layers, options, order, earlier)
    else:
        scanned, sent, first = _with_memory(inputs, memory, layers, options, order, earlier)
    output = order.leaving(scanned.hidden[..., sent]).squeeze(0)
    padded = ~real_cells(extents, lengths)[:, 0].unsqueeze(-1)
    left = (scanned.hidden[..., first : first + size], scanned.memory)
    left_by_layer = [order.leaving(x, axis=1).transpose(0, 1).transpose(0, 2).masked_fill(padded, 0) for x in left]
    return output, GridState(*left_by_layer)


def _with_memory(
    inputs: Tensor,
    memory: Tensor,
    layers: Sequence[LayerWeights],
    options: GridOptions,
    order: ScanOrder,
    earlier: Tensor | None,
) -> tuple[Scanned, slice, int]:
    """The layers as a grid with one axis more; the columns of its hidden vectors along depth and the first axis."""
    cell = GridCell(options.axes + 1, options.hidden_size, options.output_gate == "inside")
    entering = torch.stack([order.entering(x.unsqueeze(0)) for x in (memory, inputs)], dim=2)
    plan = Plan(cell, order.schedule, order.batch, along=1, parts=layers_of_steps(order.extents, order.batch))
    nothing = entering.new_empty(1, len(order.schedule.order) * order.batch, 0)
    weight = torch.cat([gate_weight(depth_first(own, options), cell) for own in layers])
    return recurrence(nothing, weight, plan, entering, earlier), slice(cell.hidden_size), cell.hidden_size


def _without_memory(
    inputs: Tensor, layers: Sequence[LayerWeights], options: GridOptions, order: ScanOrder, earlier: Tensor | None
) -> tuple[Scanned, slice, int]:
    """The layers as grids that feed each other; the columns of their hidden vectors along depth and the first axis.

    All layers have as many columns of input as the widest, filled with zeros, whose weights are zeros.
    """
    size, axes = options.hidden_size, options.axes
    cell: Cell = GridCell(axes, size, options.output_gate == "inside")
    sent = slice(0, axes * size)
    if options.depth != "none":
        cell = TransferCell(axes, size, options.output_gate == "inside", options.depth)
        sent = slice(axes * size, (axes + 1) * size)
    entering = order.entering(inputs.unsqueeze(0))
    width = max(entering.shape[-1], options.output_size)
    rows = order.schedule.borders[0][:, None] * order.batch + torch.arange(order.batch, device=inputs.device)
    x = inputs.new_zeros(1, len(order.schedule.order) * order.batch, width)
    x = x.index_copy(1, rows.flatten(), pad(entering, (0, width - entering.shape[-1])))
    widened = (own._replace(weight_ih=pad(own.weight_ih, (0, width - own.weight_ih.shape[-1]))) for own in layers)
    weight = torch.cat([gate_weight(own, cell) for own in widened])
    plan = Plan(cell, order.schedule, order.batch, parts=layers_of_steps(order.extents, order.batch), fed=sent)
    return recurrence(x, weight, plan, earlier), sent, 0


def depth_first(weights: LayerWeights, options: GridOptions) -> LayerWeights:
    """Weights whose dimensions are the axes and then the depth -> the depth and then the axes, its input among them."""
    rows = 4 * options.hidden_size
    weight_ih, weight_hh, bias = (tensor.roll(rows, dims=1) for tensor in weights[:3] if tensor is not None)
    return LayerWeights(weight_ih[..., :0], torch.cat([weight_ih, weight_hh], dim=2), bias)
