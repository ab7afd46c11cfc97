"""What a comparison compares: single runs, and models of which there are runs of several seeds."""

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.report.circumstances import block_of, config_of, decoding_options, listed, unfinished
from asr.report.runs import ScoredRun
from asr.score.scores import name_some

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
) -> tuple[list[System], list[str]]:
    """Put runs of one model together, in the order of the first run of each.

    Args:
        runs: all of them.
        given: name -> runs that are said to belong together.
        detect: also put together finished runs whose configurations differ in the seed alone.

    Returns:
        The systems, and sentences: why runs of one configuration are not put together, and in what those that were
        said to belong together differ.

    Raises:
        InputError: a run is in two groups, runs of a group have the same seed, a group's name is that of another
            system, or a config.yaml is none.
    """
    named = {run.path: name for name, members in given.items() for run in members}
    if len(named) < sum(map(len, given.values())):
        raise InputError("a run is in two groups, or twice in one")
    found = [System(name, tuple(run for run in runs if named.get(run.path) == name)) for name in given]
    notes = [note for system in found for note in _of_given(system)]
    alike: dict[Hashable, list[ScoredRun]] = {}
    for run in runs:
        if run.path not in named:
            alike.setdefault((_recipe(run) if detect else None) or run.path, []).append(run)
    for together in alike.values():
        systems, said = _of_one_recipe(together)
        found, notes = found + systems, notes + said
    found.sort(key=lambda system: runs.index(system.runs[0]))
    names = [system.name for system in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"two systems of the comparison are called {twice!r}: give another name, --seeds-of NAME=RUN,RUN"
        )
    return found, notes


def _of_one_recipe(together: Sequence[ScoredRun]) -> tuple[list[System], list[str]]:
    """Runs that differ in the seed alone: one system, unless a seed occurs twice; unfinished ones are alone."""
    if len(together) == 1:
        return [System(together[0].name, tuple(together))], []
    apart = [run for run in together if unfinished(run)]
    notes = []
    if apart:
        notes.append(
            f"{listed([run.name for run in apart])}: not put together with runs of the same configuration, for the "
            "training is not finished."
        )
    joined = [run for run in together if run not in apart]
    repeated = _repeated(joined)
    if repeated:
        others = "" if len(repeated) == len(joined) else f"{listed([run.name for run in joined])} are "
        advice = "; --seeds-of NAME=RUN,RUN names those that belong together" if others else ""
        notes.append(f"{_same_seed(repeated)}: {others}not put together{advice}.")
    if repeated or len(joined) < 2:
        apart, joined = list(together), []
    systems = [System(run.name, (run,)) for run in apart]
    return systems + ([System(_common_name(joined), tuple(joined))] if joined else []), notes


def _repeated(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Those of the first known seed that occurs twice: they are no sample of seeds."""
    seeds = [seed_of(run) for run in runs]
    seed = next((seed for seed in seeds if seed is not None and seeds.count(seed) > 1), None)
    return [] if seed is None else [run for run in runs if seed_of(run) == seed]


def _same_seed(runs: Sequence[ScoredRun]) -> str:
    return f"{listed([run.name for run in runs])} have the same seed ({seed_of(runs[0])})"


def _of_given(system: System) -> list[str]:
    """In what runs that were said to belong together differ beside the seed.

    Raises:
        InputError: two have the same seed.
    """
    repeated = _repeated(system.runs)
    if repeated:
        raise InputError(f"--seeds-of {system.name}: {_same_seed(repeated)}, and are no sample of seeds")
    if len(system.runs) == 1:
        return []
    known = {run.name: options for run in system.runs if (options := _options(run)) is not None}
    notes, unknown = [], [run.name for run in system.runs if run.name not in known]
    names = sorted({name for options in known.values() for name in options})
    values = {name: list(dict.fromkeys(options.get(name, "null") for options in known.values())) for name in names}
    differing = [f"{name} ({', '.join(found)})" for name, found in values.items() if len(found) > 1]
    if differing:
        notes.append(f"The runs of {system.name} differ beside the seed: {name_some(differing)}.")
    if unknown:
        notes.append(
            f"Whether the runs of {system.name} differ beside the seed is not known: {listed(unknown)} without a "
            "config.yaml."
        )
    return notes


def seed_of(run: ScoredRun) -> Any:
    """The seed that a run was trained with; None if it is not known."""
    return run.scores.get("seed")


def _recipe(run: ScoredRun) -> Hashable:
    """A run's options without its seed; None if they are not known, or its seed is not."""
    options = None if seed_of(run) is None else _options(run)
    return None if options is None else tuple(sorted(options.items()))


def _options(run: ScoredRun) -> dict[str, str] | None:
    """All options of a run but those `OF_THE_RUN`, `block.option` -> JSON, and how it was decoded."""
    config = config_of(run)
    if config is None:
        return None
    for *blocks, option in OF_THE_RUN:
        block_of(config, blocks, run).pop(option, None)
    return {**_flat(config), **{f"decoding.{name}": value for name, value in decoding_options(run.scores).items()}}


def _flat(block: Mapping[Any, Any], within: str = "") -> dict[str, str]:
    """Options by their whole names.

    >>> _flat({"data": {"root": "d", "none": {}}, "seed": 3})
    {'data.root': '"d"', 'seed': '3'}
    """
    found: dict[str, str] = {}
    for name, value in block.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{within}{name}.")
        else:
            found[f"{within}{name}"] = json.dumps(value, ensure_ascii=False, default=str)
    return found


def _common_name(runs: Sequence[ScoredRun]) -> str:
    """The folders' name without their seeds: of `lstm-seed0` and `lstm-seed1`, `lstm/0` and `lstm/1` it is `lstm`."""
    names = {Path(SEED_AT_END.sub("", str(run.folder.resolve()))).name for run in runs}
    return names.pop() if len(names) == 1 else "+".join(run.name for run in runs)
