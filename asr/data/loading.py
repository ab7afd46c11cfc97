"""Planned work -> results, in order, computed by worker processes that live across epochs."""

import atexit
import signal
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from asr.data.sampling import PlannedBatch
from asr.errors import InputError

Result = TypeVar("Result")
Made = TypeVar("Made", covariant=True)


class Source(Protocol[Made]):
    """Something that turns a piece of planned work into a result, and refuses bad input with `InputError`."""

    def __getitem__(self, work: Any) -> Made:
        """Do the work."""


class _Refusal(NamedTuple):
    """An InputError on its way from a worker; as an exception it would arrive wrapped in a printed traceback."""

    message: str


class _Guarded(Dataset[Any]):
    def __init__(self, source: Source[Any]) -> None:
        self.source = source

    def __getitem__(self, work: Any) -> Any:
        try:
            result = self.source[work]
            if get_worker_info() is not None:
                _move_into_shared_memory(result)
            return result
        except InputError as error:
            return _Refusal(str(error))


def _move_into_shared_memory(result: Any) -> None:
    """Do here what handing over tensors would do in a thread, where a failure leaves the consumer waiting forever.

    Raises:
        InputError: there is not enough of it.
    """
    try:
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                leaf.share_memory_()
    except RuntimeError as error:
        raise InputError(
            f"a data worker cannot hand over its batch in shared memory ({error}): give the container more (docker run "
            "--shm-size=2g), or load without workers (asr fit --data.num_workers 0, asr test --workers 0)"
        ) from error


class _Order(Sampler[Any]):
    """The work of the current pass; exchanged between passes, while the workers stay."""

    def __init__(self) -> None:
        self.work: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.work)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.work)


def _as_it_is(result: Any) -> Any:
    return result


def _leave_signals_to_parent(worker_id: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; the parent decides, and still needs its batches meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class WorkerPool(Generic[Result]):
    """Worker processes around a source, started with the first pass and kept for the following ones.

    Results do not depend on the number of workers, since a source's results depend on the work alone.

    Args:
        source: does the work; copied into each worker.
        num_workers: processes; 0 works in this one.
        pin_memory: hand out tensors in page-locked memory, for copies to a GPU.
    """

    def __init__(self, source: Source[Result], num_workers: int, pin_memory: bool = False) -> None:
        self._order = _Order()
        self._passes = 0
        # Workers ignore SIGTERM, by which multiprocessing would end them when this process exits, and wait for them.
        pool = weakref.ref(self)
        atexit.register(lambda: (alive := pool()) and alive.close())
        self._loader = DataLoader(
            _Guarded(source),
            batch_size=None,
            sampler=self._order,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            worker_init_fn=_leave_signals_to_parent,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # else each pass would draw from the global one, and dropout would feel it
        )

    def run(self, work: Sequence[Any]) -> Iterator[Result]:
        """Yield the results of a sequence of work, in its order. A later pass ends an earlier one.

        Raises:
            InputError: from the source, with its message as it was; or a worker died.
            RuntimeError: another pass has begun meanwhile.
        """
        self._passes += 1
        this_pass = self._passes
        self._order.work = work
        for result in self._results():
            if isinstance(result, _Refusal):
                raise InputError(result.message)
            yield result
            if self._passes != this_pass:
                raise RuntimeError("this pass over the data was ended by a later one")

    def _results(self) -> Iterator[Any]:
        try:
            yield from self._loader
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise InputError(f"a data worker died: {error} (is there enough memory?)") from error

    def close(self) -> None:
        """End the workers; a further pass starts new ones."""
        iterator = self._loader._iterator
        self._loader._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()  # as Lightning ends those of its dataloaders
            for worker in getattr(iterator, "_workers", ()):  # torch sends those that hang SIGTERM, which they ignore
                worker.kill()


class BatchLoader(Generic[Result]):
    """One process's batches of one epoch, in order: what Lightning calls a dataloader.

    Args:
        pool: turns planned batches into batches (of speech, or whatever its source makes).
        planned: all batches of the epoch; their number is the loader's length.
        skip: how many were consumed before an interruption; iteration begins after them without loading them.

    Attributes:
        waited: seconds that the iteration under way has kept its consumer waiting.
    """

    def __init__(self, pool: WorkerPool[Result], planned: Sequence[PlannedBatch], skip: int = 0) -> None:
        self.planned = tuple(planned)
        self.skip = skip
        self.waited = 0.0
        self._pool = pool

    def __len__(self) -> int:
        return len(self.planned)

    def __iter__(self) -> Iterator[Result]:
        self.waited = 0.0
        results = self._pool.run(self.planned[self.skip :])
        while True:
            began = time.perf_counter()
            result = next(results, None)
            self.waited += time.perf_counter() - began
            if result is None:
                return
            yield result

    def state_dict(self) -> dict[str, Any]:
        """Nothing. That the method exists tells Lightning that the loader resumes; the datamodule keeps its place."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: see `state_dict`."""
