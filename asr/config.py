"""Configuration files: an experiment names its `base` and changes one block of it."""

from pathlib import Path
from typing import Any

import yaml

from asr.errors import InputError


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
        base = _read(current).get("base")
        current = current.parent / base if base else None
    return chain


def read_config(path: Path | str) -> dict[str, Any]:
    """The content of a configuration, merged key by key over that of its bases.

    An encoder of another class replaces the base's instead of being merged with it.
    """
    merged: dict[str, Any] = {}
    for file in config_chain(path):
        merged = _merge(merged, _read(file))
    merged.pop("base", None)
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"the configuration {path} must be a mapping of options, not {type(content).__name__}")
    return content


def _merge(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    if "class_path" in over and over["class_path"] != under.get("class_path"):
        return over
    return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}
