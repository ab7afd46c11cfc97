"""Gradient norms against closed forms."""

import math

import pytest
import torch

from asr.encoders import GridLSTMEncoder, StackedRNNEncoder
from asr.grid import GridLSTM, MultidimensionalLSTM
from asr.inspect.gradients import Curve, Setting, distances, measure, measure_trained, nets, plain

SMALL = Setting(hidden_size=4, reach=3, layers=2, seeds=2)


def linear_grid(x, along_time=0.5, along_frequency=0.25):
    """h = x + a * (h before in time) + b * (h below in frequency), of (B, T, F, 1)."""
    rows = []
    for t in range(x.shape[1]):
        row = []
        for f in range(x.shape[2]):
            before = along_time * rows[t - 1][f] if t else 0
            below = along_frequency * row[f - 1] if f else 0
            row.append(x[:, t, f] + before + below)
        rows.append(row)
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def test_a_linear_net_has_powers_of_its_weights_and_across_both_axes_as_many_as_there_are_paths():
    found = distances(linear_grid, torch.randn(6, 6, 1, dtype=torch.double), draws=2)
    assert found["time"] == pytest.approx([0.5**d for d in range(6)])
    assert found["frequency"] == pytest.approx([0.25**d for d in range(6)])
    assert found["both"] == pytest.approx([math.comb(2 * d, d) * 0.125**d for d in range(6)])


def open_gates(net, forget):
    """All gates of a net open, but the forget gates at `forget`, and no weights between cells: memories add inputs."""
    parameters = net.layers[0]
    with torch.no_grad():
        for parameter in parameters.parameters():
            parameter.zero_()
        blocks = parameters.bias.view(-1, net.options.hidden_size)
        blocks += 30.0
        for block in parameters.forget_blocks:
            blocks[block] = math.log(forget / (1 - forget))
        gates = net.options.gates
        candidates = [k for k in range(len(blocks)) if k % gates == gates - 2]
        for block in candidates:
            blocks[block] = 0.0
            size = net.options.hidden_size
            parameters.weight_ih[0, block * size : (block + 1) * size] = torch.eye(size)
    return net.double()


def test_the_multidimensional_sum_adds_up_all_paths_and_a_grid_s_memories_stay_on_their_axes():
    tiny = 1e-6 * torch.randn(5, 5, 1, dtype=torch.double)  # where tanh is the identity
    summed = open_gates(MultidimensionalLSTM(1, 1, cell="sum"), forget=0.7)
    found = distances(lambda x: summed(x)[0], tiny)
    assert found["time"] == pytest.approx([0.7**d for d in range(5)], rel=1e-4)
    assert found["both"] == pytest.approx([math.comb(2 * d, d) * 0.49**d for d in range(5)], rel=1e-4)
    grid = open_gates(GridLSTM(1, 1), forget=0.7)
    found = distances(lambda x: grid(x)[0], tiny)
    assert found["time"][1:] == pytest.approx([0.7**d for d in range(1, 5)], rel=1e-4)
    assert found["both"][1:] == pytest.approx([0.0] * 4)


def test_the_stable_cell_halves_what_comes_along_one_axis():
    stable = MultidimensionalLSTM(1, 1, cell="stable")
    open_gates(stable, forget=0.7)
    with torch.no_grad():
        stable.layers[0].bias.view(-1, 1)[2] = 0.0  # the gate that mixes both memories, at one half
    found = distances(lambda x: stable(x)[0], 1e-6 * torch.randn(5, 5, 1, dtype=torch.double))
    assert found["time"] == pytest.approx([0.35**d for d in range(5)], rel=1e-4)


def test_nets_have_equal_hidden_sizes_and_the_forget_bias_that_is_asked_for():
    for make in nets(SMALL, layers=2).values():
        net = make().net
        assert (net.options.hidden_size, net.num_layers) == (4, 2)
        for layer in net.layers:
            blocks = layer.bias.view(-1, 4)
            assert all((blocks[k] == 1.0).all() for k in layer.forget_blocks) or net.options.cell == "rnn"


def test_curves_begin_at_one_have_every_distance_and_are_the_same_again():
    curves = measure(SMALL)
    assert set(curves) == set(nets(SMALL, 1))
    for name, ways in curves.items():
        own = {"time", "depth"} if name in ("RNN", "LSTM") else {"time", "frequency", "both", "depth"}
        assert set(ways) == own
        for way, curve in ways.items():
            assert len(curve.median) == (2 if way == "depth" else 4)
            assert curve.low[0] == curve.median[0] == curve.high[0] == 1.0
            assert all(low <= median <= high for low, median, high in zip(*curve, strict=True))
    assert plain(measure(SMALL)) == plain(curves)


def test_measuring_leaves_torch_s_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    measure(Setting(hidden_size=2, reach=1, layers=1, seeds=1))
    torch.testing.assert_close(torch.rand(2), expected)


def test_a_trained_encoder_is_measured_in_output_frames_and_a_grid_in_cells():
    torch.manual_seed(0)
    encoder = GridLSTMEncoder(8, hidden_size=4, num_layers=1, patch_mels=2, lstm_layers=1, lstm_hidden_size=5)
    curves = measure_trained("run", encoder, SMALL)
    assert {name: set(ways) for name, ways in curves.items()} == {
        "run: encoder": {"time"},
        "run: grid": {"time", "frequency", "both"},
    }
    assert isinstance(curves["run: grid"]["frequency"], Curve)
    assert next(encoder.parameters()).dtype == torch.float32
    assert encoder.training
    other = measure_trained("run", StackedRNNEncoder(8, hidden_size=4, num_layers=1), SMALL)
    assert {name: list(ways) for name, ways in other.items()} == {"run: encoder": ["time"]}
    assert len(other["run: encoder"]["time"].median) == 4
