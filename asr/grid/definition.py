"""The Grid LSTM and the multidimensional LSTM, cell by cell: the oracle of the tests, as slow as it is plain.

Every other engine has to agree with this one. It knows no padding and no schedule: each utterance is cut to its own
extents, each backward axis is flipped, and the cells are visited in row-major order.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asr.grid.options import Direction, GridOptions, LayerWeights, MultidimensionalOptions


class Outgoing(NamedTuple):
    """What leaves a cell: a hidden and a memory vector along each axis, its output, and the memory along depth."""

    hidden: Sequence[Tensor]
    memory: Sequence[Tensor]
    output: Tensor
    depth_memory: Tensor | None = None


Cell = Callable[[Tensor, list[Tensor], list[Tensor], Tensor | None], Outgoing]
"""(input, incoming hidden vectors, incoming memory vectors, incoming memory along depth) -> outgoing."""


def lstm_transform(gates: Tensor, memory: Tensor, options: GridOptions) -> tuple[Tensor, Tensor]:
    """The LSTM of one dimension: pre-activations (4H,) of i, f, g, o and memory (H,) -> hidden and memory (H,)."""
    i, f, g, o = gates.chunk(4)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    if options.output_gate == "inside":
        return (o.sigmoid() * memory).tanh(), memory
    return o.sigmoid() * memory.tanh(), memory


def grid_cell(weights: LayerWeights, options: GridOptions) -> Cell:
    """A block of the grid: each dimension's LSTM sees all incoming hidden vectors, and its own memory alone.

    Dimensions are the axes and then the depth. The hidden vector that comes in along depth is the layer's input; with
    priority, the depth sees the hidden vectors that the axes send out instead of those that came in.
    """

    def gates(dimension: int, x: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        rows = slice(4 * options.hidden_size * dimension, 4 * options.hidden_size * (dimension + 1))
        return weights.weight_hh[rows] @ torch.cat(list(hidden)) + weights.weight_ih[rows] @ x + weights.bias[rows]

    def cell(x: Tensor, hidden: list[Tensor], memory: list[Tensor], depth_memory: Tensor | None) -> Outgoing:
        along = [lstm_transform(gates(axis, x, hidden), memory[axis], options) for axis in range(options.axes)]
        new_hidden, new_memory = zip(*along, strict=True)
        if depth_memory is None:
            return Outgoing(new_hidden, new_memory, torch.cat(new_hidden))
        seen = new_hidden if options.depth_priority else hidden
        output, depth_memory = lstm_transform(gates(options.axes, x, seen), depth_memory, options)
        return Outgoing(new_hidden, new_memory, output, depth_memory)

    return cell


def multidimensional_cell(weights: LayerWeights, options: MultidimensionalOptions) -> Cell:
    """One memory for all axes; rows of the weights: i, f_1 ... f_A (stable: f, l_1 ... l_{A-1}), g, o."""

    def cell(x: Tensor, hidden: list[Tensor], memory: list[Tensor], depth_memory: Tensor | None) -> Outgoing:
        gates = weights.weight_hh @ torch.cat(hidden) + weights.weight_ih @ x + weights.bias
        i, *forget, g, o = gates.chunk(3 + options.axes)
        if options.cell == "sum":
            kept = sum((f.sigmoid() * m for f, m in zip(forget, memory, strict=True)), torch.zeros_like(g))
        else:
            kept = memory[-1]
            for mix, m in zip(reversed(forget[1:]), reversed(memory[:-1]), strict=True):
                kept = mix.sigmoid() * m + (1 - mix.sigmoid()) * kept
            kept = forget[0].sigmoid() * kept
        new_memory = kept + i.sigmoid() * g.tanh()
        new_hidden = o.sigmoid() * new_memory.tanh()
        return Outgoing([new_hidden] * options.axes, [new_memory] * options.axes, new_hidden)

    return cell


def scan(inputs: Tensor, depth_memory: Tensor | None, hidden_size: int, cell: Cell) -> tuple[Tensor, Tensor | None]:
    """Visit the cells of one utterance in row-major order.

    Inputs (*extents, I) and memory along depth (*extents, H) -> outputs (*extents, ...) and memory along depth.
    """
    extents = inputs.shape[:-1]
    border = inputs.new_zeros(hidden_size)
    cells: dict[tuple[int, ...], Outgoing] = {}
    for at in itertools.product(*map(range, extents)):
        before = [cells.get((*at[:axis], at[axis] - 1, *at[axis + 1 :])) for axis in range(len(extents))]
        hidden = [cells_before.hidden[axis] if cells_before else border for axis, cells_before in enumerate(before)]
        memory = [cells_before.memory[axis] if cells_before else border for axis, cells_before in enumerate(before)]
        cells[at] = cell(inputs[at], hidden, memory, None if depth_memory is None else depth_memory[at])
    outputs = torch.stack([outgoing.output for outgoing in cells.values()]).view(*extents, -1)
    memories = [outgoing.depth_memory for outgoing in cells.values() if outgoing.depth_memory is not None]
    return outputs, torch.stack(memories).view(*extents, -1) if memories else None


class Definition:
    """The engine that loops over utterances, directions and cells."""

    def __init__(self, extents: tuple[int, ...], lengths: Tensor, directions: Sequence[Direction]) -> None:
        self.extents = extents
        self.lengths: list[list[int]] = lengths.tolist()
        self.directions = directions

    def depth_memory(self, memory: Tensor) -> Tensor:
        return memory

    def grid_layer(
        self, inputs: Tensor, memory: Tensor | None, weights: LayerWeights, options: GridOptions
    ) -> tuple[Tensor, Tensor | None]:
        cells = [grid_cell(LayerWeights(*tensors), options) for tensors in zip(*weights, strict=True)]
        outputs, memories = self._layer(inputs, memory, options.hidden_size, cells)
        return outputs, memories

    def multidimensional_layer(self, inputs: Tensor, weights: LayerWeights, options: MultidimensionalOptions) -> Tensor:
        cells = [multidimensional_cell(LayerWeights(*tensors), options) for tensors in zip(*weights, strict=True)]
        return self._layer(inputs, None, options.hidden_size, cells)[0]

    def _layer(
        self, inputs: Tensor, memory: Tensor | None, hidden_size: int, cells: Sequence[Cell]
    ) -> tuple[Tensor, Tensor | None]:
        """Cut each utterance out, flip it as each direction wants, scan, flip back, and pad with zeros."""
        outputs, memories = [], []
        for b, lengths in enumerate(self.lengths):
            own = tuple(slice(length) for length in lengths)
            scanned = []
            for d, (direction, cell) in enumerate(zip(self.directions, cells, strict=True)):
                backward = [axis for axis, reverse in enumerate(direction) if reverse]
                depth_memory = None if memory is None else memory[b][own][..., d, :].flip(backward)
                result = scan(inputs[b][own].flip(backward), depth_memory, hidden_size, cell)
                scanned.append([self._pad(x.flip(backward)) for x in result if x is not None])
            outputs.append(torch.stack([output for output, *_ in scanned], dim=-2))
            memories.append([along_depth for _, *rest in scanned for along_depth in rest])
        depth_memories = [torch.stack(directions, dim=-2) for directions in memories if directions]
        return torch.stack(outputs), torch.stack(depth_memories) if depth_memories else None

    def _pad(self, utterance: Tensor) -> Tensor:
        padded = utterance.new_zeros(*self.extents, utterance.shape[-1])
        padded[tuple(map(slice, utterance.shape[:-1]))] = utterance
        return padded
