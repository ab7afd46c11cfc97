"""Runs reduced to what their results rest on, small enough to keep beside the code: no weights, no audio.

A collected run is a folder that `asr compare` and `asr report` take like the run it was. Paths of the machine it was
made on are shortened, since they mean nothing elsewhere.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from asr.config import read_yaml
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl, write_text

RECORDS = ("run.json",)
TEXTS = ("metrics.csv",)
KEPT = ("scores*.json", "robustness*.json", "decoder*.json")
LISTS = ("hypotheses*.jsonl",)


def collect_run(run: Path, folder: Path, here: Path | None = None) -> Path:
    """Copy a run's configuration, log, scores and hypotheses (packed) into `folder / run.name`.

    Args:
        run: a run folder with at least one scores file.
        folder: where collected runs lie.
        here: paths below this folder become relative to it, the current one by default; of other absolute paths the
            last two parts are kept.

    Raises:
        InputError: there is no run there, or it has no scores.
    """
    if not list(run.glob("scores*.json")):
        raise InputError(f"{run} holds no scores: make them with `asr test {run}`")
    target, shorten = folder / run.resolve().name, _shortener(here or Path.cwd())
    for file in _matching(run, (*RECORDS, *KEPT)):
        write_json(target / file.name, _mapped(read_json(file), shorten))
    for file in _matching(run, TEXTS):
        write_text(target / file.name, file.read_text(encoding="utf-8"))
    for file in _matching(run, LISTS):
        write_jsonl(target / f"{file.name}.gz", read_jsonl(file))
    for file in _matching(run, ("config.yaml",)):
        options = _mapped(read_yaml(file), shorten)
        write_text(target / file.name, yaml.safe_dump(options, sort_keys=False, allow_unicode=True))
    return target


def _matching(run: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(run.glob(pattern))


def _shortener(here: Path) -> Callable[[str], str]:
    base = f"{here.resolve()}/"

    def shorten(text: str) -> str:
        if text.startswith(base):
            return text.removeprefix(base)
        return str(Path(*Path(text).parts[-2:])) if text.startswith("/") and "\n" not in text else text

    return shorten


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Plain data with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
