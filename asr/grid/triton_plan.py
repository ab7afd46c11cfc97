"""The sizes of a scan, and how the Triton kernels divide it: among programs, into tiles, and where weights are kept."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr.grid.options import Direction

RESIDENT_BYTES = 128 * 1024
"""Weights of a direction up to this size are read once: half of the registers of a multiprocessor."""


class Grid(NamedTuple):
    """The sizes of a scan. `extents` are T and F, where F is 1 with one axis; `gates` are those of a cell."""

    batch: int
    axes: int
    extents: tuple[int, int]
    hidden: int
    directions: Sequence[Direction]
    bands: int
    gates: int

    @classmethod
    def of(
        cls, inputs: Tensor, weight_hh: Tensor, directions: Sequence[Direction], bands: int, coupled: bool
    ) -> "Grid":
        """From the arguments of a scan."""
        batch, *extents, _ = inputs.shape
        axes = len(extents)
        hidden = weight_hh.shape[-1] // axes
        return cls(batch, axes, (extents[0], math.prod(extents[1:])), hidden, directions, bands, 3 if coupled else 4)

    @property
    def rows(self) -> int:
        """R, rows of a set of weights."""
        return self.axes * self.gates * self.hidden

    def band_parts(self) -> Iterator[tuple[int, int, int]]:
        """Each band's number, its first cell along the last axis, and how many it has there."""
        extent = self.extents[self.axes - 1]
        first = [-(-band * extent // self.bands) for band in range(self.bands + 1)]
        for band in range(self.bands):
            yield band, first[band], first[band + 1] - first[band]


class Plan(NamedTuple):
    """How the kernels divide the work.

    Attributes:
        units: hidden size rounded up.
        group: utterances of one program.
        rows: cells of a step in one tile.
        columns: hidden units of a tile.
        depth: hidden units that one product adds up.
        resident: whether a tile has the hidden units of all axes, and the weights are read once for all steps.
        warps: of a program.
    """

    units: int
    group: int
    rows: int
    columns: int
    depth: int
    resident: bool
    warps: int


def plan_for(grid: Grid, dtype: torch.dtype, processors: int) -> Plan:
    """A program for every multiprocessor, if there are so many utterances and directions; else fewer."""
    group = -(-grid.batch * len(grid.directions) // processors)
    cells = group * grid.extents[1]
    rows = min((16, 32, 64), key=lambda rows: -(-cells // rows) * (rows + 32))
    units = max(16, 1 << (grid.hidden - 1).bit_length())
    wide = grid.axes * units
    if grid.bands == 1 and wide <= 128 and grid.gates * wide * wide * dtype.itemsize <= RESIDENT_BYTES:
        return Plan(units, group, min(rows, 32), wide, wide, True, 8 if wide > 32 else 4)
    units = max(16, -(-grid.hidden // 32) * 32) if grid.hidden > 16 else 16
    block = 64 if units % 64 == 0 else min(units, 32)
    return Plan(units, group, rows, block, block, False, 8 if rows * block > 1024 else 4)


def packed(weight_hh: Tensor, grid: Grid, plan: Plan) -> Tensor:
    """(S, R, axes * H) -> (S, gates, axes * units, axes * units): a matrix a gate, axes padded with zero units."""
    shape = (-1, grid.axes, grid.gates, grid.hidden, grid.axes, grid.hidden)
    by_gate = weight_hh.reshape(shape).transpose(1, 2)
    missing = plan.units - grid.hidden
    padded = nn.functional.pad(by_gate, (0, missing, 0, 0, 0, missing)) if missing else by_gate
    return padded.reshape(-1, grid.gates, grid.axes * plan.units, grid.axes * plan.units)
