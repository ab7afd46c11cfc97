"""The order in which a grid's cells are computed: anti-diagonals, so that cells of one step do not wait for each other.

A cell depends on its predecessor along each axis, whose coordinates add up to one less. All cells with the same sum are
one step: a grid of extents T and F takes T + F - 1 steps instead of T * F.

A scan that runs backward along an axis is the forward scan of the reversed input. Reversal is within each utterance's
own extent, so that a backward scan begins at the last real cell, whatever the padding.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asr.grid.options import Direction

Cells = slice | Tensor
"""Some cells of one step: a slice where they are adjacent (always with one or two axes), else an index."""


class Parts(NamedTuple):
    """Which rows of a step have which weights.

    Attributes:
        runs: rows with the same weights, direction by direction: the number of the set of weights, and the rows.
        equal: whether every set has a run, in order, of as many rows as the others: one grouped product does.
    """

    runs: tuple[tuple[int, slice], ...]
    equal: bool


class Edge(NamedTuple):
    """The cells of a step that have a successor along an axis, and where in the next step these successors are."""

    source: Cells
    target: Cells


class Step(NamedTuple):
    """Cells `start` to `stop` of the schedule, and along each axis the edge to the next step, if there is one.

    `entering` are, along each axis, those of its cells that have no predecessor along it, if there are any.
    """

    start: int
    stop: int
    edges: tuple[Edge | None, ...]
    entering: tuple[Cells | None, ...]


class Schedule(NamedTuple):
    """The cells of a grid, sorted by step.

    Attributes:
        coordinates: (cells, axes), of the cells in row-major order.
        order: (cells,), the row-major number of the cell at each position of the schedule.
        position: (cells,), the inverse of `order`.
        steps: first to last.
        borders: per axis, the positions of the cells that have no predecessor along it.
    """

    coordinates: Tensor
    order: Tensor
    position: Tensor
    steps: tuple[Step, ...]
    borders: tuple[Tensor, ...]


@lru_cache(maxsize=256)
def diagonal_schedule(extents: tuple[int, ...], device: torch.device) -> Schedule:
    """The anti-diagonal schedule of a grid with these extents.

    >>> [step.stop - step.start for step in diagonal_schedule((4, 2), torch.device("cpu")).steps]
    [1, 2, 2, 2, 1]
    """
    row_major = torch.arange(math.prod(extents))
    coordinates = torch.stack(torch.unravel_index(row_major, extents), dim=1)
    diagonal = coordinates.sum(dim=1)
    order = torch.argsort(diagonal, stable=True)
    position = torch.empty_like(order)
    position[order] = row_major
    stops = torch.bincount(diagonal).cumsum(0).tolist()
    starts = [0, *stops[:-1]]
    edges, borders, entering = [], [], []
    for axis, extent in enumerate(extents):
        source = order[coordinates[order, axis] + 1 < extent]
        target = source + math.prod(extents[axis + 1 :])
        counts = torch.bincount(diagonal[source], minlength=len(stops)).tolist()
        sources, targets = torch.split(position[source], counts), torch.split(position[target], counts)
        edges.append(_edges(sources, targets, starts, device))
        border = (coordinates[order, axis] == 0).nonzero().flatten()
        counts = torch.bincount(diagonal[order[border]], minlength=len(stops)).tolist()
        within = zip(torch.split(border, counts), starts, strict=True)
        entering.append([_cells(cells - start, device) if len(cells) else None for cells, start in within])
        borders.append(border.to(device))
    by_step = (zip(*per_axis, strict=True) for per_axis in (edges, entering))
    steps = tuple(Step(*fields) for fields in zip(starts, stops, *by_step, strict=True))
    return Schedule(coordinates.to(device), order.to(device), position.to(device), steps, tuple(borders))


def _edges(
    sources: Sequence[Tensor], targets: Sequence[Tensor], starts: list[int], device: torch.device
) -> list[Edge | None]:
    """Along one axis, each step's edge, from positions in the schedule to positions within the step."""
    edges: list[Edge | None] = []
    for source, target, start, next_start in zip(sources, targets, starts, [*starts[1:], 0], strict=True):
        edge = Edge(_cells(source - start, device), _cells(target - next_start, device)) if len(source) else None
        edges.append(edge)
    return edges


def _cells(positions: Tensor, device: torch.device) -> Cells:
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last + 1 - first == len(positions) else positions.to(device)


@lru_cache(maxsize=64)
def layers_of_steps(extents: tuple[int, ...], batch: int) -> tuple[Parts, ...]:
    """For each step of a grid, which of its rows have which index along the first axis.

    >>> layers_of_steps((2, 3), batch=1)[1]
    Parts(runs=((0, slice(0, 1, None)), (1, slice(1, 2, None))), equal=True)
    """
    schedule = diagonal_schedule(extents, torch.device("cpu"))
    first = schedule.coordinates[schedule.order, 0]
    return tuple(_parts([first[step.start : step.stop]], extents[0], batch) for step in schedule.steps)


@lru_cache(maxsize=64)
def bands_of_steps(extents: tuple[int, ...], batch: int, bands: int, backward: tuple[bool, ...]) -> tuple[Parts, ...]:
    """For each step, which rows of each direction, backward along the last axis or not, have which set of weights.

    A direction's sets are numbered as a step of two axes meets them: the last band first, if it runs forward.
    """
    schedule = diagonal_schedule(extents, torch.device("cpu"))
    last, extent = schedule.coordinates[schedule.order, -1], extents[-1]
    met = [
        (extent - 1 - last) * bands // extent if reverse else bands - 1 - last * bands // extent for reverse in backward
    ]
    return tuple(_parts([sets[step.start : step.stop] for sets in met], bands, batch) for step in schedule.steps)


def _parts(of_directions: Sequence[Tensor], sets: int, batch: int) -> Parts:
    """From the set of each cell, one of so many, in every direction."""
    runs: list[tuple[int, slice]] = []
    for direction, of_cells in enumerate(of_directions):
        numbers, counts = torch.unique_consecutive(of_cells + direction * sets, return_counts=True)
        stops = (counts.cumsum(0) * batch).tolist()
        within = zip([0, *stops[:-1]], stops, strict=True)
        runs += [(number, slice(*rows)) for number, rows in zip(numbers.tolist(), within, strict=True)]
    in_order = [number for number, _ in runs] == list(range(sets * len(of_directions)))
    return Parts(tuple(runs), in_order and len({rows.stop - rows.start for _, rows in runs}) == 1)


class ScanOrder:
    """Moves tensors between natural order, (B * cells, C), and scan order, (directions, cells * B, C).

    In scan order the cells of a step are adjacent, the utterances of the batch are adjacent within a cell, and each
    direction's cells are numbered as its scan visits them. Each direction's order is a permutation of all cells, real
    and padded: padded cells stay behind the real ones along their axis, so that no real cell depends on them.

    Args:
        extents: of the padded grid.
        lengths: int64 (B, axes), each utterance's own extents.
        directions: the scans.
    """

    def __init__(self, extents: tuple[int, ...], lengths: Tensor, directions: Sequence[Direction]) -> None:
        batch, cells = len(lengths), math.prod(extents)
        schedule = diagonal_schedule(extents, lengths.device)
        utterance = torch.arange(batch, device=lengths.device)[:, None]
        visited = []  # per direction, the natural rows in scan order
        found = []  # per direction, the scan rows in natural order
        for number, direction in enumerate(directions):
            mirrored = _mirror(schedule.coordinates, extents, lengths, direction)
            visited.append((mirrored[:, schedule.order] + utterance * cells).T.reshape(-1))
            found.append((schedule.position[mirrored] * batch + utterance + number * cells * batch).reshape(-1))
        self.schedule = schedule
        self.batch = batch
        self.extents = extents
        self._lengths, self._directions = lengths, directions
        self._visited = torch.stack(visited)
        self._visited_apart = (
            self._visited * len(directions) + torch.arange(len(directions), device=lengths.device)[:, None]
        )
        self._found = torch.stack(found, dim=1)

    def to_every_scan(self, natural: Tensor) -> Tensor:
        """(B * cells, C) -> (directions, cells * B, C): all directions see the same tensor."""
        scanned: Tensor = _Spread.apply(natural, self._visited, self._found)  # type: ignore[no-untyped-call]
        return scanned

    def to_scan(self, natural: Tensor) -> Tensor:
        """(B * cells, directions, C) -> (directions, cells * B, C): each direction has a tensor of its own."""
        return self._permuted(natural, self._visited_apart, self._found)

    def from_scan(self, scanned: Tensor) -> Tensor:
        """(directions, cells * B, C) -> (B * cells, directions, C), the inverse of `to_scan`."""
        return self._permuted(scanned, self._found, self._visited_apart)

    def last_coordinates(self) -> Tensor:
        """Where each row of a scan is along the last axis in natural order, (directions, cells * B)."""
        return self._visited % self.extents[-1]

    def entering(self, state: Tensor, axis: int = 0) -> Tensor:
        """What enters along an axis, natural order -> the rows of `Schedule.borders[axis]`.

        (directions, B, *other extents, C) -> (directions, cells * B, C).
        """
        positions = self._ends(axis, first=True) % (len(self.schedule.order) * self.batch)
        rows = torch.argsort(positions)
        return state.flatten(1, -2).gather(1, rows.unsqueeze(-1).expand(-1, -1, state.shape[-1]))

    def leaving(self, scanned: Tensor, axis: int = 0) -> Tensor:
        """The last real cells along an axis, (directions, cells * B, C) -> (directions, B, *other extents, C)."""
        rows = _rows(scanned.flatten(0, 1), self._ends(axis, first=False))
        others = self.extents[:axis] + self.extents[axis + 1 :]
        return rows.view(len(self._directions), self.batch, *others, -1)

    def _ends(self, axis: int, first: bool) -> Tensor:
        """The scan rows of the first or last cells of each scan along an axis, (directions, B * other cells)."""
        before = math.prod(self.extents[:axis])
        found = self._found.view(self.batch, before, self.extents[axis], -1, len(self._directions))
        last = self._lengths[:, axis] - 1
        at = [torch.zeros_like(last) if direction[axis] != first else last for direction in self._directions]
        utterances = torch.arange(self.batch, device=last.device)
        return torch.stack([found[utterances, :, at[d], :, d].flatten() for d in range(len(at))])

    @staticmethod
    def _permuted(tensor: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        permuted: Tensor = _Permute.apply(tensor, index, inverse)  # type: ignore[no-untyped-call]
        return permuted


def _mirror(coordinates: Tensor, extents: tuple[int, ...], lengths: Tensor, direction: Direction) -> Tensor:
    """Row-major cells (B, cells), reversed within each utterance's extent along the axes that are scanned backward."""
    row_major = torch.zeros(len(lengths), len(coordinates), dtype=torch.int64, device=lengths.device)
    for axis, (extent, backward) in enumerate(zip(extents, direction, strict=True)):
        coordinate, length = coordinates[:, axis], lengths[:, axis, None]
        if backward:
            coordinate = torch.where(coordinate < length, length - 1 - coordinate, coordinate)
        row_major = row_major * extent + coordinate
    return row_major


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows of (rows, C), in the shape of the index."""
    return tensor.index_select(0, index.flatten()).view(*index.shape, -1)


class _Permute(torch.autograd.Function):
    """The gradient of a permutation is the inverse one; autograd would add into zeros instead, several times slower."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return _rows(tensor.flatten(0, 1), index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return _rows(gradient.flatten(0, 1), inverse), None, None


class _Spread(torch.autograd.Function):
    """Likewise, with the gradients of all directions summed."""

    @staticmethod
    def forward(ctx: Any, natural: Tensor, visited: Tensor, found: Tensor) -> Tensor:
        ctx.save_for_backward(found)
        return _rows(natural, visited)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (found,) = ctx.saved_tensors
        return _rows(gradient.flatten(0, 1), found).sum(1), None, None
