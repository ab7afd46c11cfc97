"""How the Triton scan divides its work, and what it refuses."""

import itertools
from typing import Any

import pytest
import torch

from asr.grid import triton_scan
from asr.grid.triton_plan import Device, Grid, packed, plan_for


@pytest.mark.parametrize(("processors", "shared_memory"), [(132, 227), (1, 227), (108, 163), (128, 99), (40, 64)])
def test_the_work_of_any_grid_is_divided_into_whole_parts(processors: int, shared_memory: int) -> None:
    for batch, axes, extent, hidden, bands in itertools.product(
        (1, 30, 300), (1, 2), (1, 10), (1, 20, 64, 300), (1, 3)
    ):
        grid = Grid(batch, axes, (50, extent if axes == 2 else 1), hidden, [(False,) * axes] * 4, bands, 4)
        for dtype in triton_scan.DTYPES:
            plan = plan_for(grid, dtype, Device(processors, shared_memory * 1024))
            assert plan.units >= hidden
            assert axes * plan.units % plan.columns == axes * plan.units % plan.depth == 0
            assert plan.columns == axes * plan.units or not plan.resident
            assert min(plan.rows, plan.columns, plan.depth) >= 16
            assert all(size & (size - 1) == 0 for size in (plan.rows, plan.columns, plan.depth))


@pytest.mark.parametrize(("extent", "bands"), [(7, 1), (7, 2), (7, 3), (7, 7), (10, 4)])
def test_a_cell_is_in_the_band_that_its_place_says(extent: int, bands: int) -> None:
    grid = Grid(1, 2, (5, extent), 3, [(False, False)], bands, 4)
    found = [band for band, start, count in grid.band_parts() for _ in range(start, start + count)]
    assert found == [f * bands // extent for f in range(extent)]


def test_a_packed_weight_is_where_gate_and_units_say_and_the_rest_is_zero() -> None:
    grid = Grid(1, 2, (5, 4), 3, [(False, False)], 1, 4)
    plan = plan_for(grid, torch.float32, Device(1, 227 * 1024))
    weight = torch.arange(1.0, 24 * 6 + 1).view(1, 24, 6)
    tiles = packed(weight, grid, plan).view(4, 2, plan.units, 2, plan.units)
    for to, gate, unit, source, from_unit in itertools.product(range(2), range(4), range(3), range(2), range(3)):
        assert tiles[gate, to, unit, source, from_unit] == weight[0, to * 12 + gate * 3 + unit, source * 3 + from_unit]
    assert tiles.count_nonzero() == weight.numel()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((3, torch.device("cuda"), torch.float32), "1 or 2 axes, not 3"),
        ((2, torch.device("cuda"), torch.float64), "not torch.float64"),
        ((2, torch.device("meta"), torch.float32), "not on meta"),
        ((2, torch.device("cuda"), torch.bfloat16), None),
    ],
)
def test_what_the_kernels_cannot_scan_is_said(arguments: tuple[Any, ...], reason: str | None) -> None:
    pytest.importorskip("triton")
    refusal = triton_scan.refusal(*arguments)
    assert refusal is None if reason is None else reason in str(refusal)
