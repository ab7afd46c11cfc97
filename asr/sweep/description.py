"""The description of a sweep: one YAML file, checked before anything is built."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.config import block_of, config_chain, construct, full_class_path, read_config, read_yaml
from asr.errors import InputError
from asr.randomness import LARGEST_SEED
from asr.sweep.match import Match
from asr.sweep.options import check_base, flat

SAME_FOR_ALL = ("data", "seed", "run", "base", "ckpt_path", "init_from")
"""What no model and no trial may change: all train on the same batches of the same data, from scratch."""
OF_A_MODEL = ("model.optimization", "training.ema_decay", "trainer.gradient_clip_val")
"""What a model may have of its own, said openly."""
OF_A_TRIAL = (*OF_A_MODEL, "model.encoder.init_args")
"""What a tuning trial may try, on every model."""


@dataclass(frozen=True)
class Model:
    """A model of a sweep.

    Args:
        name: in the names of its runs.
        encoder: class_path and init_args, the solved ones to be put in.
        size: encoder option -> ratio, those that are solved for, which grow together; may be empty.
        overrides: whole name of an option -> value, in which its training differs from that of the others.
    """

    name: str
    encoder: dict[str, Any]
    size: Mapping[str, float]
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Decoding:
    """How the runs that are compared are decoded beside greedily: by beam search, its weights tuned on dev.

    Args:
        lm: n-gram model of words.
        trials: by which `asr tune-decoder` looks for the weights, for all seeds of a model together.
    """

    lm: str
    trials: int = 20

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"decoding.trials must be at least 1, got {self.trials}")


@dataclass(frozen=True)
class Sweep:
    """A description, read.

    Args:
        path: of its file, for messages.
        base: the content of the configuration that all runs share.
        base_file: its path, for messages.
        folder: of the runs.
        match: what is solved for.
        seeds: of each model; the first is that of the tuning trials too.
        splits: that each model is tested on in the end.
        models: in the order of the table.
        trials: whole name of an option -> value, of each tuning trial; none if nothing is tuned.
        decoding: by beam search; None if runs are tested greedily alone.
    """

    path: Path
    base: dict[str, Any]
    base_file: Path
    folder: Path
    match: Match
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    models: tuple[Model, ...]
    trials: tuple[Mapping[str, Any], ...]
    decoding: Decoding | None


@dataclass(frozen=True)
class _File:
    base: str
    folder: str
    models: dict[str, Any]
    match: dict[str, Any] | None = None
    seeds: tuple[int, ...] = (0,)
    splits: tuple[str, ...] = ("test",)
    trials: list[Any] | None = None
    decoding: dict[str, Any] | None = None


@dataclass(frozen=True)
class _ModelBlock:
    class_path: str | None = None
    init_args: dict[str, Any] | None = None
    config: str | None = None
    size: Any = None
    overrides: dict[str, Any] | None = None


def read_sweep(path: Path | str) -> Sweep:
    """Read and check a description. `base` and a model's `config` lie beside it, `folder` in the current folder.

    Raises:
        InputError: a file or an option cannot be used; the message names file, option and value.
    """
    path = Path(path)
    content = read_yaml(path)
    for key in ("base", "folder", "models"):
        if content.get(key) in (None, {}, ""):
            raise InputError(f"{path} needs the option {key}")
    file = construct(_File, content, "", path)
    _check_list("seeds", file.seeds, path)
    _check_list("splits", file.splits, path)
    _check_seeds(file.seeds, path)
    if not isinstance(file.models, dict):
        raise InputError(f"models of {path} must be a mapping of names, got {file.models!r}")
    base_file = path.parent / file.base
    sweep = Sweep(
        path=path,
        base=read_config(base_file),
        base_file=base_file,
        folder=Path(file.folder),
        match=construct(Match, _mapping(file.match, "match", path), "match", path),
        seeds=file.seeds,
        splits=file.splits,
        models=tuple(_model(name, block, path) for name, block in file.models.items()),
        trials=tuple(
            _options(trial, OF_A_TRIAL, f"trials[{index}]", path) for index, trial in enumerate(file.trials or [])
        ),
        decoding=_decoding(file.decoding, path),
    )
    check_base(sweep.base, base_file, sweep.match, path)
    _check_sizes(sweep)
    _check_trials(sweep)
    return sweep


def _check_list(name: str, values: tuple[Any, ...], path: Path) -> None:
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} of {path} must be a list of different ones, got {list(values)}")


def _check_seeds(seeds: tuple[int, ...], path: Path) -> None:
    for seed in seeds:
        if not 0 <= seed <= LARGEST_SEED:
            raise InputError(f"seeds of {path} must lie between 0 and {LARGEST_SEED}, got {seed}")


def _mapping(value: Any, place: str, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{place} of {path} must be a mapping of options, got {value!r}")
    return value


def _decoding(content: Any, path: Path) -> Decoding | None:
    if content is None:
        return None
    options = _mapping(content, "decoding", path)
    if "lm" not in options:
        raise InputError(f"decoding of {path} needs the option lm, an n-gram model of words")
    return construct(Decoding, options, "decoding", path)


def _model(name: Any, content: Any, path: Path) -> Model:
    place = f"models.{name}"
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]*", name)):
        raise InputError(f"{place} of {path}: a model's name becomes that of a folder, and needs letters or digits")
    block = construct(_ModelBlock, _mapping(content, place, path), place, path)
    encoder = _encoder_of_file(path.parent / block.config) if block.config else {}
    arguments = _mapping(block.init_args, f"{place}.init_args", path)
    if block.class_path and encoder:
        raise InputError(f"{place} of {path} has both class_path and config: give one of them")
    if not (block.class_path or encoder):
        raise InputError(f"{place} of {path} needs a class_path, or a config that has one")
    class_path = full_class_path(block.class_path or encoder["class_path"])
    return Model(
        name=name,
        encoder={"class_path": class_path, "init_args": {**(encoder.get("init_args") or {}), **arguments}},
        size=_size(block.size, f"{place}.size", path),
        overrides=_options(block.overrides, OF_A_MODEL, f"{place}.overrides", path),
    )


def _encoder_of_file(path: Path) -> dict[str, Any]:
    """`model.encoder` of a configuration, which may say nothing else: all else is the sweep's."""
    encoder = block_of(read_config(path), "model.encoder")
    if not encoder.get("class_path"):
        raise InputError(f"{path} describes no model: it has no model.encoder with a class_path")
    own = read_yaml(config_chain(path)[-1])
    further = [key for key in own if key not in ("base", "run", "model")]
    further += [f"model.{key}" for key in own.get("model") or {} if key != "encoder"]
    if further:
        raise InputError(
            f"{path} sets {', '.join(further)} too, and a sweep takes the encoder alone from it, since all else is the "
            "same for all models: set it in the base, or name class_path and init_args in the sweep"
        )
    return encoder


def _size(value: Any, place: str, path: Path) -> dict[str, float]:
    """Option -> ratio, from a name, a mapping, or a list of both."""
    ratios: dict[str, float] = {}
    for part in value if isinstance(value, list) else [] if value is None else [value]:
        named = {part: 1.0} if isinstance(part, str) else part
        if not isinstance(named, dict) or not all(_positive(ratio) for ratio in named.values()):
            raise InputError(f"{place} of {path} must name options, or options with positive ratios, got {part!r}")
        ratios |= {str(option): float(ratio) for option, ratio in named.items()}
    return ratios


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _options(content: Any, allowed: tuple[str, ...], place: str, path: Path) -> dict[str, Any]:
    """Whole name -> value, of options that may be set at this place."""
    options = flat(_mapping(content, place, path))
    _check_options(options, allowed, place, path)
    return options


def _check_options(options: Iterable[str], allowed: tuple[str, ...], place: str, path: Path) -> None:
    for option in options:
        if not any(option == one or str(option).startswith(f"{one}.") for one in allowed):
            same = str(option).split(".")[0] in SAME_FOR_ALL
            reason = "is the same for all models of a sweep" if same else "may not be set here"
            raise InputError(f"{place} of {path}: {option} {reason}; one may set {', '.join(allowed)}")


def _check_sizes(sweep: Sweep) -> None:
    """Refuse sizes that nothing solves for."""
    for model in sweep.models:
        if model.size and not sweep.match.solves_sizes:
            raise InputError(
                f"models.{model.name}.size of {sweep.path} is to be solved for, and match names neither parameters nor "
                "multiply_adds_per_second, nor training_seconds with vary: size"
            )


def _check_trials(sweep: Sweep) -> None:
    """Refuse trials that are equal, or that set for a model what is solved for or what it has of its own."""
    for index, trial in enumerate(sweep.trials):
        first = sweep.trials.index(trial)
        if first < index:
            raise InputError(f"trials[{index}] of {sweep.path} is the same as trials[{first}]: {trial}")
        for model in sweep.models:
            _check_trial(trial, f"trials[{index}] of {sweep.path}", model)


def _check_trial(trial: Mapping[str, Any], place: str, model: Model) -> None:
    for option, value in trial.items():
        if option.removeprefix("model.encoder.init_args.") in model.size:
            raise InputError(f"{place} sets {option} to {value!r}, which models.{model.name} solves")
        if option in model.overrides:
            raise InputError(
                f"{place} sets {option} to {value!r}, which models.{model.name}.overrides sets to "
                f"{model.overrides[option]!r}; every model is trained with every trial: set it in one of the two"
            )
