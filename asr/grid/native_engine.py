"""The engines that compute with native code (`asr.grid.scan`), in natural order from layer to layer."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from asr.grid import triton_scan
from asr.grid.compiling import constant
from asr.grid.native import build
from asr.grid.options import (
    Direction,
    GridOptions,
    LayerOutput,
    LayerState,
    LayerWeights,
    MultidimensionalOptions,
    Options,
)
from asr.grid.recorded import lstm
from asr.grid.scan import EVERYTHING, MEMORY, NOTHING, Scanned, refuse_tangents, scan

MOST_AXES = 8


class CPUKernel:
    """The C++ kernel; see `asr.grid.options.Engine`. Recomputing, it keeps hidden vectors and memory, but no gates.

    A depth that has priority is computed after the scan, of all cells at once.
    """

    code: ClassVar[str] = "cpu"
    scans_depth: ClassVar[bool] = True
    recomputes: ClassVar[bool] = True

    def __init__(
        self,
        extents: tuple[int, ...],
        lengths: Tensor,
        directions: Sequence[Direction],
        products: torch.dtype,
        recompute: bool = False,
    ) -> None:
        self.lengths = lengths
        self.directions = directions
        self.products = products
        self.recompute = recompute

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        if device.type != "cpu":
            return f"it runs on the CPU, not on {device.type}"
        if dtype not in (torch.float32, torch.bfloat16):
            return f"it computes in float32 or bfloat16, not in {dtype}"
        return _refused_options(options, MOST_AXES, ("lstm", "gru")) or _unavailable()

    def depth_memory(self, memory: Tensor) -> Tensor:
        return memory

    def grid_layer(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        if memory is not None and (options.priority or not self.scans_depth):
            return self._depth_after(inputs, memory, weights, options, state)
        scanned = self._scan(inputs, memory, weights, options, state)
        output, depth_memory = scanned.hidden, None
        if memory is not None:
            output, depth_memory = scanned.depth_hidden, scanned.depth_memory
        return LayerOutput(output.to(inputs.dtype), depth_memory, self._left(scanned, options, inputs.dtype))

    def multidimensional_layer(
        self,
        inputs: Tensor,
        weights: LayerWeights,
        options: MultidimensionalOptions,
        state: LayerState | None,
        mask: Tensor | None,
    ) -> LayerOutput:
        raise NotImplementedError("refused")

    def _depth_after(
        self, inputs: Tensor, memory: Tensor, weights: LayerWeights, options: GridOptions, state: LayerState | None
    ) -> LayerOutput:
        """The scan along the axes, then the depth of all cells."""
        along_axes, along_depth = split_weights(weights, options)
        scanned = self._scan(inputs, None, along_axes, options, state)
        seen = scanned.hidden
        if not options.priority:
            entering = None if state is None else state.hidden
            seen = arriving(scanned.hidden, entering, self.lengths[:, 0], self.directions)
        hidden, memory = depth_transform(inputs, seen, memory, along_depth, options, len(self.directions))
        return LayerOutput(hidden.to(inputs.dtype), memory, self._left(scanned, options, inputs.dtype))

    def _scan(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        weights: LayerWeights,
        options: GridOptions,
        state: LayerState | None,
    ) -> Scanned:
        gru = options.cell == "gru"
        entering = (None, None) if state is None else (state.hidden, state.hidden if gru else state.memory)
        weight_ih, weight_hh, bias = gru_weights(weights, options.hidden_size) if gru else weights[:3]
        given = (inputs.to(self.products).contiguous(), weight_ih, weight_hh, bias, weights.peephole, *entering, memory)
        refuse_tangents(given)
        keep = NOTHING
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given):
            keep = MEMORY if self.recompute else EVERYTHING
        backward = [reverse for direction in self.directions for reverse in direction]
        gate_inside = options.output_gate == "inside"
        return Scanned(
            *scan(
                *given,
                self.lengths,
                backward,
                options.bands,
                gate_inside,
                options.coupled,
                gru,
                options.cell_clip,
                self.code,
                keep,
            )
        )

    def _left(self, scanned: Scanned, options: GridOptions, dtype: torch.dtype) -> LayerState:
        """What the last real cells send out along the first axis; zeros where none are."""
        if options.cell == "gru":
            return LayerState(scanned.last_memory.to(dtype), None)
        utterance = torch.arange(scanned.hidden.shape[0], device=scanned.hidden.device)
        last = [
            scanned.hidden[
                utterance, torch.zeros_like(utterance) if direction[0] else self.lengths[:, 0] - 1, ..., d, :
            ]
            for d, direction in enumerate(self.directions)
        ]
        hidden = torch.stack(last)[..., : scanned.last_memory.shape[-1]]
        return LayerState(hidden.to(dtype), scanned.last_memory.to(dtype))


class TritonKernel(CPUKernel):
    """The Triton kernels. The depth is computed around them, of all cells at once."""

    code: ClassVar[str] = "triton"
    scans_depth: ClassVar[bool] = False

    @staticmethod
    def refusal(options: Options, device: torch.device, dtype: torch.dtype) -> str | None:
        return triton_scan.refusal(options.axes, device, dtype) or _refused_options(options, 2, ("lstm",))


def gru_weights(weights: LayerWeights, hidden_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """weight_ih, weight_hh and bias of GRU cells as `asr.grid.scan.scan` has them: of r, z, and of both shares of n."""
    assert weights.bias_hh is not None

    def by_gate(rows: Tensor, gates: int = 3) -> Tensor:
        return torch.unflatten(rows, 1, (-1, gates, hidden_size))  # (S, N, gates, H, ...)

    input_rows, hidden_rows = by_gate(weights.weight_ih), by_gate(weights.weight_hh)
    parts = (
        [input_rows, torch.zeros_like(input_rows[:, :, :1])],
        [hidden_rows[:, :, :2], torch.zeros_like(hidden_rows[:, :, :1]), hidden_rows[:, :, 2:]],
        [by_gate(weights.bias), by_gate(weights.bias_hh, 1)],
    )
    weight_ih, weight_hh, bias = (torch.cat(each, dim=2).flatten(1, 3) for each in parts)
    return weight_ih, weight_hh, bias


def split_weights(weights: LayerWeights, options: GridOptions) -> tuple[LayerWeights, LayerWeights]:
    """Those of the axes, and those of the depth."""
    rows = options.axes * options.gates * options.hidden_size
    holes = options.axes * (options.gates - 1) * options.hidden_size
    parts = []
    for row, hole in ((slice(rows), slice(holes)), (slice(rows, None), slice(holes, None))):
        peephole = None if weights.peephole is None else weights.peephole[:, hole]
        parts.append(LayerWeights(weights.weight_ih[:, row], weights.weight_hh[:, row], weights.bias[:, row], peephole))
    return parts[0], parts[1]


def arriving(hidden: Tensor, entering: Tensor | None, steps: Tensor, directions: Sequence[Direction]) -> Tensor:
    """What arrives at each cell along each axis.

    Args:
        hidden: what leaves, (B, *extents, D, A * H), zero at padded cells.
        entering: along the first axis, (D, B, *extents[1:], H); None is zeros.
        steps: each utterance's extent along the first axis, (B,).
        directions: of the D scans.

    Returns:
        as `hidden`; arbitrary at padded cells.
    """
    by_direction = []
    for d, direction in enumerate(directions):
        by_axis = []
        for axis, (backward, left) in enumerate(
            zip(direction, hidden[..., d, :].chunk(len(direction), -1), strict=True)
        ):
            border, count = torch.zeros_like(left.narrow(axis + 1, 0, 1)), left.shape[axis + 1] - 1
            if axis == 0 and entering is not None:
                border = entering[d].unsqueeze(1).to(left.dtype)
            moved = left.narrow(axis + 1, int(backward), count)
            shifted = torch.cat([moved, border] if backward else [border, moved], dim=axis + 1)
            if axis == 0 and backward:  # the first visited cell is the last real one
                frame = torch.arange(left.shape[1], device=left.device)
                first = (frame == steps.to(left.device)[:, None] - 1).view(*left.shape[:2], *(1,) * (left.dim() - 2))
                shifted = torch.where(first, border, shifted)
            by_axis.append(shifted)
        by_direction.append(torch.cat(by_axis, dim=-1))
    return torch.stack(by_direction, dim=-2)


def depth_transform(
    inputs: Tensor, seen: Tensor, memory: Tensor, weights: LayerWeights, options: GridOptions, directions: int
) -> tuple[Tensor, Tensor]:
    """The LSTM along depth, of all cells at once, in plain PyTorch.

    Args:
        inputs: (B, *extents, I).
        seen: hidden vectors that the depth sees, (B, *extents, D, A * H); products are computed in its type.
        memory: what arrives along depth, (B, *extents, D, H).
        weights: of the depth alone, in S sets.
        options: of the layer.
        directions: D.

    Returns:
        hidden and memory that leave along depth, (B, *extents, D, H) each, in the memory's type.
    """
    gates = depth_gates(inputs.to(seen.dtype), seen, weights, options, directions)
    peephole = None
    if weights.peephole is not None:
        peephole = _by_cell(weights.peephole, options.bands, directions, inputs.shape[-2])
    return lstm(gates.to(memory.dtype), memory, peephole, options)


def depth_gates(x: Tensor, seen: Tensor, weights: LayerWeights, options: GridOptions, directions: int) -> Tensor:
    """Pre-activations of the depth, (B, *extents, D, G * H), one product for each direction and band."""
    extent, parts = x.shape[-2], []
    first = [-(-band * extent // options.bands) for band in range(options.bands + 1)]
    for band, start in enumerate(first[:-1]):
        count = first[band + 1] - start
        own_x, own_seen = x.narrow(-2, start, count), seen.narrow(-3, start, count)
        products = []
        for d in range(directions):
            s = d * options.bands + band
            operand = torch.cat([own_seen[..., d, :], own_x], dim=-1)
            weight = torch.cat([weights.weight_hh[s], weights.weight_ih[s]], dim=-1).to(operand.dtype)
            products.append(functional.linear(operand, weight, weights.bias[s].to(operand.dtype)))
        parts.append(torch.stack(products, dim=-2))
    return torch.cat(parts, dim=-3)


def _by_cell(values: Tensor, bands: int, directions: int, extent: int) -> Tensor:
    """(S, C) -> (extent, D, C), for each cell along the last axis those of its band."""
    band = torch.arange(extent, device=values.device) * bands // extent
    return values.view(directions, bands, -1)[:, band].transpose(0, 1)


@constant
def _unavailable() -> str | None:
    return build.unavailable()


def _refused_options(options: Options, most_axes: int, cells: Sequence[str]) -> str | None:
    """What a kernel of so many axes and these cells does not compute."""
    if isinstance(options, MultidimensionalOptions):
        return "it has no multidimensional LSTM"
    if not 1 <= options.axes <= most_axes:
        return f"it has 1 to {most_axes} axes, not {options.axes}"
    if options.cell not in cells:
        return f"it has {' and '.join(cell.upper() for cell in cells)} cells, not cell={options.cell!r}"
    if options.depth not in ("none", "lstm"):
        return f"it has no depth={options.depth!r}"
    if options.priority not in ((), ("depth",)):
        return "it has no priority of axes"
    refused = {
        "shared": options.shared,
        "proj_size": options.proj_size,
        "recurrent_dropout": options.recurrent_dropout,
    }
    return next((f"it has no {name}" for name, wanted in refused.items() if wanted), None)
