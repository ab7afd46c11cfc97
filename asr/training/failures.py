"""How a training of several processes fails: for one reason, told in words, with one exit code."""

import os
import time

import torch.distributed
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed import Store, distributed_c10d

from asr.errors import InputError

KEY = "asr/failure"
ENDED = "the first process has ended"
LINGER = 10.0
"""Seconds that a process which Lightning started waits for the first one to end."""


class SharedFailure(Callback):
    """Passes the reason why one process cannot go on to the others, which only see that a connection is closed.

    Attributes:
        reason: what another process said; None if this one fails for a reason of its own, or does not fail.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._lingers = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 or not torch.distributed.is_initialized():
            return
        gloo = torch.distributed.get_backend() == "gloo"
        started_by_lightning = isinstance(trainer.strategy.cluster_environment, LightningEnvironment)
        self._lingers = trainer.global_rank > 0 and gloo and started_by_lightning
        store = distributed_c10d._get_default_store()
        if isinstance(exception, InputError):
            store.set(KEY, str(exception))
        elif isinstance(exception, RuntimeError):
            self.reason = _read(store)

    @property
    def told(self) -> bool:
        """Whether the first process, which writes to the same place, has said why and ended: nothing is to be added."""
        return self._lingers and self.reason == ENDED

    def linger(self) -> None:
        """Let the first process tell the error and end by itself: when another ends before it, Lightning kills it."""
        if not self._lingers:
            return
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # by which the first process sees that something is wrong
        parent, deadline = os.getppid(), time.monotonic() + LINGER
        while os.getppid() == parent and time.monotonic() < deadline:
            time.sleep(0.05)


def _read(store: Store) -> str | None:
    try:
        return store.get(KEY).decode() if store.check([KEY]) else None
    except RuntimeError:  # the first process, which holds it, has ended
        return ENDED
