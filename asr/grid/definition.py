"""The Grid LSTM and the multidimensional LSTM, cell by cell: the oracle of the tests, as slow as it is plain.

Every other engine has to agree with this one. It knows no padding and no schedule: each utterance is cut to its own
extents, each backward axis is flipped, and the cells are visited in row-major order.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from asr.grid.options import (
    Direction,
    GridOptions,
    LayerOutput,
    LayerState,
    LayerWeights,
    MultidimensionalOptions,
    Options,
)


class Arriving(NamedTuple):
    """What a cell receives: its input, and a hidden and a memory vector along each axis.

    Along a recurrent depth, the hidden vector is a part of the input, and `depth_memory` the memory. `mask` (A, P) is
    that of recurrent dropout. Memory vectors of cells without memory have no elements.
    """

    x: Tensor
    hidden: list[Tensor]
    memory: list[Tensor]
    depth_hidden: Tensor
    depth_memory: Tensor
    mask: Tensor | None


class Leaving(NamedTuple):
    """What a cell sends out: a hidden and a memory vector along each axis, its output, and the memory along depth."""

    hidden: list[Tensor]
    memory: list[Tensor]
    output: Tensor
    depth_memory: Tensor


Cell = Callable[[Arriving], Leaving]


def lstm(
    gates: Tensor, memory: Tensor, peephole: Tensor | None, projection: Tensor | None, options: GridOptions
) -> tuple[Tensor, Tensor]:
    """The LSTM of one dimension: pre-activations of i, f, g, o and the memory (H,) -> hidden (P,) and memory (H,)."""
    *pre_i, pre_f, pre_g, pre_o = gates.chunk(options.gates)
    *p_i, p_f, p_o = torch.zeros(3, 1).to(gates) if peephole is None else peephole.chunk(2 if options.coupled else 3)
    f = torch.sigmoid(pre_f + p_f * memory)
    i = 1 - f if options.coupled else torch.sigmoid(pre_i[0] + p_i[0] * memory)
    memory = f * memory + i * torch.tanh(pre_g)
    if options.cell_clip is not None:
        memory = memory.clamp(-options.cell_clip, options.cell_clip)
    o = torch.sigmoid(pre_o + p_o * memory)
    hidden = torch.tanh(o * memory) if options.output_gate == "inside" else o * torch.tanh(memory)
    return hidden if projection is None else projection @ hidden, memory


def gru(from_input: Tensor, from_hidden: Tensor, bias_hh: Tensor, hidden: Tensor) -> Tensor:
    """The GRU of one dimension: what input and hidden vectors add to r, z, n, and its own hidden vector -> hidden."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3), from_hidden.chunk(3)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + r * (n_h + bias_hh))
    return (1 - z) * candidate + z * hidden


TRANSFERS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda x: x}


def grid_cell(weights: LayerWeights, options: GridOptions) -> Cell:
    """A block of the grid: each dimension's transform sees all hidden vectors, and its own memory alone.

    Dimensions are the axes and then the depth; the layer's input is the hidden vector that arrives along depth. Those
    without priority see what arrives. Then come those with priority, one after the other, and see what was sent out so
    far in the place of what arrived.
    """

    def transform(
        dimension: int, x: Tensor, seen: list[Tensor], hidden: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows = options.rows_of(dimension)
        from_input = weights.weight_ih[rows] @ x + weights.bias[rows]
        from_hidden = weights.weight_hh[rows] @ torch.cat([x.new_zeros(0), *seen])
        if options.transfer_depth and dimension == options.axes:
            return TRANSFERS[options.depth](from_input + from_hidden), memory
        own = options.weight_set(dimension)
        if options.cell == "lstm":
            peephole = None if weights.peephole is None else weights.peephole.chunk(options.weight_sets)[own]
            projection = None if weights.weight_hr is None else weights.weight_hr[own]
            return lstm(from_input + from_hidden, memory, peephole, projection, options)
        if options.cell == "gru":
            assert weights.bias_hh is not None
            return gru(from_input, from_hidden, weights.bias_hh.chunk(options.weight_sets)[own], hidden), memory
        return torch.tanh(from_input + from_hidden), memory

    def cell(arriving: Arriving) -> Leaving:
        x, depth = arriving.x, options.axes
        seen = [h if arriving.mask is None else arriving.mask[axis] * h for axis, h in enumerate(arriving.hidden)]
        hidden = [*arriving.hidden, arriving.depth_hidden]
        memory = [*arriving.memory, arriving.depth_memory]
        for group in options.order:
            sent = {n: transform(n, x, seen, hidden[n], memory[n]) for n in group}
            for n, (new_hidden, new_memory) in sent.items():
                hidden[n], memory[n] = new_hidden, new_memory
                if n == depth:
                    x = new_hidden
                else:
                    seen[n] = new_hidden
        output = torch.cat(hidden[:depth]) if options.depth == "none" else hidden[depth]
        return Leaving(hidden[:depth], memory[:depth], output, memory[depth])

    return cell


def multidimensional_cell(weights: LayerWeights, options: MultidimensionalOptions) -> Cell:
    """One memory for all axes; rows of the weights: i, f_1 ... f_A (stable: f, l_1 ... l_{A-1}), g, o.

    Coupled, there is no i. Peepholes are those of i and of f, a block for each memory that is forgotten, and of o. The
    stable cell combines the memories that arrive before it forgets, and is from there on the LSTM of one dimension.
    """
    forgotten = options.forget_gates

    def cell(arriving: Arriving) -> Leaving:
        seen = [h if arriving.mask is None else arriving.mask[axis] * h for axis, h in enumerate(arriving.hidden)]
        gates = weights.weight_hh @ torch.cat(seen) + weights.weight_ih @ arriving.x + weights.bias
        *pre_i, g, o = gates.chunk(options.gates)
        pre_f, mixing = pre_i[-options.axes :][:forgotten], pre_i[-options.axes :][forgotten:]
        pre_i = pre_i[: -options.axes]
        memories = arriving.memory
        if options.cell == "stable":
            kept = memories[-1]
            for mix, m in zip(reversed(mixing), reversed(memories[:-1]), strict=True):
                kept = mix.sigmoid() * m + (1 - mix.sigmoid()) * kept
            memories = [kept]
        blocks = [torch.zeros_like(g)] * options.peephole_blocks
        if weights.peephole is not None:
            blocks = list(weights.peephole.chunk(options.peephole_blocks))
        p_i, p_f, p_o = blocks[: -forgotten - 1], blocks[-forgotten - 1 : -1], blocks[-1]
        forget = [torch.sigmoid(pre + p * m) for pre, p, m in zip(pre_f, p_f, memories, strict=True)]
        if options.coupled:
            i = 1 - forget[0]
        else:
            i = torch.sigmoid(pre_i[0] + sum(p * m for p, m in zip(p_i, memories, strict=True)))
        memory = sum((f * m for f, m in zip(forget, memories, strict=True)), i * g.tanh())
        if options.cell_clip is not None:
            memory = memory.clamp(-options.cell_clip, options.cell_clip)
        o = torch.sigmoid(o + p_o * memory)
        hidden = torch.tanh(o * memory) if options.output_gate == "inside" else o * torch.tanh(memory)
        hidden = hidden if weights.weight_hr is None else weights.weight_hr[0] @ hidden
        return Leaving([hidden] * options.axes, [memory] * options.axes, hidden, arriving.depth_memory)

    return cell


class Utterance(NamedTuple):
    """One utterance as a scan sees it, or what the scan makes of it.

    Attributes:
        values: inputs or outputs, (*extents, ...).
        depth_hidden: (*extents, ...), going in.
        depth_memory: (*extents, ...).
        hidden: entering or leaving along the first axis, (*extents[1:], P).
        memory: (*extents[1:], H).
    """

    values: Tensor
    depth_hidden: Tensor
    depth_memory: Tensor
    hidden: Tensor
    memory: Tensor


def scan(utterance: Utterance, cells: Sequence[Cell], mask: Tensor | None) -> Utterance:
    """Visit the cells in row-major order; `cells` has one an index of the last axis."""
    extents = utterance.values.shape[:-1]
    zeros = (
        utterance.hidden.new_zeros(utterance.hidden.shape[-1]),
        utterance.memory.new_zeros(utterance.memory.shape[-1]),
    )
    sent: dict[tuple[int, ...], Leaving] = {}
    for at in itertools.product(*map(range, extents)):
        hidden, memory = [], []
        for axis in range(len(extents)):
            before = sent.get((*at[:axis], at[axis] - 1, *at[axis + 1 :]))
            border = (utterance.hidden[at[1:]], utterance.memory[at[1:]]) if axis == 0 else zeros
            hidden.append(border[0] if before is None else before.hidden[axis])
            memory.append(border[1] if before is None else before.memory[axis])
        depth = utterance.depth_hidden[at], utterance.depth_memory[at]
        sent[at] = cells[at[-1] if at else 0](Arriving(utterance.values[at], hidden, memory, *depth, mask))

    def stacked(vectors: list[Tensor], shape: Sequence[int]) -> Tensor:
        return torch.stack(vectors).view(*shape, -1) if vectors[0].numel() else vectors[0].new_zeros(*shape, 0)

    values = stacked([leaving.output for leaving in sent.values()], extents)
    depth_memory = stacked([leaving.depth_memory for leaving in sent.values()], extents)
    if not extents:
        return Utterance(values, utterance.depth_hidden, depth_memory, utterance.hidden, utterance.memory)
    last = [leaving for at, leaving in sent.items() if at[0] == extents[0] - 1]
    hidden, memory = [x.hidden[0] for x in last], [x.memory[0] for x in last]
    state = stacked(hidden, extents[1:]), stacked(memory, extents[1:])
    return Utterance(values, utterance.depth_hidden, depth_memory, *state)


class Definition:
    """The engine that loops over utterances, directions and cells."""

    recomputes: ClassVar[bool] = False

    def __init__(
        self,
        extents: tuple[int, ...],
        lengths: Tensor,
        directions: Sequence[Direction],
        products: torch.dtype,
        recompute: bool = False,
    ) -> None:
        self.extents = extents
        self.lengths: list[list[int]] = lengths.tolist()
        self.directions = directions

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        return None

    def depth_memory(self, memory: Tensor) -> Tensor:
        return memory

    def grid_layer(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        cells = [grid_cell(own, options) for own in weights.each()]
        shape = (*inputs.shape[:-1], len(self.directions))
        hidden = inputs.new_zeros(*shape, 0)
        if options.depth == "gru":  # each direction's part of the input, which is one for all where they are summed
            hidden = torch.unflatten(inputs, -1, (-1, options.hidden_size)).expand(*shape, -1)
        depth = hidden, inputs.new_zeros(*shape, 0) if memory is None else memory
        if state is None:
            state = self._zeros(inputs, options.width, options.memory_size)
        output = self._layer(inputs, depth, cells, options.bands, state, mask)
        return output if memory is not None else output._replace(depth_memory=None)

    def multidimensional_layer(
        self,
        inputs: Tensor,
        weights: LayerWeights,
        options: MultidimensionalOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        cells = [multidimensional_cell(own, options) for own in weights.each()]
        no_depth = inputs.new_zeros(*inputs.shape[:-1], len(self.directions), 0)
        if state is None:
            state = self._zeros(inputs, options.width, options.hidden_size)
        output = self._layer(inputs, (no_depth, no_depth), cells, options.bands, state, mask)
        return output._replace(depth_memory=None)

    def _zeros(self, inputs: Tensor, *sizes: int) -> LayerState:
        shape = (len(self.directions), len(inputs), *self.extents[1:])
        hidden, memory = (inputs.new_zeros(*shape, size) for size in sizes)
        return LayerState(hidden, memory)

    def _layer(
        self,
        inputs: Tensor,
        depth: tuple[Tensor, Tensor],
        cells: Sequence[Cell],
        bands: int,
        state: LayerState,
        mask: Tensor | None,
    ) -> LayerOutput:
        """Cut each utterance out, flip it as each direction wants, scan, flip back, and pad with zeros."""
        no_memory = state.hidden[..., :0]
        rows = []
        for b, lengths in enumerate(self.lengths):
            own, rest = tuple(map(slice, lengths)), tuple(map(slice, lengths[1:]))
            row = []
            for d, direction in enumerate(self.directions):
                entering = (x[d, b][rest] for x in (state.hidden, no_memory if state.memory is None else state.memory))
                utterance = Utterance(inputs[b][own], *(x[b][own][..., d, :] for x in depth), *entering)
                along_last = [cells[d * bands + band] for band in self._bands(bands, lengths)]
                along_last = along_last[::-1] if direction and direction[-1] else along_last
                scanned = scan(_flip(utterance, direction), along_last, None if mask is None else mask[d, b])
                row.append(self._pad(_flip(scanned, direction)))
            rows.append(row)
        values, _, depth_memory, hidden, memory = zip(*(zip(*row, strict=True) for row in rows), strict=True)
        output, memory_out = (torch.stack([torch.stack(x, dim=-2) for x in each]) for each in (values, depth_memory))
        if not self.extents:
            return LayerOutput(output, memory_out, None)
        left = [torch.stack([torch.stack(x) for x in each], dim=1) for each in (hidden, memory)]
        return LayerOutput(output, memory_out, LayerState(left[0], left[1] if left[1].shape[-1] else None))

    def _bands(self, bands: int, lengths: list[int]) -> list[int]:
        """The band of each cell along the last axis."""
        if not self.extents:
            return [0]
        return [cell * bands // self.extents[-1] for cell in range(lengths[-1])]

    def _pad(self, utterance: Utterance) -> Utterance:
        rest = self.extents[1:]
        return Utterance(
            *(_pad(x, self.extents) for x in utterance[:3]),
            *(_pad(x, rest) for x in (utterance.hidden, utterance.memory)),
        )


def _flip(utterance: Utterance, direction: Direction) -> Utterance:
    """Reverse the axes that are scanned backward; entering and leaving vectors have no first axis."""
    axes = [axis for axis, backward in enumerate(direction) if backward]
    rest = [axis - 1 for axis in axes if axis > 0]
    state = (x.flip(rest) for x in (utterance.hidden, utterance.memory))
    return Utterance(*(x.flip(axes) for x in utterance[:3]), *state)


def _pad(values: Tensor, extents: Sequence[int]) -> Tensor:
    padded = values.new_zeros(*extents, values.shape[-1])
    padded[tuple(map(slice, values.shape[:-1]))] = values
    return padded
