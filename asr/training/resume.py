"""Continuing a run: which options may change, and which would make it another run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from asr.errors import InputError
from asr.model import read_checkpoint
from asr.recognizer import divide_by_weight_decay
from asr.training.callbacks import OPTIONS

MAY_CHANGE = (
    "run",
    "base",
    "config",
    "ckpt_path",
    "init_from",
    "trainer",
    "training.pictures",
    "training.early_stopping",
    "training.checkpoint_every_n_steps",
    "data.root",
    "data.storage_folder",
    "data.num_workers",
)
"""Options that a resumed run may set anew: steps, the trainer, paths, and what does not change the weights."""
OF_THE_RECIPE = tuple(
    f"trainer.{name}"
    for name in (
        "precision",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "accumulate_grad_batches",
        "limit_train_batches",
        "overfit_batches",
    )
)
"""Options of the trainer that it may not: they say how a step is made, or of what."""
NEEDED = (
    OPTIONS,
    "global_step",
    "loops",
    "callbacks",
    "optimizer_states",
    "lr_schedulers",
    "SpeechDataModule",
    "pytorch-lightning_version",
)
"""What a checkpoint must hold to be continued, beside what any must."""


class Resumed(NamedTuple):
    """What a new process must know of a checkpoint that it continues.

    Args:
        path: of the checkpoint.
        options: of the run.
        description: of its model.
        step: how many were done.
        groups: how many parameters are in each group of its optimiser.
    """

    path: Path
    options: dict[str, Any]
    description: dict[str, Any]
    step: int
    groups: list[int]


def read_resumed(path: Path) -> Resumed:
    """Read a checkpoint that is to be continued.

    Raises:
        InputError: it cannot be read, or lacks something that only a checkpoint of the training has.
    """
    checkpoint = read_checkpoint(path)
    missing = [key for key in NEEDED if key not in checkpoint]
    if missing:
        raise InputError(
            f"--ckpt_path {path}: it cannot be continued, since it keeps no {', '.join(missing)}; use --init_from to "
            "start from its weights"
        )
    groups = [len(group["params"]) for group in checkpoint["optimizer_states"][0]["param_groups"]]
    return Resumed(path, checkpoint[OPTIONS], checkpoint["description"], checkpoint["global_step"], groups)


def check_consistency(stored: dict[str, Any], given: dict[str, Any], checkpoint: Path) -> None:
    """Refuse options that contradict the checkpoint.

    Raises:
        InputError: naming each option with both values.
    """
    before, now = flatten(stored), flatten(given)
    different = [
        f"--{name}: {now.get(name)!r} now, {before.get(name)!r} in the checkpoint"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and not _may_change(name)
    ]
    if different:
        raise InputError(
            f"{checkpoint} cannot be continued with other options: {'; '.join(different)}. Give them as they were, or "
            "begin a new run (--init_from takes over the weights)"
        )


def check_description(stored: dict[str, Any], given: dict[str, Any], checkpoint: Path) -> None:
    """Refuse data whose tokens, feature statistics or text normaliser are not those of the checkpoint.

    Raises:
        InputError: naming what differs, with both values.
    """
    before, now = flatten(stored), flatten(given)
    different = [
        f"{name}: {_short(now.get(name))} now, {_short(before.get(name))} in the checkpoint"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if different:
        raise InputError(f"{checkpoint} cannot be continued on this data: {'; '.join(different)}")


def check_weight_decay(stored: Sequence[int], model: nn.Module, checkpoint: Path) -> None:
    """Refuse a training whose weight decay was for other parameters, as that of grids' biases once was.

    Raises:
        InputError: the groups of its optimiser have other sizes.
    """
    now = [len(group) for group in divide_by_weight_decay(model)]
    if now != list(stored):
        raise InputError(
            f"{checkpoint} cannot be continued: weight decay was for {stored[0]} of its parameters and is for {now[0]} "
            "now, since the biases of grids are left alone. Continue it with the version that its run.json names, or "
            "begin a new run (--init_from takes over the weights)"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _may_change(name: str) -> bool:
    allowed = any(name == one or name.startswith(f"{one}.") for one in MAY_CHANGE)
    return allowed and name not in OF_THE_RECIPE


def flatten(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": None})
    {'a.b': 1, 'a.c': [2], 'd': None}
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
