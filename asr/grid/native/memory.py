"""Memory for large tensors, used again instead of given back.

A fresh page costs the operating system a fault and a clearing, together more than the arithmetic on it: of a training
step of a Grid LSTM that was a third of the time. Blocks that no tensor uses any more are kept for the next one. What is
kept and what is in use together stay within `SLACK` times the most that was ever in use.
"""

import ctypes
import math
import mmap
import threading
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1 << 20
"""Bytes; smaller tensors come from torch's own allocator."""

SLACK = 1.25


class Block(NamedTuple):
    """Idle memory."""

    size: int
    region: mmap.mmap


class Pool:
    """Blocks of memory for tensors; see the module."""

    def __init__(self) -> None:
        self.idle: list[Block] = []  # least recently used first
        self.in_use = 0
        self.most_in_use = 0
        self.lock = threading.RLock()  # a tensor may be collected, and its block returned, while another is being made

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor on the CPU, aligned to a page where it is large."""
        size = math.prod(shape) * dtype.itemsize
        if size < SMALLEST:
            return torch.empty(shape, dtype=dtype)
        with self.lock:
            block = self._taken(size) or self._fresh(size)
            self.in_use += block.size
            self.most_in_use = max(self.most_in_use, self.in_use)
        memory = (ctypes.c_uint8 * size).from_buffer(block.region)
        weakref.finalize(memory, self._given_back, block).atexit = False
        return torch.frombuffer(memory, dtype=dtype, count=math.prod(shape)).view(shape)

    def _taken(self, size: int) -> Block | None:
        """The smallest idle block that is large enough, and at most twice as large."""
        fitting = [block for block in self.idle if size <= block.size <= 2 * size]
        if not fitting:
            return None
        block = min(fitting, key=lambda block: block.size)
        self.idle.remove(block)
        return block

    def _fresh(self, size: int) -> Block:
        size = -(-size // SMALLEST) * SMALLEST
        limit = SLACK * max(self.most_in_use, self.in_use + size)
        while self.idle and self.in_use + size + sum(block.size for block in self.idle) > limit:
            self.idle.pop(0)
        region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # a forked process gets a copy
        if hasattr(mmap, "MADV_HUGEPAGE"):
            region.madvise(mmap.MADV_HUGEPAGE)
        return Block(size, region)

    def _given_back(self, block: Block) -> None:
        with self.lock:
            self.in_use -= block.size
            self.idle.append(block)


pool = Pool()
"""The pool of this process."""
