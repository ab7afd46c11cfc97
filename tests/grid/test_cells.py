"""The elementwise part of a step against autograd on its equations."""

import pytest
import torch
from torch import Tensor

from asr.grid.cells import Cell, GridCell, MultidimensionalCell, tanh

CELLS = [
    GridCell(2, 3),
    GridCell(3, 2, gate_inside=True),
    MultidimensionalCell(2, 3, stable=True),
    MultidimensionalCell(2, 3, stable=False),
    MultidimensionalCell(1, 3, stable=True),
    MultidimensionalCell(3, 2, stable=True),
    MultidimensionalCell(3, 2, stable=False),
]


def equations(cell: Cell, gates: Tensor, memory_in: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and memory by the equations of the docstrings, in operations that autograd follows."""
    *sigmoids, g = gates.chunk(cell.blocks, dim=-1)
    i, *forget, o = (block.sigmoid() for block in sigmoids)
    incoming = memory_in.chunk(cell.axes, dim=-1)
    if isinstance(cell, GridCell):
        kept = forget[0] * memory_in
    elif isinstance(cell, MultidimensionalCell) and not cell.stable:
        kept = sum(f * m for f, m in zip(forget, incoming, strict=True))
    else:
        kept = incoming[-1]
        for axis in range(cell.axes - 2, -1, -1):
            kept = forget[1 + axis] * incoming[axis] + (1 - forget[1 + axis]) * kept
        kept = forget[0] * kept
    memory = kept + i * g.tanh()
    inside = isinstance(cell, GridCell) and cell.gate_inside
    return (o * memory).tanh() if inside else o * memory.tanh(), memory


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_step_and_its_gradient_equal_autograd_on_the_equations(cell: Cell) -> None:
    width = cell.outputs * cell.hidden_size
    pre_activations = torch.randn(2, 4, cell.blocks * width, dtype=torch.float64, requires_grad=True)
    memory_in = torch.randn(2, 4, cell.axes * cell.hidden_size, dtype=torch.float64, requires_grad=True)
    expected = equations(cell, pre_activations, memory_in)

    gates, incoming = pre_activations.detach().clone(), memory_in.detach()
    hidden, memory, saved = (torch.empty(2, 4, width, dtype=torch.float64) for _ in range(3))
    cell.forward(gates, incoming, hidden, memory, saved)
    torch.testing.assert_close((hidden, memory), tuple(x.detach() for x in expected), rtol=0, atol=1e-14)

    gradients = torch.randn_like(hidden), torch.randn_like(memory)
    wanted = torch.autograd.grad(expected, (pre_activations, memory_in), gradients)
    d_pre_activations, d_incoming = torch.empty_like(gates), torch.empty_like(incoming)
    cell.backward(gates, incoming, saved, *(g.clone() for g in gradients), d_pre_activations, d_incoming)
    torch.testing.assert_close((d_pre_activations, d_incoming), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("stable", [True, False])
def test_stable_memory_stays_in_the_range_of_what_comes_in_and_the_sum_does_not(stable: bool) -> None:
    cell = MultidimensionalCell(2, 1, stable)
    memory_in = torch.ones(1, 1, 2)
    gates = torch.full((1, 1, 5), 20.0)  # all sigmoids at one
    gates[..., 0] = -20.0  # no new content
    hidden, memory, saved = (torch.empty(1, 1, 1) for _ in range(3))
    cell.forward(gates, memory_in, hidden, memory, saved)
    assert memory.item() == pytest.approx(1.0 if stable else 2.0)


def test_tanh_equals_torch_to_rounding_also_in_place_and_far_out() -> None:
    x = torch.cat([torch.linspace(-20, 20, 10001), torch.tensor([-1e4, 0.0, 1e4, float("inf"), -float("inf")])])
    out = torch.empty_like(x)
    tanh(x, out=out)
    torch.testing.assert_close(out, x.tanh(), rtol=0, atol=2e-7)
    in_place = x.clone()
    tanh(in_place, out=in_place)
    assert in_place.equal(out)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_arranged_rows_are_a_permutation_with_the_candidate_last(cell: Cell) -> None:
    rows = torch.arange(cell.blocks * cell.outputs * cell.hidden_size, dtype=torch.float64)[None, :, None]
    arranged = cell.arrange(rows).flatten()
    assert arranged.sort().values.equal(rows.flatten())
    size = cell.hidden_size
    if isinstance(cell, GridCell):  # of each axis, the third of four blocks
        candidates = torch.cat([torch.arange(size) + (4 * axis + 2) * size for axis in range(cell.axes)])
    else:
        candidates = torch.arange(size) + (cell.blocks - 2) * size
    assert arranged[-len(candidates) :].equal(candidates.double())
