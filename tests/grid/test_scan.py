"""The scan that native code computes equals a loop over cells, in values and gradients, and is a proper operator."""

import contextlib
import functools
import itertools
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from asr.grid.native import kernel
from asr.grid.scan import EVERYTHING, MEMORY, NOTHING, scan

FORWARD = (False, False)
FOUR_WAYS = list(itertools.product((False, True), repeat=2))


class Case(NamedTuple):
    """A scan's options; `sizes` are batch, input_size and hidden_size."""

    extents: tuple[int, ...] = (4, 3)
    sizes: tuple[int, int, int] = (3, 3, 5)
    directions: Any = (FORWARD,)
    bands: int = 1
    gate_inside: bool = False
    coupled: bool = False
    gru: bool = False
    peepholes: bool = False
    clip: float | None = None
    state: bool = False
    depth: bool = False

    @property
    def options(self) -> tuple[Any, ...]:
        backward = [reverse for direction in self.directions for reverse in direction]
        return backward, self.bands, self.gate_inside, self.coupled, self.gru, self.clip, "cpu"

    def tensors(self, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
        """What a scan is given, `inputs` to `depth_memory`, at random."""
        batch, input_size, hidden_size = self.sizes
        axes, gates = len(self.extents), 3 if self.coupled else 4
        sets, rows = len(self.directions) * self.bands, (axes + self.depth) * gates * hidden_size
        border = (len(self.directions), batch, *self.extents[1:], hidden_size)
        shapes = [
            (batch, *self.extents, input_size),
            (sets, rows, input_size),
            (sets, rows, axes * hidden_size),
            (sets, rows),
            (sets, rows * (gates - 1) // gates) if self.peepholes else None,
            border if self.state else None,
            border if self.state else None,
            (batch, *self.extents, len(self.directions), hidden_size) if self.depth else None,
        ]
        return [None if shape is None else (torch.randn(shape) / 2).to(dtype).requires_grad_() for shape in shapes]

    def lengths(self) -> Tensor:
        """The first utterance fills the grid."""
        own = [[int(torch.randint(1, extent + 1, ())) for extent in self.extents] for _ in range(self.sizes[0])]
        return torch.tensor([list(self.extents), *own[1:]])


CASES = [
    Case(),
    Case(sizes=(3, 16, 16)),
    Case(sizes=(2, 20, 17), directions=FOUR_WAYS),
    Case(sizes=(1, 7, 33), directions=FOUR_WAYS, bands=3, coupled=True, peepholes=True, state=True),
    Case(directions=FOUR_WAYS, gate_inside=True, peepholes=True, clip=0.3, state=True),
    Case(extents=(5, 4), directions=FOUR_WAYS, bands=2, coupled=True, clip=0.2, state=True),
    Case(extents=(6,), directions=[(False,), (True,)], state=True, peepholes=True),
    Case(extents=(3, 2, 3), directions=[(False, True, False)], bands=2, peepholes=True, state=True),
    Case(depth=True),
    Case(sizes=(3, 20, 17), directions=FOUR_WAYS, depth=True, peepholes=True, coupled=True, bands=2, state=True),
    Case(extents=(6,), directions=[(True,)], sizes=(2, 4, 18), depth=True, gate_inside=True, clip=0.3),
    Case(gru=True),
    Case(extents=(6,), sizes=(2, 20, 17), directions=[(False,), (True,)], gru=True, state=True),
    Case(sizes=(3, 20, 17), directions=FOUR_WAYS, gru=True, bands=2, state=True),
]


def transform(gates: list[Tensor], memory: Tensor, peephole: Tensor | None, case: Case) -> tuple[Tensor, Tensor]:
    """One transform of a cell: hidden and memory from pre-activations and the arriving memory."""
    if case.gru:
        r, z, of_input, of_hidden = gates
        candidate = (of_input + r.sigmoid() * of_hidden).tanh()
        memory = (1 - z.sigmoid()) * candidate + z.sigmoid() * memory
        return memory, memory
    *before, g, o = gates
    at_i_f_o = [0.0] * 3 if peephole is None else list(peephole.view(len(gates) - 1, -1))
    f = (before[-1] + at_i_f_o[-2] * memory).sigmoid()
    i = 1 - f if case.coupled else (before[0] + at_i_f_o[0] * memory).sigmoid()
    memory = f * memory + i * g.tanh()
    if case.clip is not None:
        memory = memory.clamp(-case.clip, case.clip)
    o = (o + at_i_f_o[-1] * memory).sigmoid()
    return ((o * memory).tanh() if case.gate_inside else o * memory.tanh()), memory


def cell_by_cell(case: Case, given: list[Tensor | None], lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden, last_memory, depth_hidden and depth_memory, from a loop that visits one cell after the other."""
    x, weight_ih, weight_hh, bias, peephole, hidden_0, memory_0, depth_memory = given
    axes, gates, (batch, _, size) = len(case.extents), 3 if case.coupled else 4, case.sizes
    hidden, last, along_depth = {}, {}, {}
    for u, (d, direction) in itertools.product(range(batch), enumerate(case.directions)):
        own, left = lengths[u].tolist(), {}
        for at in itertools.product(*map(range, own)):
            seen = [n - 1 - c if back else c for n, c, back in zip(own, at, direction, strict=True)]
            weights = d * case.bands + seen[-1] * case.bands // case.extents[-1]
            before = [left.get((*at[:axis], at[axis] - 1, *at[axis + 1 :])) for axis in range(axes)]
            arriving = [(x.new_zeros(size),) * 2 if pairs is None else pairs[a] for a, pairs in enumerate(before)]
            if at[0] == 0 and hidden_0 is not None:
                arriving[0] = (hidden_0[(d, u, *seen[1:])], memory_0[(d, u, *seen[1:])])
            memories = [memory for _, memory in arriving]
            if depth_memory is not None:
                memories.append(depth_memory[(u, *seen, d)])
            pre = weight_ih[weights] @ x[(u, *seen)] + bias[weights]
            pre = pre + weight_hh[weights] @ torch.cat([h for h, _ in arriving])
            each = pre.view(len(memories), gates, size)
            holes = [None] * len(memories) if peephole is None else peephole[weights].view(len(memories), -1)
            pairs = [transform(list(each[n]), memory, holes[n], case) for n, memory in enumerate(memories)]
            left[at] = pairs
            hidden[(u, *seen, d)] = torch.cat([h for h, _ in pairs[:axes]])
            along_depth[(u, *seen, d)] = pairs[-1]
            if at[0] == own[0] - 1:
                last[(d, u, *seen[1:])] = pairs[0][1]
    per_cell = (batch, *case.extents, len(case.directions))
    leaving = (len(case.directions), batch, *case.extents[1:])
    depth = (along_depth if case.depth else {}, (size,) if case.depth else (0,), per_cell)
    return (
        filled(hidden, (axes * size,), per_cell, x),
        filled(last, (size,), leaving, x),
        *(filled({at: pair[n] for at, pair in depth[0].items()}, *depth[1:], x) for n in range(2)),
    )


def filled(cells: dict[tuple[int, ...], Tensor], width: tuple[int], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Cells in their places, zeros elsewhere."""
    nothing = like.new_zeros(width)
    return torch.stack([cells.get(at, nothing) for at in itertools.product(*map(range, shape))]).view(*shape, *width)


def weighted_sum(values: list[Tensor]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return sum(
        (value.double() * torch.randn(value.shape, generator=generator)).sum() for value in values if value.numel()
    )


def gradients(total: Tensor, given: list[Tensor | None]) -> list[Tensor]:
    return [d.double() for d in torch.autograd.grad(total, [x for x in given if x is not None])]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("keep", [MEMORY, EVERYTHING])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scan_equals_a_loop_over_cells(case: Case, keep: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    given, lengths = case.tensors(), case.lengths()
    found = scan(*given, lengths, *case.options, keep)
    found = [found[0], found[1], found[4], found[5]]
    doubled = [None if x is None else x.detach().double().requires_grad_() for x in given]
    expected = list(cell_by_cell(case, doubled, lengths))
    for value, wanted in zip(found, expected, strict=True):
        if wanted.numel():
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(
        gradients(weighted_sum(found), given), gradients(weighted_sum(expected), doubled), **tolerance
    )


@functools.cache
def ways() -> list[str]:
    """The ways of products of bfloat16 that the processor has, by trying."""
    there = []
    for way in ("widened", "pairs", "tiles"):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ValueError):
            patch.setenv(kernel.OVERRIDE, way)
            scan(*CASES[0].tensors(torch.bfloat16), CASES[0].lengths(), *CASES[0].options, NOTHING)
            there.append(way)
    return there


def test_the_fastest_way_of_products_is_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "widened" in ways()
    assert kernel.bfloat16_way() in ways()
    monkeypatch.setenv(kernel.OVERRIDE, "abacus")
    with pytest.raises(ValueError, match="ASR_GRID_PRODUCTS must name one of .*, got 'abacus'"):
        scan(*CASES[0].tensors(torch.bfloat16), CASES[0].lengths(), *CASES[0].options, NOTHING)


@pytest.mark.parametrize("keep", [MEMORY, EVERYTHING])
@pytest.mark.parametrize("case", [case for case in CASES if case.clip is None], ids=str)
def test_bfloat16_equals_the_loop_to_its_rounding_in_every_way(
    case: Case, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in ways():
        monkeypatch.setenv(kernel.OVERRIDE, way)
        bfloat16_equals_the_loop_to_its_rounding(case, keep)


def bfloat16_equals_the_loop_to_its_rounding(case: Case, keep: int) -> None:
    given, lengths = case.tensors(torch.bfloat16), case.lengths()
    found = scan(*given, lengths, *case.options, keep)
    assert found[0].dtype == torch.bfloat16
    found = [found[0], found[1], found[4], found[5]]
    doubled = [None if x is None else x.detach().double().requires_grad_() for x in given]
    expected = list(cell_by_cell(case, doubled, lengths))
    for value, wanted in zip(found, expected, strict=True):
        if wanted.numel():
            torch.testing.assert_close(value.double(), wanted, rtol=0.02, atol=0.02)
    wanted = gradients(weighted_sum(expected), doubled)
    for gradient, exact in zip(gradients(weighted_sum(found), given), wanted, strict=True):
        assert (gradient - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_keeping_anything_the_values_are_the_same(case: Case) -> None:
    given, lengths = case.tensors(), case.lengths()
    with torch.no_grad():
        kept = scan(*given, lengths, *case.options, EVERYTHING)
        bare = scan(*given, lengths, *case.options, NOTHING)
    for n in (0, 1, 4, 5):
        assert bare[n].equal(kept[n])
    assert bare[2].numel() == bare[3].numel() == 0


@pytest.mark.parametrize("case", [Case(), CASES[3], CASES[9]], ids=str)
def test_scan_is_a_proper_operator(case: Case) -> None:
    given, lengths = case.tensors(), case.lengths()
    torch.library.opcheck(torch.ops.asr_grid.scan, (*given, lengths, *case.options, EVERYTHING))


@pytest.mark.parametrize("keep", [MEMORY, EVERYTHING])
@pytest.mark.parametrize("case", [Case(), CASES[3], CASES[9]], ids=str)
def test_the_gradient_of_scan_is_a_proper_operator(case: Case, keep: int) -> None:
    given, lengths = [None if x is None else x.detach() for x in case.tensors()], case.lengths()
    kept = list(scan(*given, lengths, *case.options, keep))
    outgoing = [torch.randn_like(kept[n]) for n in (0, 1, 4, 5)]
    torch.library.opcheck(torch.ops.asr_grid.scan_backward, (*given, lengths, *case.options, kept, outgoing))


def test_a_compiled_function_sees_through_the_operator() -> None:
    case = Case()
    given, lengths = case.tensors(), case.lengths()

    def twice(x: Tensor) -> Tensor:
        return scan(2 * x, *given[1:], lengths, *case.options, EVERYTHING)[0] + 1

    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(given[0]), twice(given[0]))
    torch.testing.assert_close(
        torch.autograd.grad(compiled(given[0]).sum(), given[0]), torch.autograd.grad(twice(given[0]).sum(), given[0])
    )


def test_the_gradient_of_a_scan_that_kept_nothing_is_refused() -> None:
    case = Case()
    given = case.tensors()
    with pytest.raises(RuntimeError, match="kept nothing"):
        scan(*given, case.lengths(), *case.options, NOTHING)[0].sum().backward()


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 300.0])
def test_nonlinearities_are_exact_to_float32_from_zero_to_saturation(scale: float) -> None:
    """With one cell and all weights zero but the biases, h = sigmoid(o) tanh(sigmoid(i) tanh(g))."""
    bias = torch.linspace(-1, 1, 64).repeat(8, 1)[:, torch.randperm(64)].reshape(1, -1) * scale
    nothing = torch.zeros(1, 512, 128)
    hidden = scan(
        torch.zeros(1, 1, 1, 1), nothing[..., :1], nothing, bias, None, None, None, None, torch.ones(1, 2).long(),
        [False, False], 1, False, False, False, None, "cpu", NOTHING,
    )[0]  # fmt: skip
    i, _, g, o = bias.double().view(2, 4, 64).unbind(1)
    wanted = o.sigmoid() * (i.sigmoid() * g.tanh()).tanh()
    assert (hidden.double().view(2, 64) - wanted).abs().max() < 3e-7
    if scale == 0:
        assert not hidden.any()


def test_nan_of_one_utterance_reaches_no_other() -> None:
    case = CASES[4]
    given, lengths = case.tensors(), case.lengths()
    with torch.no_grad():
        given[0][1] = torch.nan
    hidden, last_memory, *_ = scan(*given, lengths, *case.options, EVERYTHING)
    assert hidden[1, 0, 0].isnan().all()
    assert not hidden[[0, 2]].isnan().any()
    (d_inputs,) = torch.autograd.grad(hidden[[0, 2]].sum() + last_memory[:, [0, 2]].sum(), given[0])
    assert not d_inputs[[0, 2]].isnan().any()
