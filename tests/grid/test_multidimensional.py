"""Options of the multidimensional LSTM's cells that are something known: torch.nn.LSTM, or equations written out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.grid import MultidimensionalLSTM

DOUBLE = {"dtype": torch.float64}
every_engine = pytest.mark.parametrize("engine", ["definition", "wavefront"])
every_cell = pytest.mark.parametrize("cell", ["stable", "sum"])


def same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@every_engine
@every_cell
def test_with_one_axis_and_a_projection_it_is_torch_nn_lstm_with_one(engine: str, cell: str) -> None:
    module = MultidimensionalLSTM(3, 4, axes=1, cell=cell, proj_size=2, engine=engine).double()
    lstm = nn.LSTM(3, 4, batch_first=True, proj_size=2, **DOUBLE)
    layer = module.layers[0]
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(layer.weight_ih[0])
        lstm.weight_hh_l0.copy_(layer.weight_hh[0])
        lstm.bias_ih_l0.copy_(layer.bias[0])
        lstm.bias_hh_l0.zero_()
        lstm.weight_hr_l0.copy_(layer.weight_hr[0, 0])
    x, hidden, memory = torch.randn(2, 6, 3, **DOUBLE), torch.randn(1, 2, 2, **DOUBLE), torch.randn(1, 2, 4, **DOUBLE)
    output, (left_hidden, left_memory) = module(x, None, (hidden.unsqueeze(1), memory.unsqueeze(1)))
    assert module.output_size == 2
    same((output, (left_hidden[:, 0], left_memory[:, 0])), lstm(x, (hidden, memory)))


@every_engine
@every_cell
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("output_gate", ["outside", "inside"])
def test_with_one_axis_and_peepholes_it_is_the_lstm_of_gers_and_schmidhuber(
    engine: str, cell: str, coupled: bool, output_gate: str
) -> None:
    options = {"cell": cell, "coupled": coupled, "output_gate": output_gate, "peepholes": True, "cell_clip": 0.2}
    module = MultidimensionalLSTM(3, 4, axes=1, engine=engine, **options).double()
    layer = module.layers[0]
    *p_i, p_f, p_o = layer.peephole[0].chunk(2 if coupled else 3)
    x = torch.randn(1, 6, 3, **DOUBLE) * 3
    hidden = memory = torch.zeros(4, **DOUBLE)
    outputs = []
    for frame in x[0]:
        gates = layer.weight_ih[0] @ frame + layer.weight_hh[0] @ hidden + layer.bias[0]
        *pre_i, pre_f, pre_g, pre_o = gates.chunk(3 if coupled else 4)
        f = torch.sigmoid(pre_f + p_f * memory)
        i = 1 - f if coupled else torch.sigmoid(pre_i[0] + p_i[0] * memory)
        memory = (f * memory + i * torch.tanh(pre_g)).clamp(-0.2, 0.2)
        o = torch.sigmoid(pre_o + p_o * memory)
        hidden = torch.tanh(o * memory) if output_gate == "inside" else o * torch.tanh(memory)
        outputs.append(hidden)
    assert (memory.abs() == 0.2).any()
    same(module(x)[0][0], torch.stack(outputs))


def memory_after_two_neighbours(cell: str, layer: nn.Module, gates: Tensor, above: Tensor, left: Tensor) -> Tensor:
    """The memory of a cell from its pre-activations and the memories that arrive along the axes."""
    i, first, second, g, _ = gates.chunk(5)
    p = layer.peephole[0].view(-1, 2)
    if cell == "sum":
        i = torch.sigmoid(i + p[0] * above + p[1] * left)
        kept = torch.sigmoid(first + p[2] * above) * above + torch.sigmoid(second + p[3] * left) * left
    else:
        mix = torch.sigmoid(second)
        combined = mix * above + (1 - mix) * left
        i = torch.sigmoid(i + p[0] * combined)
        kept = torch.sigmoid(first + p[1] * combined) * combined
    return kept + i * torch.tanh(g)


@every_engine
@every_cell
def test_peepholes_of_a_cell_with_two_predecessors_written_out(engine: str, cell: str) -> None:
    """A forget gate sees its own axis' memory, the input gate all of them, the output gate the new one."""
    module = MultidimensionalLSTM(3, 2, cell=cell, peepholes=True, engine=engine).double()
    layer = module.layers[0]
    with torch.no_grad():
        layer.peephole.mul_(3)
    x = torch.randn(1, 2, 2, 3, **DOUBLE)
    zero = torch.zeros(2, **DOUBLE)
    cells: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    found = module(x)[0][0]
    for t, f in ((0, 0), (0, 1), (1, 0), (1, 1)):
        h_time, above = cells.get((t - 1, f), (zero, zero))
        h_frequency, left = cells.get((t, f - 1), (zero, zero))
        gates = layer.weight_hh[0] @ torch.cat([h_time, h_frequency]) + layer.weight_ih[0] @ x[0, t, f] + layer.bias[0]
        memory = memory_after_two_neighbours(cell, layer, gates, above, left)
        o = torch.sigmoid(gates[-2:] + layer.peephole[0, -2:] * memory)
        cells[t, f] = o * torch.tanh(memory), memory
        same(found[t, f], cells[t, f][0])


@every_engine
def test_without_peepholes_a_clip_or_a_gate_inside_the_values_are_those_of_zero_peepholes(engine: str) -> None:
    plain = MultidimensionalLSTM(3, 2, 2, engine=engine).double()
    other = MultidimensionalLSTM(3, 2, 2, peepholes=True, cell_clip=100.0, engine=engine).double()
    missing = other.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["layers.0.peephole", "layers.1.peephole"]
    with torch.no_grad():
        for layer in other.layers:
            layer.peephole.zero_()
    x = torch.randn(2, 3, 4, 3, **DOUBLE)
    same(other(x)[0], plain(x)[0])


@every_engine
def test_recurrent_dropout_is_one_mask_for_the_whole_grid_in_training_alone(engine: str) -> None:
    """With weights of one and all gates open, a hidden vector that is dropped along an axis is dropped everywhere."""
    module = MultidimensionalLSTM(3, 4, axes=1, recurrent_dropout=0.5, engine=engine).double()
    with torch.no_grad():
        module.layers[0].weight_hh.zero_()
        module.layers[0].weight_hh[:, -4:] = 5 * torch.eye(4, **DOUBLE)  # o sees its own unit's hidden vector
    plain = MultidimensionalLSTM(3, 4, axes=1, engine=engine).double()
    plain.load_state_dict(module.state_dict())
    x = torch.randn(1, 8, 3, **DOUBLE)
    torch.manual_seed(3)
    mask = torch.empty(1, 1, 1, 4, **DOUBLE).bernoulli_(0.5) / 0.5
    torch.manual_seed(3)
    dropped = module(x)[0]
    with torch.no_grad():
        plain.layers[0].weight_hh.mul_(mask[0, 0])
    assert 0 < int((mask == 0).sum()) < 4
    same(dropped, plain(x)[0])
    with torch.no_grad():
        plain.layers[0].weight_hh.copy_(module.layers[0].weight_hh)
    same(module.eval()(x)[0], plain(x)[0])
