"""The Triton kernels compute what a loop over cells says: on a CUDA device, or without one in Triton's interpreter.

On a machine with a CUDA device, `pytest tests/grid/test_triton_scan.py` is the whole check.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from asr.grid import GridLSTM, triton_backward, triton_forward, triton_scan
from asr.grid.triton_plan import Plan, plan_for

ROOT = Path(__file__).parents[2]
INTERPRETED = triton_scan.interpreted()
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
ON_DEVICE = torch.cuda.is_available() and not INTERPRETED
needs_kernels = pytest.mark.skipif(not (INTERPRETED or ON_DEVICE), reason="no CUDA device, not in Triton's interpreter")


class Case(NamedTuple):
    """A scan; `lengths` are the extents of each utterance, the largest those of the grid."""

    lengths: tuple[tuple[int, ...], ...] = ((3, 2), (2, 1))
    directions: tuple[tuple[bool, ...], ...] = ((False, False),)
    hidden: int = 3
    inputs: int = 5
    bands: int = 1
    gate_inside: bool = False
    coupled: bool = False
    clip: float | None = None
    peepholes: bool = False
    state: bool = False

    @property
    def axes(self) -> int:
        return len(self.lengths[0])

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(max(extents) for extents in zip(*self.lengths, strict=True))

    @property
    def options(self) -> tuple[Any, ...]:
        return (list(self.directions), self.bands, self.gate_inside, self.coupled, self.clip)


FOUR = tuple(itertools.product((False, True), repeat=2))
ONE_AXIS = ((3,), (1,), (2,))
ALL: dict[str, Any] = {"peepholes": True, "state": True, "clip": 0.3}
CASES = [
    Case(directions=FOUR),
    Case(directions=FOUR[1:3], gate_inside=True, **ALL),
    Case(directions=FOUR[2:3], bands=2, **ALL),
    Case(((3, 3), (1, 2)), FOUR[1:2], bands=3, coupled=True, gate_inside=True, **ALL),
    Case(ONE_AXIS, ((False,), (True,)), **ALL),
    Case(ONE_AXIS, ((True,),), bands=2, coupled=True, **ALL),
    Case(((1, 1),), FOUR[3:], coupled=True, state=True),
    Case(((2, 2), (1, 2)), FOUR[3:], hidden=40, inputs=20),
]
if not INTERPRETED:  # which takes seconds a case
    LARGE = ((11, 7), (9, 7), (3, 4), (11, 5), (1, 1))
    CASES += [
        Case(lengths, directions, hidden, inputs=24, bands=bands, coupled=coupled, gate_inside=coupled, **options)
        for lengths, directions in ((LARGE, FOUR), (((30,), (17,)), ((False,), (True,))))
        for hidden in (16, 33, 64, 96, 130)
        for bands, coupled, options in ((1, False, {}), (1, True, ALL), (3, False, ALL))
    ]


def arguments(case: Case, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """Random inputs, weights, bias, peepholes and state, in float64 holding values of `dtype`."""
    axes, h, sets = case.axes, case.hidden, len(case.directions) * case.bands
    gates = 3 if case.coupled else 4
    rows, batch = axes * gates * h, len(case.lengths)
    state = (len(case.directions), batch, *case.extents[1:], h) if case.state else None
    shapes = [
        (batch, *case.extents, case.inputs),
        (sets, rows, case.inputs),
        (sets, rows, axes * h),
        (sets, rows),
        (sets, axes * (gates - 1) * h) if case.peepholes else None,
        state,
        state,
    ]
    scales = [1, case.inputs**-0.5, (axes * h) ** -0.5, 1, 1, 1, 1]
    return [
        None if shape is None else (torch.randn(shape) * scale).to(dtype).double()
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def by_cell(case: Case, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, *rest: Tensor | None) -> list[Tensor]:
    """Hidden (B, *extents, D, axes * H) and last memory (D, B, *extents[1:], H), one cell after the other."""
    peephole, hidden_0, memory_0 = rest
    axes, h = case.axes, case.hidden
    zero = x.new_zeros(h)
    output: dict[tuple[int, ...], Tensor] = {}
    last: dict[tuple[int, ...], Tensor] = {}
    for (b, lengths), (d, direction) in itertools.product(enumerate(case.lengths), enumerate(case.directions)):
        left: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for scanned in itertools.product(*map(range, lengths)):
            at = tuple(n - 1 - c if back else c for c, n, back in zip(scanned, lengths, direction, strict=True))
            s = d * case.bands + at[-1] * case.bands // case.extents[-1]
            arriving = []
            for axis in range(axes):
                before = tuple(c - (a == axis) for a, c in enumerate(scanned))
                if before in left:
                    arriving.append(left[before][axis])
                elif axis == 0 and hidden_0 is not None and memory_0 is not None:
                    arriving.append((hidden_0[(d, b, *at[1:])], memory_0[(d, b, *at[1:])]))
                else:
                    arriving.append((zero, zero))
            sums = w_ih[s] @ x[(b, *at)] + w_hh[s] @ torch.cat([hidden for hidden, _ in arriving]) + bias[s]
            diagonals = [None] * axes if peephole is None else peephole[s].chunk(axes)
            left[scanned] = [
                lstm(case, own, memory, diagonal)
                for own, (_, memory), diagonal in zip(sums.chunk(axes), arriving, diagonals, strict=True)
            ]
            output[(b, *at, d)] = torch.cat([hidden for hidden, _ in left[scanned]])
            if scanned[0] == lengths[0] - 1:
                last[(d, b, *at[1:])] = left[scanned][0][1]
    hidden = filled((len(case.lengths), *case.extents, len(case.directions)), output, x.new_zeros(axes * h))
    return [hidden, filled((len(case.directions), len(case.lengths), *case.extents[1:]), last, zero)]


def lstm(case: Case, sums: Tensor, memory: Tensor, diagonal: Tensor | None) -> tuple[Tensor, Tensor]:
    """One axis of a cell: (gates * H,), (H,) -> hidden and memory."""
    *opened, g, o = sums.view(-1, case.hidden).unbind()
    *seen, p_o = [torch.zeros_like(g)] * len(sums) if diagonal is None else diagonal.view(-1, case.hidden).unbind()
    *i, f = (torch.sigmoid(x + p * memory) for x, p in zip(opened, seen, strict=False))
    memory = f * memory + (1 - f if case.coupled else i[0]) * g.tanh()
    if case.clip is not None:
        memory = memory.clamp(-case.clip, case.clip)
    o = torch.sigmoid(o + p_o * memory)
    return torch.tanh(o * memory) if case.gate_inside else o * memory.tanh(), memory


def filled(shape: tuple[int, ...], cells: dict[tuple[int, ...], Tensor], empty: Tensor) -> Tensor:
    return torch.stack([cells.get(at, empty) for at in itertools.product(*map(range, shape))]).view(*shape, -1)


def expected(case: Case, given: list[Tensor | None], d_hidden: Tensor, d_last: Tensor) -> list[Tensor]:
    """What leaves the scan, and the gradients of all that is given."""
    leaves = [None if x is None else x.clone().requires_grad_() for x in given]
    left = by_cell(case, *leaves)
    loss = (left[0] * d_hidden).sum() + (left[1] * d_last).sum()
    return [*(x.detach() for x in left), *torch.autograd.grad(loss, [x for x in leaves if x is not None])]


def found(
    case: Case, given: list[Tensor | None], d_hidden: Tensor, d_last: Tensor, dtype: torch.dtype, recompute: bool
) -> list[Tensor]:
    """The same of the kernels."""
    on_device = [None if x is None else x.to(DEVICE, torch.float32) for x in given]
    on_device[0] = on_device[0].to(dtype)
    lengths = torch.tensor(case.lengths, device=DEVICE)
    left = triton_scan.scan_forward(*on_device, lengths, *case.options, keep=True, recompute=recompute)
    assert left.hidden.dtype == left.gates.dtype == dtype
    assert left.memory.dtype == left.last_memory.dtype == torch.float32
    assert (left.gates.numel() == 0) == recompute
    kept = (left.hidden, left.memory, left.gates, d_hidden.to(DEVICE, dtype), d_last.to(DEVICE, torch.float32))
    before = [x.clone() for x in kept]
    gradients = triton_scan.scan_backward(*on_device, lengths, *case.options, *kept)
    torch.testing.assert_close(kept, tuple(before), rtol=0, atol=0, equal_nan=True)  # nothing given is changed
    shapes = [None if x is None else (x.shape, x.dtype) for x in gradients]
    assert shapes == [None if x is None else (x.shape, x.dtype) for x in on_device]
    return [x.double().cpu() for x in (left.hidden, left.last_memory, *gradients) if x is not None]


def compared(case: Case, dtype: torch.dtype, recompute: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Pairs of what the kernels find and what the loop says."""
    given = arguments(case, dtype)
    batch, directions = len(case.lengths), len(case.directions)
    d_hidden = torch.randn(batch, *case.extents, directions, case.axes * case.hidden).to(dtype).double()
    d_last = torch.randn(directions, batch, *case.extents[1:], case.hidden).double()
    for b, lengths in enumerate(case.lengths):  # to be ignored: inputs at padded cells, and gradients that reach them
        for axis, length in enumerate(lengths):
            given[0][b].narrow(axis, length, case.extents[axis] - length).fill_(100)
    wanted = expected(case, given, d_hidden, d_last)
    return list(zip(found(case, given, d_hidden, d_last, dtype, recompute), wanted, strict=True))


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan() -> Iterator[None]:
    """So that whatever reads it is found out; on a device torch would refuse products besides."""
    torch.use_deterministic_algorithms(INTERPRETED)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def exact_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter multiplies bfloat16 matrices as if their bits were integers: widen them before."""
    if not INTERPRETED:
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, tl

    multiply = InterpreterBuilder.create_dot

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype("uint32") << 16).view("float32"), tl.float32)

    def dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return multiply(self, widened(a), widened(b), *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)


@needs_kernels
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_equal_a_loop_over_cells(case: Case) -> None:
    for kernels, loop in compared(case, torch.float32):
        torch.testing.assert_close(kernels, loop, rtol=1e-4, atol=2e-5)


@needs_kernels
@pytest.mark.parametrize("case", [CASES[2], CASES[5]], ids=str)
def test_gates_can_be_computed_again_in_the_backward_pass(case: Case) -> None:
    for kernels, loop in compared(case, torch.float32, recompute=True):
        torch.testing.assert_close(kernels, loop, rtol=1e-4, atol=2e-5)


@needs_kernels
@pytest.mark.parametrize("case", [CASES[2], CASES[4]], ids=str)
def test_without_keep_the_same_leaves_the_scan(case: Case) -> None:
    given = [None if x is None else x.to(DEVICE, torch.float32) for x in arguments(case)]
    lengths = torch.tensor(case.lengths, device=DEVICE)
    kept, light = (triton_scan.scan_forward(*given, lengths, *case.options, keep=keep) for keep in (True, False))
    torch.testing.assert_close(light.hidden, kept.hidden)
    torch.testing.assert_close(light.last_memory, kept.last_memory)
    assert light.memory.numel() == light.gates.numel() == 0


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16] if INTERPRETED else [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", [CASES[2], *(case for case in CASES if case.hidden in (40, 64, 130))], ids=str)
def test_half_precision_errs_by_little(case: Case, dtype: torch.dtype, exact_bfloat16: None) -> None:
    case = case._replace(clip=None)  # whose gradient jumps
    for kernels, loop in compared(case, dtype):
        assert (kernels - loop).norm() <= (0.003 if dtype == torch.float16 else 0.03) * loop.norm()


@needs_kernels
@pytest.mark.parametrize("case", [Case(((2, 9), (1, 8), (2, 1)), ((False, True),))], ids=str)
def test_any_division_of_the_work_gives_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*arguments: Any) -> Plan:
        return plan_for(*arguments)._replace(group=2, rows=16)

    monkeypatch.setattr(triton_scan, "plan_for", plan)
    for kernels, loop in compared(case, torch.float32):
        torch.testing.assert_close(kernels, loop, rtol=1e-4, atol=2e-5)


@needs_kernels
@pytest.mark.parametrize(
    ("case", "options"),
    [
        (Case(directions=FOUR), {}),
        (Case(directions=FOUR[:1]), {"output_gate": "inside", "peepholes": True, "cell_clip": 0.2}),
        (Case(((3, 3), (2, 3)), FOUR[:1]), {"bands": 2}),
        (Case(ONE_AXIS, ((False,), (True,))), {"coupled": True, "forget_bias": 1.0}),
    ],
)
def test_a_layer_equals_the_definition(case: Case, options: dict[str, Any]) -> None:
    layer = GridLSTM(
        case.inputs, case.hidden, axes=case.axes, bidirectional=len(case.directions) > 1, engine="definition", **options
    )
    x, lengths = torch.randn(len(case.lengths), *case.extents, case.inputs), torch.tensor(case.lengths)
    weights = layer.layers[0].weights()
    scanned = triton_scan.scan_forward(
        *(None if tensor is None else tensor.to(DEVICE) for tensor in (x, *weights[:3], weights.peephole, None, None)),
        lengths.to(DEVICE),
        layer.directions,
        options.get("bands", 1),
        options.get("output_gate") == "inside",
        options.get("coupled", False),
        options.get("cell_clip"),
        keep=False,
    )
    output, state = layer(x, lengths)
    torch.testing.assert_close(scanned.hidden.flatten(-2).cpu(), output, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scanned.last_memory.cpu(), state.memory[0], rtol=1e-4, atol=1e-5)


@needs_kernels
def test_autocast_does_not_reach_the_products() -> None:
    case = Case(directions=FOUR[1:2])
    given = [None if x is None else x.to(DEVICE, torch.float32) for x in arguments(case)]
    lengths = torch.tensor(case.lengths, device=DEVICE)

    def hidden() -> Tensor:
        return triton_scan.scan_forward(*given, lengths, *case.options, keep=False).hidden

    with torch.autocast(DEVICE.type, torch.bfloat16):
        cast = hidden()
    assert torch.equal(cast, hidden())


class Compiled:
    """In the place of a kernel: what a launch would run is compiled for a Hopper GPU, without one."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.shared_memory = 0

    def __getitem__(self, programs: tuple[int, int]) -> Callable[..., None]:
        return self.launch

    def launch(self, *given: Any, num_warps: int, **constants: Any) -> None:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource, compile

        types = dict(zip(self.kernel.arg_names, map(self.type_of, given), strict=False))
        aligned = {(n,): [["tt.divisibility", 16]] for n, x in enumerate(given) if isinstance(x, Tensor)}
        source = ASTSource(self.kernel, types | dict.fromkeys(constants, "constexpr"), constants, aligned)
        compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": num_warps})
        assert compiled.asm["cubin"]
        self.shared_memory = compiled.metadata.shared

    @staticmethod
    def type_of(x: Any) -> str:
        if isinstance(x, Tensor):
            short = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.int64: "i64"}
            return f"*{short[x.dtype]}"
        return "i32" if isinstance(x, int) else "fp32"


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled in Triton's interpreter")
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (Case(directions=FOUR, hidden=64), torch.bfloat16),
        (Case(directions=FOUR, hidden=72, bands=2, gate_inside=True, **ALL), torch.float16),
        (Case(ONE_AXIS, ((True,),), hidden=20, coupled=True), torch.float32),
    ],
)
def test_the_kernels_compile_for_a_hopper_gpu(
    case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    forward, backward = Compiled(triton_forward.forward_kernel), Compiled(triton_backward.backward_kernel)
    monkeypatch.setattr(triton_forward, "forward_kernel", forward)
    monkeypatch.setattr(triton_backward, "backward_kernel", backward)
    given = [None if x is None else x.to(dtype) for x in arguments(case)]
    lengths = torch.tensor(case.lengths)
    left = triton_scan.scan_forward(*given, lengths, *case.options, keep=True)
    kept = (left.hidden, left.memory, left.gates, left.hidden, left.last_memory)
    triton_scan.scan_backward(*given, lengths, *case.options, *kept)
    assert 0 < max(forward.shared_memory, backward.shared_memory) <= 227 * 1024


@pytest.mark.skipif(INTERPRETED, reason="this is it")
def test_without_a_device_these_tests_pass_in_tritons_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__]
    run = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
