"""What costs a training on the CPU time for nothing: memory that is given back, and numbers near zero."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4
LARGEST = 2**31 - 1
"""mallopt takes a C int: blocks above it are still mapped, and what is free above it at the heap's end given back."""
CHOSEN_BY_USER = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Beginnings of environment variables by which somebody has chosen how memory is allocated."""


def keep_freed_memory() -> bool:
    """Make malloc reuse large blocks in the place of returning them to the system, for this whole process.

    By itself glibc asks the system for every block above 32 MiB anew (`mmap`) and gives it back when it is freed, so
    that every step of a training pays for zeroing and mapping the pages of its large tensors. See mallopt(3).

    Returns:
        Whether it does so now: not where the environment says how memory is allocated, nor without glibc.
    """
    if any(name.startswith(CHOSEN_BY_USER) for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 (other libraries have a mallopt of another meaning, or none)
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return False
    mapped = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_MAX, 0)  # old versions refuse such a threshold
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, LARGEST))


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1.2e-38 are taken for zero, where the processor can: it is many times slower with them.

    Holds for this thread, and for those that it starts also afterwards.
    """
    before = not bool(torch.tensor([1e-30]) * 1e-10)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
