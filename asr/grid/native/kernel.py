"""Calls of the C++ kernel: tensors in, pointers through ctypes; `scan.cpp` has the other side of each structure."""

import ctypes
import math
import os
from collections.abc import Iterable, Sequence
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_int64, c_uint8, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from asr.grid.native.build import library
from asr.grid.native.memory import pool

UNITS = 16
"""Kept gates are padded to a multiple of so many hidden units."""
WAYS = ("float32", "fastest", "widened", "pairs", "tiles")
"""How products are computed, numbered as in `products_bfloat16.h`; all but the first are of bfloat16."""
OVERRIDE = "ASR_GRID_PRODUCTS"
"""Environment variable: the way of bfloat16, where it is not to be the fastest of this processor."""
NO_MEMORY = 1


class Problem(NamedTuple):
    """Options of a scan; see `asr.grid.scan.scan`."""

    lengths: Tensor
    backward: tuple[bool, ...]
    bands: int
    gate_inside: bool
    coupled: bool
    gru: bool
    clip: float | None


Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""inputs, weight_ih, weight_hh, bias, peephole, hidden_0, memory_0, depth_memory; see `asr.grid.scan.scan`."""


class _Layer(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("batch", "axes", "directions", "bands", "input_size", "hidden_size")),
        ("extents", POINTER(c_int64)),
        ("lengths", POINTER(c_int64)),
        ("backward", POINTER(c_uint8)),
        *((name, c_int32) for name in ("gate_inside", "coupled", "gru", "clipped", "depth")),
        ("clip", c_float),
    )


def _layer(problem: Problem, given: Given) -> _Layer:
    inputs, _, weight_hh, *_, depth_memory = given
    batch, *extents, input_size = inputs.shape
    axes = len(extents)
    lengths = problem.lengths.flatten().tolist()
    return _Layer(
        batch,
        axes,
        len(problem.backward) // axes,
        problem.bands,
        input_size,
        weight_hh.shape[2] // axes,
        (c_int64 * axes)(*extents),
        (c_int64 * len(lengths))(*lengths),
        (c_uint8 * len(problem.backward))(*problem.backward),
        problem.gate_inside,
        problem.coupled,
        problem.gru,
        problem.clip is not None,
        depth_memory is not None,
        math.inf if problem.clip is None else problem.clip,
    )


def _pointers(tensors: Iterable[Tensor | None]) -> "ctypes.Array[c_void_p]":
    """An array of pointers, which is how a structure of pointers lies in memory."""
    addresses = [None if tensor is None or not tensor.numel() else tensor.data_ptr() for tensor in tensors]
    return (c_void_p * len(addresses))(*addresses)


def _float32(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    return [None if tensor is None else tensor.detach().float().contiguous() for tensor in tensors]


def forward(problem: Problem, given: Given, made: Sequence[Tensor]) -> None:
    """Fill the tensors that a scan returns, in the order of `asr.grid.scan.Scanned`; empty ones are left out.

    Raises:
        asr.grid.native.build.Unavailable: the kernel cannot be built here.
        MemoryError: there is no memory left.
        ValueError: the environment names a way of products that is not there.
    """
    inputs = given[0].contiguous()
    hidden, last_memory, memory, gates, depth_hidden, depth_memory = made
    last_memory.zero_()
    *parameters, hidden_0, memory_0, depth_before = _float32(given[1:])
    tensors = (inputs, hidden_0, memory_0, hidden, last_memory, memory, gates, depth_before, depth_hidden, depth_memory)
    _call("grid_scan_forward", inputs.dtype, _layer(problem, given), _pointers(parameters), _pointers(tensors))


def backward(problem: Problem, given: Given, kept: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of what is given, from those of hidden, last_memory, depth_hidden and depth_memory.

    Raises:
        as `forward`.
    """
    inputs = given[0].contiguous()
    layer = _layer(problem, given)
    parts = layer.directions if len(inputs) < torch.get_num_threads() else 1  # as `divided` in scan.cpp has it
    d_inputs = pool.empty((parts, *inputs.shape), inputs.dtype)
    floats = _float32(given[1:])
    *parameters, hidden_0, memory_0, depth_before = floats
    hidden, _, memory, gates, depth_hidden, depth_memory = kept
    d_floats = [None if x is None else torch.zeros_like(x) for x in floats[:6]]
    d_depth_before = None if depth_before is None else pool.empty(tuple(depth_before.shape), torch.float32)
    d_hidden, d_last_memory, d_depth_hidden, d_depth_memory = gradients
    tensors = (inputs, hidden_0, memory_0, hidden, None, memory, gates, depth_before, depth_hidden, depth_memory)
    outgoing = (d_hidden, d_last_memory, d_inputs, *d_floats[4:], d_depth_hidden, d_depth_memory, d_depth_before)
    pointers = (_pointers(parameters), _pointers(tensors), _pointers(outgoing), _pointers(d_floats[:4]))
    _call("grid_scan_backward", inputs.dtype, layer, *pointers)
    made = [d_inputs.sum(0) if parts > 1 else d_inputs[0], *d_floats, d_depth_before]
    return [
        inputs.new_empty(0) if gradient is None or x is None else gradient.to(x.dtype)
        for gradient, x in zip(made, given, strict=True)
    ]


def _call(name: str, dtype: torch.dtype, layer: _Layer, *pointers: "ctypes.Array[c_void_p]") -> None:
    function = getattr(library(), name)
    arguments = [ctypes.byref(layer), *(ctypes.byref(pointer) for pointer in pointers)]
    way = _way() if dtype == torch.bfloat16 else "float32"
    failed = function(*arguments, c_int(WAYS.index(way)), c_int(torch.get_num_threads()))
    if failed == NO_MEMORY:
        raise MemoryError(f"{name}: no memory left for the working buffers")
    if failed:
        raise ValueError(f"{OVERRIDE} is {way!r}, and this processor has no such products")


def _way() -> str:
    """How products of bfloat16 are to be computed.

    Raises:
        ValueError: the environment names another way than there are.
    """
    way = os.environ.get(OVERRIDE) or "fastest"
    if way not in WAYS[1:]:
        raise ValueError(f"{OVERRIDE} must name one of {list(WAYS[1:])}, got {way!r}")
    return way


def bfloat16_way() -> str:
    """How products of bfloat16 are computed here: "tiles" (AMX), "pairs" (AVX512-BF16), or "widened" to float32.

    Raises:
        asr.grid.native.build.Unavailable: the kernel cannot be built here.
        ValueError: the environment names another way than there are.
    """
    way = _way()
    return WAYS[library().grid_scan_fastest_way()] if way == "fastest" else way
