"""Recorded gates are those that the equations of the Grid LSTM say, and lead to the grid's own output."""

import pytest
import torch

from asr.errors import InputError
from asr.grid import GridLSTM
from asr.inspect.gates import grid_gates

OPTIONS = [
    {},
    {"axes": 1},
    {"axes": 3},
    {"num_layers": 2, "layer_norm": True, "dropout": 0.5},
    {"bidirectional": [True, True]},
    {"bidirectional": [True, False], "num_layers": 2, "merge": "sum"},
    {"depth": "lstm", "num_layers": 3, "tied": True},
    {"depth": "lstm", "num_layers": 2, "bidirectional": [False, True]},
    {"depth": "relu", "num_layers": 2},
    {"depth": "lstm", "num_layers": 2, "priority": [0, "depth"]},
    {"priority": [1]},
    {"peepholes": True, "bands": 2, "bidirectional": [False, True]},
    {"coupled": True, "peepholes": True},
    {"shared": True, "output_gate": "inside"},
    {"proj_size": 3},
    {"cell_clip": 0.05},
]


def made(options):
    torch.manual_seed(0)
    grid = GridLSTM(6, 5, **options).double().eval()
    extents = {1: (7,), 2: (5, 4), 3: (3, 2, 4)}[grid.options.axes]
    return grid, torch.randn(*extents, 6, dtype=torch.double)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_output_is_that_of_the_grid(options):
    grid, inputs = made(options)
    gates, output = grid_gates(grid, inputs)
    torch.testing.assert_close(output, grid(inputs[None])[0][0])
    dimensions = grid.options.axes + (grid.options.depth == "lstm")
    assert len(gates) == grid.num_layers * len(grid.directions) * dimensions
    assert all((gate > 0).all() and (gate < 1).all() for one in gates for gate in (one.input, one.forget, one.output))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_memory_and_hidden_vectors_follow_from_the_gates_by_the_equations(options):
    grid, inputs = made(options)
    for one in grid_gates(grid, inputs)[0]:
        if one.dimension == grid.options.axes:
            continue  # what enters along depth is checked by the output
        back = [axis for axis, backward in enumerate(one.direction) if backward]
        i, f, o, m, h = (x.flip(back) for x in (one.input, one.forget, one.output, one.memory, one.hidden))
        before = torch.zeros_like(m)
        along = one.dimension
        extent = m.shape[along]
        before.narrow(along, 1, extent - 1).copy_(m.narrow(along, 0, extent - 1))
        added = (m - f * before) / i  # i * g, with g a tanh
        assert added.abs().max() < 1
        if grid.options.coupled:
            torch.testing.assert_close(i + f, torch.ones_like(i))
        if not grid.options.proj_size:
            inside = grid.options.output_gate == "inside"
            torch.testing.assert_close(h, torch.tanh(o * m) if inside else o * torch.tanh(m))


def test_the_gates_of_a_cell_are_those_of_the_paper():
    """The first cell of a plain grid sees its input alone, the second along time also what the first sent out."""
    grid, inputs = made({})
    weights = next(grid.layers[0].weights().each())
    time = grid_gates(grid, inputs)[0][0]
    i, f, g, o = (weights.weight_ih @ inputs[0, 0] + weights.bias)[:20].chunk(4)
    torch.testing.assert_close(time.forget[0, 0], f.sigmoid())
    torch.testing.assert_close(time.memory[0, 0], i.sigmoid() * g.tanh())
    torch.testing.assert_close(time.output[0, 0], o.sigmoid())
    arriving = torch.cat([time.hidden[0, 0], torch.zeros(5, dtype=torch.double)])
    i, f, _, _ = (weights.weight_ih @ inputs[1, 0] + weights.weight_hh @ arriving + weights.bias)[:20].chunk(4)
    torch.testing.assert_close(time.input[1, 0], i.sigmoid())
    torch.testing.assert_close(time.forget[1, 0], f.sigmoid())


def test_dropout_is_off_and_stays_as_it_was():
    grid, inputs = made({"num_layers": 2, "dropout": 0.5})
    expected = grid(inputs[None])[0][0]
    torch.testing.assert_close(grid_gates(grid.train(), inputs)[1], expected)
    assert all(merge.training for merge in grid.merges)


@pytest.mark.parametrize("options", [{"cell": "gru"}, {"cell": "rnn"}, {"axes": 0, "depth": "lstm"}], ids=str)
def test_cells_without_gates_and_grids_without_axes_are_refused(options):
    grid = GridLSTM(6, 5, **options)
    with pytest.raises(InputError, match="gates can be shown of LSTM cells on a grid with axes"):
        grid_gates(grid, torch.zeros(2, 2, 6))
