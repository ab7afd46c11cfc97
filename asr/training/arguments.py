"""The command line of `asr fit`, before jsonargparse reads it: its files, and which options stand on it."""

import re
from collections.abc import Sequence

import yaml

from asr.config import read_config
from asr.errors import InputError

_CONFIG = re.compile(r"(?:-c=?|--config=)(.*)", re.DOTALL)


def flags_of(arguments: Sequence[str]) -> set[str]:
    """The options that stand on a command line, and not in a file.

    >>> sorted(flags_of(["-c", "a.yaml", "--seed=3", "--run", "b"]))
    ['--run', '--seed', '-c']
    """
    return {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}


def with_merged_files(arguments: Sequence[str]) -> list[str]:
    """Put what `read_config` makes of a file and its bases into the place of every `-c FILE`.

    So jsonargparse, which merges files in another way, trains what all other commands describe.

    Raises:
        InputError: see `read_config`; or a file is missing, or `--base` stands on the command line.
    """
    merged: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument.partition("=")[0] == "--base":
            raise InputError("--base belongs into a configuration file; on the command line, give two with -c")
        attached = _CONFIG.fullmatch(argument)
        if argument in ("-c", "--config"):
            file = next(rest, None)
        elif attached:
            file = attached[1]
        else:
            merged.append(argument)
            continue
        if file is None:
            raise InputError(f"{argument} needs a file")
        merged.append(f"--config={yaml.safe_dump(read_config(file), sort_keys=False)}")
    return merged
