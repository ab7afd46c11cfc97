"""Every option of a layer, one anti-diagonal at a time, in plain operations that autograd records.

The hand-written recurrence in `asr.grid.wavefront` covers the usual cells; this covers the rest, at several times the
cost. A step works on rows (D, n, ...), n cells times utterances, in the order of `asr.grid.schedule`. Nothing in the
loop indexes a tensor of all cells, whose gradient would then be as large in every step.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from asr.grid.options import GridOptions, LayerWeights, MultidimensionalOptions
from asr.grid.schedule import Edge, ScanOrder, diagonal_schedule

TRANSFERS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda x: x}


class Arriving(NamedTuple):
    """What the cells of one step receive, in rows; vectors that they do not have are 0 wide.

    Attributes:
        x: (D, n, I).
        from_input: (D, n, R), what input and bias add to the gates.
        hidden: per axis, (D, n, P).
        memory: per axis, (D, n, H).
        depth_hidden: (D, n, H), of a GRU.
        depth_memory: (D, n, H), of an LSTM.
        bands: (D, n, K), one in the column of the row's band and zero elsewhere; 0 wide with one band.
    """

    x: Tensor
    from_input: Tensor
    hidden: Sequence[Tensor]
    memory: Sequence[Tensor]
    depth_hidden: Tensor
    depth_memory: Tensor
    bands: Tensor


class Leaving(NamedTuple):
    """What the cells of one step, or all of them, send out, in rows."""

    hidden: Sequence[Tensor]
    memory: Sequence[Tensor]
    output: Tensor
    depth_memory: Tensor


Cell = Callable[[Arriving], Leaving]


class Scan(NamedTuple):
    """What all cells receive from outside the grid, in scan order; see `Arriving`."""

    x: Tensor
    from_input: Tensor
    depth_hidden: Tensor
    depth_memory: Tensor
    bands: Tensor


def product(values: Tensor, weight: Tensor, bands: Tensor) -> Tensor:
    """Each row of (D, n, C) times the transpose of its set of weights of (S, R, C) -> (D, n, R).

    With K bands, a row holds its values in its own band's columns of K * C, and zeros in the others'.
    """
    if bands.shape[-1] == 0:
        return torch.bmm(values, weight.transpose(1, 2))
    spread = torch.where(bands.unsqueeze(-1) > 0, values.unsqueeze(-2), 0).flatten(-2)  # infinite times zero were NaN
    by_direction = torch.unflatten(weight, 0, (len(values), -1))
    return torch.bmm(spread, by_direction.transpose(2, 3).flatten(1, 2))


def own(parameter: Tensor, bands: Tensor) -> Tensor:
    """Each row's vector of a parameter (S, C), (D, n, C) or, with one band, (D, 1, C)."""
    if bands.shape[-1] == 0:
        return parameter.unsqueeze(1)
    return torch.bmm(bands, torch.unflatten(parameter, 0, (len(bands), -1)))


def grid_cell(weights: LayerWeights, options: GridOptions, mask: Tensor | None) -> Cell:
    """The cells of `asr.grid.definition.grid_cell`, in rows; `mask` (D, B, A, P) is that of recurrent dropout."""

    def transform(
        dimension: int, from_input: Tensor, from_hidden: Tensor, hidden: Tensor, memory: Tensor, bands: Tensor
    ) -> tuple[Tensor, Tensor]:
        if options.transfer_depth and dimension == options.axes:
            return TRANSFERS[options.depth](from_input + from_hidden), memory
        number, sets = options.weight_set(dimension), options.weight_sets
        if options.cell == "rnn":
            return torch.tanh(from_input + from_hidden), memory
        if options.cell == "gru":
            assert weights.bias_hh is not None
            bias_hh = own(weights.bias_hh.chunk(sets, dim=-1)[number], bands)
            return gru(from_input, from_hidden, bias_hh, hidden), memory
        peephole = None if weights.peephole is None else own(weights.peephole.chunk(sets, dim=-1)[number], bands)
        hidden, memory = lstm(from_input + from_hidden, memory, peephole, options)
        return hidden if weights.weight_hr is None else product(hidden, weights.weight_hr[:, number], bands), memory

    def cell(arriving: Arriving) -> Leaving:
        depth, bands = options.axes, arriving.bands
        seen = list(arriving.hidden)
        if mask is not None:
            seen = [masked(h, along) for h, along in zip(seen, mask.unbind(2), strict=True)]
        hidden, memory = [*arriving.hidden, arriving.depth_hidden], [*arriving.memory, arriving.depth_memory]
        from_input = arriving.from_input
        for group in options.order:
            rows = [options.rows_of(n) for n in group]
            block = slice(min(r.start for r in rows), max(r.stop for r in rows))  # of the group, and what lies between
            operand = torch.cat([arriving.x[..., :0], *seen], dim=-1)
            from_hidden = product(operand, weights.weight_hh[:, block], bands)
            places = [slice(r.start - block.start, r.stop - block.start) for r in rows]
            sent = [
                transform(n, from_input[..., r], from_hidden[..., place], hidden[n], memory[n], bands)
                for n, r, place in zip(group, rows, places, strict=True)
            ]
            for n, (new_hidden, new_memory) in zip(group, sent, strict=True):
                hidden[n], memory[n] = new_hidden, new_memory
                if n < depth:
                    seen[n] = new_hidden
                elif group != options.order[-1]:
                    from_input = product(new_hidden, weights.weight_ih, bands) + own(weights.bias, bands)
        output = torch.cat(hidden[:depth], dim=-1) if options.depth == "none" else hidden[depth]
        return Leaving(hidden[:depth], memory[:depth], output, memory[depth])

    return cell


def masked(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows (D, n, P) of cells times utterances, with a mask (D, B, P) for every cell."""
    by_cell = rows.view(len(rows), -1, *mask.shape[1:])
    return (by_cell * mask.unsqueeze(1)).view(rows.shape)


def lstm(gates: Tensor, memory: Tensor, peephole: Tensor | None, options: GridOptions) -> tuple[Tensor, Tensor]:
    """Pre-activations (..., G * H) and memory (..., H) -> hidden, before its projection, and memory."""
    *pre_i, pre_f, pre_g, pre_o = gates.chunk(options.gates, dim=-1)
    pre_i = pre_i or [pre_f]
    if peephole is not None:
        *p_i, p_f, p_o = peephole.chunk(2 if options.coupled else 3, dim=-1)
        pre_f = pre_f + p_f * memory
        pre_i = [pre_i[0] + p_i[0] * memory] if p_i else [pre_f]
    f = pre_f.sigmoid()
    i = 1 - f if options.coupled else pre_i[0].sigmoid()
    memory = f * memory + i * pre_g.tanh()
    if options.cell_clip is not None:
        memory = memory.clamp(-options.cell_clip, options.cell_clip)
    if peephole is not None:
        pre_o = pre_o + p_o * memory
    if options.output_gate == "inside":
        return (pre_o.sigmoid() * memory).tanh(), memory
    return pre_o.sigmoid() * memory.tanh(), memory


def gru(from_input: Tensor, from_hidden: Tensor, bias_hh: Tensor, hidden: Tensor) -> Tensor:
    """What input and hidden vectors add to the pre-activations (D, n, 3H), and the own hidden vector (D, n, H)."""
    size = hidden.shape[-1]
    r, z = (from_input[..., : 2 * size] + from_hidden[..., : 2 * size]).sigmoid().chunk(2, dim=-1)
    candidate = (from_input[..., 2 * size :] + r * (from_hidden[..., 2 * size :] + bias_hh)).tanh()
    return torch.lerp(candidate, hidden, z)


def multidimensional_cell(weights: LayerWeights, options: MultidimensionalOptions, mask: Tensor | None = None) -> Cell:
    """The cells of `asr.grid.definition.multidimensional_cell`, in rows.

    Memories that are forgotten lie side by side, (D, n, A * H), or with the stable cell their combination (D, n, H).
    """
    size, forgotten = options.hidden_size, options.forget_gates * options.hidden_size

    def summed(values: Tensor) -> Tensor:
        return values if forgotten == size else torch.unflatten(values, -1, (-1, size)).sum(-2)

    def cell(arriving: Arriving) -> Leaving:
        seen, bands = list(arriving.hidden), arriving.bands
        if mask is not None:
            seen = [masked(h, along) for h, along in zip(seen, mask.unbind(2), strict=True)]
        gates = arriving.from_input + product(torch.cat(seen, dim=-1), weights.weight_hh, bands)
        first = 0 if options.coupled else size
        pre_i, pre_f = gates[..., :first], gates[..., first : first + forgotten]
        mixing, g, pre_o = gates[..., first + forgotten :].tensor_split([-2 * size, -size], dim=-1)
        memory = _forgotten(arriving.memory, mixing, options)
        peephole = None if weights.peephole is None else own(weights.peephole, bands)
        if peephole is not None:
            *p_i, p_f = torch.split(peephole[..., :-size], forgotten, dim=-1)
            pre_f = pre_f + p_f * memory
            pre_i = pre_i + summed(p_i[0] * memory) if p_i else pre_i
        f = pre_f.sigmoid()
        i = 1 - f if options.coupled else pre_i.sigmoid()
        memory = summed(f * memory) + i * g.tanh()
        if options.cell_clip is not None:
            memory = memory.clamp(-options.cell_clip, options.cell_clip)
        if peephole is not None:
            pre_o = pre_o + peephole[..., -size:] * memory
        o = pre_o.sigmoid()
        hidden = (o * memory).tanh() if options.output_gate == "inside" else o * memory.tanh()
        if weights.weight_hr is not None:
            hidden = product(hidden, weights.weight_hr[:, 0], bands)
        return Leaving([hidden] * options.axes, [memory] * options.axes, hidden, arriving.depth_memory)

    return cell


def _forgotten(memories: Sequence[Tensor], mixing: Tensor, options: MultidimensionalOptions) -> Tensor:
    """The memories that forget gates see: all side by side, or the stable cell's combination of them."""
    if options.cell == "sum":
        return torch.cat(list(memories), dim=-1)
    kept = memories[-1]
    mixes = mixing.sigmoid().chunk(options.axes - 1, dim=-1) if options.axes > 1 else ()
    for mix, m in zip(reversed(mixes), reversed(memories[:-1]), strict=True):
        kept = torch.lerp(kept, m, mix)
    return kept


def recorded_scan(order: ScanOrder, cell: Cell, scan: Scan, entering: tuple[Tensor, Tensor], axes: int) -> Leaving:
    """Visit all cells, step by step.

    Args:
        order: of the grid.
        cell: of the layer.
        scan: what the cells receive from outside the grid.
        entering: hidden and memory along the first axis, (D, rows of the border, ...).
        axes: A; with none the grid is one cell an utterance, and no other follows.

    Returns:
        What leaves each cell, (D, rows, ...); `hidden` and `memory` along the first axis alone, if there is one.
    """
    steps = arrivals(order.extents, order.batch, scan.x.device)
    inputs = (torch.split(tensor, [len(step.rows[0]) for step in steps], dim=1) for tensor in scan)
    borders = (torch.split(tensor, [step.entering for step in steps], dim=1) for tensor in entering)
    zeros = [torch.zeros_like(tensor[:, :1]) for tensor in entering]
    hidden, memory = ([tensor[:, :0]] * axes for tensor in entering)
    left = []
    for step, *given in zip(steps, *borders, *inputs, strict=True):
        first_hidden, first_memory, x, from_input, *others = given
        hidden = _arrive(hidden, first_hidden, zeros[0], step)
        memory = _arrive(memory, first_memory, zeros[1], step)
        sent = cell(Arriving(x, from_input, hidden, memory, *others))
        hidden, memory = list(sent.hidden), list(sent.memory)
        left.append((sent.output, sent.depth_memory, *hidden[:1], *memory[:1]))
    output, depth_memory, *along_first = (torch.cat(tensors, dim=1) for tensors in zip(*left, strict=True))
    return Leaving(along_first[:1], along_first[1:], output, depth_memory)


def _arrive(previous: list[Tensor], first: Tensor, zeros: Tensor, step: "Arrival") -> list[Tensor]:
    """What the step before sent along each axis -> what arrives, with `first` entering along the first one."""
    borders = [first, *[zeros] * (len(previous) - 1)]
    return [
        torch.cat([sent, border], dim=1).index_select(1, rows)
        for sent, border, rows in zip(previous, borders, step.rows, strict=False)
    ]


class Arrival(NamedTuple):
    """Where the rows of a step find what arrives.

    Attributes:
        rows: per axis, (rows of the step,), numbers among the rows of the step before and then those of the border,
            which along the first axis has a row for each that enters there, and along others a single one of zeros.
        entering: rows of the step that have no predecessor along the first axis.
    """

    rows: tuple[Tensor, ...]
    entering: int


@lru_cache(maxsize=64)
def arrivals(extents: tuple[int, ...], batch: int, device: torch.device) -> tuple[Arrival, ...]:
    """The arrivals of each step of a grid.

    >>> arrivals((2, 2), 1, torch.device("cpu"))[1]
    Arrival(rows=(tensor([1, 0]), tensor([0, 1])), entering=1)
    """
    steps = diagonal_schedule(extents, torch.device("cpu")).steps
    utterance = torch.arange(batch)
    arrived = []
    before = 0
    edges_before: tuple[Edge | None, ...] = (None,) * len(extents)
    for step in steps:
        cells, rows, entering = step.stop - step.start, [], 0
        for axis, edge in enumerate(edges_before):
            predecessor = torch.full((cells,), -1)
            if edge is not None:
                predecessor[edge.target] = torch.arange(before)[edge.source]
            found = (predecessor[:, None] * batch + utterance).flatten()
            border = (predecessor[:, None].expand(-1, batch) < 0).flatten()
            if axis == 0:
                entering = int(border.sum())
                found[border] = before * batch + torch.arange(entering)
            else:
                found[border] = before * batch
            rows.append(found.to(device))
        arrived.append(Arrival(tuple(rows), entering))
        before, edges_before = cells, step.edges
    return tuple(arrived)
