"""One Grid LSTM layer as an operator of torch, which native code computes.

`asr_grid::scan` and its gradient `asr_grid::scan_backward` are custom operators, so that torch.compile, torch.export,
autocast and DistributedDataParallel see through them. They cover LSTM cells with a memory an axis, and one along
depth, and GRU cells; what else a layer has is built around them.

Legend, besides that of `asr`: A axes, N transforms (the axes, and the depth where it has a memory), D directions, S =
D * bands sets of weights (the bands within a direction), G gates (4, or 3 where the input gate is coupled), X the type
of the input (float32 or bfloat16; on CUDA float16 too). Products are of X with float32 sums; memory, nonlinearities and
gradients of memory are float32.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from asr.grid import triton_scan
from asr.grid.native import kernel
from asr.grid.native.memory import pool

NOTHING, MEMORY, EVERYTHING = range(3)
"""What to keep for the backward pass: nothing, memory alone (gates are computed again), or memory and gates."""


class Scanned(NamedTuple):
    """What `scan` returns.

    Attributes:
        hidden: (B, *extents, D, A * H) in X, zero at padded cells.
        last_memory: (D, B, *extents[1:], H) float32, the memory that leaves the last real cell along the first axis.
        memory: (B, *extents, D, A * H) float32, zero at padded cells; empty unless kept.
        gates: (B, *extents, D, N * G * H rounded up) in X, in an order of the kernel's own; empty unless kept.
        depth_hidden: (B, *extents, D, H) in X, what leaves along depth, zero at padded cells; empty without depth.
        depth_memory: likewise, float32.
    """

    hidden: Tensor
    last_memory: Tensor
    memory: Tensor
    gates: Tensor
    depth_hidden: Tensor
    depth_memory: Tensor


def refuse_tangents(tensors: Sequence[Tensor | None]) -> None:
    """Whether none of the tensors that `scan` is to be given carries a tangent, which the operator would drop unseen.

    Raises:
        NotImplementedError: one does, under torch.func.jvp, torch.func.jacfwd or torch.autograd.forward_ad.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    if any(tensor is not None and _tangent(tensor) is not None for tensor in tensors):
        raise NotImplementedError(
            "the native engines of a grid have no forward-mode derivative; engine 'definition' has one"
        )


def _tangent(tensor: Tensor) -> Tensor | None:
    return cast(Tensor | None, forward_ad.unpack_dual(tensor).tangent)  # type: ignore[no-untyped-call]


@torch.library.custom_op("asr_grid::scan", mutates_args=())
def scan(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    peephole: Tensor | None,
    hidden_0: Tensor | None,
    memory_0: Tensor | None,
    depth_memory: Tensor | None,
    lengths: Tensor,
    backward: Sequence[bool],
    bands: int,
    gate_inside: bool,
    coupled: bool,
    gru: bool,
    clip: float | None,
    code: str,
    keep: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the cells of a layer over a batch of grids.

    Along each axis a, with h_1 ... h_A and m_a what arrives from the cells before, p the peepholes (and likewise along
    depth, from a memory that comes from the layer before):

        i, f = sigmoid(W_ih x + W_hh [h_1; ...; h_A] + b + p * m_a), coupled: i = 1 - f
        g = tanh(W_ih x + W_hh [h_1; ...; h_A] + b)
        m_a' = clamp(f * m_a + i * g)
        o = sigmoid(W_ih x + W_hh [h_1; ...; h_A] + b + p * m_a')
        h_a' = o * tanh(m_a'), or tanh(o * m_a') with `gate_inside`

    With GRU cells, whose memory is the hidden vector in float32, and some of whose weights are zero:

        r, z = sigmoid(W_ih x + W_hh [h_1; ...; h_A] + b)
        n = tanh(W_ih x + b + r * (W_hh [h_1; ...; h_A] + b))
        h_a' = m_a' = (1 - z) * n + z * m_a

    Args:
        inputs: (B, *extents, I), X.
        weight_ih: (S, N * G * H, I); rows are the axes in turn, then the depth, each with its gates i, f, g, o
            (coupled: f, g, o; GRU: r, z, the candidate's without W_hh, and its without W_ih).
        weight_hh: (S, N * G * H, A * H).
        bias: (S, N * G * H).
        peephole: (S, N * (G - 1) * H) for i, f, o (coupled: f, o) of each transform, or None.
        hidden_0: (D, B, *extents[1:], H), what enters at each scan's first cell along the first axis, or None (zeros).
        memory_0: likewise.
        depth_memory: (B, *extents, D, H) float32, what arrives along depth, or None: then there is no depth.
        lengths: int64 (B, A), each utterance's own extents.
        backward: D * A bools, per direction and axis.
        bands: into how many the last axis is cut; cell f of F belongs to band f * bands // F.
        gate_inside: the output gate is inside the tanh.
        coupled: the input gate is one minus the forget gate.
        gru: cells are those of a GRU, without peepholes, clip, depth, `coupled` and `gate_inside`.
        clip: limit of the memory's absolute value, or None.
        code: "cpu", the C++ kernel, or "triton", which has no depth, no GRU and at most two axes.
        keep: NOTHING, MEMORY or EVERYTHING, for the backward pass.

    Returns:
        The fields of `Scanned`.
    """
    given = (inputs, weight_ih, weight_hh, bias, peephole, hidden_0, memory_0, depth_memory)
    if code == "triton":
        options = (bands, gate_inside, coupled, clip)
        found = triton_scan.scan_forward(
            *given[:7], lengths, _by_direction(inputs, backward), *options, keep > NOTHING, keep == MEMORY
        )
        return Scanned(*found, inputs.new_empty(0), _nothing(inputs))
    made = Scanned(
        *map(pool.empty, *_results(inputs, weight_hh, depth_memory is not None, backward, coupled, code, keep))
    )
    kernel.forward(kernel.Problem(lengths, tuple(backward), bands, gate_inside, coupled, gru, clip), given, made)
    return made


def _by_direction(inputs: Tensor, backward: Sequence[bool]) -> list[tuple[bool, ...]]:
    axes = inputs.dim() - 2
    return [tuple(backward[n : n + axes]) for n in range(0, len(backward), axes)]


def _nothing(inputs: Tensor) -> Tensor:
    return inputs.new_empty(0, dtype=torch.float32)


@torch.library.custom_op("asr_grid::scan_backward", mutates_args=())
def scan_backward(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    peephole: Tensor | None,
    hidden_0: Tensor | None,
    memory_0: Tensor | None,
    depth_memory: Tensor | None,
    lengths: Tensor,
    backward: Sequence[bool],
    bands: int,
    gate_inside: bool,
    coupled: bool,
    gru: bool,
    clip: float | None,
    code: str,
    kept: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> list[Tensor]:
    """Gradients of `inputs` to `depth_memory` as `scan` takes them; empty for those that it was not given.

    Args:
        inputs: as `scan` got it, like all others to `clip`.
        kept: what `scan` returned, the fields of `Scanned`.
        gradients: of its hidden, last_memory, depth_hidden and depth_memory.
    """
    given = (inputs, weight_ih, weight_hh, bias, peephole, hidden_0, memory_0, depth_memory)
    if code == "triton":
        options = (bands, gate_inside, coupled, clip)
        hidden, _, memory, gates, *_ = kept
        found = triton_scan.scan_backward(
            *given[:7], lengths, _by_direction(inputs, backward), *options, hidden, memory, gates, *gradients[:2]
        )
        return [*(inputs.new_empty(0) if gradient is None else gradient for gradient in found), inputs.new_empty(0)]
    problem = kernel.Problem(lengths, tuple(backward), bands, gate_inside, coupled, gru, clip)
    return kernel.backward(problem, given, Scanned(*kept), [gradient.contiguous() for gradient in gradients])


class _Results(NamedTuple):
    """Shapes and types of the tensors in `Scanned`."""

    shapes: list[tuple[int, ...]]
    dtypes: list[torch.dtype]


def _results(
    inputs: Tensor, weight_hh: Tensor, depth: bool, backward: Sequence[bool], coupled: bool, code: str, keep: int
) -> _Results:
    batch, *extents, _ = inputs.shape
    axes, sent = len(extents), weight_hh.shape[2]
    hidden_size, per_cell = sent // axes, (batch, *extents, len(backward) // axes)
    units = hidden_size if code == "triton" else -(-hidden_size // kernel.UNITS) * kernel.UNITS
    gates = (axes + depth) * units * (3 if coupled else 4)
    along_depth = (*per_cell, hidden_size) if depth else (0,)
    shapes = [
        (*per_cell, sent),
        (len(backward) // axes, batch, *extents[1:], hidden_size),
        (*per_cell, sent) if keep >= MEMORY else (0,),
        (*per_cell, gates) if keep >= EVERYTHING else (0,),
        along_depth,
        along_depth,
    ]
    x, full = inputs.dtype, torch.float32
    return _Results(shapes, [x, full, full, x, x, full])


@scan.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, weight_hh, depth_memory, backward, coupled, code, keep = (arguments[n] for n in (0, 2, 7, 9, 12, 15, 16))
    results = _results(inputs, weight_hh, depth_memory is not None, backward, coupled, code, keep)
    return tuple(inputs.new_empty(shape, dtype=dtype) for shape, dtype in zip(*results, strict=True))


@scan_backward.register_fake
def _(*arguments: Any) -> list[Tensor]:
    return [arguments[0].new_empty(0) if x is None else torch.empty_like(x) for x in arguments[:8]]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *given, _ = inputs
    tensors, ctx.options = given[:9], given[9:]
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[2], output[3])
    ctx.set_materialize_grads(False)  # else there were zeros as large as the gates


def _gradient(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    given, kept = saved[:9], Scanned(*saved[9:])
    if not kept.memory.numel():
        raise RuntimeError("a scan that kept nothing was asked for its gradient")
    of, values = [gradients[n] for n in (0, 1, 4, 5)], [kept[n] for n in (0, 1, 4, 5)]
    filled = [torch.zeros_like(value) if d is None else d for d, value in zip(of, values, strict=True)]
    results = scan_backward(*given, *ctx.options, list(kept), filled)
    wanted = [None if tensor is None else d for tensor, d in zip(given[:8], results, strict=True)]
    return *wanted, *(None,) * 9


scan.register_autograd(_gradient, setup_context=_setup_context)
