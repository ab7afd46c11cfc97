"""The sizes of a scan, and how the Triton kernels divide it: among programs, into tiles, and where weights are kept."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from asr.grid.options import Direction

BESIDE_WEIGHTS = 56 * 1024
"""Bytes of shared memory that a program needs beside resident weights: up to 49 KiB in compiled kernels."""

STAGES = 3
"""Tiles of weights and hidden vectors that Triton's pipeline has under way."""


class Device(NamedTuple):
    """What the division depends on: how many programs run side by side, and the bytes of shared memory of each."""

    processors: int
    shared_memory: int

    @classmethod
    def of(cls, device: torch.device) -> "Device":
        """A CPU, where Triton's interpreter runs, counts as one multiprocessor of a Hopper GPU."""
        if device.type != "cuda":
            return cls(1, 227 * 1024)
        properties: Any = torch.cuda.get_device_properties(device)
        return cls(properties.multi_processor_count, properties.shared_memory_per_block_optin)


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


def plan_for(grid: Grid, dtype: torch.dtype, device: Device) -> Plan:
    """A program for every multiprocessor, if there are so many utterances and directions; else fewer."""
    group = -(-grid.batch * len(grid.directions) // device.processors)
    cells = group * grid.extents[1]
    rows = min((16, 32, 64), key=lambda rows: -(-cells // rows) * (rows + 32))
    units = max(16, 1 << (grid.hidden - 1).bit_length())
    wide = grid.axes * units
    weights = grid.gates * wide * wide * dtype.itemsize
    if grid.bands == 1 and wide <= 128 and weights + BESIDE_WEIGHTS <= device.shared_memory:
        rows = min(rows, 32)
        return Plan(units, group, rows, wide, wide, True, _warps(rows * wide, 16))
    units = 16 if grid.hidden <= 16 else -(-grid.hidden // 32) * 32
    block = min(units, 32)
    if units % 64 == 0 and STAGES * (grid.gates * 64 + rows) * 64 * dtype.itemsize <= device.shared_memory - 16 * 1024:
        block = 64
    return Plan(units, group, rows, block, block, False, _warps(rows * block, 8))


def _warps(elements: int, most: int) -> int:
    """Four elements of a tile a thread: more, and float32 and half precision tiles differ in layout among threads."""
    return min(max(4, elements // 128), most)


def packed(weight_hh: Tensor, grid: Grid, plan: Plan) -> Tensor:
    """(S, R, axes * H) -> (S, gates, axes * units, axes * units): a matrix a gate, axes padded with zero units."""
    shape = (-1, grid.axes, grid.gates, grid.hidden, grid.axes, grid.hidden)
    by_gate = weight_hh.reshape(shape).transpose(1, 2)
    missing = plan.units - grid.hidden
    padded = nn.functional.pad(by_gate, (0, missing, 0, 0, 0, missing)) if missing else by_gate
    return padded.reshape(-1, grid.gates, grid.axes * plan.units, grid.axes * plan.units)
