"""Decoding a set of cuts with any number of processes, each utterance once, and timing it."""

import contextlib
import logging
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from lhotse import MonoCut
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from asr.data.cuts import load_waveform, speaker_of
from asr.data.loading import BatchLoader, WorkerPool
from asr.data.sampling import PlannedBatch, plan_evaluation, share
from asr.decode.hypotheses import Hypothesis
from asr.decode.nbest import ScoredText
from asr.decode.options import DecodingOptions
from asr.decode.pool import ReaderPool
from asr.decode.reading import Recognition
from asr.decode.recognition import finite_log_probs, reading_of
from asr.errors import InputError
from asr.model import LoadedModel


@dataclass(frozen=True)
class Resources:
    """What to decode with.

    Args:
        accelerator: "cpu", "gpu" or "auto" (a GPU if there is one).
        devices: processes on each machine, one GPU each if there are GPUs.
        num_nodes: machines; torchrun or SLURM starts the command on each.
        workers: processes that read audio, for each device; 0 reads in the decoding process.
        batch_seconds: padded seconds of audio in a batch; memory grows with it, results do not depend on it.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    workers: int = 1
    batch_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name, least in (("devices", 1), ("num_nodes", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name.replace('_', '-')} must be a number of at least {least}, got {getattr(self, name)}"
                )
        if not self.batch_seconds > 0:
            raise InputError(f"--batch-seconds must be positive, got {self.batch_seconds}")


class Timing(NamedTuple):
    """How long decoding took: features, model and decoder, not the reading of files, nor a first call for warming up.

    `seconds` is that of the slowest process, `threads` are torch's of one process.
    """

    seconds: float
    audio_seconds: float
    processes: int
    threads: int
    device: str

    @property
    def real_time_factor(self) -> float:
        """Processing time over duration: below 1 is faster than speech."""
        return self.seconds / self.audio_seconds


@dataclass(frozen=True)
class Wanted:
    """How to decode, and what to keep of it beside the texts.

    Args:
        options: of the decoder.
        nbest: texts of each utterance.
        log_probs: whether log-probabilities are kept, in memory.
        processes: that decode, for each device; 0 decodes in the process that computes.
    """

    options: DecodingOptions = field(default_factory=DecodingOptions)
    nbest: int = 0
    log_probs: bool = False
    processes: int = 0

    def __post_init__(self) -> None:
        if self.nbest < 0:
            raise InputError(f"--nbest must be a number of at least 0, got {self.nbest}")


class Decoded(NamedTuple):
    """What was recognised.

    Args:
        rows: of hypotheses.jsonl, in the order of the cuts.
        timing: how long it took.
        nbest: the best texts of each utterance, by id; as many as were wanted.
        log_probs: arrays (T', V) by id, if wanted.
    """

    rows: list[Hypothesis]
    timing: Timing
    nbest: dict[str, tuple[ScoredText, ...]]
    log_probs: dict[str, NDArray[np.float32]]


class WaveformBatch(NamedTuple):
    """Some utterances' ids and waveforms (N_b,)."""

    ids: tuple[str, ...]
    waveforms: list[Tensor]


class _Waveforms:
    """Reads the audio of a planned batch. Features are left to the process that is timed."""

    def __init__(self, cuts: Sequence[MonoCut], sample_rate: int) -> None:
        self.cuts, self.sample_rate = {cut.id: cut for cut in cuts}, sample_rate

    def __getitem__(self, planned: PlannedBatch) -> WaveformBatch:
        waveforms = [torch.from_numpy(load_waveform(self.cuts[name], self.sample_rate)) for name in planned.ids]
        return WaveformBatch(planned.ids, waveforms)


class Predictor(LightningModule):
    """Decodes its process's share of the cuts; `recognized` and `busy` hold what it has done."""

    def __init__(
        self, loaded: LoadedModel, cuts: Sequence[MonoCut], resources: Resources, wanted: Wanted, readers: ReaderPool
    ) -> None:
        super().__init__()
        # As modules of this one they move to its device.
        self.model, self.features = loaded.model, loaded.features
        self.loaded, self.cuts, self.resources = loaded, cuts, resources
        self.pool = WorkerPool(_Waveforms(cuts, loaded.description.features.sample_rate), resources.workers)
        self.wanted, self.readers = wanted, readers
        self.recognized: dict[str, Recognition] = {}
        self.log_probs: dict[str, NDArray[np.float32]] = {}
        self.busy = 0.0
        self.device_name = ""
        self.bar: tqdm[Any] | None = None

    def predict_dataloader(self) -> BatchLoader[WaveformBatch]:
        # An utterance longer than the cap is a batch by itself; the longest are computed window by window.
        cap = self.resources.batch_seconds
        plan = plan_evaluation({cut.id: min(cut.duration, cap) for cut in self.cuts}, cap)
        mine = share(plan, self.trainer.global_rank, self.trainer.world_size)
        return BatchLoader(self.pool, [PlannedBatch(epoch=None, ids=tuple(ids)) for ids in mine])

    def on_predict_start(self) -> None:
        # The first call compiles kernels and fills caches; it is not part of the speed.
        finite_log_probs(self.loaded, [torch.zeros(self.loaded.description.features.sample_rate)], ["silence"])
        self.device_name = "cpu" if self.device.type == "cpu" else torch.cuda.get_device_name(self.device)
        if self.trainer.is_global_zero:
            total = len(self.cuts) // self.trainer.world_size
            self.bar = tqdm(total=total, desc="decoding", unit="utt", disable=None)

    def predict_step(self, batch: WaveformBatch, batch_idx: int) -> int:
        if self.trainer.received_sigterm:  # Lightning notes the signal and would go on to the end
            raise SystemExit(128 + signal.SIGTERM)
        started = time.perf_counter()
        log_probs = finite_log_probs(self.loaded, batch.waveforms, batch.ids)
        done = self.readers.submit(batch.ids, log_probs)
        self.busy += time.perf_counter() - started
        if self.wanted.log_probs:
            self.log_probs.update((name, row.copy()) for name, row in zip(batch.ids, log_probs, strict=True))
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
        return len(batch.ids)  # Lightning warns of a step that returns nothing

    def on_predict_end(self) -> None:
        started = time.perf_counter()
        self.recognized = self.readers.finish()
        self.busy += time.perf_counter() - started
        if self.bar is not None:
            self.bar.update(len(self.recognized) - self.bar.n)
            self.bar.close()


def decode_cuts(loaded: LoadedModel, cuts: Sequence[MonoCut], resources: Resources) -> tuple[list[Hypothesis], Timing]:
    """Decode cuts greedily; see `decode`."""
    decoded = decode(loaded, cuts, resources)
    return decoded.rows, decoded.timing


def decode(loaded: LoadedModel, cuts: Sequence[MonoCut], resources: Resources, wanted: Wanted | None = None) -> Decoded:
    """Decode cuts; every process returns everything.

    With several devices the program is started anew for each (Lightning's `ddp`), so this must be reached by a
    command line or a script.

    Raises:
        InputError: audio that cannot be used, named by utterance and file; resources that are not there; or files of
            the decoder that cannot be used.
    """
    wanted = wanted or Wanted()
    readers = ReaderPool(reading_of(loaded, wanted.options, wanted.nbest), wanted.processes)
    predictor = Predictor(loaded, cuts, resources, wanted, readers)
    with _quiet_lightning():
        try:
            trainer = _trainer(resources)
            _run(trainer, predictor)
        finally:
            predictor.pool.close()
            readers.close()
    shares = _gather((predictor.recognized, predictor.log_probs, predictor.busy), trainer.world_size)
    # Repeated batches count once.
    recognized = {name: recognition for share_, _, _ in shares for name, recognition in share_.items()}
    timing = Timing(
        seconds=max(busy for _, _, busy in shares),
        audio_seconds=sum(cut.duration for cut in cuts),
        processes=trainer.world_size,
        threads=torch.get_num_threads(),
        device=predictor.device_name,
    )
    return Decoded(
        [_row(cut, recognized[cut.id]) for cut in cuts],
        timing,
        {cut.id: recognized[cut.id].alternatives for cut in cuts},
        {name: row for _, share_, _ in shares for name, row in share_.items()},
    )


def _row(cut: MonoCut, recognition: Recognition) -> Hypothesis:
    confidences = tuple(round(word.confidence, 4) for word in recognition.words)
    times = tuple((round(word.start, 3), round(word.end, 3)) for word in recognition.words)
    known = cut.id, recognition.text, _reference(cut), speaker_of(cut), round(cut.duration, 4)
    return Hypothesis(*known, confidences, times)


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints, when there are several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _reference(cut: MonoCut) -> str | None:
    return cut.supervisions[0].text if cut.supervisions else None


def _trainer(resources: Resources) -> Trainer:
    several = resources.devices * resources.num_nodes > 1
    try:
        return Trainer(
            accelerator=resources.accelerator,
            devices=resources.devices,
            num_nodes=resources.num_nodes,
            strategy="ddp" if several else "auto",
            use_distributed_sampler=False,  # which would hand out utterances twice to even out the shares
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except Exception as error:  # Lightning's misconfigurations have no common base that says so
        raise InputError(
            f"--accelerator {resources.accelerator} with --devices {resources.devices} cannot be used: {error}"
        ) from error


def _run(trainer: Trainer, predictor: Predictor) -> None:
    try:
        trainer.predict(predictor, return_predictions=False)
    except SystemExit as error:
        # Lightning turns Ctrl-C into exit code 1; it shall stay what it is.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def _gather(value: Any, world_size: int) -> list[Any]:
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(values, value)
    return values


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on devices and workers, which are no news to someone who decodes."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
