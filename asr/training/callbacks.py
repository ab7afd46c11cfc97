"""What happens beside the steps: progress, waiting for data, the largest batch first, the record of the run."""

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from asr.data.batch import Batch
from asr.errors import InputError
from asr.files import write_json, write_text
from asr.provenance import provenance
from asr.training.run_folder import RunFolder

OPTIONS = "options"
"""Where a checkpoint keeps the options of its run."""


def epoch_metrics(trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
    """What was logged of the epoch that ends.

    Left out are what is of its last step alone, and dev rates of an earlier epoch's validation, which Lightning keeps.
    """
    return {
        name: float(value)
        for name, value in sorted(trainer.callback_metrics.items())
        if torch.isfinite(value).all()
        and not name.endswith("_step")
        and (not name.startswith("val_") or pl_module.validated_epoch == trainer.current_epoch)
    }


class LargestBatchFirst(Callback):
    """Tries the largest batches of the plan before the first step, so that memory fails now and not after an hour.

    Nothing of the trial remains: gradients are cleared, and every step seeds torch's generator by itself.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for batch in trainer.datamodule.largest_batches():
            batch = trainer.strategy.batch_to_device(batch)
            shape = tuple(batch.features.shape)
            try:
                with trainer.precision_plugin.train_step_context():
                    loss = pl_module.batch_loss(batch)
                loss.backward()
            except (MemoryError, RuntimeError) as error:
                if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error):
                    raise
                raise InputError(
                    f"the largest training batch, {shape[0]} utterances of up to {shape[1]} frames, does not fit into "
                    f"memory: lower --data.max_batch_seconds (now {trainer.datamodule.max_batch_seconds}), or leave "
                    "out the longest utterances when preparing (--max-duration)"
                ) from error
            finally:
                pl_module.zero_grad(set_to_none=True)


class EpochLoss(Callback):
    """Logs `train_loss`: the mean of an epoch's losses, each batch weighted by its utterances, over all processes.

    The parts of an epoch before and after an interruption count together.
    """

    KEY = "epoch_loss"

    def __init__(self) -> None:
        self._sums = torch.zeros(2)  # of losses times utterances, and of utterances

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums = torch.zeros(2, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        size = len(batch.utterance_ids)
        loss = outputs["loss"].float() * trainer.accumulate_grad_batches  # by which Lightning has divided it
        self._sums = self._sums.to(loss.device) + torch.stack([loss * size, torch.full_like(loss, size)])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total, utterances = self._everywhere(trainer)
        if utterances:
            # Every process has the same sums by now.
            pl_module.log("train_loss", total / utterances, batch_size=1, sync_dist=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[self.KEY] = self._everywhere(trainer).tolist()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._sums = torch.tensor(checkpoint.get(self.KEY, [0.0, 0.0])) * trainer.is_global_zero

    def _everywhere(self, trainer: Trainer) -> Tensor:
        """The sums over all processes, each of which must ask."""
        return trainer.strategy.reduce(self._sums, reduce_op="sum")


class DataWait(Callback):
    """Measures which share of the training time is spent waiting for the next batch, and how much is trained a second.

    Logs `data_wait` (a share) and `utterances_per_second`, both over the epoch so far.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which is not called for a run resumed in the middle of an epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        self._utterances = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        elapsed = time.perf_counter() - self._began
        size = len(batch.utterance_ids)
        self._utterances += size
        pl_module.log("data_wait", trainer.train_dataloader.waited / elapsed, batch_size=size)
        pl_module.log("utterances_per_second", self._utterances / elapsed, prog_bar=True, batch_size=size)


class ProgressBar(TQDMProgressBar):
    """Loss, dev WER and utterances per second, without the run's version; silent where nobody looks at a terminal."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() or sys.stdout.isatty() else 0)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLine(Callback):
    """Prints what is trained, then one line an epoch: loss, dev error rates, speed, waiting for data, time.

    Args:
        name: of the run, at the beginning of each line, so that trainings side by side can be told apart.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        parameters = pl_module.model.parameter_count()
        rank_zero_info(f"{self.name}: {parameters:,} parameters, {trainer.datamodule.describe()}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = epoch_metrics(trainer, pl_module)
        seconds = time.perf_counter() - self._began
        parts = [f"{self.name}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        parts += [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
        if "val_wer" in metrics:
            parts += [f"dev loss {metrics['val_loss']:.3f}", f"dev WER {100 * metrics['val_wer']:.1f} %"]
            parts += [f"CER {100 * metrics['val_cer']:.1f} %"]
        if "data_wait" in metrics:
            parts += [f"{metrics['utterances_per_second']:.0f} utterances/s"]
            parts += [f"waited for data {100 * metrics['data_wait']:.1f} %"]
        rank_zero_info(", ".join([*parts, f"{seconds:.1f} s"]))


class RunRecord(Callback):
    """Keeps run.json (what was trained, on what, for how long, with which versions) and metrics.csv (a row an epoch).

    Both go on over resumes: the time adds up, and rows of epochs that are done again are replaced. The options of the
    run go into every checkpoint, where a resumed run compares its own with them; so do name, seed, data and time.

    Args:
        folder: of the run; it learns here that training has begun.
        options: of the run, as nested plain data.
    """

    def __init__(self, folder: RunFolder, options: dict[str, Any]) -> None:
        self.folder = folder
        self.options = options
        self.training_seconds = 0.0
        self.history: list[dict[str, float]] = []
        self._began: float | None = None

    def elapsed(self) -> float:
        """Seconds of training so far, those before the last resume included."""
        return self.training_seconds + (0.0 if self._began is None else time.perf_counter() - self._began)

    def state_dict(self) -> dict[str, Any]:
        return {"training_seconds": self.elapsed(), "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.training_seconds, self.history = state_dict["training_seconds"], list(state_dict["history"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[OPTIONS] = self.options
        checkpoint["metadata"] = {**self._origin(), "training_seconds": round(self.elapsed(), 1)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        if trainer.is_global_zero:
            self.write(trainer, pl_module, finished=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.folder.begin()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "seconds": round(self.elapsed(), 2)}
        self.history.append(row | epoch_metrics(trainer, pl_module))
        if trainer.is_global_zero:
            self.write(trainer, pl_module, finished=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.write(trainer, pl_module, finished=True)

    def write(self, trainer: Trainer, pl_module: LightningModule, finished: bool) -> None:
        """Write run.json; an interrupted run has `finished` false."""
        model, features = pl_module.model, pl_module.description.features
        frames_per_second = features.sample_rate / features.hop_length
        record = {
            **self._origin(),
            "finished": finished,
            "parameters": model.parameter_count(),
            "multiply_adds_per_second": model.multiply_adds_per_second(frames_per_second),
            "frame_rate": frames_per_second / model.encoder.subsampling,
            "epochs": len(self.history),
            "steps": trainer.global_step,
            "training_seconds": round(self.elapsed(), 1),
            "devices": trainer.world_size,
            "precision": str(trainer.precision),
            "metrics": self.history[-1] if self.history else {},
            "encoder": pl_module.description.encoder,
            "data": trainer.datamodule.describe(),
            **provenance(),
        }
        write_json(self.folder.path / "run.json", record)
        write_text(self.folder.path / "metrics.csv", self._table())

    def _origin(self) -> dict[str, Any]:
        """Which run it is: what its checkpoints say too."""
        root = Path(self.options["data"]["root"]).resolve()
        return {"name": self.folder.path.name, "seed": self.options["seed"], "data_root": str(root)}

    def _table(self) -> str:
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(self.history)
        return file.getvalue()
