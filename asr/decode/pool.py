"""Decoding in this process or in others, while more log-probabilities are computed."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from asr.decode.options import DecodingOptions
from asr.decode.reading import Reader, Reading, Recognition
from asr.errors import InputError

Found = TypeVar("Found")
WAITING = 4
"""Batches that may wait for each process, so that memory is bounded."""

_reader: Reader | None = None  # of a process of the pool


class ReaderPool:
    """Decodes batches of utterances by name.

    The reader is made in this process first, so that what is wrong with its files is known at once; processes that
    decode make their own.

    Args:
        reading: see there.
        processes: that decode; 0 decodes in this one.

    Raises:
        InputError: the number is negative; see `Reader`.
    """

    def __init__(self, reading: Reading, processes: int = 0) -> None:
        if processes < 0:
            raise InputError(f"--decode-workers must be a number of at least 0, got {processes}")
        self.reader = Reader(reading)
        self.processes = processes
        self.pool: ProcessPoolExecutor | None = None
        self.waiting: deque[tuple[tuple[str, ...], Future[list[Recognition]]]] = deque()
        self.done: dict[str, Recognition] = {}
        if processes:
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(processes, context, _begin, (reading,))

    def submit(self, names: Sequence[str], log_probs: Sequence[NDArray[Any]]) -> int:
        """Hand in utterances; `done` has them then, or later. Returns how many utterances are done."""
        if self.pool is None:
            self.done.update(zip(names, self.reader.read(log_probs), strict=True))
        else:
            with self._alive():
                self.waiting.append((tuple(names), self.pool.submit(_read, list(log_probs))))
            self._collect(WAITING * self.processes)
        return len(self.done)

    def finish(self) -> dict[str, Recognition]:
        """Wait for the rest; everything by name."""
        self._collect(0)
        return self.done

    def texts(self, batches: Sequence[Sequence[NDArray[Any]]], options: DecodingOptions) -> Iterator[list[str]]:
        """The best texts of batches with other weights or limits, in order."""
        return self._each(Reader.texts, batches, options)

    def recognitions(
        self, batches: Sequence[Sequence[NDArray[Any]]], options: DecodingOptions
    ) -> Iterator[list[Recognition]]:
        """All that is recognised in batches with other weights or limits, in order."""
        return self._each(Reader.reweighted, batches, options)

    def _each(
        self, read: Callable[..., list[Found]], batches: Sequence[Sequence[NDArray[Any]]], options: DecodingOptions
    ) -> Iterator[list[Found]]:
        """What a method of the reader finds in each batch."""
        if self.pool is None:
            for batch in batches:
                yield read(self.reader, batch, options)
        else:
            with self._alive():
                futures = [self.pool.submit(_read_by, read, list(batch), options) for batch in batches]
            for future in futures:
                with self._alive():
                    found = future.result()
                yield found

    def close(self) -> None:
        """End the processes."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)

    def _collect(self, most: int) -> None:
        """Take in what is done, and wait until at most so many batches are not."""
        while self.waiting and (len(self.waiting) > most or self.waiting[0][1].done()):
            names, future = self.waiting.popleft()
            with self._alive():
                self.done.update(zip(names, future.result(), strict=True))

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {self.processes} decoding processes was killed, perhaps for want of memory: "
                "try fewer --decode-workers"
            ) from error


def _begin(reading: Reading) -> None:
    global _reader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it ends the processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _reader = Reader(reading, quiet=True)


def _read(log_probs: list[NDArray[Any]]) -> list[Recognition]:
    assert _reader is not None
    return _reader.read(log_probs)


def _read_by(read: Callable[..., list[Found]], log_probs: list[NDArray[Any]], options: DecodingOptions) -> list[Found]:
    assert _reader is not None
    return read(_reader, log_probs, options)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
