"""The recurrence of the usual cells, one anti-diagonal at a time, with a gradient written by hand.

Recorded by autograd, a step would be some twenty operations, each with a result of its own. Here the gates of a step
are one product over [h_1 ... h_A, x, 1], written where the backward pass will look for them, and the gradient is
computed by a walk back over the steps. Memory for the backward pass is linear in cells: for the Grid LSTM
8AH + I + 1 numbers a cell, utterance and direction. There is no second derivative, and to ask for one is an error.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asr.grid.cells import Cell, GridCell
from asr.grid.options import LayerWeights
from asr.grid.schedule import Parts, Schedule


def gate_weight(weights: LayerWeights, cell: Cell) -> Tensor:
    """The one matrix of a step's product, (D, A * H + I + 1, gates), from parameters with a row a gate."""
    rows = torch.cat([weights.weight_hh, weights.weight_ih, weights.bias.unsqueeze(-1)], dim=2)
    return cell.arrange(rows).transpose(1, 2).contiguous()


class Plan(NamedTuple):
    """What a recurrence is, besides its tensors.

    Attributes:
        cell: the elementwise part.
        schedule: of the grid.
        batch: utterances.
        along: the axis whose outgoing memory is returned.
        parts: for each step, where rows of a direction have different weights, which. A direction's sets are adjacent.
        fed: where the schedule's first axis, on top of the cell's, are layers without a memory between them: the
            columns of the outgoing hidden vectors that a cell of the next layer has as the first columns of its input.
    """

    cell: Cell
    schedule: Schedule
    batch: int
    along: int = 0
    parts: tuple[Parts, ...] | None = None
    fed: slice | None = None

    @property
    def first(self) -> int:
        """Which axis of the schedule is the cell's first."""
        return 0 if self.fed is None else 1

    def parts_of(self, step: int) -> Parts | None:
        """The parts of one step."""
        return None if self.parts is None else self.parts[step]

    @property
    def left(self) -> slice:
        """The columns of the outgoing memory that is returned."""
        return slice(self.along * self.cell.hidden_size, (self.along + 1) * self.cell.hidden_size)


class Scanned(NamedTuple):
    """What a recurrence computes.

    Attributes:
        hidden: the outgoing hidden vectors, (D, cells * batch, O * H).
        incoming: the incoming ones, (D, cells * batch, A * H).
        memory: the outgoing memory vectors along one axis, (D, cells * batch, H).
    """

    hidden: Tensor
    incoming: Tensor
    memory: Tensor


def recurrence(inputs: Tensor, weight: Tensor, plan: Plan, *borders: Tensor | None) -> Scanned:
    """Run a cell over a grid in D directions.

    Args:
        inputs: in scan order, (D, cells * batch, I); zero where they are fed.
        weight: (S, A * H + I + 1, gates), what hidden vectors, input and bias contribute to the gates; S is D,
            unless the plan has parts.
        plan: what to run.
        borders: memory and hidden that enter along each of the cell's first axes, (D, border cells * batch, 2, H);
            None is zeros.

    The backward pass raises RuntimeError with `create_graph=True`.
    """
    given = [tensor for tensor in (inputs, weight, *borders) if tensor is not None]
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    return Scanned(*_Recurrence.apply(inputs, weight, plan, recorded, *borders))  # type: ignore[no-untyped-call]


def transform(inputs: Tensor, memory: Tensor, weight: Tensor, cell: GridCell) -> tuple[Tensor, Tensor]:
    """One LSTM transform of every row, without recurrence: the depth dimension of a grid.

    Args:
        inputs: (D, rows, K).
        memory: (D, rows, H).
        weight: (D, K + 1, 4 * H), the last row the bias.
        cell: with one axis.

    Returns:
        hidden and memory, (D, rows, H) each.

    The backward pass raises RuntimeError with `create_graph=True`.
    """
    hidden, new_memory = _Transform.apply(inputs, memory, weight, cell)  # type: ignore[no-untyped-call]
    return hidden, new_memory


def _refuse_recording() -> None:
    """Whether this backward pass is not recorded itself: what autograd cannot follow, it would take for constant.

    Raises:
        RuntimeError: it is, with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the wavefront engine of a grid has no second derivative of these cells, which create_graph=True asks for; "
            "engine 'definition' has one"
        )


class _Recurrence(torch.autograd.Function):
    """`state` holds, for each direction, cell and utterance: incoming memory (A * H), incoming hidden (A * H), x, 1."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, plan: Plan, recorded: bool, *borders: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        cell, schedule, batch = plan.cell, plan.schedule, plan.batch
        directions, rows, features = inputs.shape
        carried, sent = cell.axes * cell.hidden_size, cell.outputs * cell.hidden_size
        cells = [step.stop - step.start for step in schedule.steps]
        sizes = [count * batch for count in cells]

        def buffer(width: int) -> tuple[Tensor, Sequence[Tensor]]:
            """A view a step: of a tensor of all cells if the backward pass will need it, else of the same few rows."""
            whole = inputs.new_empty(directions, rows if recorded else max(sizes), width)
            return whole, torch.split(whole, sizes, dim=1) if recorded else [whole[:, :size] for size in sizes]

        state = inputs.new_empty(directions, rows, 2 * carried + features + 1)
        state[..., 2 * carried : -1] = inputs
        state[..., -1] = 1
        arriving = _by_axis(state, batch, cell)
        border_cells = schedule.borders[plan.first :]
        for along, cells_there in zip(arriving, border_cells, strict=True):
            along.index_fill_(1, cells_there, 0)
        for along, cells_there, border in zip(arriving, border_cells, borders, strict=False):
            if border is not None:
                along.index_copy_(1, cells_there, border.view(directions, -1, *along.shape[2:]))
        slots = [torch.split(along, cells, dim=1) for along in arriving]
        fed = None if plan.fed is None else torch.split(_fed(state, plan), cells, dim=1)
        memories, operands = (torch.split(x, sizes, dim=1) for x in (state[..., :carried], state[..., carried:]))
        hidden = inputs.new_empty(directions, rows, sent)
        memory = inputs.new_empty(directions, rows, cell.hidden_size)
        (all_gates, gates), (all_saved, saved) = buffer(weight.shape[2]), buffer(sent)
        scratch = _forward_scratch(state, batch, cell)
        written = zip(schedule.steps, *(torch.split(x, sizes, dim=1) for x in (hidden, memory)), strict=True)
        for number, (step, h, m) in enumerate(written):
            _multiply(operands[number], weight, gates[number], plan.parts_of(number))
            own = scratch(cells[number])
            cell.forward(gates[number], memories[number], own.hidden, own.memory, saved[number])
            h.copy_(own.hidden)
            m.copy_(own.memory[..., plan.left])
            if fed is not None and (edge := step.edges[0]) is not None:
                fed[number + 1][:, edge.target] = own.by_cell[..., plan.fed][:, edge.source]
            for axis, edge in enumerate(step.edges[plan.first :]):
                if edge is not None:
                    slots[axis][number + 1][:, edge.target] = own.leaving[axis % cell.outputs][:, edge.source]
        if recorded:
            ctx.save_for_backward(weight, state, all_gates, all_saved)
            ctx.plan, ctx.border_shapes = plan, [None if border is None else border.shape for border in borders]
        ctx.set_materialize_grads(False)
        return hidden, state[..., carried : 2 * carried], memory

    @staticmethod
    def backward(
        ctx: Any, d_hidden: Tensor | None, d_incoming: Tensor | None, d_left: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        _refuse_recording()
        weight, state, all_gates, all_saved = ctx.saved_tensors
        plan: Plan = ctx.plan
        cell, steps, batch = plan.cell, plan.schedule.steps, plan.batch
        carried = cell.axes * cell.hidden_size
        back = weight[:, :-1].transpose(1, 2)
        cells = [step.stop - step.start for step in steps]
        sizes = [count * batch for count in cells]
        d_weight = torch.zeros_like(weight)
        d_inputs = state.new_empty(*state.shape[:2], state.shape[2] - 2 * carried - 1)
        stored = (state[..., :carried], state[..., carried:], all_gates, all_saved, d_inputs)
        memories, operands, gates, saved, d_x = (torch.split(x, sizes, dim=1) for x in stored)
        scratch = _backward_scratch(state, batch, cell, gates_size=weight.shape[2])
        d_entered: list[list[Tensor]] = [[] for _ in ctx.border_shapes]
        ahead: tuple[Tensor, ...] = ()
        ahead_fed = state
        for number in range(len(steps) - 1, -1, -1):
            step, own = steps[number], scratch(cells[number])
            rows = slice(step.start * batch, step.stop * batch)
            own.memory.zero_()
            if d_left is not None:
                own.memory[..., plan.left].copy_(d_left[:, rows])
            own.hidden.zero_() if d_hidden is None else own.hidden.copy_(d_hidden[:, rows])
            if plan.fed is not None and (edge := step.edges[0]) is not None:
                _accumulate(own.by_cell[..., plan.fed], edge.source, ahead_fed[:, edge.target])
            for axis, edge in enumerate(step.edges[plan.first :]):
                if edge is not None:
                    _accumulate(own.arriving[axis % cell.outputs], edge.source, ahead[axis][:, edge.target])
            d_memory, d_operand = own.leaving[..., :carried], own.leaving[..., carried:-1]
            cell.backward(gates[number], memories[number], saved[number], own.hidden, own.memory, own.gates, d_memory)
            _add_product(d_weight, operands[number], own.gates, plan.parts_of(number))
            _multiply(own.gates, back, d_operand, plan.parts_of(number))
            d_x[number].copy_(d_operand[..., carried:])
            if d_incoming is not None:
                d_operand[..., :carried] += d_incoming[:, rows]
            ahead = own.leaving_by_axis
            if plan.fed is not None:
                ahead_fed = _fed(own.leaving, plan)
            for axis, shape in enumerate(ctx.border_shapes):
                if shape is not None and (entering := step.entering[plan.first + axis]) is not None:
                    d_entered[axis].insert(0, ahead[axis][:, entering].clone())
        shaped = zip(d_entered, ctx.border_shapes, strict=True)
        d_borders = (None if shape is None else torch.cat(entered, dim=1).view(shape) for entered, shape in shaped)
        return d_inputs, d_weight, None, None, *d_borders


def _multiply(rows: Tensor, weight: Tensor, out: Tensor, parts: Parts | None) -> None:
    """Rows (D, n, K) times their weights, of a direction or of a part of the rows -> `out`."""
    if parts is None:
        torch.bmm(rows, weight, out=out)
        return
    for own_rows, own_weight, own_out in _products(rows, weight, out, parts):
        torch.matmul(own_rows, own_weight, out=own_out)


def _add_product(total: Tensor, operands: Tensor, gradients: Tensor, parts: Parts | None) -> None:
    """Add to the gradient of the weights what rows of `_multiply` contribute."""
    if parts is None:
        total.baddbmm_(operands.transpose(1, 2), gradients)
        return
    for own_operands, own_total, own_gradients in _products(operands, total, gradients, parts):
        if own_total.dim() == 3:
            own_total.baddbmm_(own_operands.transpose(1, 2), own_gradients)
        else:
            own_total.addmm_(own_operands.T, own_gradients)


def _products(rows: Tensor, weight: Tensor, out: Tensor, parts: Parts) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The rows, weights and results of each product: a grouped one a direction, or one a run of rows."""
    each = len(weight) // len(rows)
    if parts.equal:
        for direction, own in enumerate(torch.split(weight, each)):
            own_rows, own_out = (torch.unflatten(x[direction], 0, (each, -1)) for x in (rows, out))
            yield own_rows, own, own_out
        return
    for number, run in parts.runs:
        yield rows[number // each, run], weight[number], out[number // each, run]


class _ForwardStep(NamedTuple):
    """Scratch memory of a step: what leaves its cells, as rows, one output's memory and hidden by cell, all hidden."""

    memory: Tensor
    hidden: Tensor
    leaving: tuple[Tensor, ...]
    by_cell: Tensor


class _BackwardStep(NamedTuple):
    """Scratch memory of a step: gradients of what leaves its cells, of its gates, and of its rows of `state`.

    They arrive at `memory` and `hidden`, which `arriving` views by output and cell, and `by_cell` by cell alone, and
    leave from `leaving`, which `leaving_by_axis` views by axis and cell.
    """

    memory: Tensor
    hidden: Tensor
    arriving: tuple[Tensor, ...]
    by_cell: Tensor
    gates: Tensor
    leaving: Tensor
    leaving_by_axis: tuple[Tensor, ...]


def _by_axis(state: Tensor, batch: int, cell: Cell) -> tuple[Tensor, ...]:
    """Rows of `state` -> for each axis a view (D, cells, batch, 2, H) of incoming memory and hidden."""
    pairs = state[..., : 2 * cell.axes * cell.hidden_size]
    return pairs.view(len(state), -1, batch, 2, cell.axes, cell.hidden_size).unbind(4)


def _fed(state: Tensor, plan: Plan) -> Tensor:
    """Rows of `state` -> the columns that the layer below feeds, (D, cells, batch, columns)."""
    assert plan.fed is not None
    first = 2 * plan.cell.axes * plan.cell.hidden_size
    columns = state[..., first : first + plan.fed.stop - plan.fed.start]
    return columns.view(len(state), -1, plan.batch, columns.shape[-1])


def _forward_scratch(state: Tensor, batch: int, cell: Cell) -> Callable[[int], _ForwardStep]:
    """Scratch memory for steps of so many cells; steps of equal size share it, and its views, which cost time too."""

    @cache
    def scratch(cells: int) -> _ForwardStep:
        pairs = state.new_empty(len(state), cells, batch, 2, cell.outputs, cell.hidden_size)
        memory, hidden = pairs.view(len(state), cells * batch, 2, -1).unbind(2)
        return _ForwardStep(memory, hidden, pairs.unbind(4), hidden.view(len(state), cells, batch, -1))

    return scratch


def _backward_scratch(state: Tensor, batch: int, cell: Cell, gates_size: int) -> Callable[[int], _BackwardStep]:
    """Likewise. Two steps in succession may share it: gradients have arrived before others leave."""
    forward_scratch = _forward_scratch(state, batch, cell)

    @cache
    def scratch(cells: int) -> _BackwardStep:
        gates = state.new_empty(len(state), cells * batch, gates_size)
        leaving = state.new_empty(len(state), cells * batch, state.shape[2])
        return _BackwardStep(*forward_scratch(cells), gates, leaving, _by_axis(leaving, batch, cell))

    return scratch


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
    def backward(ctx: Any, d_hidden: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        _refuse_recording()
        inputs, memory, weight, gates, saved = ctx.saved_tensors
        d_gates, d_incoming = torch.empty_like(gates), torch.empty_like(memory)
        ctx.cell.backward(gates, memory, saved, d_hidden.clone(), d_memory.clone(), d_gates, d_incoming)
        d_inputs = torch.bmm(d_gates, weight[:, :-1].transpose(1, 2))
        d_weight = torch.cat([torch.bmm(inputs.transpose(1, 2), d_gates), d_gates.sum(1, keepdim=True)], dim=1)
        return d_inputs, d_incoming, d_weight, None
