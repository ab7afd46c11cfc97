"""Grids that are something known: torch.nn's recurrent layers, closed forms, or a grid with other options."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.grid import GridLSTM, MultidimensionalLSTM

DOUBLE = {"dtype": torch.float64}
every_engine = pytest.mark.parametrize("engine", ["definition", "wavefront"])
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def same(found: Any, expected: Any, atol: float = 1e-14) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def torch_layers(grid: GridLSTM, cell: str) -> nn.RNNBase:
    """torch.nn's layers with the weights that a grid has along its first axis."""
    options = grid.options
    both, width = len(grid.directions) > 1, options.width
    arguments = {"proj_size": options.proj_size} if options.proj_size else {}
    first = grid.layers[0].weight_ih.shape[-1]
    layers = LAYERS[cell](
        first, options.hidden_size, grid.num_layers, batch_first=True, bidirectional=both, **arguments
    )
    rows = options.rows_of(0)
    for number, layer in enumerate(grid.layers):
        for direction in range(len(grid.directions)):
            suffix = f"l{number}_reverse" if direction else f"l{number}"
            bias_hh = torch.zeros(rows.stop)
            if layer.bias_hh is not None:
                bias_hh[-options.hidden_size :] = layer.bias_hh[direction, : options.hidden_size]
            values = {
                "weight_ih": layer.weight_ih[direction, rows],
                "weight_hh": layer.weight_hh[direction, rows, :width],
                "bias_ih": layer.bias[direction, rows],
                "bias_hh": bias_hh,
            }
            if layer.weight_hr is not None:
                values["weight_hr"] = layer.weight_hr[direction, 0]
            for name, value in values.items():
                getattr(layers, f"{name}_{suffix}").data = value.detach().clone()
    return layers.double()


@every_engine
@pytest.mark.parametrize(
    ("cell", "options"),
    [("lstm", {}), ("gru", {}), ("rnn", {}), ("lstm", {"proj_size": 2}), ("lstm", {"shared": True})],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_axis_without_depth_is_torch_nn_layer_values_state_and_gradient(
    engine: str, cell: str, options: dict[str, Any], bidirectional: bool
) -> None:
    grid = GridLSTM(3, 4, 2, axes=1, cell=cell, bidirectional=bidirectional, engine=engine, **options).double()
    layers = torch_layers(grid, cell)
    scans, width = 1 + bidirectional, grid.options.width
    hidden, memory = torch.randn(2, scans, 2, width, **DOUBLE), torch.randn(2, scans, 2, 4, **DOUBLE)
    given = hidden.flatten(0, 1), memory.flatten(0, 1)
    x = torch.randn(2, 6, 3, **DOUBLE, requires_grad=True)
    expected, left = layers(x, given if cell == "lstm" else given[0])
    found, state = grid(x, None, (hidden, memory if cell == "lstm" else None))
    same(found, expected)
    wanted = left if cell == "lstm" else (left,)
    same([tensor.flatten(0, 1) for tensor in state if tensor is not None], list(wanted))
    direction = torch.randn_like(found)
    same(torch.autograd.grad(found, x, direction), torch.autograd.grad(expected, x, direction), atol=1e-13)


@every_engine
@pytest.mark.parametrize(("cell", "options"), [("lstm", {}), ("gru", {}), ("rnn", {}), ("lstm", {"proj_size": 2})])
def test_a_grid_one_block_high_is_torch_nn_layer_along_time(engine: str, cell: str, options: dict[str, Any]) -> None:
    grid = GridLSTM(3, 4, cell=cell, engine=engine, **options).double()
    x = torch.randn(2, 6, 3, **DOUBLE)
    output, _ = grid(x.unsqueeze(2))
    same(output.squeeze(2)[..., : grid.options.width], torch_layers(grid, cell)(x)[0])


@every_engine
def test_a_linear_depth_that_comes_last_is_a_stack_of_lstms_with_linear_layers_between(engine: str) -> None:
    """Section 3.3 of the paper."""
    grid = GridLSTM(3, 4, 2, axes=1, depth="identity", priority=["depth"], engine=engine).double()
    x = torch.randn(2, 6, 3, **DOUBLE)
    output, _ = grid(x)
    for layer in grid.layers:
        lstm = nn.LSTM(x.shape[-1], 4, batch_first=True, **DOUBLE)
        lstm.weight_ih_l0.data, lstm.weight_hh_l0.data = layer.weight_ih[0, :16].data, layer.weight_hh[0, :16].data
        lstm.bias_ih_l0.data, lstm.bias_hh_l0.data = layer.bias[0, :16].data, torch.zeros(16, **DOUBLE)
        weight = torch.cat([layer.weight_hh[0, 16:], layer.weight_ih[0, 16:]], dim=1)
        x = nn.functional.linear(torch.cat([lstm(x)[0], x], dim=-1), weight, layer.bias[0, 16:])
    same(output, x)


@every_engine
@pytest.mark.parametrize("transfer", ["relu", "tanh", "identity"])
def test_transfers_without_axes_are_a_feed_forward_network(engine: str, transfer: str) -> None:
    grid = GridLSTM(3, 4, 3, axes=0, depth=transfer, engine=engine).double()
    x = torch.randn(5, 3, **DOUBLE)
    output, state = grid(x)
    for layer in grid.layers:
        x = nn.functional.linear(x, layer.weight_ih[0], layer.bias[0])
        x = x if transfer == "identity" else getattr(torch, transfer)(x)
    same(output, x)
    assert state is None


@every_engine
def test_tied_lstms_without_axes_are_an_lstm_over_the_layers(engine: str) -> None:
    """The projected input is the hidden and the memory that enter at the first layer; there is no other input."""
    grid = GridLSTM(3, 4, 5, axes=0, depth="lstm", tied=True, engine=engine).double()
    x = torch.randn(2, 3, **DOUBLE)
    [layer] = grid.layers
    lstm = nn.LSTM(1, 4, batch_first=True, **DOUBLE)
    lstm.weight_hh_l0.data, lstm.bias_ih_l0.data = layer.weight_ih[0].data, layer.bias[0].data
    lstm.bias_hh_l0.data.zero_()
    hidden, memory = grid.input_projection(x).split(4, dim=-1)
    expected, _ = lstm(torch.zeros(2, 5, 1, **DOUBLE), (hidden[None].contiguous(), memory[None].contiguous()))
    same(grid(x)[0], expected[:, -1])


@every_engine
def test_a_tied_network_is_an_untied_one_with_equal_weights(engine: str) -> None:
    tied = GridLSTM(3, 2, 3, depth="lstm", tied=True, bidirectional=True, engine=engine).double()
    untied = GridLSTM(3, 2, 3, depth="lstm", bidirectional=True, engine=engine).double()
    untied.input_projection.load_state_dict(tied.input_projection.state_dict())
    for layer in untied.layers:
        layer.load_state_dict(tied.layers[0].state_dict())
    x = torch.randn(2, 3, 2, 3, **DOUBLE)
    same(tied(x), untied(x))
    output, state = tied(x)
    (output.sum() + state.hidden.sum()).backward()
    output, state = untied(x)
    (output.sum() + state.hidden.sum()).backward()
    for name, parameter in tied.layers[0].named_parameters():
        same(parameter.grad, sum(layer.get_parameter(name).grad for layer in untied.layers), atol=1e-12)


@every_engine
@pytest.mark.parametrize(
    "options", [{"depth": "lstm", "peepholes": True, "proj_size": 1}, {"cell": "gru"}, {}], ids=str
)
def test_a_shared_grid_is_one_whose_dimensions_have_equal_weights(engine: str, options: dict[str, Any]) -> None:
    shared = GridLSTM(3, 2, shared=True, engine=engine, **options).double()
    apart = GridLSTM(3, 2, engine=engine, **options).double()
    if shared.options.recurrent_depth:
        apart.input_projection.load_state_dict(shared.input_projection.state_dict())
    for name, parameter in apart.layers[0].named_parameters():
        given = shared.layers[0].get_parameter(name).data
        times = parameter.shape[1] // given.shape[1]
        parameter.data = given.repeat(1, times, *[1] * (given.dim() - 2))
    x = torch.randn(2, 3, 2, 3, **DOUBLE)
    same(shared(x), apart(x))


@every_engine
@pytest.mark.parametrize("peepholes", [False, True])
def test_coupled_gates_are_an_lstm_whose_input_gate_is_the_negative_forget_gate(engine: str, peepholes: bool) -> None:
    """1 - sigmoid(x) = sigmoid(-x)."""
    coupled = GridLSTM(3, 2, coupled=True, peepholes=peepholes, bidirectional=True, engine=engine).double()
    usual = GridLSTM(3, 2, peepholes=peepholes, bidirectional=True, engine=engine).double()
    for name, parameter in usual.layers[0].named_parameters():
        given = coupled.layers[0].get_parameter(name).data
        blocks = given.view(4, 2, 2 if name == "peephole" else 3, 2, *given.shape[2:])
        parameter.data = torch.cat([-blocks[:, :, :1], blocks], dim=2).reshape(parameter.shape)
    x = torch.randn(2, 4, 3, 3, **DOUBLE)
    same(coupled(x), usual(x))


@every_engine
@pytest.mark.parametrize("output_gate", ["outside", "inside"])
def test_a_cell_with_peepholes_and_a_clip_written_out(engine: str, output_gate: str) -> None:
    """With peepholes as its only weights, a memory of one unit (Gers and Schmidhuber 2000)."""
    clip, m = 0.7, 0.1
    grid = GridLSTM(1, 1, axes=1, peepholes=True, cell_clip=clip, output_gate=output_gate, engine=engine).double()
    layer = grid.layers[0]
    with torch.no_grad():
        layer.weight_ih.zero_(), layer.weight_hh.zero_()
        layer.bias[0] = torch.tensor([0.1, 2.0, 0.3, 0.4])
        layer.peephole[0] = p_i, p_f, p_o = torch.tensor([2.0, -0.5, 3.0])
    state = torch.zeros(1, 1, 1, 1, **DOUBLE), torch.full((1, 1, 1, 1), m, **DOUBLE)
    output, left = grid(torch.zeros(1, 6, 1, **DOUBLE), None, state)
    clipped = []
    for hidden in output.flatten().tolist():
        i, f = torch.sigmoid(0.1 + p_i * m), torch.sigmoid(2.0 + p_f * m)
        memory = float(f) * m + float(i) * math.tanh(0.3)
        clipped.append(memory > clip)
        m = min(memory, clip)
        o = 1 / (1 + math.exp(-(0.4 + float(p_o) * m)))
        assert hidden == pytest.approx(o * math.tanh(m) if output_gate == "outside" else math.tanh(o * m), abs=1e-6)
    assert left.memory.item() == pytest.approx(m, abs=1e-6)
    assert any(clipped)
    assert not all(clipped)


@every_engine
def test_a_clip_bounds_the_memory_on_both_sides_and_stops_the_gradient_there(engine: str) -> None:
    """With open gates and a candidate of g, the memory is the sum of what came in, until the clip."""
    grid = GridLSTM(1, 1, axes=1, cell_clip=2.5, engine=engine).double()
    layer = grid.layers[0]
    with torch.no_grad():
        layer.weight_hh.zero_(), layer.weight_ih.zero_()
        layer.weight_ih[0, 2] = 1.0
        layer.bias[0] = torch.tensor([50.0, 50.0, 0.0, 50.0])
    for sign in (1.0, -1.0):
        x = torch.full((1, 5, 1), sign * 50, **DOUBLE)
        memories = [grid(x[:, :steps])[1].memory.item() for steps in range(1, 6)]
        assert memories == pytest.approx([sign * m for m in (1.0, 2.0, 2.5, 2.5, 2.5)])
    x = torch.full((1, 5, 1), 0.1, **DOUBLE, requires_grad=True)
    for steps, factor in ((5, 1.0), (1, 0.0)):
        initial = torch.full((1, 1, 1, 1), 2.0 if factor else 2.45, **DOUBLE, requires_grad=True)
        memory = grid(x[:, :steps], None, (torch.zeros_like(initial), initial))[1].memory
        expected = min(2.5, initial.item() + steps * math.tanh(0.1))
        assert memory.item() == pytest.approx(expected)
        assert torch.autograd.grad(memory, initial)[0].item() == pytest.approx(factor)


@every_engine
@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
@pytest.mark.parametrize("bands", [2, 3])
def test_bands_with_equal_weights_equal_no_bands(engine: str, kind: type[nn.Module], bands: int) -> None:
    lengths = torch.tensor([4, 3])
    options = {"bidirectional": True, "engine": engine}
    plain, banded = kind(3, 2, 2, **options).double(), kind(3, 2, 2, bands=bands, **options).double()
    for name, parameter in banded.named_parameters():
        parameter.data = plain.get_parameter(name).data.repeat_interleave(bands, dim=0)
    x = torch.randn(2, 4, 5, 3, **DOUBLE)
    same(banded(x, lengths), plain(x, lengths))


@every_engine
@pytest.mark.parametrize("backward", [False, True])
def test_each_band_has_the_cells_that_the_rule_gives_it(engine: str, backward: bool) -> None:
    """Cell f of an extent F is of band f * K // F, in natural coordinates."""
    bands, extent = 3, 7
    grid = GridLSTM(1, 1, bands=bands, bidirectional=[False, backward], engine=engine).double()
    layer = grid.layers[0]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        candidates = layer.bias.view(-1, bands, 2, 4)[..., 2]
        candidates.copy_(torch.arange(1.0, bands + 1, **DOUBLE).view(1, bands, 1) * 0.1)
        layer.bias.view(-1, bands, 2, 4)[..., 1] = -50.0  # forget
    output, _ = grid(torch.zeros(2, 2, extent, 1, **DOUBLE), torch.tensor([2, 1]))
    for utterance, frames in enumerate((2, 1)):
        for f in range(extent):
            found = output[utterance, :frames, f]
            g = math.tanh(0.1 * (f * bands // extent + 1))
            same(found, torch.full_like(found, 0.5 * math.tanh(0.5 * g)), atol=1e-12)


def lstm_equations(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, dim=-1)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(memory), memory


@every_engine
@pytest.mark.parametrize("priority", [[0], [1], [0, 1], [1, 0], ["depth"], [0, "depth"], ["depth", 1], [1, "depth", 0]])
def test_dimensions_with_priority_see_what_was_sent_before_them(engine: str, priority: list[Any]) -> None:
    """Section 3.2 of the paper, written out for cells with a predecessor along each axis."""
    size = 2
    grid = GridLSTM(3, size, depth="lstm", priority=priority, engine=engine).double()
    layer = grid.layers[0]
    x = torch.randn(1, 2, 2, 3, **DOUBLE)
    depth_hidden, depth_memory = grid.input_projection(x)[0].split(size, dim=-1)
    output, _ = grid(x)
    zero = torch.zeros(size, **DOUBLE)
    sent: dict[tuple[int, int], list[Any]] = {}
    for t, f in itertools.product(range(2), range(2)):
        nothing = [(zero, zero)] * 2
        pairs = [
            sent.get((t - 1, f), nothing)[0],
            sent.get((t, f - 1), nothing)[1],
            (depth_hidden[t, f], depth_memory[t, f]),
        ]
        hidden, memory = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        last = [2 if dimension == "depth" else dimension for dimension in priority]
        groups = [[n for n in range(3) if n not in last], *([n] for n in last)]
        for group in groups:
            computed = {}
            for n in group:
                rows = slice(8 * n, 8 * n + 8)
                gates = layer.weight_hh[0, rows] @ torch.cat(hidden[:2])
                gates = gates + layer.weight_ih[0, rows] @ hidden[2] + layer.bias[0, rows]
                computed[n] = lstm_equations(gates, memory[n])
            for n, (h, m) in computed.items():
                hidden[n], memory[n] = h, m
        sent[t, f] = list(zip(hidden, memory, strict=True))
        same(output[0, t, f], hidden[2])


@every_engine
def test_one_recurrent_dropout_mask_holds_for_the_whole_scan_of_an_utterance(engine: str) -> None:
    """A cell that passes on its own hidden vector alone: what the mask dropped once stays dropped, all else is kept."""
    size, kept = 200, 0.75
    grid = GridLSTM(1, size, axes=1, cell="rnn", recurrent_dropout=1 - kept, bidirectional=True, engine=engine).double()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.zero_()
        grid.layers[0].weight_hh.copy_(torch.eye(size))
    state = torch.ones(1, 2, 3, size, **DOUBLE), None
    _, left = grid(torch.zeros(3, 4, 1, **DOUBLE), None, state)
    value = 1.0
    for _ in range(4):
        value = math.tanh(value / kept)
    found = left.hidden[0]
    alive = found != 0
    same(found[alive], torch.full_like(found[alive], value))
    assert alive.double().mean().item() == pytest.approx(kept, abs=0.06)
    masks = alive.flatten(0, 1)
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks)
    grid.eval()
    same(
        grid(torch.zeros(3, 1, 1, **DOUBLE), None, state)[1].hidden,
        torch.full((1, 2, 3, size), math.tanh(1.0), **DOUBLE),
    )
