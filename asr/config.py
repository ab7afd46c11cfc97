"""Configuration files: an experiment names its `base` and changes one block of it."""

import contextlib
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from asr.errors import InputError

OPTIONS: dict[str, tuple[str, ...]] = {
    "": ("base", "seed", "run", "ckpt_path", "init_from", "data", "model", "training", "trainer"),
    "data": (
        *("root", "train", "dev", "test", "features", "augmentation", "max_batch_seconds", "num_buckets"),
        *("num_workers", "storage", "storage_folder", "infeasible"),
    ),
    "model": ("encoder", "optimization"),
    "model.encoder": ("class_path", "init_args"),
    "training": ("ema_decay", "early_stopping", "checkpoint_every_n_steps", "pictures"),
}
"""Block -> its options, as `asr fit` has them. Commands that read a few of them refuse the unknown ones as well."""

_FURTHER_BLOCKS = ("trainer", "data.features", "data.augmentation", "model.optimization", "model.encoder.init_args")
"""Blocks whose options others know."""

Options = TypeVar("Options")


def config_chain(path: Path | str) -> list[Path]:
    """The files that a configuration is made of, its base first: the top-level key `base` names a file beside it.

    Raises:
        InputError: a file is missing or not YAML, or bases form a circle; the message names it.
    """
    chain: list[Path] = []
    current: Path | None = Path(path)
    while current is not None:
        if current.resolve() in [file.resolve() for file in chain]:
            raise InputError(f"{path}: its bases form a circle at {current}")
        chain.insert(0, current)
        base = read_yaml(current).get("base")
        if base is not None and not isinstance(base, str):
            raise InputError(f"{current}: base must be the path of a file, got {base!r}")
        current = current.parent / base if base else None
    return chain


def read_config(path: Path | str) -> dict[str, Any]:
    """The content of a configuration, merged key by key over that of its bases.

    An encoder of another class replaces the base's instead of being merged with it.

    Raises:
        InputError: see `config_chain`; or an option is unknown, or a block is not a mapping; the message names file,
            key and value.
    """
    merged: dict[str, Any] = {}
    for file in config_chain(path):
        content = read_yaml(file)
        check_blocks(content, file)
        merged = merge(merged, content)
    merged.pop("base", None)
    return merged


def block_of(config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A block of a configuration that was read; empty if it is not there or null.

    >>> block_of({"data": {"features": {"num_mels": 40}}}, "data.features"), block_of({"data": None}, "data.features")
    ({'num_mels': 40}, {})
    """
    block: Any = config
    for key in place.split("."):
        block = block.get(key) or {}
    return dict(block)


def construct(options_class: type[Options], fields: Mapping[str, Any], place: str, path: Path | str) -> Options:
    """Make a dataclass of options from a block of a configuration.

    Args:
        options_class: its fields are int, float, str, bool, literals, None, or tuples of them.
        fields: name -> value, as YAML has it.
        place: of the block, for messages (`data.features`); empty for the whole file.
        path: of the file, for messages.

    Raises:
        InputError: an option is unknown, of another type, or out of range; the message names file, key and value.
    """
    typed = typed_options(fields, typing.get_type_hints(options_class), place, path)
    try:
        return options_class(**typed)
    except InputError as error:
        raise InputError(f"{place} of {path}: {error}") from error


def typed_options(
    fields: Mapping[str, Any], types_of: Mapping[str, Any], place: str, path: Path | str
) -> dict[str, Any]:
    """Options as the types that they should have, by name; errors are those of `construct`."""
    _check_known(fields, types_of, place, path)
    typed = {}
    for name, value in fields.items():
        try:
            typed[name] = _typed(value, types_of[name])
        except TypeError as error:
            option = f"{place}.{name}".lstrip(".")
            raise InputError(f"{option} of {path} must be {error}, got {value!r}") from error
    return typed


def typed_where_possible(fields: Mapping[str, Any], types_of: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the types that they should have, and as they are where they cannot have them.

    >>> typed_where_possible({"dropout": "1e-1", "num_layers": "many"}, {"dropout": float, "num_layers": int})
    {'dropout': 0.1, 'num_layers': 'many'}
    """
    typed = dict(fields)
    for name, value in fields.items():
        with contextlib.suppress(TypeError):
            typed[name] = _typed(value, types_of[name])
    return typed


def _typed(value: Any, expected: Any) -> Any:
    """A value as the type it should have; `TypeError` says in words what was expected."""
    kind, of = typing.get_origin(expected), typing.get_args(expected)
    if kind in (typing.Union, types.UnionType):
        if value is None and type(None) in of:
            return None
        (expected,) = (one for one in of if one is not type(None))
        return _typed(value, expected)
    if kind is Literal:
        if value not in of:
            raise TypeError(f"one of {', '.join(map(repr, of))}")
        return value
    if kind is tuple:
        many = len(of) == 2 and of[1] is Ellipsis
        if not isinstance(value, list | tuple) or not (many or len(value) == len(of)):
            raise TypeError("a list" if many else f"a list of {len(of)}")
        return tuple(_typed(one, of[0] if many else of[i]) for i, one in enumerate(value))
    if kind is list:
        return list(_typed(value, tuple[of[0], ...]))
    if expected is float:
        return _number(value)
    if expected not in _IN_WORDS:  # of an encoder from elsewhere: its own to check
        return value
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise TypeError(_IN_WORDS[expected])
    return value


_IN_WORDS = {int: "an integer", str: "text", bool: "true or false"}


def _number(value: Any) -> float:
    """A finite number; YAML takes `1e-3`, without a point, for text."""
    try:
        number = value if isinstance(value, int | float) else float(value if isinstance(value, str) else "")
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise TypeError("a number")
    return number


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file, as they stand there.

    Raises:
        InputError: it cannot be read, is not YAML, or holds something else; the message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"the configuration {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "empty" if content is None else f"{_kind(content)}: {_short(content)}"
        raise InputError(f"the configuration {path} must be a mapping of options, not {found}")
    return content


def check_blocks(content: dict[str, Any], path: Path) -> None:
    """Refuse unknown options of a configuration, and values in the place of blocks.

    Raises:
        InputError: naming file, key and value.
    """
    for place in (*OPTIONS, *_FURTHER_BLOCKS):
        block: Any = content
        for key in place.split(".") if place else ():
            block = (block or {}).get(key)
        if block is None:
            continue
        if not isinstance(block, dict):
            raise InputError(f"{place} of {path} must be a mapping of options, not {_kind(block)}: {_short(block)}")
        if place in OPTIONS:
            _check_known(block, OPTIONS[place], place, path)


def _check_known(block: Mapping[Any, Any], known: Iterable[str], place: str, path: Path | str) -> None:
    known = list(known)
    for key, value in block.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{path} has an unknown option {f'{place}.{key}'.lstrip('.')}: {_short(value)} ({hint})")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def merge(under: Any, over: Any) -> Any:
    """One configuration over another, key by key; an encoder of another class replaces the one below.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    if isinstance(under, dict) and over is None:
        return under  # a block whose lines are all commented out
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    if "class_path" in over and _class_of(over) != _class_of(under):
        return over
    return {**under, **{key: merge(under.get(key), value) for key, value in over.items()}}


def full_class_path(class_path: str) -> str:
    """The one name of an encoder's class that is used here, however it was written.

    >>> full_class_path("GridLSTMEncoder"), full_class_path("asr.encoders.grid_lstm.GridLSTMEncoder")
    ('asr.encoders.GridLSTMEncoder', 'asr.encoders.GridLSTMEncoder')
    """
    module, _, name = class_path.rpartition(".")
    here = not module or f"{module}.".startswith("asr.encoders.")
    return f"asr.encoders.{name}" if here else class_path


def _class_of(block: Mapping[str, Any]) -> str:
    return full_class_path(str(block.get("class_path")))
