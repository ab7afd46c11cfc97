"""The memory that one candidate needs, measured in a process of its own.

The process imports torch, has malloc give large pieces back as soon as they are freed (or else the peak would depend on
which of them it happens to keep), calls the candidate at a tiny size (kernels, thread pools), builds it at the wanted
size (weights and inputs), sets the peak back, calls it once and reports how far the peak rose above what was in use.
On the CPU this is resident memory (VmHWM of /proc/self/status, set back through clear_refs; where that is not allowed,
the growth of the highest peak, which may be too little). On a CUDA device it is what torch's allocator gave out.
"""

import ctypes
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from asr.bench.candidates import RefusedError, Setting, build
from asr.bench.workload import Workload

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
M_MMAP_THRESHOLD = -3
"""From glibc's malloc.h."""


class Growth(NamedTuple):
    """Bytes by which the peak rose, or why there are none."""

    peak_bytes: int | None
    refused: str | None = None


def peak_growth(name: str, workload: Workload, setting: Setting, threads: int) -> Growth:
    """Measure a candidate (`asr.bench.candidates.build`) in a new process with so many threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_measure, name, workload, setting, threads).result()
        except BrokenProcessPool:
            return Growth(None, "its process was killed, as it is when memory runs out")


def _measure(name: str, workload: Workload, setting: Setting, threads: int) -> Growth:
    torch.set_num_threads(threads)
    _give_back_at_once()
    try:
        build(name, replace(workload, batch=1, time=2, frequency=2), setting)()
        call = build(name, workload, setting)
    except RefusedError as error:
        return Growth(None, str(error))
    return Growth(cuda_growth(call) if setting.device == "cuda" else resident_growth(call))


def _give_back_at_once() -> None:
    """Have glibc's malloc map every large piece by itself, instead of adapting the limit to what was freed before."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


def cuda_growth(call: Callable[[], object]) -> int:
    """Bytes of torch's allocator at the peak of a call, above those before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def resident_growth(call: Callable[[], object]) -> int:
    """Bytes of resident memory at the peak of a call, above those before it."""
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
        before = _status_bytes("VmRSS")
        call()
        return max(0, _status_bytes("VmHWM") - before)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{STATUS} has no {field}")
