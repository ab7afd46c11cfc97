"""The plain-PyTorch engine: the recurrence of all directions, one anti-diagonal at a time, on any device.

Recorded by autograd, a step would be some twenty operations, each with a result of its own. Here the gates of a step
are one product over [h_1 ... h_A, x, 1], written where the backward pass will look for them, and the gradient is
computed by a walk back over the steps. Memory for the backward pass is linear in cells: for the Grid LSTM
8AH + I + 1 numbers a cell, utterance and direction.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr.grid.cells import Cell, GridCell, MultidimensionalCell
from asr.grid.options import Direction, GridOptions, LayerWeights, MultidimensionalOptions
from asr.grid.schedule import ScanOrder, Schedule


class Wavefront:
    """The engine; see `asr.grid.options.Engine`. Memory along depth stays in scan order from layer to layer."""

    def __init__(self, extents: tuple[int, ...], lengths: Tensor, directions: Sequence[Direction]) -> None:
        self.shape = (len(lengths), *extents, len(directions))
        self.order = ScanOrder(extents, lengths, directions)

    def depth_memory(self, memory: Tensor) -> Tensor:
        return self.order.to_scan(memory.reshape(-1, *memory.shape[-2:]))

    def grid_layer(
        self, inputs: Tensor, memory: Tensor | None, weights: LayerWeights, options: GridOptions
    ) -> tuple[Tensor, Tensor | None]:
        gate_inside = options.output_gate == "inside"
        along_axes = GridCell(options.axes, options.hidden_size, gate_inside)
        rows = 4 * options.axes * options.hidden_size
        x = self.order.to_every_scan(inputs.flatten(0, -2))
        hidden, incoming = self._recurrence(x, LayerWeights(*(w[:, :rows] for w in weights)), along_axes)
        if memory is None:
            return self._natural(hidden), None
        seen = hidden if options.depth_priority else incoming
        along_depth = GridCell(1, options.hidden_size, gate_inside)
        weight = gate_weight(LayerWeights(*(w[:, rows:] for w in weights)), along_depth)
        hidden, memory = transform(torch.cat([seen, x], dim=-1), memory, weight, along_depth)
        return self._natural(hidden), memory

    def multidimensional_layer(self, inputs: Tensor, weights: LayerWeights, options: MultidimensionalOptions) -> Tensor:
        cell = MultidimensionalCell(options.axes, options.hidden_size, stable=options.cell == "stable")
        hidden, _ = self._recurrence(self.order.to_every_scan(inputs.flatten(0, -2)), weights, cell)
        return self._natural(hidden)

    def _recurrence(self, x: Tensor, weights: LayerWeights, cell: Cell) -> tuple[Tensor, Tensor]:
        return recurrence(x, gate_weight(weights, cell), cell, self.order.schedule, self.shape[0])

    def _natural(self, scanned: Tensor) -> Tensor:
        return self.order.from_scan(scanned).view(*self.shape, -1)


def gate_weight(weights: LayerWeights, cell: Cell) -> Tensor:
    """The one matrix of a step's product, (D, A * H + I + 1, gates), from parameters with a row a gate."""
    rows = torch.cat([weights.weight_hh, weights.weight_ih, weights.bias[:, :, None]], dim=2)
    return cell.arrange(rows).transpose(1, 2).contiguous()


def recurrence(inputs: Tensor, weight: Tensor, cell: Cell, schedule: Schedule, batch: int) -> tuple[Tensor, Tensor]:
    """Run a cell over a grid in D directions, from zero states.

    Args:
        inputs: in scan order, (D, cells * batch, I).
        weight: (D, A * H + I + 1, blocks * O * H), what hidden vectors, input and bias contribute to the gates.
        cell: the elementwise part.
        schedule: of the grid.
        batch: utterances.

    Returns:
        The outgoing hidden vectors, (D, cells * batch, O * H), and the incoming ones, (D, cells * batch, A * H).
    """
    recorded = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
    hidden, incoming = _Recurrence.apply(inputs, weight, cell, schedule, batch, recorded)  # type: ignore[no-untyped-call]
    return hidden, incoming


def transform(inputs: Tensor, memory: Tensor, weight: Tensor, cell: GridCell) -> tuple[Tensor, Tensor]:
    """One LSTM transform of every row, without recurrence: the depth dimension of a grid.

    Args:
        inputs: (D, rows, K).
        memory: (D, rows, H).
        weight: (D, K + 1, 4 * H), the last row the bias.
        cell: with one axis.

    Returns:
        hidden and memory, (D, rows, H) each.
    """
    hidden, new_memory = _Transform.apply(inputs, memory, weight, cell)  # type: ignore[no-untyped-call]
    return hidden, new_memory


class _Recurrence(torch.autograd.Function):
    """`state` holds, for each direction, cell and utterance: incoming memory (A * H), incoming hidden (A * H), x, 1."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, cell: Cell, schedule: Schedule, batch: int, recorded: bool
    ) -> tuple[Tensor, Tensor]:
        directions, rows, features = inputs.shape
        steps = schedule.steps
        carried, sent = cell.axes * cell.hidden_size, cell.outputs * cell.hidden_size
        sizes = [(step.stop - step.start) * batch for step in steps]

        def buffer(width: int) -> tuple[Tensor, Sequence[Tensor]]:
            """A view a step: of a tensor of all cells if the backward pass will need it, else of the same few rows."""
            whole = inputs.new_empty(directions, rows if recorded else max(sizes), width)
            return whole, torch.split(whole, sizes, dim=1) if recorded else [whole[:, :size] for size in sizes]

        state = inputs.new_empty(directions, rows, 2 * carried + features + 1)
        state[..., 2 * carried : -1] = inputs
        state[..., -1] = 1
        memories, operands = (torch.split(x, sizes, dim=1) for x in (state[..., :carried], state[..., carried:]))
        slots = state[..., : 2 * carried].view(directions, -1, batch, 2, cell.axes, cell.hidden_size)
        for axis, border in enumerate(schedule.borders):
            slots[..., axis, :].index_fill_(1, border, 0)
        hidden = inputs.new_empty(directions, rows, sent)
        (all_gates, gates), (all_saved, saved) = buffer(weight.shape[2]), buffer(sent)
        for number, (step, h) in enumerate(zip(steps, torch.split(hidden, sizes, dim=1), strict=True)):
            torch.bmm(operands[number], weight, out=gates[number])
            outgoing = inputs.new_empty(directions, step.stop - step.start, batch, 2, cell.outputs, cell.hidden_size)
            m_new, h_new = outgoing.view(directions, -1, 2, sent).unbind(2)
            cell.forward(gates[number], memories[number], h_new, m_new, saved[number])
            h.copy_(h_new)
            for axis, edge in enumerate(step.edges):
                if edge is not None:
                    successors = slots[:, step.stop : steps[number + 1].stop, :, :, axis]
                    successors[:, edge.target] = outgoing[:, edge.source, :, :, axis % cell.outputs]
        if recorded:
            ctx.save_for_backward(weight, state, all_gates, all_saved)
            ctx.cell, ctx.steps, ctx.batch = cell, steps, batch
        ctx.set_materialize_grads(False)
        return hidden, state[..., carried : 2 * carried]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor | None, d_incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, state, all_gates, all_saved = ctx.saved_tensors
        cell, steps, batch = ctx.cell, ctx.steps, ctx.batch
        directions, carried, sent = len(state), cell.axes * cell.hidden_size, cell.outputs * cell.hidden_size
        sizes = [(step.stop - step.start) * batch for step in steps]
        state_columns = (state[..., :carried], state[..., carried:])
        memories, operands, gates, saved = (
            torch.split(x, sizes, dim=1) for x in (*state_columns, all_gates, all_saved)
        )
        d_weight, back = torch.zeros_like(weight), weight[:, :-1].transpose(1, 2)
        d_inputs = state.new_empty(directions, state.shape[1], state.shape[2] - 2 * carried - 1)
        leaving = None  # of the step ahead: gradients of its incoming memory, incoming hidden and input
        for number in range(len(steps) - 1, -1, -1):
            step, size = steps[number], sizes[number]
            rows = slice(step.start * batch, step.stop * batch)
            arriving = state.new_zeros(directions, size // batch, batch, 2, cell.outputs, cell.hidden_size)
            d_m, d_h = arriving.view(directions, size, 2, sent).unbind(2)
            if d_hidden is not None:
                d_h.copy_(d_hidden[:, rows])
            if leaving is not None:
                slots = leaving[..., : 2 * carried].view(directions, -1, batch, 2, cell.axes, cell.hidden_size)
                for axis, edge in enumerate(step.edges):
                    if edge is not None:
                        target = arriving[:, :, :, :, axis % cell.outputs]
                        _accumulate(target, edge.source, slots[:, edge.target, :, :, axis])
            leaving = state.new_empty(directions, size, back.shape[2] + carried)
            d_gates = torch.empty_like(gates[number], memory_format=torch.contiguous_format)
            cell.backward(gates[number], memories[number], saved[number], d_h, d_m, d_gates, leaving[..., :carried])
            d_weight.baddbmm_(operands[number].transpose(1, 2), d_gates)
            torch.bmm(d_gates, back, out=leaving[..., carried:])
            d_inputs[:, rows] = leaving[..., 2 * carried :]
            if d_incoming is not None:
                leaving[..., carried : 2 * carried] += d_incoming[:, rows]
        return d_inputs, d_weight, None, None, None, None


def _accumulate(target: Tensor, cells: slice | Tensor, values: Tensor) -> None:
    if isinstance(cells, slice):
        target[:, cells].add_(values)
    else:
        target.index_add_(1, cells, values)


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, memory: Tensor, weight: Tensor, cell: GridCell) -> tuple[Tensor, Tensor]:
        gates = torch.baddbmm(weight[:, -1:], inputs, weight[:, :-1])
        hidden, new_memory, saved = (torch.empty_like(memory) for _ in range(3))
        cell.forward(gates, memory, hidden, new_memory, saved)
        ctx.save_for_backward(inputs, memory, weight, gates, saved)
        ctx.cell = cell
        return hidden, new_memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        inputs, memory, weight, gates, saved = ctx.saved_tensors
        d_gates, d_incoming = torch.empty_like(gates), torch.empty_like(memory)
        ctx.cell.backward(gates, memory, saved, d_hidden.clone(), d_memory.clone(), d_gates, d_incoming)
        d_inputs = torch.bmm(d_gates, weight[:, :-1].transpose(1, 2))
        d_weight = torch.cat([torch.bmm(inputs.transpose(1, 2), d_gates), d_gates.sum(1, keepdim=True)], dim=1)
        return d_inputs, d_incoming, d_weight, None
