"""What a comparison compares: single runs, and models of which there are runs of several seeds."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.config import read_yaml
from asr.errors import InputError
from asr.report.runs import ScoredRun

OF_THE_RUN: tuple[tuple[str, ...], ...] = (
    ("seed",),
    ("run",),
    ("base",),
    ("ckpt_path",),
    ("trainer", "enable_progress_bar"),
    ("trainer", "logger"),
    ("training", "pictures"),
    ("training", "checkpoint_every_n_steps"),
    ("data", "num_workers"),
)
"""Options in which runs of one model may differ: the seed, and what changes no result."""

SEED_AT_END = re.compile(r"([-_./ ]+(seed|s)?[-_ ]?|seed[-_ ]?)\d+$")


@dataclass(frozen=True)
class System:
    """A name for tables, and the runs that stand for it: one, or one a seed."""

    name: str
    runs: tuple[ScoredRun, ...]


def systems_of(
    runs: Sequence[ScoredRun], given: Mapping[str, Sequence[ScoredRun]], detect: bool = True
) -> list[System]:
    """Put runs of one model together, in the order of the first run of each.

    Args:
        runs: all of them.
        given: name -> runs that are said to belong together.
        detect: also put together those whose configurations differ in the seed alone.

    Raises:
        InputError: a run is in two groups, or a group's name is that of another system.
    """
    named = {run.path: name for name, members in given.items() for run in members}
    if len(named) < sum(map(len, given.values())):
        raise InputError("a run is in two groups, or twice in one")
    members: dict[Any, list[ScoredRun]] = {}
    for run in runs:
        key = ("given", named[run.path]) if run.path in named else (_recipe(run) if detect else None) or run.path
        members.setdefault(key, []).append(run)
    found: list[System] = []
    for key, together in members.items():
        if isinstance(key, tuple):
            found.append(System(key[1], tuple(together)))
        elif len(together) > 1 and len({seed_of(run) for run in together}) == len(together):
            found.append(System(_common_name(together), tuple(together)))
        else:  # equal seeds: not a sample of them
            found += [System(run.name, (run,)) for run in together]
    names = [system.name for system in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"two systems of the comparison are called {twice!r}: give another name, --seeds-of NAME=RUN,RUN"
        )
    return found


def seed_of(run: ScoredRun) -> Any:
    """The seed that a run was trained with; None if it is not known."""
    return run.scores.get("seed")


def _recipe(run: ScoredRun) -> str | None:
    """A run's configuration without its seed, as text; None if it is not known."""
    file = run.folder / "config.yaml"
    if not file.is_file() or seed_of(run) is None:
        return None
    config = read_yaml(file)
    for *blocks, option in OF_THE_RUN:
        place = config
        for block in blocks:
            place = place.get(block) or {}
        place.pop(option, None)
    return json.dumps([config, run.scores.get("decoding")], sort_keys=True, default=str)


def _common_name(runs: Sequence[ScoredRun]) -> str:
    """The folders' name without their seeds: of `lstm-seed0` and `lstm-seed1`, `lstm/0` and `lstm/1` it is `lstm`."""
    names = {Path(SEED_AT_END.sub("", str(run.folder.resolve()))).name for run in runs}
    return names.pop() if len(names) == 1 else "+".join(run.name for run in runs)
