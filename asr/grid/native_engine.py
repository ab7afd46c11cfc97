"""The engine that computes with native code (`asr.grid.scan`), in natural order from layer to layer."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

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
from asr.grid.scan import EVERYTHING, MEMORY, NOTHING, Scanned, scan

MOST_AXES = 8


class CPUKernel:
    """The C++ kernel; see `asr.grid.options.Engine`. Recomputing, it keeps hidden vectors and memory, but no gates."""

    recomputes: ClassVar[bool] = True

    def __init__(
        self,
        extents: tuple[int, ...],
        lengths: Tensor,
        directions: Sequence[Direction],
        products: torch.dtype,
        recompute: bool = False,
    ) -> None:
        self.extents = extents
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
        return _refused_options(options) or build.unavailable()

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
        hidden_0, memory_0 = (None, None) if state is None else (state.hidden, state.memory)
        scanned = Scanned(
            *scan(
                inputs.to(self.products).contiguous(),
                weights.weight_ih,
                weights.weight_hh,
                weights.bias,
                weights.peephole,
                hidden_0,
                memory_0,
                memory,
                self.lengths,
                [backward for direction in self.directions for backward in direction],
                options.bands,
                options.output_gate == "inside",
                options.coupled,
                options.cell_clip,
                self._keep(inputs, *weights, hidden_0, memory_0, memory),
            )
        )
        output, depth_memory = scanned.hidden, None
        if memory is not None:
            output, depth_memory = scanned.depth_hidden, scanned.depth_memory
        left = LayerState(self._last_hidden(scanned.hidden, options), scanned.last_memory.to(inputs.dtype))
        return LayerOutput(output.to(inputs.dtype), depth_memory, left)

    def multidimensional_layer(
        self, inputs: Tensor, weights: LayerWeights, options: MultidimensionalOptions, state: LayerState | None
    ) -> LayerOutput:
        raise NotImplementedError("refused")

    def _keep(self, *tensors: Tensor | None) -> int:
        if not torch.is_grad_enabled() or not any(x is not None and x.requires_grad for x in tensors):
            return NOTHING
        return MEMORY if self.recompute else EVERYTHING

    def _last_hidden(self, hidden: Tensor, options: GridOptions) -> Tensor:
        """What the last real cells send out along the first axis, (D, B, *extents[1:], H); zeros where none are."""
        utterance = torch.arange(len(hidden), device=hidden.device)
        last = [
            hidden[utterance, torch.zeros_like(utterance) if direction[0] else self.lengths[:, 0] - 1, ..., d, :]
            for d, direction in enumerate(self.directions)
        ]
        return torch.stack(last)[..., : options.hidden_size].to(self.products)


def _refused_options(options: Options) -> str | None:
    """What the kernel does not compute."""
    if isinstance(options, MultidimensionalOptions):
        return "it has no multidimensional LSTM"
    if not 1 <= options.axes <= MOST_AXES:
        return f"it has 1 to {MOST_AXES} axes, not {options.axes}"
    if options.cell != "lstm":
        return f"it has LSTM cells, not cell={options.cell!r}"
    if options.depth not in ("none", "lstm"):
        return f"it has no depth={options.depth!r}"
    refused = {
        "priority": options.priority,
        "shared": options.shared,
        "proj_size": options.proj_size,
        "recurrent_dropout": options.recurrent_dropout,
        "bands along its only axis": options.axes == 1 and options.bands > 1,
    }
    return next((f"it has no {name}" for name, wanted in refused.items() if wanted), None)
