"""The order of cells: every cell once, after its predecessors, and back where it came from."""

import itertools

import pytest
import torch

from asr.grid.schedule import ScanOrder, diagonal_schedule

CPU = torch.device("cpu")
EXTENTS = [(1,), (5,), (1, 1), (6, 1), (1, 6), (5, 3), (3, 7), (3, 2, 4)]


@pytest.mark.parametrize("extents", EXTENTS)
def test_every_cell_is_in_exactly_one_step(extents: tuple[int, ...]) -> None:
    schedule = diagonal_schedule(extents, CPU)
    assert schedule.order.sort().values.equal(torch.arange(len(schedule.order)))
    assert schedule.position[schedule.order].equal(torch.arange(len(schedule.order)))
    assert [step.start for step in schedule.steps] == [0, *(step.stop for step in schedule.steps[:-1])]
    assert schedule.steps[-1].stop == len(schedule.order)


@pytest.mark.parametrize("extents", EXTENTS)
def test_there_are_as_many_steps_as_diagonals(extents: tuple[int, ...]) -> None:
    assert len(diagonal_schedule(extents, CPU).steps) == sum(extents) - len(extents) + 1


@pytest.mark.parametrize("extents", EXTENTS)
def test_edges_lead_from_each_cell_to_its_successors_and_to_no_other(extents: tuple[int, ...]) -> None:
    schedule = diagonal_schedule(extents, CPU)
    coordinates = [tuple(c) for c in schedule.coordinates[schedule.order].tolist()]
    for axis in range(len(extents)):
        found = set()
        for number, step in enumerate(schedule.steps):
            if (edge := step.edges[axis]) is None:
                continue
            ahead = schedule.steps[number + 1]
            sources = torch.arange(step.start, step.stop)[edge.source].tolist()
            targets = torch.arange(ahead.start, ahead.stop)[edge.target].tolist()
            found |= {(coordinates[s], coordinates[t]) for s, t in zip(sources, targets, strict=True)}
        expected = {
            (cell, (*cell[:axis], cell[axis] + 1, *cell[axis + 1 :]))
            for cell in itertools.product(*map(range, extents))
            if cell[axis] + 1 < extents[axis]
        }
        assert found == expected


@pytest.mark.parametrize("extents", EXTENTS)
def test_borders_are_the_cells_without_a_predecessor(extents: tuple[int, ...]) -> None:
    schedule = diagonal_schedule(extents, CPU)
    for axis, border in enumerate(schedule.borders):
        cells = schedule.coordinates[schedule.order[border]]
        assert (cells[:, axis] == 0).all()
        assert len(cells) * extents[axis] == len(schedule.order)


def test_with_two_axes_the_cells_of_an_edge_are_adjacent() -> None:
    for step in diagonal_schedule((7, 4), CPU).steps:
        assert all(isinstance(cells, slice) for edge in step.edges if edge for cells in edge)


def directions(axes: int) -> list[tuple[bool, ...]]:
    return list(itertools.product((False, True), repeat=axes))


LENGTHS = [((5,), [[5], [2], [1]]), ((4, 3), [[4, 3], [2, 3], [1, 1], [3, 2]]), ((2, 3, 2), [[2, 3, 2], [1, 2, 1]])]


@pytest.mark.parametrize(("extents", "lengths"), LENGTHS)
def test_scan_order_and_back_is_the_identity(extents: tuple[int, ...], lengths: list[list[int]]) -> None:
    scans = directions(len(extents))
    order = ScanOrder(extents, torch.tensor(lengths), scans)
    cells = len(lengths) * torch.Size(extents).numel()
    natural = torch.randn(cells, len(scans), 3)
    assert order.from_scan(order.to_scan(natural)).equal(natural)
    shared = torch.randn(cells, 3)
    assert order.from_scan(order.to_every_scan(shared)).equal(shared[:, None].expand(-1, len(scans), -1))


@pytest.mark.parametrize(("extents", "lengths"), LENGTHS)
def test_each_scan_reads_its_utterance_flipped_within_its_own_extents(
    extents: tuple[int, ...], lengths: list[list[int]]
) -> None:
    scans = directions(len(extents))
    schedule = diagonal_schedule(extents, CPU)
    values = torch.arange(len(lengths) * len(schedule.order), dtype=torch.float32)
    scanned = ScanOrder(extents, torch.tensor(lengths), scans).to_every_scan(values[:, None])
    grids = values.view(len(lengths), *extents)
    for number, direction in enumerate(scans):
        visited = scanned[number].view(-1, len(lengths))[schedule.position].T.view(len(lengths), *extents)
        for utterance, own in enumerate(lengths):
            cut = tuple(map(slice, own))
            backward = [axis for axis, reverse in enumerate(direction) if reverse]
            assert visited[utterance][cut].equal(grids[utterance][cut].flip(backward))


def test_moves_have_the_gradients_of_the_permutations_that_they_are() -> None:
    order = ScanOrder((3, 2), torch.tensor([[3, 2], [2, 1]]), directions(2))
    shared = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    apart = torch.randn(12, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(order.to_every_scan, shared)
    assert torch.autograd.gradcheck(order.to_scan, apart)
    assert torch.autograd.gradcheck(lambda x: order.from_scan(order.to_scan(x)), apart)
