"""`asr fit`: LightningCLI with a run folder, exact resume and warm start."""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from asr.cpu import flushed_denormals, keep_freed_memory
from asr.data.datamodule import SpeechDataModule
from asr.errors import InputError
from asr.model import load_model
from asr.randomness import LARGEST_SEED
from asr.recognizer import Recognizer
from asr.training.arguments import flags_of, with_merged_files
from asr.training.callbacks import DataWait, EpochLine, EpochLoss, LargestBatchFirst, ProgressBar, RunRecord
from asr.training.checkpoints import Interrupted, RunCheckpoints, WholeCheckpoints, copy_best
from asr.training.event_log import EventLog, QuietWriters
from asr.training.failures import SharedFailure
from asr.training.parser import FitParser, HelpAll
from asr.training.pictures import PosteriorPictures
from asr.training.resume import Resumed, check_consistency, check_description, check_weight_decay, read_resumed
from asr.training.run_folder import RunFolder
from asr.training.trainer import TRAINER_DEFAULTS, make_trainer, unusable
from asr.training.warm_start import warm_start


@dataclass(frozen=True)
class RunOptions:
    """What happens around the training steps.

    Args:
        ema_decay: decay of the exponential moving average of the weights, which is what is validated and saved;
            None trains without. It grows from 0.1 as (1 + n) / (10 + n) over the first steps n.
        early_stopping: epochs without a better dev WER after which training stops; None never stops early.
        checkpoint_every_n_steps: write last.ckpt after this many steps too; None only after epochs.
        pictures: dev utterances drawn for TensorBoard after each validation.
    """

    ema_decay: float | None = 0.995
    early_stopping: int | None = None
    checkpoint_every_n_steps: int | None = None
    pictures: int = 2

    def __post_init__(self) -> None:
        for name in ("early_stopping", "checkpoint_every_n_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"training.{name} must be at least 1 or null, got {value}")


class EmaWeights(WeightAveraging):
    """Exponential moving average of the weights, with a decay that warms up so that short runs profit too."""

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(f"training.ema_decay must lie between 0 and 1, got {decay}")

        @torch.no_grad()
        def average(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: torch.Tensor) -> None:
            weight = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
            for mean, value in zip(averaged, current, strict=True):
                mean.lerp_(value, weight)

        super().__init__(multi_avg_fn=average)


class DevEarlyStopping(EarlyStopping):
    """Stops after `patience` validations without a better dev WER; a run that had stopped stays so when resumed."""

    def __init__(self, patience: int) -> None:
        super().__init__("val_wer", patience=patience, mode="min", check_on_train_epoch_end=True, strict=False)
        self._asked_for = patience

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.patience = self._asked_for  # Lightning's state would bring the former run's back

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class FitCLI(LightningCLI):
    """The parser of `asr fit` and the objects it makes; `train` runs them."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.folder: RunFolder | None = None
        self.resumed: Resumed | None = None
        self.failure = SharedFailure()
        self._flags = flags_of(arguments)
        with _own_arguments():
            super().__init__(
                Recognizer,
                SpeechDataModule,
                args=with_merged_files(arguments),
                run=False,
                save_config_callback=None,
                seed_everything_default=False,
                trainer_defaults=TRAINER_DEFAULTS,
                auto_configure_optimizers=False,
                parser_class=FitParser,
                load_from_checkpoint_support=False,
                parser_kwargs={
                    "prog": "asr fit",
                    "description": "Train a recogniser.",
                    "exit_on_error": True,
                    "allow_abbrev": False,  # of --config, say, whose file would be read without its bases
                },
            )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--help_all", action=HelpAll, help="show all options")
        parser.add_argument("--seed", type=int, default=0, help="seed of weights, dropout, batches and augmentation")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run", type=str, default="runs/default", help="folder of this run")
        parser.add_argument("--base", type=str | None, default=None, help="(in a file) the file that it changes")
        parser.add_class_arguments(RunOptions, "training")
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="continue exactly from a checkpoint: a path or 'last'"
        )
        parser.add_argument(
            "--init_from", type=str | None, default=None, help="start with the weights of a run, checkpoint or export"
        )
        parser.link_arguments("seed", "data.seed")
        parser.link_arguments("seed", "model.seed")
        parser.link_arguments("data.features.num_mels", "model.encoder.init_args.num_features")
        parser.link_arguments("data", "model.features", lambda data: data.features, apply_on="instantiate")
        parser.link_arguments("data", "model.statistics", lambda data: data.statistics, apply_on="instantiate")
        parser.link_arguments("data", "model.tokens", lambda data: data.token_data, apply_on="instantiate")
        parser.link_arguments("data", "model.normalizer", lambda data: data.normalizer, apply_on="instantiate")

    def _set_seed(self) -> None:
        if not 0 <= self.config.seed <= LARGEST_SEED:
            raise InputError(f"seed must lie between 0 and {LARGEST_SEED}, got {self.config.seed}")
        seed_everything(self.config.seed, workers=False, verbose=False)

    def before_instantiate_classes(self) -> None:
        self.config.base = None  # its options are all here: the configuration that is kept stands alone
        if self.config.ckpt_path is not None and self.config.init_from is not None:
            self._choose_start()

    def _choose_start(self) -> None:
        """Of a checkpoint to continue and weights to begin with, take what the command line names.

        Where files alone name them, the run is continued; the configuration goes on saying how it began.

        Raises:
            InputError: the command line names both.
        """
        on_command_line = self._flags & {"--ckpt_path", "--init_from"}
        if len(on_command_line) == 2:
            raise InputError("--ckpt_path continues a run and --init_from begins one: give one of them")
        if on_command_line == {"--init_from"}:
            self.config.ckpt_path = None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.folder = RunFolder(Path(self.config.run))
        options = plain_options(self)
        path = self.resume_path()
        if path is not None:
            self.resumed = resumed = read_resumed(path)
            check_consistency(resumed.options, options, path)
            check_description(resumed.description, self.model.description.to_dict(), path)
            check_weight_decay(resumed.groups, self.model, path)
        callbacks = self.callbacks(options)
        config = dict(self.config_init.trainer)
        config["callbacks"] = [*_as_list(config.get("callbacks")), *callbacks]
        config["plugins"] = [*_as_list(config.get("plugins")), WholeCheckpoints()]
        if config.get("logger") in (None, True):
            config["logger"] = EventLog(str(self.folder.path))
        if config.get("default_root_dir") is None:
            config["default_root_dir"] = str(self.folder.path)
        trainer = make_trainer({**config, **kwargs})
        # With max_steps, Lightning takes the epoch at whose end a checkpoint was written for unfinished.
        trainer.fit_loop._iteration_based_training = lambda: False
        return trainer

    def callbacks(self, options: dict[str, Any]) -> list[Callback]:
        """The callbacks of every run, in their order."""
        training, folder = self.config_init.training, self.folder
        assert folder is not None
        callbacks: list[Callback] = [
            self.failure,
            LargestBatchFirst(),
            EpochLoss(),
            DataWait(),
            PosteriorPictures(training.pictures),
            EpochLine(folder.path.name),
            RunRecord(folder, options),
            RunCheckpoints(folder.path / "checkpoints", training.checkpoint_every_n_steps),
        ]
        if self.config.trainer.enable_progress_bar is not False:
            callbacks.append(ProgressBar())
        if training.ema_decay is not None:
            callbacks.insert(0, EmaWeights(training.ema_decay))
        if training.early_stopping is not None:
            callbacks.insert(0, DevEarlyStopping(training.early_stopping))
        return callbacks

    def resume_path(self) -> Path | None:
        """The checkpoint to continue from, or None for a new run.

        Raises:
            InputError: there is none where `--ckpt_path` points.
        """
        wanted = self.config.ckpt_path
        if wanted is None:
            return None
        path = Path(self.config.run) / "checkpoints" / "last.ckpt" if wanted == "last" else Path(wanted)
        if not path.is_file():
            hint = f"; there is nothing to resume in {self.config.run}" if wanted == "last" else ""
            raise InputError(f"--ckpt_path {wanted}: there is no checkpoint {path}{hint}")
        return path

    def train(self) -> None:
        """Run the training, in a folder that belongs to it alone.

        Raises:
            InputError: the folder cannot be had, or nothing was trained.
        """
        folder, resumed = self.folder, self.resumed
        assert folder is not None
        if self.config.init_from is not None and resumed is None:
            report = warm_start(self.model.model, self.model.tokenizer.tokens, load_model(self.config.init_from))
            rank_zero_info(f"warm start from {self.config.init_from}\n{report}")
        new = resumed is None or not folder.holds(resumed.path)
        with folder.claimed(new), engines_told():
            if rank_zero_only.rank == 0:
                folder.write_config(self.parser.dump(self.config, skip_none=False))
                if new and resumed is not None:
                    copy_best(resumed.path, folder.path / "checkpoints")
            if resumed is not None:
                rank_zero_info(f"continuing from {resumed.path}, step {resumed.step}")
            self._fit(None if resumed is None else resumed.path)
            self._check_progress(new)

    def _check_progress(self, new: bool) -> None:
        """Say that no step was trained; in a folder that is `new` to this training, that is an error."""
        if self.trainer.global_step > (0 if self.resumed is None else self.resumed.step):
            return
        reason = "with these --trainer options, nothing was trained: the training ended before its first step"
        if self.resumed is not None:
            reason = f"{self.resumed.path} is of a finished training: nothing was left to do"
        if new:
            raise InputError(reason)
        rank_zero_info(reason)

    def _fit(self, checkpoint: Path | None) -> None:
        """Train; where another process failed, for its reason."""
        try:
            self.trainer.fit(self.model, self.datamodule, ckpt_path=checkpoint, weights_only=True)
        except BaseException as error:
            self.failure.linger()
            if self.failure.told:
                raise SystemExit(1) from error
            if self.failure.reason is not None:
                raise InputError(self.failure.reason) from error
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error  # before the first step, when Lightning makes exit(1) of it
            if isinstance(error, MisconfigurationException):
                raise unusable(error) from error
            raise


class _OnStandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"grid LSTM: {record.getMessage()}", file=sys.stderr)


@contextlib.contextmanager
def engines_told() -> Iterator[None]:
    """Show what the Grid LSTM says of its engines: which one runs, which are passed over, and why."""
    logger, handler = logging.getLogger("asr.grid"), _OnStandardError()
    level = logger.level
    if rank_zero_only.rank == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def plain_options(cli: FitCLI) -> dict[str, Any]:
    """The options of a run as nested plain data."""
    options: dict[str, Any] = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False, skip_link_targets=False))
    return options


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


@contextlib.contextmanager
def _own_arguments() -> Any:
    """LightningCLI warns of `args` beside sys.argv: here the verb has been taken off, and they are the same."""
    former, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = former


def quiet_lightning() -> None:
    """Leave Lightning and TensorBoard what helps and drop the lines that do not."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).addFilter(lambda record: not record.getMessage().startswith(_CHATTER))
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    if not isinstance(threading.excepthook, QuietWriters):
        threading.excepthook = QuietWriters(threading.excepthook)


_CHATTER = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡",
    "`Trainer.fit` stopped",
    "Using default",
    "Found current",
)
_HARMLESS = (
    r".*does not have many workers.*",
    r".*You're resuming from a checkpoint that ended before the epoch ended and your dataloader is not resumable.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*It is recommended to use .*sync_dist=True.* when logging on epoch level.*",  # all have the same numbers
)


def main(arguments: Sequence[str]) -> int:
    """`asr fit`: 0 when trained, 130 or 143 when interrupted with a checkpoint, 1 for unusable input, 2 for usage."""
    quiet_lightning()
    keep_freed_memory()
    try:
        with flushed_denormals():
            FitCLI(arguments).train()
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code
    except ValueError as error:  # jsonargparse wraps what is raised while options are passed on
        if not isinstance(error, InputError) and isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise
    return 0
