"""torch.compile of a module: the same values and gradients, the C++ kernel in one graph, the wavefront not unrolled."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.grid import GridLSTM, MultidimensionalLSTM
from asr.grid.engines import ENGINES
from asr.grid.options import GridOptions

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
"""torch hides it by itself, but not where warnings are errors."""
BACKEND = "aot_eager"
"""Traces forward and backward passes as the default does, and generates no code."""
CPU_REFUSED = ENGINES["cpu"].refusal(GridOptions(2, 8), torch.device("cpu"), torch.float32)
needs_kernel = pytest.mark.skipif(CPU_REFUSED is not None, reason="the kernel is not there")
OPTIONS: list[dict[str, Any]] = [{}, {"depth": "lstm", "num_layers": 2, "bidirectional": True, "layer_norm": True}]


@pytest.fixture(autouse=True)
def _afresh() -> None:
    torch.compiler.reset()


def values_and_gradients(run: Callable[..., Any], module: nn.Module, x: Tensor, *others: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    output, (hidden, memory) = run(x, *others)
    total = output.square().sum() + hidden.sum() + memory.square().sum()
    return [output, hidden, memory, *torch.autograd.grad(total, [x, *module.parameters()])]


def assert_compiled_is_the_same(module: nn.Module, *arguments: Any, **options: Any) -> None:
    compiled = torch.compile(module, backend=BACKEND, **options)
    found = values_and_gradients(compiled, module, *arguments)
    torch.testing.assert_close(found, values_and_gradients(module, module, *arguments))


@needs_kernel
@pytest.mark.parametrize("engine", ["cpu", "auto"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_module_on_the_kernel_is_one_graph_and_computes_the_same(engine: str, options: dict[str, Any]) -> None:
    module = GridLSTM(3, 4, engine=engine, **options)
    assert_compiled_is_the_same(module, torch.randn(2, 5, 3, 3), fullgraph=True)


@needs_kernel
def test_lengths_and_a_state_are_part_of_the_graph_and_lengths_are_checked() -> None:
    module = GridLSTM(3, 4, engine="cpu")
    x, lengths = torch.randn(2, 5, 3, 3), torch.tensor([5, 2])
    state = module(torch.randn(2, 4, 3, 3))[1]
    state = state[0].detach(), state[1].detach()
    assert_compiled_is_the_same(module, x, lengths, state, fullgraph=True)
    compiled = torch.compile(module, backend=BACKEND)
    for wrong in ([6, 2], [5, -1]):
        with pytest.raises(RuntimeError, match="lengths must be between 0 along the first axis, or 1, and the extent"):
            compiled(x, torch.tensor(wrong), state)
    with pytest.raises(ValueError, match=r"lengths must have shape \(2,\) or \(2, 2\), got \(3,\)"):
        compiled(x, torch.tensor([5, 2, 1]))


@needs_kernel
def test_autocast_around_a_compiled_module_rounds_its_products() -> None:
    module, x = GridLSTM(3, 4, engine="cpu"), torch.randn(2, 5, 3, 3)
    compiled = torch.compile(module, backend=BACKEND, fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = compiled(x)[0]
        torch.testing.assert_close(rounded, module(x)[0], rtol=0, atol=0)
    assert not rounded.equal(module(x)[0])


@pytest.mark.parametrize(
    ("options", "lengths"), [({}, None), (OPTIONS[1], [12, 7]), ({"depth": "tanh", "num_layers": 3}, [5, 12])], ids=str
)
def test_a_compiled_module_on_the_wavefront_computes_the_same(
    options: dict[str, Any], lengths: list[int] | None
) -> None:
    module = GridLSTM(3, 4, engine="wavefront", **options)
    assert_compiled_is_the_same(module, torch.randn(2, 12, 3, 3), lengths and torch.tensor(lengths))


def test_a_compiled_multidimensional_lstm_computes_the_same() -> None:
    assert_compiled_is_the_same(MultidimensionalLSTM(3, 4, bidirectional=True), torch.randn(2, 12, 3, 3))


@pytest.mark.parametrize("make", [GridLSTM, MultidimensionalLSTM])
def test_the_steps_of_a_wavefront_are_not_traced(make: Callable[..., nn.Module]) -> None:
    """The graphs have as many operations for long inputs as for short ones."""
    module = make(3, 4, engine="wavefront")
    counts = []
    for frames in (3, 30):
        traced: list[int] = []

        def count(graph: torch.fx.GraphModule, _: Any, seen: list[int] = traced) -> Callable[..., Any]:
            seen.append(len(graph.graph.nodes))
            return graph.forward

        torch.compiler.reset()
        torch.compile(module, backend=count)(torch.randn(1, frames, 3, 3))
        counts.append(sum(traced))
    assert counts[0] == counts[1]
