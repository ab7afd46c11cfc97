"""A function over many items in several processes, with results in the order of the items."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch
from tqdm import tqdm

from asr.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8
"""Items that travel to a process at once."""


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, description: str
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in their order, computed by `jobs` processes of one thread each.

    Results do not depend on `jobs`: also with one job, which stays in this process, torch computes on one thread.

    Raises:
        InputError: a process was killed (often: out of memory).
    """
    bar = tqdm(total=len(items), desc=description, unit=" files", disable=None)
    with bar:
        for result in _alone(function, items) if jobs == 1 else _together(function, items, jobs):
            bar.update()
            yield result


def _alone(function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from map(function, items)
    finally:
        torch.set_num_threads(threads)


def _together(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Generator[Result, None, None]:
    pool = ProcessPoolExecutor(jobs, mp_context=_context(), initializer=_begin)
    try:
        yield from pool.map(function, items, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise InputError(f"one of {jobs} processes was killed, perhaps for want of memory: try fewer --jobs") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    """Processes forked from a server that has the modules loaded: quick to start, and no thread is forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "data_prep.verify", "asr.data.features"])
    return context


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it ends the processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
