"""The datamodule of all models: a prepared corpus as batches, with an exact place to resume from."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
from lhotse import CutSet
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from asr.data.augmentation import Augmentation, AugmentationConfig
from asr.data.batch import Batch
from asr.data.corpus import PreparedCorpus, check_disjoint, find_infeasible
from asr.data.cuts import check_sample_rates
from asr.data.dataset import SpeechDataset
from asr.data.features import FeatureConfig, FeatureStatistics, LogMel
from asr.data.loading import BatchLoader, WorkerPool
from asr.data.sampling import (
    PlannedBatch,
    TrainingPlan,
    check_durations,
    digest,
    enumerate_some,
    plan_evaluation,
    share,
)
from asr.data.store import FeatureStore, statistics_of, stored_features
from asr.data.tokens import Tokenizer
from asr.errors import InputError

log = logging.getLogger(__name__)

DEFAULT_FEATURES = FeatureConfig()
DEFAULT_AUGMENTATION = AugmentationConfig()


class _Place(NamedTuple):
    """Where training stands: `skipped` batches of `epoch` were consumed when the trainer had consumed `base` in all."""

    epoch: int
    skipped: int
    base: int


class SpeechDataModule(pl.LightningDataModule):
    """Batches of log-mel features and tokens from a corpus that `asr-prepare` wrote.

    Batches are planned for a whole epoch from (seed, epoch) alone and shared among the processes. A checkpoint notes
    how many of the epoch's batches were consumed; resuming plans the epoch again and goes on after them.
    Only training utterances are augmented. The trainer must ask for the training batches in every epoch:
    `reload_dataloaders_every_n_epochs=1`.

    Args:
        root: folder of the prepared corpus.
        train: split to train on, or several, by name (`train`) or as paths of manifests.
        dev: split, or manifest, to validate on.
        test: split, or manifest, to test on.
        features: how audio becomes features.
        augmentation: how training utterances are varied.
        max_batch_seconds: cap of a batch in seconds of audio, padding included. The main lever on memory.
        num_buckets: utterances are batched with others of their duration class; more classes mean less padding and
            less varied batches.
        num_workers: processes that load training batches, and as many for validation; 0 loads in the training process.
        seed: of the order of the batches and of augmentation.
        storage: "on_the_fly" computes features whenever they are needed; "stored" computes those of train and dev
            once for each speed factor, and reads them back (half precision). Noise, telephones and volume need
            "on_the_fly".
        storage_folder: where computed features and statistics are kept; by default `features` in the root.
        infeasible: what to do with utterances of train and dev that are too short for CTC to align with their text:
            "error" names them and stops, "drop" names them and leaves them out.

    Raises:
        InputError: an option is out of range, or two contradict each other.
    """

    def __init__(
        self,
        root: str,
        train: str | list[str] = "train",
        dev: str = "dev",
        test: str = "test",
        features: FeatureConfig = DEFAULT_FEATURES,
        augmentation: AugmentationConfig = DEFAULT_AUGMENTATION,
        max_batch_seconds: float = 200.0,
        num_buckets: int = 10,
        num_workers: int = 2,
        seed: int = 0,
        storage: Literal["on_the_fly", "stored"] = "on_the_fly",
        storage_folder: str | None = None,
        infeasible: Literal["error", "drop"] = "error",
    ) -> None:
        super().__init__()
        self.corpus = PreparedCorpus(root)
        self.features = features
        self.augmentation = augmentation
        self.max_batch_seconds = max_batch_seconds
        self.num_buckets = num_buckets
        self.num_workers = num_workers
        self.seed = seed
        self.storage = storage
        self.storage_folder = Path(storage_folder) if storage_folder else self.corpus.root / "features"
        self.infeasible = infeasible
        self._splits = {"train": [train] if isinstance(train, str) else list(train), "dev": [dev], "test": [test]}
        self._whole: dict[str, CutSet] = {}  # as read
        self._cuts: dict[str, CutSet] = {}  # less what was left out
        self._pools: dict[str, WorkerPool[Batch]] = {}
        self._training_plan: TrainingPlan | None = None
        self._place: _Place | None = None
        self._resume: dict[str, Any] | None = None
        self._check_options()

    def _check_options(self) -> None:
        for name, least in (("max_batch_seconds", 0.1), ("num_buckets", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"data.{name} must be at least {least}, got {getattr(self, name)}")
        if not self._splits["train"]:
            raise InputError("data.train names no split")
        if self.storage == "stored" and self.augmentation.changes_audio:
            raise InputError(
                "data.storage 'stored' cannot vary what is in the audio: set data.augmentation.noise to [], "
                "telephone_probability and volume_decibels to 0, or data.storage to 'on_the_fly'"
            )

    # What models and checkpoints take from the data, usable as soon as the object exists.

    @property
    def token_data(self) -> dict[str, Any]:
        """The token set as plain data (`tokens.json`)."""
        return self.corpus.token_data

    @property
    def tokenizer(self) -> Tokenizer:
        """Text <-> token ids."""
        return self.corpus.tokenizer

    @property
    def normalizer(self) -> str:
        """Identifier of the rules that the texts were normalised by."""
        return self.corpus.normalizer

    @cached_property
    def statistics(self) -> FeatureStatistics | None:
        """Mean and deviation of the training features; None if the normalisation needs none.

        Those of the preparation if they are of these features and of exactly the splits to train on; else computed
        once and kept in the storage folder.
        """
        if self.features.normalization != "global":
            return None
        found = self.corpus.statistics(self.features, self._splits["train"])
        if found is not None:
            return found
        self._read("train")
        return statistics_of(self.storage_folder, "train", self._whole["train"], self.features, self.num_workers)

    # Lightning's hooks, in the order of its calls.

    def prepare_data(self) -> None:
        """Compute what is kept on disk, in one process of each machine."""
        _ = self.statistics
        if self.storage == "stored" and self._fitting():
            self._stored("train")
            self._stored("dev")

    def setup(self, stage: str | None = None) -> None:
        """Read the splits that a stage ("fit", "validate", "test", "predict"; None: all) needs, and check them.

        Raises:
            InputError: see `asr.data.corpus`; or an utterance exceeds the cap of a batch at its slowest speed.
        """
        self._place = self._resume = None
        needed = {"fit": ("train", "dev"), "validate": ("dev",), "test": ("test",), "predict": ("test",)}
        for split in needed.get(stage or "", ("train", "dev", "test")):
            slowest = min(self.augmentation.speed_factors) if split == "train" else 1.0
            check_sample_rates(split, self._read(split), self.features.sample_rate)
            check_durations({cut.id: cut.duration / slowest for cut in self._read(split)}, self.max_batch_seconds)
        if stage in (None, "fit"):
            check_disjoint("train", self._cuts["train"], "dev", self._read("dev"))
            if self.corpus.has(*self._splits["test"]):
                check_disjoint("train", self._cuts["train"], "test", self._read("test"))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the place noted in a checkpoint (only when training goes on).

        Raises:
            InputError: the data or options that determine the batches are not those of the checkpoint.
        """
        if not self._fitting():
            return
        then, now = state_dict["plan"], self._plan_inputs()
        changed = [f"{key}: {then.get(key)} then, {now.get(key)} now" for key in now if then.get(key) != now.get(key)]
        if changed:
            raise InputError(
                "the checkpoint cannot be continued exactly, since its training batches were planned from other "
                f"data or options ({'; '.join(changed)})"
            )
        self._resume = dict(state_dict)

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data, plain: epoch, batches consumed in it, and what the plan was made from."""
        if self._place is None:
            return self._resume or {}
        return {
            "epoch": self._place.epoch,
            "batches": self._consumed(),
            "of": self._batches_each(self._place.epoch),
            "world_size": self._world_size(),
            "order": digest(self._plan.batches(self._place.epoch)),
            "plan": self._plan_inputs(),
        }

    def train_dataloader(self) -> BatchLoader[Batch]:
        """This process's batches of the trainer's current epoch, from where that epoch stands.

        Raises:
            InputError: the trainer would not ask again in the next epoch, or an interrupted epoch cannot be planned
                as it was.
        """
        every = 1 if self.trainer is None else self.trainer.reload_dataloaders_every_n_epochs
        if self._fitting() and every != 1:
            raise InputError(f"trainer.reload_dataloaders_every_n_epochs must be 1 with this data, got {every}")
        epoch = self._epoch()
        if self._place is None or self._place.epoch != epoch:
            self._place = _Place(epoch, self._resumed(epoch), self._processed())
        planned = self._planned(self._plan.batches(epoch), epoch)
        return BatchLoader(self._pool("train"), planned, skip=self._consumed())

    def val_dataloader(self) -> BatchLoader[Batch]:
        """This process's batches of the development split."""
        return self._evaluation("dev")

    def test_dataloader(self) -> BatchLoader[Batch]:
        """This process's batches of the test split."""
        return self._evaluation("test")

    def predict_dataloader(self) -> BatchLoader[Batch]:
        """The same as `test_dataloader`."""
        return self._evaluation("test")

    def on_exception(self, exception: BaseException) -> None:
        """End the worker processes."""
        self.teardown()

    def teardown(self, stage: str | None = None) -> None:
        """End the worker processes."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}

    # Further questions.

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Batches of the first epoch on each of `world_size` processes; other speeds change later ones a little."""
        return len(share(self._plan.batches(0), 0, world_size))

    def largest_batches(self, n: int = 1) -> list[Batch]:
        """The `n` training batches of the current epoch with most frames, padding included, and the `n` longest.

        For trying whether they fit into memory before the first step. Neither augmentation nor the place in the
        data depends on it.
        """
        epoch, dataset = self._epoch(), self._dataset("train")
        return [dataset[PlannedBatch(epoch, tuple(ids))] for ids in self._plan.largest(epoch, n)]

    def check_feasible(
        self, output_lengths: Callable[[Tensor], Tensor], maximum_speed: float | None = None
    ) -> list[str]:
        """Refuse, or leave out, utterances of train and dev that CTC cannot align with this encoder.

        Args:
            output_lengths: the encoder's: input frames -> output frames.
            maximum_speed: at which training utterances are played; by default the fastest configured.

        Returns:
            The ids left out (`infeasible` "drop"); each is also logged.

        Raises:
            InputError: there are such utterances (`infeasible` "error"); the first ten are named.
        """
        left_out: list[str] = []
        for split in ("train", "dev"):
            fastest = (maximum_speed or max(self.augmentation.speed_factors)) if split == "train" else 1.0
            cuts = self._read(split)
            found = find_infeasible(cuts, self.tokenizer, self.features, output_lengths, fastest)
            named = [f"{utterance_id} ({why})" for utterance_id, why in found.items()]
            if found and (self.infeasible == "error" or len(found) == len(cuts)):
                raise InputError(
                    f"{len(found)} of {len(cuts)} utterances of {split} are too short for CTC, at speed {fastest:g}: "
                    f"{enumerate_some(named)}; use a higher frame rate (less subsampling or a smaller stride), "
                    "fewer tokens (byte pairs), slower speed factors, or leave a few out with data.infeasible 'drop'"
                )
            if found:
                log.warning(
                    "left out %d utterance(s) of %s, too short for CTC: %s", len(found), split, "; ".join(named)
                )
                self._cuts[split] = CutSet.from_cuts(cut for cut in cuts if cut.id not in found)
                left_out.extend(found)
        if left_out:
            self.teardown()
            self._training_plan = None
        return left_out

    def describe(self) -> str:
        """Utterances, hours and batches of the splits that were read, a line each."""
        lines = []
        for split, cuts in self._cuts.items():
            planned = self._plan.batches(0) if split == "train" else self._plan_evaluation(split)
            hours = sum(cut.duration for cut in cuts) / 3600
            lines.append(
                f"{split}: {len(cuts)} utterances, {hours:.2f} h, {len(planned)} batches of up to "
                f"{self.max_batch_seconds:g} s ({', '.join(self._splits[split])})"
            )
        return "\n".join(lines)

    # Inside.

    def _fitting(self) -> bool:
        return self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _read(self, split: str) -> CutSet:
        if split not in self._cuts:
            self._cuts[split] = self._whole[split] = self.corpus.read(self._splits[split])
        return self._cuts[split]

    def _processed(self) -> int:
        """Batches trained on since the beginning of all epochs, by this process."""
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed

    def _consumed(self) -> int:
        """Batches of the current epoch that were trained on."""
        assert self._place is not None
        return self._place.skipped + self._processed() - self._place.base

    def _batches_each(self, epoch: int) -> int:
        """Batches of an epoch on each process."""
        return len(share(self._plan.batches(epoch), 0, self._world_size()))

    def _resumed(self, epoch: int) -> int:
        """Batches to skip at the beginning of an epoch: those that an interrupted run had consumed."""
        state, self._resume = self._resume, None
        if state is None or state["epoch"] != epoch:
            return 0
        self._check_restart(state)
        if state["batches"] == 0:
            return 0
        if state["batches"] == state["of"]:
            return self._batches_each(epoch)
        if state["world_size"] != self._world_size():
            raise InputError(
                f"the checkpoint was written within an epoch by {state['world_size']} process(es); it cannot be "
                f"continued by {self._world_size()} (between epochs it could)"
            )
        if state["order"] != digest(self._plan.batches(epoch)):
            raise InputError(
                "the checkpoint cannot be continued exactly: the same data and options give other batches than then, "
                "so another version of lhotse or of this package planned them"
            )
        return int(state["batches"])

    def _check_restart(self, state: dict[str, Any]) -> None:
        """Refuse checkpoints from where Lightning 2.6 would leave out a validation or steps."""
        if self.trainer is None:
            return
        loop = self.trainer.fit_loop
        progress = loop.epoch_loop.batch_progress
        unvalidated = state["batches"] == state["of"] and progress.total.completed < progress.total.processed
        # Written between epochs, the steps of the former epoch would count as steps of the next.
        miscounted = loop.restarting and progress.current.processed != state["batches"]
        if unvalidated or miscounted:
            raise InputError(
                "the checkpoint was written between the last step of an epoch and the first of the next, but not where "
                "training can be continued exactly; take one written by another step, or after a validation"
            )

    @property
    def _plan(self) -> TrainingPlan:
        if self._training_plan is None:
            durations = {cut.id: cut.duration for cut in self._read("train")}
            self._training_plan = TrainingPlan(
                durations, self._augment.speed, self.max_batch_seconds, self.num_buckets, self.seed
            )
        return self._training_plan

    def _plan_inputs(self) -> dict[str, Any]:
        """What the training batches are a function of, beside the epoch; plain data."""
        augmentation = asdict(self.augmentation)
        del augmentation["noise"]  # paths may change
        return {
            **self._plan.inputs(),
            "storage": self.storage,
            "augmentation": json.loads(json.dumps(augmentation)),  # tuples become lists, as in a checkpoint
        }

    @cached_property
    def _augment(self) -> Augmentation:
        return Augmentation(self.augmentation, self.seed, self.features)

    def _stored(self, split: str) -> dict[float, FeatureStore] | None:
        """Speed factor -> features of a split; None where they are computed on the fly."""
        if self.storage == "on_the_fly" or split == "test":
            return None
        self._read(split)
        return {
            speed: stored_features(
                self.storage_folder, split, self._whole[split], speed, self.features, self.num_workers
            )
            for speed in (self.augmentation.speed_factors if split == "train" else (1.0,))
        }

    def _dataset(self, split: str) -> SpeechDataset:
        return SpeechDataset(
            self._read(split),
            LogMel(self.features, self.statistics),
            self.tokenizer,
            self._augment if split == "train" else None,
            self._stored(split),
        )

    def _pool(self, split: str) -> WorkerPool[Batch]:
        if split not in self._pools:
            pin_memory = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
            self._pools[split] = WorkerPool(self._dataset(split), self.num_workers, pin_memory)
        return self._pools[split]

    def _planned(self, plan: list[list[str]], epoch: int | None) -> list[PlannedBatch]:
        """This process's share of a plan."""
        return [PlannedBatch(epoch, tuple(ids)) for ids in share(plan, self._rank(), self._world_size())]

    def _plan_evaluation(self, split: str) -> list[list[str]]:
        return plan_evaluation({cut.id: cut.duration for cut in self._read(split)}, self.max_batch_seconds)

    def _evaluation(self, split: str) -> BatchLoader[Batch]:
        return BatchLoader(self._pool(split), self._planned(self._plan_evaluation(split), None))
