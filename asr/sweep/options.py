"""The options of a sweep's trainings, checked before the first of them is begun."""

import argparse
import copy
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from asr.config import block_of, check_blocks, construct, typed_options
from asr.errors import InputError
from asr.sweep.match import Match

DEFAULT_EPOCHS = 30
"""Of `asr fit`."""
ENDLESS = -1
"""`trainer.max_steps` where steps end nothing."""


def flat(options: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """Options by their whole names, however they are nested.

    >>> flat({"model.optimization": {"learning_rate": 1e-3}, "training.ema_decay": None})
    {'model.optimization.learning_rate': 0.001, 'training.ema_decay': None}
    """
    named: dict[str, Any] = {}
    for name, value in options.items():
        named |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return named


def check_base(base: Mapping[str, Any], file: Path, match: Match, sweep: Path) -> None:
    """Refuse a base whose trainings do not begin from scratch, or do not end as they are to.

    Args:
        base: the content of the configuration that all runs share.
        file: its path.
        match: what its trainings have in common.
        sweep: path of the description.

    Raises:
        InputError: naming option, value and file.
    """
    for option in ("ckpt_path", "init_from"):
        if base.get(option) is not None:
            raise InputError(
                f"{option} of {file} is {base[option]!r}, and all models of a sweep are trained from scratch: remove it"
            )
    if not block_of(base, "data").get("root"):
        raise InputError(f"{file}, the base of {sweep}, names no data.root, whose tokens are the models' outputs")
    trainer = block_of(base, "trainer")
    for option in ("max_steps", "max_time"):
        if match.training_seconds is not None and trainer.get(option) not in (None, ENDLESS):
            raise InputError(
                f"trainer.{option} of {file} is {trainer[option]!r}, which may end a training before the "
                f"match.training_seconds of {sweep}: remove one of them"
            )
    _check_length(trainer, file, match)


def _check_length(trainer: Mapping[str, Any], file: Path, match: Match) -> None:
    epochs, steps = trainer.get("max_epochs", DEFAULT_EPOCHS), trainer.get("max_steps", ENDLESS)
    if steps != ENDLESS and not _is_count(steps):
        raise InputError(f"trainer.max_steps of {file} must be an integer of at least 1, or {ENDLESS}, got {steps!r}")
    needless = match.times_epochs or steps != ENDLESS
    if not (_is_count(epochs) or (epochs is None and needless)):
        raise InputError(
            f"trainer.max_epochs of {file} must be an integer of at least 1, got {epochs!r} (null is for trainings "
            "that trainer.max_steps ends, and for epochs that are solved for)"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_options(content: dict[str, Any], path: Path | str) -> None:
    """Refuse options that `asr fit` would refuse, those of the encoder left out.

    Args:
        content: a configuration with its bases, which names data.root.
        path: of its file, for messages.

    Raises:
        InputError: naming option, value and file.
    """
    from asr.recognizer import OptimizationConfig  # Lightning is slow to import
    from asr.training.trainer import Trainer

    check_blocks(content, Path(path))
    construct(OptimizationConfig, block_of(content, "model.optimization"), "model.optimization", path)
    _check_data(block_of(content, "data"), path)
    _check_training(block_of(content, "training"), path)
    _arguments(Trainer.__init__, block_of(content, "trainer"), "trainer", path)


def _check_data(block: Mapping[str, Any], path: Path | str) -> None:
    from asr.data.augmentation import AugmentationConfig
    from asr.data.datamodule import SpeechDataModule
    from asr.data.features import FeatureConfig

    parts: dict[str, Any] = {
        "features": construct(FeatureConfig, block.get("features") or {}, "data.features", path),
        "augmentation": construct(AugmentationConfig, block.get("augmentation") or {}, "data.augmentation", path),
    }
    others = {name: value for name, value in block.items() if name not in parts}
    arguments = _arguments(SpeechDataModule.__init__, others, "data", path)
    try:
        SpeechDataModule(**arguments, **parts)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_training(block: Mapping[str, Any], path: Path | str) -> None:
    from asr.training.command import EmaWeights, RunOptions

    options = construct(RunOptions, block, "training", path)
    try:
        if options.ema_decay is not None:
            EmaWeights(options.ema_decay)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _arguments(function: Callable[..., None], block: Mapping[str, Any], place: str, path: Path | str) -> dict[str, Any]:
    """Arguments of a function as `asr fit` would pass them; what it does not know, or not so, is refused."""
    types_of = {name: expected for name, expected in get_type_hints(function).items() if name != "return"}
    typed_options(block, dict.fromkeys(types_of, Any), place, path)
    return {name: _argument(value, types_of[name], f"{place}.{name} of {path}") for name, value in block.items()}


def _argument(value: Any, expected: Any, place: str) -> Any:
    from jsonargparse import ArgumentParser  # by which `asr fit` reads its options

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=expected)
    refusal = InputError(f"{place} must be {inspect.formatannotation(expected)}, got {value!r}")
    try:
        argument = parser.parse_object({"value": copy.deepcopy(value)}).value  # it writes into what it is given
    except argparse.ArgumentError as error:
        raise refusal from error
    if argument is None and type(None) not in get_args(expected):
        raise refusal
    return argument
