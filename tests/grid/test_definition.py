"""The oracle itself, against torch.nn.LSTM and equations written out."""

import pytest
import torch
from torch import Tensor, nn

from asr.grid import GridLSTM, MultidimensionalLSTM

DOUBLE = {"dtype": torch.float64}


def copy_into(lstm: nn.LSTM, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, suffix: str = "") -> None:
    with torch.no_grad():
        getattr(lstm, f"weight_ih_l0{suffix}").copy_(weight_ih)
        getattr(lstm, f"weight_hh_l0{suffix}").copy_(weight_hh)
        getattr(lstm, f"bias_ih_l0{suffix}").copy_(bias)
        getattr(lstm, f"bias_hh_l0{suffix}").zero_()


def test_grid_with_one_axis_and_no_depth_is_a_bidirectional_lstm() -> None:
    grid = GridLSTM(3, 4, axes=1, bidirectional=True, engine="definition").double()
    lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True, **DOUBLE)
    layer = grid.layers[0]
    for direction, suffix in enumerate(("", "_reverse")):
        copy_into(lstm, layer.weight_ih[direction], layer.weight_hh[direction], layer.bias[direction], suffix)
    x = torch.randn(2, 6, 3, **DOUBLE)
    torch.testing.assert_close(grid(x)[0], lstm(x)[0], rtol=0, atol=1e-14)


def test_multidimensional_lstm_with_one_axis_is_an_lstm_with_either_cell() -> None:
    for cell in ("stable", "sum"):
        grid = MultidimensionalLSTM(3, 4, axes=1, cell=cell, engine="definition").double()
        lstm = nn.LSTM(3, 4, batch_first=True, **DOUBLE)
        layer = grid.layers[0]
        copy_into(lstm, layer.weight_ih[0], layer.weight_hh[0], layer.bias[0])
        x = torch.randn(2, 6, 3, **DOUBLE)
        torch.testing.assert_close(grid(x)[0], lstm(x)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("axis", [0, 1])
def test_grid_that_is_one_cell_wide_is_an_lstm_along_the_other_axis(axis: int) -> None:
    grid = GridLSTM(3, 4, engine="definition").double()
    lstm = nn.LSTM(3, 4, batch_first=True, **DOUBLE)
    layer, rows, columns = grid.layers[0], slice(16 * axis, 16 * axis + 16), slice(4 * axis, 4 * axis + 4)
    copy_into(lstm, layer.weight_ih[0, rows], layer.weight_hh[0, rows, columns], layer.bias[0, rows])
    x = torch.randn(2, 6, 3, **DOUBLE)
    output = grid(x.unsqueeze(2 - axis))[0].squeeze(2 - axis)
    torch.testing.assert_close(output[..., columns], lstm(x)[0], rtol=0, atol=1e-14)


def lstm_equations(gates: Tensor, memory: Tensor, inside: bool) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, dim=-1)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    if inside:
        return torch.tanh(torch.sigmoid(o) * memory), memory
    return torch.sigmoid(o) * torch.tanh(memory), memory


@pytest.mark.parametrize("output_gate", ["outside", "inside"])
@pytest.mark.parametrize("priority", [False, True])
def test_two_by_two_grid_with_depth_written_out(output_gate: str, priority: bool) -> None:
    hidden_size, inside = 2, output_gate == "inside"
    grid = GridLSTM(
        3,
        hidden_size,
        depth="lstm",
        priority=["depth"] if priority else [],
        output_gate=output_gate,
        engine="definition",
    )
    grid.double()
    layer = grid.layers[0]
    x = torch.randn(1, 2, 2, 3, **DOUBLE)
    entered = grid.input_projection(x)[0]
    depth_in, depth_memory = entered[..., :hidden_size], entered[..., hidden_size:]

    def gates(dimension: int, incoming: list[Tensor], depth_hidden: Tensor) -> Tensor:
        rows = slice(4 * hidden_size * dimension, 4 * hidden_size * (dimension + 1))
        recurrent = layer.weight_hh[0, rows] @ torch.cat(incoming)
        return recurrent + layer.weight_ih[0, rows] @ depth_hidden + layer.bias[0, rows]

    zero = torch.zeros(hidden_size, **DOUBLE)
    time, frequency = {}, {}  # (hidden, memory) that leaves a cell along each axis
    for t, f in ((0, 0), (0, 1), (1, 0), (1, 1)):
        from_time, from_frequency = time.get((t - 1, f), (zero, zero)), frequency.get((t, f - 1), (zero, zero))
        arriving = [from_time[0], from_frequency[0]]
        time[t, f] = lstm_equations(gates(0, arriving, depth_in[t, f]), from_time[1], inside)
        frequency[t, f] = lstm_equations(gates(1, arriving, depth_in[t, f]), from_frequency[1], inside)
        seen = [time[t, f][0], frequency[t, f][0]] if priority else arriving
        expected, _ = lstm_equations(gates(2, seen, depth_in[t, f]), depth_memory[t, f], inside)
        torch.testing.assert_close(grid(x)[0][0, t, f], expected, rtol=0, atol=1e-14)


def test_memory_along_depth_runs_through_the_layers() -> None:
    """With open forget gates, closed input gates and open output gates, the memory comes out as it went in."""
    grid = GridLSTM(3, 2, num_layers=3, axes=1, depth="lstm", engine="definition").double()
    with torch.no_grad():
        for layer in grid.layers:
            layer.weight_ih.zero_(), layer.weight_hh.zero_()
            layer.bias.copy_(torch.tensor([-50.0, 50.0, 0.0, 50.0]).repeat_interleave(2).repeat(2))
    x = torch.randn(1, 4, 3, **DOUBLE)
    torch.testing.assert_close(grid(x)[0], grid.input_projection(x)[..., 2:].tanh(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", ["stable", "sum"])
def test_multidimensional_cell_with_two_predecessors_written_out(cell: str) -> None:
    grid = MultidimensionalLSTM(3, 2, cell=cell, engine="definition").double()
    layer = grid.layers[0]
    x = torch.randn(1, 2, 2, 3, **DOUBLE)
    zero = torch.zeros(2, **DOUBLE)
    cells = {}
    for t, f in ((0, 0), (0, 1), (1, 0), (1, 1)):
        (h_time, m_time), (h_frequency, m_frequency) = (
            cells.get((t - 1, f), (zero, zero)),
            cells.get((t, f - 1), (zero, zero)),
        )
        gates = layer.weight_hh[0] @ torch.cat([h_time, h_frequency]) + layer.weight_ih[0] @ x[0, t, f] + layer.bias[0]
        i, first, second, g, o = gates.chunk(5)
        if cell == "sum":
            memory = torch.sigmoid(first) * m_time + torch.sigmoid(second) * m_frequency
        else:
            mix = torch.sigmoid(second)
            memory = torch.sigmoid(first) * (mix * m_time + (1 - mix) * m_frequency)
        memory = memory + torch.sigmoid(i) * torch.tanh(g)
        cells[t, f] = torch.sigmoid(o) * torch.tanh(memory), memory
        torch.testing.assert_close(grid(x)[0][0, t, f], cells[t, f][0], rtol=0, atol=1e-14)
