"""What is compared, each as a function without arguments that does the work once and returns when it is done."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from asr.bench.loops import PublicStyleGrid, cell_by_cell
from asr.bench.workload import Mode, Workload
from asr.grid import GridLSTM
from asr.grid.engines import ENGINES

LOOP = "loop"
PUBLIC_LOOP = "loop (public style)"
LSTM = "nn.LSTM"
FOLDED = "nn.LSTM B*F"
PRODUCTS = ("product of a step", "large product")
LARGE = (2048, 1024, 1024)
"""M, K, N of a product that is large enough for any machine to show what it can."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RefusedError(Exception):
    """A candidate cannot do what it was asked for; the message says why."""


class Setting(NamedTuple):
    """Where and how a candidate runs.

    Args:
        device: "cpu" or "cuda".
        dtype: a key of `DTYPES`.
        mode: "forward" or "training".
    """

    device: str
    dtype: str
    mode: Mode

    @property
    def type(self) -> torch.dtype:
        return DTYPES[self.dtype]


def build(name: str, workload: Workload, setting: Setting) -> Callable[[], object]:
    """The candidate of that name: an engine, a loop, `LSTM` or `FOLDED`. Weights and inputs are made here.

    Raises:
        RefusedError: an engine does not run on this machine or in this type.
    """
    if name in ENGINES:
        return engine(name, workload, setting)
    if name == LOOP:
        return loop(workload, setting)
    if name == PUBLIC_LOOP:
        return public_loop(workload, setting)
    h = workload.equal_lstm_size
    batch, size = {
        LSTM: (workload.batch, (h, h)),
        FOLDED: (workload.batch * workload.frequency, (workload.input_size, workload.hidden_size)),
    }[name]
    module = nn.LSTM(*size).to(setting.device, setting.type)
    inputs = _inputs((workload.time, batch, size[0]), setting)
    return _run(lambda: module(inputs)[0], [inputs, *module.parameters()], setting)


def engine(name: str, workload: Workload, setting: Setting) -> Callable[[], object]:
    """`asr.grid.GridLSTM` by one of its engines. In half precision: under autocast, its parameters in float32.

    Raises:
        RefusedError: see `build`. An engine that would compute in float32 instead is refused as well.
    """
    try:
        grid = GridLSTM(workload.input_size, workload.hidden_size, engine=name).to(setting.device)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    half = setting.type != torch.float32

    def forward(inputs: Tensor, autocast: bool = half) -> Tensor:
        with torch.autocast(setting.device, setting.type, enabled=autocast):
            output: Tensor = grid(inputs)[0]
        return output

    inputs = _inputs((workload.batch, workload.time, workload.frequency, workload.input_size), setting)
    probe = inputs.detach()[:1, :2, :2]
    try:
        rounded = forward(probe)
    except (ValueError, RuntimeError, ImportError) as error:
        raise RefusedError(str(error).partition("\n")[0]) from error
    if half and torch.equal(rounded.float(), forward(probe.float(), autocast=False)):
        raise RefusedError("under autocast it computes as without, in float32")
    return _run(lambda: forward(inputs), [inputs, *grid.parameters()], setting)


def loop(workload: Workload, setting: Setting) -> Callable[[], object]:
    """The definition's loop over cells, as fast as plain PyTorch allows: see `asr.bench.loops.cell_by_cell`."""
    rows = workload.input_size + 2 * workload.hidden_size
    gates = 8 * workload.hidden_size
    options: Any = {"device": setting.device, "dtype": setting.type}
    inputs = _inputs((workload.batch, workload.time, workload.frequency, workload.input_size), setting)
    weight = (torch.randn(rows, gates, **options) / rows**0.5).requires_grad_()
    bias = torch.zeros(gates, **options, requires_grad=True)
    return _run(lambda: cell_by_cell(inputs, weight, bias), [inputs, weight, bias], setting)


def public_loop(workload: Workload, setting: Setting) -> Callable[[], object]:
    """The same loop as other implementations have it: see `asr.bench.loops.PublicStyleGrid`."""
    module = PublicStyleGrid(workload.input_size, workload.hidden_size).to(setting.device, setting.type)
    inputs = _inputs((workload.batch, workload.time, workload.frequency, workload.input_size), setting)
    return _run(lambda: module(inputs), [inputs, *module.parameters()], setting)


def products(workload: Workload, setting: Setting) -> dict[str, tuple[int, Callable[[], object]]]:
    """Plain matrix products, the limit of everything else: name -> (FLOPs, call).

    The product of one full anti-diagonal, and a large one; by torch.mm and, where there is one, by oneDNN's linear.
    """
    step = (workload.step_rows, workload.input_size + 2 * workload.hidden_size, 8 * workload.hidden_size)
    found: dict[str, tuple[int, Callable[[], object]]] = {}
    for name, (m, k, n) in zip(PRODUCTS, (step, LARGE), strict=True):
        left = torch.randn(m, k, device=setting.device, dtype=setting.type)
        right = torch.randn(n, k, device=setting.device, dtype=setting.type)
        flops = 2 * m * k * n
        found[f"{name}, torch.mm"] = flops, _done(_product(left, right.T.contiguous()), setting)
        linear = _onednn_linear(left, right)
        if setting.device == "cpu" and linear is not None:
            found[f"{name}, oneDNN"] = flops, linear
    return found


def _product(left: Tensor, right: Tensor) -> Callable[[], object]:
    return lambda: torch.mm(left, right)


def _onednn_linear(left: Tensor, right: Tensor) -> Callable[[], object] | None:
    """oneDNN's linear, which torch does not promise to keep; None where it is missing."""
    try:
        linear = torch.ops.mkldnn._linear_pointwise
        linear(left, right, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda: linear(left, right, None, "none", [], "")


def _inputs(shape: Sequence[int], setting: Setting) -> Tensor:
    inputs = torch.randn(*shape, device=setting.device).to(setting.type)
    return inputs.requires_grad_(setting.mode == "training")


def _run(forward: Callable[[], Tensor], leaves: Sequence[Tensor], setting: Setting) -> Callable[[], object]:
    """Forward alone, or with the gradients of the input and all parameters."""
    if setting.mode == "forward":

        def call() -> object:
            with torch.no_grad():
                return forward()

    else:

        def call() -> object:
            output = forward()
            return torch.autograd.grad(output, leaves, torch.ones_like(output))

    return _done(call, setting)


def _done(call: Callable[[], object], setting: Setting) -> Callable[[], object]:
    """Wait for the device, whose work runs behind the calls that ask for it."""
    if setting.device != "cuda":
        return call

    def waited() -> object:
        result = call()
        torch.cuda.synchronize()
        return result

    return waited
