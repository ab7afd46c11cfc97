"""Every engine computes what the definition says: values and gradients, for every option, in float64."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.grid import GridLSTM, MultidimensionalLSTM
from asr.grid.engines import ENGINES, choose_engine

FAST_ENGINES = sorted(set(ENGINES) - {"definition"})
BIDIRECTIONAL = [False, True, [True, False], [False, True]]
GRIDS: list[dict[str, Any]] = [
    {"depth": depth, "depth_priority": priority, "output_gate": gate, "bidirectional": bidirectional}
    for depth, priority, gate, bidirectional in itertools.product(
        ("lstm", "none"), (False, True), ("outside", "inside"), BIDIRECTIONAL
    )
    if depth == "lstm" or not priority
]
GRIDS += [
    {"merge": "sum", "bidirectional": True, "depth": "lstm"},
    {"merge": "sum", "bidirectional": True},
    {"bias": False, "bidirectional": [True, False], "depth": "lstm"},
    {"layer_norm": True, "bidirectional": True, "num_layers": 3},
    {"layer_norm": True, "depth": "lstm", "num_layers": 3},
    {"forget_bias": 2.0, "depth": "lstm"},
]
MULTIDIMENSIONAL: list[dict[str, Any]] = [
    {"cell": cell, "bidirectional": bidirectional}
    for cell, bidirectional in itertools.product(("stable", "sum"), BIDIRECTIONAL)
]
MULTIDIMENSIONAL += [{"merge": "sum", "bidirectional": True}, {"bias": False}, {"layer_norm": True, "forget_bias": 1.0}]


def values_and_gradients(module: nn.Module, engine: str, x: Tensor, lengths: Tensor, direction: Tensor) -> list[Tensor]:
    module.engine = engine
    module.zero_grad()
    x = x.clone().requires_grad_()
    output = module(x, lengths)
    (output * direction).sum().backward()
    return [output.detach(), x.grad, *(p.grad for p in module.parameters())]


def assert_engines_agree(module: nn.Module, engine: str, x: Tensor, lengths: Tensor) -> None:
    direction = torch.randn(*x.shape[:-1], module.output_size, dtype=x.dtype)
    expected = values_and_gradients(module, "definition", x, lengths, direction)
    found = values_and_gradients(module, engine, x, lengths, direction)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", FAST_ENGINES)
@pytest.mark.parametrize("options", GRIDS, ids=str)
def test_grid_equals_the_definition(engine: str, options: dict[str, Any]) -> None:
    module = GridLSTM(3, 2, **{"num_layers": 2, **options}).double()
    x = torch.randn(3, 4, 3, 3, dtype=torch.float64)
    assert_engines_agree(module, engine, x, torch.tensor([[4, 3], [2, 1], [3, 2]]))


@pytest.mark.parametrize("engine", FAST_ENGINES)
@pytest.mark.parametrize("options", MULTIDIMENSIONAL, ids=str)
def test_multidimensional_equals_the_definition(engine: str, options: dict[str, Any]) -> None:
    module = MultidimensionalLSTM(3, 2, **{"num_layers": 2, **options}).double()
    x = torch.randn(3, 4, 3, 3, dtype=torch.float64)
    assert_engines_agree(module, engine, x, torch.tensor([[4, 3], [2, 1], [3, 2]]))


@pytest.mark.parametrize("engine", FAST_ENGINES)
@pytest.mark.parametrize("extents", [(4,), (1, 1), (1, 4), (4, 1), (2, 3, 2)])
def test_any_number_of_axes_and_any_extents_equal_the_definition(engine: str, extents: tuple[int, ...]) -> None:
    axes = len(extents)
    x = torch.randn(2, *extents, 3, dtype=torch.float64)
    lengths = torch.tensor([list(extents), [max(1, extent - 1) for extent in extents]])
    for module in (
        GridLSTM(3, 2, 2, axes=axes, depth="lstm", bidirectional=True),
        GridLSTM(3, 2, 2, axes=axes),
        MultidimensionalLSTM(3, 2, 2, axes=axes, bidirectional=True),
        MultidimensionalLSTM(3, 2, 2, axes=axes, cell="sum"),
    ):
        assert_engines_agree(module.double(), engine, x, lengths)


@pytest.mark.parametrize("engine", FAST_ENGINES)
@pytest.mark.parametrize(
    "module",
    [
        GridLSTM(2, 2, bidirectional=[True, False]),
        GridLSTM(2, 2, depth="lstm", num_layers=2),
        GridLSTM(2, 1, depth="lstm", depth_priority=True, output_gate="inside"),
        MultidimensionalLSTM(2, 2, cell="stable"),
        MultidimensionalLSTM(2, 2, cell="sum"),
    ],
    ids=str,
)
def test_gradients_equal_finite_differences(engine: str, module: nn.Module) -> None:
    module.double().engine = engine
    names, parameters = zip(*module.named_parameters(), strict=True)
    lengths = torch.tensor([[3, 2], [2, 2]])

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x, lengths))

    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_without_gradients_the_values_are_the_same(engine: str) -> None:
    for module in (GridLSTM(3, 4, 2, depth="lstm", bidirectional=True, engine=engine), MultidimensionalLSTM(3, 4)):
        x = torch.randn(2, 3, 2, 3)
        recorded = module(x)
        with torch.no_grad():
            assert module(x).equal(recorded)


@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_gradient_of_the_input_alone_and_of_the_weights_alone(engine: str) -> None:
    module = GridLSTM(3, 2, depth="lstm", engine=engine).double()
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    wanted_x, *wanted = torch.autograd.grad(module(x).sum(), (x, *module.parameters()))
    torch.testing.assert_close(torch.autograd.grad(module(x.detach()).sum(), list(module.parameters())), tuple(wanted))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(module(x).sum(), x)[0], wanted_x)


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="engine must be 'auto' or one of .*'wavefront'.*, got 'warp'"):
        choose_engine("warp")
