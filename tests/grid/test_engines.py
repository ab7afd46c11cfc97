"""Every engine computes what the definition says: values and gradients, for every option, in float64."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from asr.grid import GridLSTM, GridState, MultidimensionalLSTM
from asr.grid.cells import GridCell
from asr.grid.definition import Definition
from asr.grid.engines import ENGINES, choose_engine
from asr.grid.options import GridOptions, Options
from asr.grid.recurrence import transform
from asr.grid.wavefront import Wavefront

CPU = torch.device("cpu")
HERE = [name for name in ENGINES if ENGINES[name].refusal(GridOptions(2, 8), CPU, torch.float32) is None]
FAST_ENGINES = sorted(set(HERE) - {"definition"})
LENGTHS = torch.tensor([[3, 2], [2, 3]])
LENGTHS_OF_BANDS = torch.tensor([[3, 3], [2, 3]])
EVERYTHING = {"peepholes": True, "coupled": True, "cell_clip": 0.3, "proj_size": 1, "output_gate": "inside"}
GRIDS: list[dict[str, Any]] = [
    {},
    {"depth": "lstm"},
    {"depth": "lstm", "output_gate": "inside", "forget_bias": 2.0},
    {"depth": "lstm", "priority": ["depth"]},
    {"depth": "lstm", "priority": ["depth"], "output_gate": "inside"},
    {"depth": "lstm", "merge": "sum"},
    {"depth": "lstm", "merge": "sum", "priority": [0]},
    {"depth": "lstm", "merge": "sum", "priority": ["depth", 1]},
    {"depth": "lstm", "merge": "sum", "priority": [1, 0], "shared": True},
    {"depth": "lstm", "bias": False},
    {"depth": "lstm", "tied": True, "layer_norm": True},
    {"depth": "relu"},
    {"depth": "identity", "output_gate": "inside"},
    {"depth": "tanh", "priority": ["depth"]},
    {"depth": "tanh", "shared": True, "bands": 2},
    {"depth": "identity", "cell": "gru"},
    {"priority": [1]},
    {"priority": [1, 0], "cell": "rnn"},
    {"merge": "sum", "layer_norm": True},
    {"cell": "rnn"},
    {"cell": "rnn", "depth": "tanh", "bands": 3},
    {"cell": "gru"},
    {"cell": "gru", "bias": False, "shared": True},
    {"cell": "gru", "depth": "gru"},
    {"cell": "gru", "depth": "gru", "merge": "sum", "tied": True, "priority": [0]},
    {"cell": "gru", "depth": "gru", "bands": 2, "recurrent_dropout": 0.5, "shared": True},
    {"shared": True},
    {"shared": True, "depth": "lstm", **EVERYTHING},
    {"peepholes": True},
    {"coupled": True, "forget_bias": 1.0},
    {"peepholes": True, "coupled": True, "bias": False},
    {"cell_clip": 0.1},
    {"output_gate": "inside"},
    {"proj_size": 1},
    {"proj_size": 1, "depth": "relu"},
    {"bands": 2},
    {"bands": 3, "depth": "lstm"},
    {"bands": 2, "depth": "lstm", "priority": ["depth"], "recurrent_dropout": 0.5, **EVERYTHING},
    {"recurrent_dropout": 0.5},
    {"recurrent_dropout": 0.5, "cell": "rnn"},
]
MULTIDIMENSIONAL: list[dict[str, Any]] = [
    {},
    {"cell": "sum"},
    {"merge": "sum"},
    {"bias": False},
    {"layer_norm": True, "forget_bias": 1.0},
    {"bands": 2},
    {"bands": 3, "cell": "sum"},
    {"peepholes": True},
    {"peepholes": True, "cell": "sum"},
    {"output_gate": "inside"},
    {"cell_clip": 0.1},
    {"proj_size": 1},
    {"recurrent_dropout": 0.5},
    {"coupled": True, "forget_bias": 1.0},
    {**EVERYTHING},
    {**EVERYTHING, "cell": "sum", "coupled": False, "bands": 2, "recurrent_dropout": 0.5},
]
MODULES = [(GridLSTM, options) for options in GRIDS] + [(MultidimensionalLSTM, options) for options in MULTIDIMENSIONAL]
every_module = pytest.mark.parametrize(("kind", "options"), MODULES, ids=str)
every_fast_engine = pytest.mark.parametrize("engine", FAST_ENGINES)


def random_state(module: nn.Module, batch: int, rest: Sequence[int]) -> GridState:
    options = module.options
    grid = isinstance(options, GridOptions)
    width, size = options.width, options.memory_size if grid else options.hidden_size
    leading = (module.num_layers, len(module.directions), batch, *rest)
    hidden, memory = (torch.randn(*leading, features, dtype=torch.float64) for features in (width, size))
    return GridState(hidden, memory if size else None)


def tensors(state: GridState | None) -> list[Tensor]:
    return [tensor for tensor in state or () if tensor is not None]


def values_and_gradients(
    module: nn.Module, engine: str, x: Tensor, lengths: Tensor | None, state: GridState | None
) -> list[Tensor]:
    """Output and state that leaves, and what their random weighted sum has as gradients."""
    module.engine = engine
    module.zero_grad()
    torch.manual_seed(1)  # of the sum and of dropout masks
    x = x.to(next(module.parameters()).dtype, copy=True).requires_grad_()
    if state is not None:
        state = GridState(*(None if tensor is None else tensor.clone().requires_grad_() for tensor in state))
    output, left = module(x, lengths, state)
    values = [output, *tensors(left)]
    sum((value * torch.randn(value.shape, dtype=torch.float64)).sum() for value in values).backward()
    inputs = [x, *tensors(state), *module.parameters()]
    return [value.detach().double() for value in values] + [tensor.grad.double().clone() for tensor in inputs]


TYPES = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 0.1}


def assert_engines_agree(
    module: nn.Module, engine: str, x: Tensor, lengths: Tensor | None, state: GridState | None = None
) -> None:
    """In every type that the engine computes in: bfloat16 of a float32 module under autocast, to its rounding."""
    expected = values_and_gradients(module, "definition", x, lengths, state)
    here = [dtype for dtype in TYPES if ENGINES[engine].refusal(module.options, x.device, dtype) is None]
    if not here:
        pytest.skip(f"engine {engine!r} refuses these options")
    for dtype in here:
        if dtype != torch.bfloat16:
            found = values_and_gradients(module.to(dtype), engine, x, lengths, state)
            torch.testing.assert_close(found, expected, rtol=TYPES[dtype], atol=TYPES[dtype])
        elif getattr(module.options, "cell_clip", None) is None:  # rounding decides what is clipped
            with torch.autocast(x.device.type, dtype):
                found = values_and_gradients(module.float(), engine, x, lengths, state)
            for value, exact in zip(found, expected, strict=True):
                assert (value - exact).norm() <= TYPES[dtype] * exact.norm() + 1e-3


@every_fast_engine
@every_module
@pytest.mark.parametrize("both_ways", [False, True])
def test_values_and_gradients_equal_the_definition(
    engine: str, kind: Callable[..., nn.Module], options: dict[str, Any], both_ways: bool
) -> None:
    if options.get("priority", ["depth"]) != ["depth"] and "depth" in options and both_ways:
        options = {**options, "bidirectional": [False, True]}
    module = kind(3, 2, **{"num_layers": 2, "bidirectional": both_ways, **options}).double()
    x = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    state = random_state(module, 2, [3]) if both_ways else None
    lengths = LENGTHS_OF_BANDS if module.options.bands > 1 else LENGTHS
    assert_engines_agree(module, engine, x, lengths, state)


@every_fast_engine
@pytest.mark.parametrize("extents", [(4,), (1, 1), (1, 4), (4, 1), (2, 3, 2)])
def test_any_number_of_axes_and_any_extents_equal_the_definition(engine: str, extents: tuple[int, ...]) -> None:
    axes = len(extents)
    x = torch.randn(2, *extents, 3, dtype=torch.float64)
    lengths = torch.tensor([list(extents), [max(1, extent - 1) for extent in extents]])
    for module in (
        GridLSTM(3, 2, 2, axes=axes, depth="lstm", bidirectional=True),
        GridLSTM(3, 2, 2, axes=axes, bidirectional=[True] + [False] * (axes - 1)),
        GridLSTM(3, 2, 1, axes=axes, cell="gru", recurrent_dropout=0.3, bidirectional=True),
        MultidimensionalLSTM(3, 2, 2, axes=axes, bidirectional=True),
        MultidimensionalLSTM(3, 2, 2, axes=axes, cell="sum"),
        MultidimensionalLSTM(3, 2, axes=axes, peepholes=True, proj_size=1, coupled=True),
        MultidimensionalLSTM(3, 2, axes=axes, peepholes=True, cell="sum"),
    ):
        assert_engines_agree(module.double(), engine, x, lengths, random_state(module, 2, extents[1:]))


@every_fast_engine
@pytest.mark.parametrize("extents", [(4, 5), (3, 2, 4)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_bands_of_unequal_sizes_equal_the_definition(
    engine: str, extents: tuple[int, ...], bidirectional: bool
) -> None:
    module = GridLSTM(3, 2, 2, axes=len(extents), bands=3, bidirectional=bidirectional, output_gate="inside").double()
    x = torch.randn(2, *extents, 3, dtype=torch.float64)
    lengths = torch.tensor([list(extents), [1, *extents[1:]]])
    assert_engines_agree(module, engine, x, lengths, random_state(module, 2, extents[1:]))


@every_fast_engine
@pytest.mark.parametrize(
    "options",
    [
        {"depth": "lstm"},
        {"depth": "lstm", "shared": True, "tied": True, **EVERYTHING},
        {"depth": "gru", "cell": "gru"},
        {"depth": "relu"},
        {"depth": "tanh", "cell": "rnn"},
    ],
    ids=str,
)
def test_without_axes_engines_equal_the_definition(engine: str, options: dict[str, Any]) -> None:
    module = GridLSTM(3, 2, 3, axes=0, **options).double()
    assert_engines_agree(module, engine, torch.randn(4, 3, dtype=torch.float64), None)


@every_module
def test_gradients_of_the_definition_equal_finite_differences(
    kind: Callable[..., nn.Module], options: dict[str, Any]
) -> None:
    module = kind(2, 2, bidirectional=[True, False], engine="definition", **options).double()
    names, parameters = zip(*module.named_parameters(), strict=True)
    lengths = torch.tensor([[2, 3 if module.options.bands > 1 else 2]])

    def run(x: Tensor, hidden: Tensor, memory: Tensor | None, *values: Tensor) -> list[Tensor]:
        torch.manual_seed(1)  # of dropout masks
        given = dict(zip(names, values, strict=True))
        output, left = torch.func.functional_call(module, given, (x, lengths, (hidden, memory)))
        return [output, *tensors(left)]

    entering = [None if tensor is None else tensor.requires_grad_() for tensor in random_state(module, 1, [3])]
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *entering, *parameters), fast_mode=True)


@pytest.mark.parametrize("engine", HERE)
def test_without_gradients_the_values_are_the_same(engine: str) -> None:
    for module in (GridLSTM(3, 4, 2, depth="lstm", bidirectional=True, engine=engine), MultidimensionalLSTM(3, 4)):
        x = torch.randn(2, 3, 2, 3)
        recorded, _ = module(x)
        with torch.no_grad():
            assert module(x)[0].equal(recorded)


@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_gradient_of_the_input_alone_and_of_the_weights_alone(engine: str) -> None:
    module = GridLSTM(3, 2, depth="lstm", engine=engine)
    x = torch.randn(2, 3, 2, 3, requires_grad=True)
    wanted_x, *wanted = torch.autograd.grad(module(x)[0].sum(), (x, *module.parameters()))
    torch.testing.assert_close(
        torch.autograd.grad(module(x.detach())[0].sum(), list(module.parameters())), tuple(wanted)
    )
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(module(x)[0].sum(), x)[0], wanted_x)


@every_fast_engine
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GridLSTM, {"hidden_size": 5}),
        (GridLSTM, {"hidden_size": 5, "recompute": True}),
        (GridLSTM, {"hidden_size": 17, "num_layers": 2, "bidirectional": True}),
        (GridLSTM, {"hidden_size": 16}),
        (GridLSTM, {"hidden_size": 5, "peepholes": True, "bands": 2}),
        (GridLSTM, {"hidden_size": 5, "cell": "gru", "bands": 2}),
        (GridLSTM, {"hidden_size": 5, "proj_size": 2, "bands": 3}),
        (MultidimensionalLSTM, {"hidden_size": 5, "bands": 2}),
    ],
    ids=str,
)
def test_an_infinite_input_saturates_gates_and_makes_no_nan(
    engine: str, kind: Callable[..., nn.Module], options: dict[str, Any]
) -> None:
    module = kind(3, **options)
    if ENGINES[engine].refusal(module.options, CPU, torch.float32):
        pytest.skip(f"engine {engine!r} refuses these options")
    x = torch.randn(2, 4, 3, 3)
    x[0, 1, 1, 2] = math.inf
    found = []
    for module.engine in (engine, "definition"):
        given = x.clone().requires_grad_()
        output, state = module(given)
        values = [output, *tensors(state)]
        (gradient,) = torch.autograd.grad(sum(value.sum() for value in values), given)
        found.append([*values, gradient])
    assert all(value.isfinite().all() for value in found[1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


HAND_WRITTEN = [
    (GridLSTM, {}),
    (GridLSTM, {"depth": "lstm"}),
    (GridLSTM, {"bands": 2}),
    (MultidimensionalLSTM, {}),
    (MultidimensionalLSTM, {"cell": "sum"}),
]
"""Cells whose gradient the wavefront computes without autograd."""


def penalised(module: nn.Module, x: Tensor) -> Tensor:
    """A loss with the gradient of the output in it."""
    output = module(x)[0]
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return output.square().mean() + slope.square().mean()


@pytest.mark.parametrize(("kind", "options"), HAND_WRITTEN)
def test_second_derivatives_of_the_definition_equal_finite_differences(
    kind: Callable[..., nn.Module], options: dict[str, Any]
) -> None:
    module = kind(2, 1, engine="definition", **options).double()
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = module.layers[0].weight_ih.detach().requires_grad_()

    def run(given: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"layers.0.weight_ih": weight}, (given,))[0]

    assert torch.autograd.gradgradcheck(run, (x, weight), fast_mode=True)


@pytest.mark.parametrize("engine", ["wavefront", "auto"])
@pytest.mark.parametrize(("kind", "options"), HAND_WRITTEN)
def test_the_wavefront_refuses_second_derivatives_in_the_place_of_dropping_them(
    kind: Callable[..., nn.Module], options: dict[str, Any], engine: str
) -> None:
    module = kind(3, 2, engine=engine, **options).double()  # which no native engine computes
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    message = "has no second derivative of these cells, .* create_graph=True .*; engine 'definition' has one"
    with pytest.raises(RuntimeError, match=message):
        penalised(module, x)
    with pytest.raises(RuntimeError, match=message):
        penalised(module.requires_grad_(False), x)


def test_the_wavefront_refuses_second_derivatives_of_the_depth_alone() -> None:
    cell = GridCell(1, 2)
    inputs = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    memory, weight = inputs[..., :2].detach(), torch.randn(1, 4, 8, dtype=torch.float64)
    hidden, _ = transform(inputs, memory, weight, cell)
    with pytest.raises(RuntimeError, match="has no second derivative of these cells"):
        torch.autograd.grad(hidden.sum(), inputs, create_graph=True)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("kind", "options"), HAND_WRITTEN)
def test_a_graph_that_is_kept_gives_the_wavefront_s_gradient_again(
    kind: Callable[..., nn.Module], options: dict[str, Any], recompute: bool
) -> None:
    module = kind(3, 2, 2, engine="wavefront", recompute=recompute, **options).double()
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    output = module(x)[0]
    output.sum().backward(retain_graph=True)
    once = x.grad.clone()
    output.sum().backward()
    torch.testing.assert_close(x.grad, 2 * once)


forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own


@forward_mode
def test_forward_mode_derivatives_of_the_definition_are_those_of_backward_mode() -> None:
    module, x = GridLSTM(3, 2, engine="definition").double(), torch.randn(1, 2, 2, 3, dtype=torch.float64)
    way = torch.randn_like(x)

    def run(given: Tensor) -> Tensor:
        return module(given)[0]

    _, found = torch.func.jvp(run, (x,), (way,))
    jacobian = torch.autograd.functional.jacobian(run, x)
    torch.testing.assert_close(found, (jacobian * way).flatten(4).sum(-1), rtol=1e-12, atol=1e-12)


@forward_mode
@pytest.mark.skipif("cpu" not in HERE, reason="the kernel is not there")
def test_the_kernel_refuses_forward_mode_derivatives_in_the_place_of_dropping_them() -> None:
    module, x = GridLSTM(3, 2, engine="cpu"), torch.randn(1, 2, 2, 3)

    def run(given: Tensor) -> Tensor:
        return module(given)[0]

    def with_weight(weight: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"layers.0.weight_hh": weight}, (x,))[0]

    weight = module.layers[0].weight_hh.detach()
    for function, given in ((run, x), (with_weight, weight)):
        with pytest.raises(NotImplementedError, match="have no forward-mode derivative; engine 'definition' has one"):
            torch.func.jvp(function, (given,), (torch.ones_like(given),))
        with pytest.raises(NotImplementedError, match="have no forward-mode derivative"):
            torch.func.jacfwd(function)(given)
        with pytest.raises(NotImplementedError, match="have no forward-mode derivative"), forward_ad.dual_level():
            function(forward_ad.make_dual(given, torch.ones_like(given)))
    with forward_ad.dual_level():
        assert run(x).equal(module(x)[0])  # nothing carries a tangent


def test_the_environment_names_another_engine_for_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_GRID_ENGINE", "definition")
    assert choose_engine("auto", GridOptions(2, 8), CPU, torch.float32) is Definition
    assert choose_engine("wavefront", GridOptions(2, 8), CPU, torch.float32) is Wavefront
    monkeypatch.setenv("ASR_GRID_ENGINE", "warp")
    with pytest.raises(ValueError, match="ASR_GRID_ENGINE must name 'auto' or one of .*, got 'warp'"):
        choose_engine("auto", GridOptions(2, 8), CPU, torch.float32)


def test_an_engine_that_the_environment_names_and_that_cannot_run_the_options_is_refused_with_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASR_GRID_ENGINE", "cpu")
    for module, reason in (
        (MultidimensionalLSTM(3, 2), "it has no multidimensional LSTM"),
        (GridLSTM(3, 2, cell="rnn"), "it has LSTM and GRU cells, not cell='rnn'"),
    ):
        with pytest.raises(ValueError, match=f"'cpu', which ASR_GRID_ENGINE names, cannot run this: {reason}"):
            module(torch.zeros(1, 2, 2, 3))


def test_auto_never_is_the_interpreter_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_engine("triton", GridOptions(2, 8), CPU, torch.float32) is ENGINES["triton"]
    assert choose_engine("auto", GridOptions(2, 8), CPU, torch.float32) is not ENGINES["triton"]


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="engine must be 'auto' or one of .*'wavefront'.*, got 'warp'"):
        GridLSTM(3, 2, engine="warp")
    with pytest.raises(ValueError, match="engine must be 'auto' or one of .*'wavefront'.*, got 'warp'"):
        choose_engine("warp", GridOptions(2, 3), CPU, torch.float32)


class Picky(Definition):
    """An engine that runs two axes alone."""

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        return None if options.axes == 2 else f"it takes 2 axes, got {options.axes}"


def test_auto_is_the_first_engine_that_does_not_refuse_and_says_once_why_others_did(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asr.grid.engines.ENGINES", {"picky": Picky, "wavefront": Wavefront})
    caplog.set_level("INFO", "asr.grid.engines")
    assert choose_engine("auto", GridOptions(2, 3), CPU, torch.float32) is Picky
    for _ in range(2):
        assert choose_engine("auto", GridOptions(3, 3), CPU, torch.float32) is Wavefront
    said = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert said == ["engine 'picky' is passed over: it takes 2 axes, got 3"]


def test_a_named_engine_that_cannot_run_the_options_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.grid.engines.ENGINES", {"picky": Picky})
    module, x = GridLSTM(3, 2, axes=1, engine="picky"), torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match="engine 'picky' cannot run this: it takes 2 axes, got 1"):
        module(x)


@pytest.mark.parametrize(
    ("engine", "options", "dtype", "reason"),
    [
        ("cpu", {}, torch.float64, "it computes in float32 or bfloat16, not in torch.float64"),
        ("cpu", {"cell": "rnn"}, torch.float32, "it has LSTM and GRU cells, not cell='rnn'"),
        ("cpu", {"cell": "gru", "depth": "gru"}, torch.float32, "it has no depth='gru'"),
        ("cpu", {"priority": [0]}, torch.float32, "it has no priority of axes"),
        ("triton", {}, torch.float32, "the Triton kernels run on CUDA devices, not on cpu"),
        ("triton", {"axes": 3}, torch.float32, "the Triton kernels scan 1 or 2 axes, not 3"),
    ],
)
def test_a_native_engine_that_was_named_says_what_it_does_not_have(
    engine: str, options: dict[str, Any], dtype: torch.dtype, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    module = GridLSTM(3, 2, engine=engine, **options).to(dtype)
    with pytest.raises(ValueError, match=f"engine '{engine}' cannot run this: {reason}"):
        module(torch.zeros(1, *[4] * module.options.axes, 3, dtype=dtype))


def test_recurrent_dropout_is_an_option_for_engines_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutDropout(Definition):
        @staticmethod
        def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
            assert isinstance(options, GridOptions)
            return "no masks" if options.recurrent_dropout else None

    monkeypatch.setattr("asr.grid.engines.ENGINES", {"strict": WithoutDropout})
    module, x = GridLSTM(3, 2, recurrent_dropout=0.5, engine="strict"), torch.zeros(1, 2, 2, 3)
    with pytest.raises(ValueError, match="no masks"):
        module(x)
    module.eval()(x)


@every_fast_engine
@pytest.mark.parametrize("options", [{}, {"depth": "lstm", "num_layers": 2}, {"recurrent_dropout": 0.5}], ids=str)
def test_recomputing_changes_no_value_and_no_gradient(engine: str, options: dict[str, Any]) -> None:
    module = GridLSTM(3, 4, bidirectional=True, engine=engine, **options)
    if ENGINES[engine].refusal(module.options, CPU, torch.float32):
        pytest.skip(f"engine {engine!r} refuses these options")
    x = torch.randn(2, 3, 3, 3)
    results = []
    for module.recompute in (False, True):
        results.append(values_and_gradients(module, engine, x, LENGTHS, None))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-7)


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """What is kept for the backward pass, besides parameters."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)[0].sum()
    return sum(kept.values())


@pytest.mark.parametrize("options", [{}, {"peepholes": True, "recurrent_dropout": 0.5}], ids=str)
def test_recomputing_a_multidimensional_lstm_changes_no_value_and_no_gradient(options: dict[str, Any]) -> None:
    module = MultidimensionalLSTM(3, 4, 2, bidirectional=True, **options)
    x = torch.randn(2, 3, 3, 3)
    results = []
    for module.recompute in (False, True):
        results.append(values_and_gradients(module, "wavefront", x, LENGTHS, None))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        *[(GridLSTM, engine) for engine in sorted({"cpu", "wavefront"} & set(ENGINES))],
        (MultidimensionalLSTM, "wavefront"),
    ],
)
def test_recomputing_keeps_less_than_half(kind: Callable[..., nn.Module], engine: str) -> None:
    module, x = kind(16, 16, 2, engine=engine), torch.randn(4, 16, 8, 16)
    kept = kept_bytes(module, x)
    module.recompute = True
    assert kept_bytes(module, x) < kept / 2


@pytest.mark.parametrize("options", [{}, {"depth": "lstm", "num_layers": 2, "layer_norm": True}], ids=str)
def test_under_autocast_the_kernel_multiplies_in_bfloat16_and_trains_to_the_same_loss(options: dict[str, Any]) -> None:
    """The input's sign is to be remembered to the last frame."""
    if ENGINES["cpu"].refusal(GridOptions(2, 8), CPU, torch.bfloat16):
        pytest.skip("the kernel is not there")
    losses = {}
    for enabled in (False, True):
        torch.manual_seed(0)
        module = GridLSTM(4, 8, bidirectional=True, engine="cpu", **options)
        head = nn.Linear(module.output_size, 1)
        optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], lr=0.02)
        for _ in range(60):
            sign = torch.randint(0, 2, (16, 1)).float()
            x = torch.randn(16, 6, 3, 4) / 4
            x[:, 0] += 2 * sign[:, :, None] - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                output = module(x)[0]
                assert output.dtype == torch.float32
                loss = nn.functional.binary_cross_entropy_with_logits(head(output[:, -1].mean(1)).float(), sign)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[enabled] = loss.item()
    assert losses[False] < 0.05
    assert losses[True] < 0.05
    assert losses[True] != losses[False]
