"""Checkpoints that continue exactly: after every epoch, every so many steps, and when the run is interrupted."""

import io
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from asr.errors import InputError
from asr.files import atomic_writer

BEST = "best.ckpt"
LAST = "last.ckpt"


class Interrupted(Exception):
    """The run was stopped by a signal, after `last.ckpt` was written. `exit_code` is 128 + the signal's number."""

    def __init__(self, signum: int, checkpoint: Path) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}; continue with --ckpt_path last ({checkpoint})")
        self.exit_code = 128 + signum


class SignalFlag:
    """Remembers the first SIGINT or SIGTERM between `install` and `restore`; the second one ends the process at once.

    A forked process that inherits the handlers ignores SIGINT (this one decides) and ends at SIGTERM.
    """

    def __init__(self) -> None:
        self.received = 0
        self._process = os.getpid()
        self._former: dict[int, Any] = {}

    def install(self, notify: Callable[[int], None]) -> None:
        """Begin to listen; `notify` is called at the first signal."""
        self._notify = notify
        self._process = os.getpid()
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._former[signum] = signal.signal(signum, self._handle)

    def restore(self) -> None:
        """Put the former handlers back."""
        for signum, handler in self._former.items():
            signal.signal(signum, handler)
        self._former = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        if self.received:
            raise SystemExit(128 + signum)
        self.received = signum
        self._notify(signum)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: Lightning would copy it there from another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_writer(path) as file:
            file.write(content.getbuffer())


def copy_best(checkpoint: Path, folder: Path) -> None:
    """Bring the best checkpoint of a run, which lies beside the one that is continued, along into another folder.

    Raises:
        InputError: it cannot be written.
    """
    best = checkpoint.with_name(BEST)
    if best.is_file():
        with open(best, "rb") as source, atomic_writer(folder / BEST) as file:
            shutil.copyfileobj(source, file)


class RunCheckpoints(Checkpoint):
    """Keeps `best.ckpt` (lowest `monitor`) and `last.ckpt` in `folder`, and makes interruptions harmless.

    At SIGINT or SIGTERM the step under way is finished, `last.ckpt` is written and `Interrupted` is raised; in
    validation it is finished first. With `WholeCheckpoints`, a full disk or a kill leaves the former one.

    Args:
        folder: where the checkpoints are kept.
        every_n_steps: also write last.ckpt after this many optimiser steps; None only after epochs.
        monitor: the logged metric whose lowest value is the best.
    """

    def __init__(self, folder: Path, every_n_steps: int | None = None, monitor: str = "val_wer") -> None:
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch = -1
        self._flag = SignalFlag()
        self._saved_step = -1

    @property
    def last_path(self) -> Path:
        """Where the newest checkpoint is."""
        return self.folder / LAST

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint is."""
        return self.folder / BEST

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step
        self._forget_missing(trainer)

        def notify(signum: int) -> None:
            print(
                f"\n{signal.Signals(signum).name} received: writing {self.last_path} after this step or validation "
                "(once more to stop at once)",
                flush=True,
            )

        self._flag.install(notify)

    def _forget_missing(self, trainer: Trainer) -> None:
        """Without best.ckpt the next epoch is the best, and is kept; all processes go by what the first one sees."""
        if self.best is not None and not trainer.strategy.broadcast(self.best_path.is_file()):
            rank_zero_info(f"{self.best_path} is missing: the next epoch that is validated counts as the best so far")
            self.best, self.best_epoch = None, -1

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._flag.restore()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        if trainer.is_last_batch or loop._should_accumulate():
            return  # the end of the epoch follows with its validation; inside an accumulation nothing can be resumed
        if not loop._should_check_val_fx(trainer.fit_loop._data_fetcher):  # else a resumed run would leave it out
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        within_an_epoch = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if within_an_epoch and not trainer.is_last_batch and not trainer.fit_loop.epoch_loop._should_accumulate():
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        """Within an epoch: write last.ckpt if it is time, or the run was interrupted, or ends here."""
        interrupted = self._interrupted(trainer)
        due = self.every_n_steps is not None and trainer.global_step >= self._saved_step + self.every_n_steps
        ends = trainer.global_step == trainer.max_steps
        if interrupted or due or ends:
            self._save(trainer, self.last_path)
        if interrupted:
            raise Interrupted(interrupted, self.last_path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and self._improves(float(value)):
            self.best, self.best_epoch = float(value), trainer.current_epoch
            self._save(trainer, self.best_path)
        if trainer.is_last_batch or self._saved_step != trainer.global_step:  # else the place in the epoch is kept
            self._save(trainer, self.last_path)
        interrupted = self._interrupted(trainer)
        if interrupted:
            raise Interrupted(interrupted, self.last_path)

    def _improves(self, value: float) -> bool:
        return not math.isnan(value) and (self.best is None or value < self.best)

    def _interrupted(self, trainer: Trainer) -> int:
        """The signal that any process received, else 0."""
        if trainer.world_size == 1:
            return self._flag.received
        received = torch.tensor(self._flag.received, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(received, op=torch.distributed.ReduceOp.MAX)
        return int(received)

    def _save(self, trainer: Trainer, path: Path) -> None:
        kept = " (the former one is kept)" if path.exists() else ""
        try:
            trainer.save_checkpoint(path, weights_only=False)
        except InputError as error:
            raise InputError(f"{error}{kept}") from error
        self._saved_step = trainer.global_step
