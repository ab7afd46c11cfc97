"""Candidates compute what they are said to compute, and refuse what they cannot."""

import pytest
import torch
from torch import nn

from asr.bench import candidates
from asr.bench.candidates import FOLDED, LOOP, LSTM, PUBLIC_LOOP, RefusedError, Setting, build
from asr.bench.loops import PublicStyleGrid, cell_by_cell
from asr.bench.workload import Workload
from asr.grid import GridLSTM

SMALL = Workload(2, 4, 3, 5, 6)
FORWARD, TRAINING = Setting("cpu", "float32", "forward"), Setting("cpu", "float32", "training")


def as_the_loop_has_them(rows: torch.Tensor) -> torch.Tensor:
    """Rows by axis, each with i, f, g, o -> by gate in the order i, f, o, g, each of both axes."""
    size = SMALL.hidden_size
    by_axis = rows.unflatten(0, (2, 4, size))
    return by_axis[:, [0, 1, 3, 2]].transpose(0, 1).flatten(0, 2)


def test_the_loop_computes_the_grid_lstm_of_the_definition():
    b, t, f, i, h = vars(SMALL).values()
    grid = GridLSTM(i, h, engine="definition")
    inputs = torch.randn(b, t, f, i)
    weight_ih, weight_hh, bias = (parameter[0] for parameter in grid.layers[0].parameters())
    weight = as_the_loop_has_them(torch.cat([weight_ih, weight_hh], dim=1)).T
    expected = grid(inputs)[0]
    torch.testing.assert_close(cell_by_cell(inputs, weight, as_the_loop_has_them(bias)), expected)


def test_the_loop_in_public_style_computes_the_grid_lstm_of_the_definition_and_its_gradients():
    b, t, f, i, h = vars(SMALL).values()
    grid, public = GridLSTM(i, h, engine="definition"), PublicStyleGrid(i, h)
    weight_ih, weight_hh, bias = (parameter[0].detach() for parameter in grid.layers[0].parameters())
    for rows, linear in zip(torch.cat([weight_ih, weight_hh], dim=1).chunk(2), public.axes, strict=True):
        linear.weight.data = rows
    for rows, linear in zip(bias.chunk(2), public.axes, strict=True):
        linear.bias.data = rows
    x = torch.randn(b, t, f, i, requires_grad=True)
    output, expected = public(x), grid(x)[0]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(
        torch.autograd.grad(output.square().sum(), x), torch.autograd.grad(expected.square().sum(), x)
    )


@pytest.mark.parametrize("name", ["wavefront", "definition", LOOP, PUBLIC_LOOP])
def test_a_grid_returns_both_hidden_vectors_of_every_cell(name):
    assert build(name, SMALL, FORWARD)().shape == (2, 4, 3, 2 * 6)


def test_the_references_run_over_time_with_the_sizes_of_the_definition():
    assert build(LSTM, SMALL, FORWARD)().shape == (4, 2, SMALL.equal_lstm_size)
    assert build(FOLDED, SMALL, FORWARD)().shape == (4, 2 * 3, 6)


@pytest.mark.parametrize("name", ["wavefront", LOOP, PUBLIC_LOOP, LSTM, FOLDED])
def test_training_computes_gradients_of_the_input_and_every_parameter(name):
    gradients = build(name, SMALL, TRAINING)()
    numbers = sum(gradient.numel() for gradient in gradients[1:])
    if name in (LSTM, FOLDED):
        h = SMALL.equal_lstm_size
        module = nn.LSTM(h, h) if name == LSTM else nn.LSTM(5, 6)
        assert numbers == sum(parameter.numel() for parameter in module.parameters())
    else:
        assert gradients[0].shape == (2, 4, 3, 5)
        assert numbers == sum(parameter.numel() for parameter in GridLSTM(5, 6).parameters())
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_the_forward_pass_records_nothing():
    assert not build("wavefront", SMALL, FORWARD)().requires_grad


def test_an_engine_that_refuses_at_once_is_refused_with_its_reason(monkeypatch):
    def refusing(*arguments, **options):
        raise ValueError("engine 'cpu' needs a compiler")

    monkeypatch.setattr(candidates, "GridLSTM", refusing)
    with pytest.raises(RefusedError, match="needs a compiler"):
        build("wavefront", SMALL, FORWARD)


def test_an_engine_that_refuses_when_it_runs_is_refused_with_the_first_line_of_its_reason(monkeypatch):
    class Refusing(nn.Module):
        def __init__(self, *arguments, **options):
            super().__init__()

        def forward(self, inputs):
            raise RuntimeError("no such kernel\nand a long story")

    monkeypatch.setattr(candidates, "GridLSTM", Refusing)
    with pytest.raises(RefusedError, match="^no such kernel$"):
        build("wavefront", SMALL, FORWARD)


def test_an_engine_that_would_compute_in_float32_where_half_precision_was_asked_for_is_refused(monkeypatch):
    class InFloat32(nn.Identity):
        def forward(self, inputs):
            return inputs.float(), None

    monkeypatch.setattr(candidates, "GridLSTM", lambda *arguments, **options: InFloat32())
    with pytest.raises(RefusedError, match="as without, in float32"):
        build("wavefront", SMALL, Setting("cpu", "bfloat16", "forward"))


def test_an_engine_whose_products_are_rounded_under_autocast_is_measured_in_half_precision(monkeypatch):
    class Rounding(nn.Linear):
        def forward(self, inputs):
            with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu")):
                return super().forward(inputs if torch.is_autocast_enabled("cpu") else inputs.float()).float(), None

    monkeypatch.setattr(candidates, "GridLSTM", lambda *arguments, **options: Rounding(5, 6))
    assert build("wavefront", SMALL, Setting("cpu", "bfloat16", "forward"))().shape == (2, 4, 3, 6)


def test_products_have_the_flops_of_their_shapes():
    found = candidates.products(SMALL, FORWARD)
    steps = [flops for name, (flops, _) in found.items() if name.startswith("product of a step")]
    assert set(steps) == {2 * (2 * 3) * (5 + 2 * 6) * (8 * 6)}
    m, n = 2 * 3, 8 * 6
    assert all(call().shape == (m, n) for name, (_, call) in found.items() if name.startswith("product of a step"))
