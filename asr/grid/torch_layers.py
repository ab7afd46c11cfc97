"""Layers of torch.nn.LSTM and torch.nn.GRU on the C++ kernel: grids of one axis."""

import os
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from asr.grid.engines import OVERRIDE
from asr.grid.inputs import checked_lengths
from asr.grid.layers import product_type
from asr.grid.native_engine import CPUKernel, gru_weights
from asr.grid.options import GridOptions, LayerWeights
from asr.grid.scan import EVERYTHING, NOTHING, Scanned, refuse_tangents, scan


def kernel_is_faster(inputs: Tensor, layer: nn.RNNBase) -> bool:
    """Whether `recurrent_layer` can and should run a layer: an LSTM or GRU on the CPU under autocast to bfloat16.

    There the kernel trains about twice as fast as nn.LSTM, 2.7 times as fast as nn.GRU, and keeps memory in float32.
    In float32 it is no faster. The environment variable ASR_GRID_ENGINE, where it names another engine than "cpu",
    keeps to torch.nn.
    """
    if not isinstance(layer, nn.LSTM | nn.GRU) or inputs.device.type != "cpu":
        return False
    if layer.weight_ih_l0.dtype != torch.float32 or product_type(inputs.device, torch.float32) != torch.bfloat16:
        return False
    if layer.num_layers > 1 or layer.bidirectional or layer.proj_size or not layer.bias:
        return False
    if os.environ.get(OVERRIDE) not in (None, "", "auto", "cpu"):
        return False
    return CPUKernel.refusal(GridOptions(1, layer.hidden_size), inputs.device, torch.bfloat16) is None


def recurrent_layer(inputs: Tensor, lengths: Tensor, forward: nn.RNNBase, backward: nn.RNNBase | None = None) -> Tensor:
    """Run one layer in one or both directions, each over an utterance's own frames alone, with products in bfloat16.

    Args:
        inputs: (B, T, I); padding has no influence.
        lengths: (B,).
        forward: an nn.LSTM or nn.GRU of one layer and direction, with biases.
        backward: the same for the other direction, if there is one.

    Returns:
        The directions' hidden vectors side by side, bfloat16 (B, T, D * H), zero at padded frames.

    Raises:
        ValueError: a length is not between 1 and T.
    """
    lengths, gru = checked_lengths(inputs, lengths, axes=1), isinstance(forward, nn.GRU)
    directions = [_weights(layer) for layer in (forward, backward) if layer is not None]
    weight_ih, weight_hh, bias = (torch.stack(each) for each in zip(*directions, strict=True))
    given = (inputs.to(torch.bfloat16).contiguous(), weight_ih, weight_hh, bias)
    refuse_tangents(given)
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    scanned = scan(
        *given,
        peephole=None,
        hidden_0=None,
        memory_0=None,
        depth_memory=None,
        lengths=lengths,
        backward=[number == 1 for number in range(len(directions))],
        bands=1,
        gate_inside=False,
        coupled=False,
        gru=gru,
        clip=None,
        code="cpu",
        keep=EVERYTHING if learning else NOTHING,
    )
    return Scanned(*scanned).hidden.flatten(-2)


def _weights(layer: nn.RNNBase) -> Sequence[Tensor]:
    """weight_ih, weight_hh and bias of a layer, their rows as `scan` has them."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        cast(Tensor, getattr(layer, f"{name}_l0")) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    if not isinstance(layer, nn.GRU):
        return weight_ih, weight_hh, bias_ih + bias_hh  # i, f, g, o
    of_gates, of_candidate = bias_hh.tensor_split([2 * layer.hidden_size])
    bias = bias_ih + nn.functional.pad(of_gates, (0, layer.hidden_size))
    rows = LayerWeights(weight_ih[None], weight_hh[None], bias[None], bias_hh=of_candidate[None])
    return [tensor[0] for tensor in gru_weights(rows, layer.hidden_size)]
