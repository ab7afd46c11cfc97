"""The scan of LSTM cells over a grid on CUDA devices: Triton kernels over the steps, large products around them.

Forward: what input and bias contribute to the gates is one product over all cells, written where the activations will
be; one kernel then walks over the steps, adding what the arriving hidden vectors contribute. Backward: one kernel walks
back over the steps and leaves the gradients of what entered the gates, from which those of inputs and weights are large
products. Triton is imported when the first scan starts; under TRITON_INTERPRET=1 scans run on the CPU, slowly.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from asr.grid.layers import full_precision
from asr.grid.options import Direction
from asr.grid.triton_plan import Device, Grid, packed, plan_for
from asr.grid.triton_products import (
    activations,
    arriving_values,
    input_gradient,
    input_product,
    peephole_gradient,
    weight_gradients,
)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class ScanOutput(NamedTuple):
    """What a scan leaves: see `scan_forward`."""

    hidden: Tensor
    last_memory: Tensor
    memory: Tensor
    gates: Tensor


class ScanGradients(NamedTuple):
    """Gradients of what entered a scan, each in the shape and type of its tensor; None where there was none."""

    inputs: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor
    peephole: Tensor | None
    hidden_0: Tensor | None
    memory_0: Tensor | None


def refusal(axes: int, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why these kernels cannot scan a grid of so many axes there, in that type of input; None if they can."""
    if axes not in (1, 2):
        return f"the Triton kernels scan 1 or 2 axes, not {axes}"
    if dtype not in DTYPES:
        return f"the Triton kernels compute in float32, float16 and bfloat16, not {dtype}"
    if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
        return f"the Triton kernels run on CUDA devices, not on {device.type}"
    if device.type == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability(device) < (8, 0):
        return "the Triton kernels need a GPU of compute capability 8.0"
    try:
        import triton  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return "Triton is not installed"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter takes the device's place."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def scan_forward(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    peephole: Tensor | None,
    hidden_0: Tensor | None,
    memory_0: Tensor | None,
    lengths: Tensor,
    directions: Sequence[Direction],
    bands: int,
    gate_inside: bool,
    coupled: bool,
    clip: float | None,
    keep: bool,
    recompute: bool = False,
) -> ScanOutput:
    """Scan a grid of one or two axes in D directions, in K bands with weights of their own: S = D * K sets.

    Args:
        inputs: (B, *extents, I), in the type X that products are computed in.
        weight_ih: (S, R, I), with R = axes * gates * H rows: axes in turn, each with i, f, g, o (coupled: f, g, o).
        weight_hh: (S, R, axes * H).
        bias: (S, R).
        peephole: (S, axes * 3 * H), for each axis of i, f, o (coupled: axes * 2 * H, of f, o).
        hidden_0: (D, B, *extents[1:], H), what enters along the first axis.
        memory_0: likewise.
        lengths: int64 (B, axes), each utterance's extents.
        directions: per scan and axis, whether it runs backward.
        bands: K; cell f of the last axis, F long, belongs to band f * K // F.
        gate_inside: h' = tanh(o * m') in place of o * tanh(m').
        coupled: i = 1 - f.
        clip: bound of |m'|.
        keep: whether the backward pass will need memory and gates.
        recompute: keep memory alone; the backward pass computes the gates again.

    Returns:
        hidden (B, *extents, D, axes * H) in X, zero at padded cells; last_memory (D, B, *extents[1:], H) in float32, of
        the last real cells along the first axis; memory (B, *extents, D, axes * H) in float32 and gates
        (B, *extents, D, R) in X, empty without keep.
    """
    from asr.grid.triton_forward import forward_kernel

    grid = Grid.of(inputs, weight_hh, directions, bands, coupled)
    batch, *extents, _ = inputs.shape
    with torch.no_grad(), full_precision(inputs.device):
        contributions = input_product(inputs, weight_ih, bias, grid)
        hidden = inputs.new_zeros(batch, *extents, len(directions), grid.axes * grid.hidden)
        last_memory = inputs.new_zeros(len(directions), batch, *extents[1:], grid.hidden, dtype=torch.float32)
        memory_shape = hidden.shape if keep else (2, grid.extents[1], batch, *hidden.shape[-2:])
        make = (
            torch.empty if peephole is None else torch.zeros
        )  # the gradient of peepholes multiplies padded cells by 0
        memory = make(memory_shape, dtype=torch.float32, device=inputs.device)
        state = _state(hidden_0, memory_0, inputs.dtype)
        launch = _Launch(inputs, weight_hh, peephole, state, lengths, grid, gate_inside, clip)
        launch(
            forward_kernel,
            [contributions, *launch.weights, *launch.state, launch.lengths, hidden, memory, last_memory],
            KEEP_MEMORY=keep,
            KEEP_GATES=keep and not recompute,
        )
    return ScanOutput(
        hidden,
        last_memory,
        memory if keep else memory.new_empty(0),
        contributions if keep and not recompute else inputs.new_empty(0),
    )


def scan_backward(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    peephole: Tensor | None,
    hidden_0: Tensor | None,
    memory_0: Tensor | None,
    lengths: Tensor,
    directions: Sequence[Direction],
    bands: int,
    gate_inside: bool,
    coupled: bool,
    clip: float | None,
    hidden: Tensor,
    memory: Tensor,
    gates: Tensor,
    d_hidden: Tensor,
    d_last_memory: Tensor | None,
) -> ScanGradients:
    """The gradients of `scan_forward`, given its arguments, what it left with keep, and the gradients of that.

    With an empty `gates` the activations are computed again, in one product over all cells. Nothing given is changed.
    """
    from asr.grid.triton_backward import backward_kernel

    grid = Grid.of(inputs, weight_hh, directions, bands, coupled)
    with torch.no_grad(), full_precision(inputs.device):
        lengths = lengths.to(inputs.device)
        state = _state(hidden_0, memory_0, inputs.dtype)
        arriving = arriving_values(hidden, state.hidden, lengths, grid)
        seen = None if peephole is None else arriving_values(memory, state.memory, lengths, grid)
        if gates.numel() == 0:
            gates = input_product(inputs, weight_ih, bias, grid)
            gates = activations(gates, weight_hh, peephole, arriving, seen, memory, grid)
        d_gates = torch.zeros_like(gates)
        d_sent = memory.new_empty(2, 2, grid.extents[1], *memory.shape[:1], *memory.shape[-2:])
        d_state = [
            None if x is None else torch.zeros_like(x, dtype=torch.float32, memory_format=torch.contiguous_format)
            for x in state
        ]
        launch = _Launch(inputs, weight_hh, peephole, state, lengths, grid, gate_inside, clip)
        passed = [gates, *launch.weights, launch.state[1], launch.lengths, memory, d_hidden, d_last_memory, d_gates]
        launch(backward_kernel, [*passed, *d_sent, *d_state], LAST=d_last_memory is not None)
        gradients = (
            input_gradient(d_gates, weight_ih, grid),
            *weight_gradients(d_gates, inputs, arriving, grid),
            None if seen is None else peephole_gradient(d_gates, seen, memory, grid),
            *d_state,
        )
    given = (inputs, weight_ih, weight_hh, bias, peephole, hidden_0, memory_0)
    found = [None if x is None or d is None else d.to(x.dtype) for x, d in zip(given, gradients, strict=True)]
    return ScanGradients(*cast(list[Any], found))


class _State(NamedTuple):
    """What enters along the first axis, (D, B, *extents[1:], H) each: both or neither."""

    hidden: Tensor | None
    memory: Tensor | None


def _state(hidden: Tensor | None, memory: Tensor | None, dtype: torch.dtype) -> _State:
    if hidden is None and memory is None:
        return _State(None, None)
    hidden = torch.zeros_like(memory) if hidden is None else hidden  # type: ignore[arg-type]
    memory = torch.zeros_like(hidden) if memory is None else memory
    return _State(hidden.to(dtype), memory.float())


class _Launch:
    """What both kernels are given: `weights`, `state` and `lengths` in turn, then sizes and options."""

    def __init__(
        self,
        inputs: Tensor,
        weight_hh: Tensor,
        peephole: Tensor | None,
        state: _State,
        lengths: Tensor,
        grid: Grid,
        gate_inside: bool,
        clip: float | None,
    ) -> None:
        self.grid = grid
        self.device = inputs.device
        self.plan = plan_for(grid, inputs.dtype, Device.of(inputs.device))
        self.weights = [packed(weight_hh.to(inputs.dtype), grid, self.plan), peephole]
        self.state = state
        self.lengths = lengths.to(inputs.device)
        self.clip = clip
        self.options = {
            "STATE": state.hidden is not None,
            "PEEPHOLES": peephole is not None,
            "COUPLED": grid.gates == 3,
            "CLIP": clip is not None,
            "INSIDE": gate_inside,
            "PRECISION": "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee",
        }

    def __call__(self, kernel: Any, tensors: Sequence[Tensor | None], **options: bool) -> None:
        """Run a kernel: a program for every group of utterances and every direction."""
        grid, plan = self.grid, self.plan
        backward = [reverse for direction in grid.directions for reverse in direction]
        bits = sum(reverse << bit for bit, reverse in enumerate(backward))
        unused = self.lengths  # in the place of tensors that there are none of
        groups = -(-grid.batch // plan.group)
        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            kernel[(groups, len(grid.directions))](
                *(unused if tensor is None else tensor.contiguous() for tensor in tensors),
                grid.batch,
                *grid.extents,
                bits,
                0.0 if self.clip is None else self.clip,
                H=grid.hidden,
                UNITS=plan.units,
                AXES=grid.axes,
                D=len(grid.directions),
                BANDS=grid.bands,
                GROUP=plan.group,
                GROUP_PADDED=1 << (plan.group - 1).bit_length(),
                TILES=-(-plan.group * grid.extents[1] // plan.rows),
                ROWS=plan.rows,
                COLUMNS=plan.columns,
                DEPTH=plan.depth,
                RESIDENT=plan.resident,
                num_warps=plan.warps,
                **self.options,
                **options,
            )
