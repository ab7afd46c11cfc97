"""glibc's malloc, told to keep what is freed.

By itself it asks the system for every block above 32 MiB anew (`mmap`) and gives it back when it is freed, so that
every step of a training pays for zeroing and mapping the pages of its large tensors. See mallopt(3).
"""

import ctypes
import os

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1
"""mallopt takes a C int: blocks above it are still mapped, and what is free above it at the heap's end given back."""
CHOSEN_BY_USER = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Beginnings of environment variables by which somebody has chosen how memory is allocated."""


def keep_freed_memory() -> bool:
    """Make malloc reuse large blocks in the place of returning them to the system, for this whole process.

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
    return all(mallopt(option, LARGEST) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
