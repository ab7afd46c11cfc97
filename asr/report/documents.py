"""`asr results`: keep the results of runs, and write the tables of a document from them.

A document names the command of each of its tables, so that every table can be made again, and is checked:

    <!-- asr compare results/an4/grid-* results/an4/stacked-* --split test -->
    (the table stands here)
    <!-- end -->
"""

import argparse
import contextlib
import csv
import glob
import importlib
import io
import itertools
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.errors import InputError
from asr.files import read_json, write_text
from asr.report.circumstances import UNKNOWN
from asr.report.collected import METRICS, collect_runs
from asr.report.tables import duration, markdown_table, percent, plain_table

COMMANDS = {
    "compare": "asr.report.compare:main",
    "results": "asr.report.documents:main",
    "robustness": "asr.robustness.command:main",
}
"""Verbs whose Markdown a document may hold."""
HEADINGS = ("run", "configuration", "seed", "epochs", "best dev WER", "training time", "machine", "commit")
TABLE = re.compile(r"(?P<head><!-- asr (?P<command>[^\n]+?) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.DOTALL)
OPENING = re.compile(r"<!-- asr [^\n]* -->")


def written(text: str, name: str) -> str:
    """The document with every table made anew.

    Args:
        text: of the document.
        name: its file, for errors.

    Raises:
        InputError: a table has no end, or its command is none that may stand here or fails; the line is named.
    """
    parts, position = [], 0
    for table in TABLE.finditer(text):
        where = f"{name}, line {text.count(chr(10), 0, table.start()) + 1}"
        if OPENING.search(table["body"]):
            raise InputError(f"{where}: the table has no `<!-- end -->`")
        parts += [text[position : table.start()], table["head"], _output(table["command"], where), table["tail"]]
        position = table.end()
    rest = text[position:]
    unfinished = OPENING.search(rest)
    if unfinished:
        line = text.count("\n", 0, position + unfinished.start()) + 1
        raise InputError(f"{name}, line {line}: the table has no `<!-- end -->`")
    return "".join([*parts, rest])


def _output(command: str, where: str) -> str:
    """What a command prints as Markdown."""
    try:
        verb, *words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"{where}: {command!r} cannot be read: {error}") from error
    if verb not in COMMANDS:
        raise InputError(f"{where}: tables come from asr {', asr '.join(COMMANDS)}, not from {verb!r}")
    if verb == "robustness" and "--show" not in words:
        raise InputError(f"{where}: asr robustness measures for minutes; a document shows what was kept: --show FILE")
    module, function = COMMANDS[verb].split(":")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            code = getattr(importlib.import_module(module), function)([*_expanded(words), "--markdown"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except SystemExit as error:
        raise InputError(f"{where}: `asr {command}` is wrong usage") from error
    if code:
        raise InputError(f"{where}: `asr {command}` failed")
    return f"{printed.getvalue().strip()}\n"


def _expanded(words: Sequence[str]) -> list[str]:
    """Words with patterns in the place of which stand the paths that match, sorted."""
    expanded: list[str] = []
    for word in words:
        found = sorted(glob.glob(word)) if glob.has_magic(word) else [word]
        if not found:
            raise InputError(f"nothing matches {word!r} (paths are relative to the current folder)")
        expanded += found
    return expanded


def main(arguments: Sequence[str]) -> int:
    """`asr results`."""
    options = _parser().parse_args(arguments)
    if options.action == "collect":
        for folder in collect_runs([Path(run) for run in options.run], Path(options.output)):
            print(f"wrote {folder}")
        return 0
    if options.action == "list":
        runs = [Path(run) for run in options.run]
        headings: tuple[str, ...] = HEADINGS
        rows = [_listed(run) for run in runs]
        seconds = {run: _training_seconds(run) for run in runs}
        rows += _summed([seconds[run] for run in runs])
        if options.same_time:
            shortest = _shortest(seconds)
            headings = (*HEADINGS, f"best dev WER within {duration(shortest)}")
            within = [_rate_and_epoch(run / METRICS, shortest) for run in runs]
            rows = [(*row, cell) for row, cell in itertools.zip_longest(rows, within, fillvalue="")]
        print((markdown_table if options.markdown else plain_table)(headings, rows))
        return 0
    path = Path(options.document)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    new = written(text, str(path))
    if options.check:
        if new != text:
            print(f"{path} is not what its commands print: `asr results write {path}`", file=sys.stderr)
        return int(new != text)
    write_text(path, new)
    print(f"wrote {path}: {len(TABLE.findall(new))} tables")
    return 0


def _listed(run: Path) -> tuple[str, ...]:
    """How a run was made: the cells below `HEADINGS`."""
    if not (run / "run.json").exists() and any(run.glob("scores*.json")):  # hypotheses of unknown origin, scored
        return (run.resolve().name, *[UNKNOWN] * (len(HEADINGS) - 1))
    record = read_json(run / "run.json")
    if not isinstance(record, dict):
        raise InputError(f"{run / 'run.json'} is no record of a run")
    known = {name: record.get(name) for name in ("seed", "epochs", "cpu", "threads", "commit")}
    seconds, machine = record.get("training_seconds"), f"{known['cpu']}, {known['threads']} thread(s)"
    return (
        run.resolve().name,
        str(run / "config.yaml"),
        *(UNKNOWN if known[name] is None else str(known[name]) for name in ("seed", "epochs")),
        _best_dev_rate(run / METRICS),
        UNKNOWN if seconds is None else duration(seconds),
        UNKNOWN if known["cpu"] is None else machine,
        UNKNOWN if known["commit"] is None else str(known["commit"])[:7],
    )


def _training_seconds(run: Path) -> float | None:
    """How long a run was trained, where that is known."""
    record = read_json(run / "run.json") if (run / "run.json").exists() else {}
    seconds: float | None = record.get("training_seconds")
    return seconds


def _summed(seconds: Sequence[float | None]) -> list[tuple[str, ...]]:
    """A row for what several trainings took together, where all times are known."""
    known = [time for time in seconds if time is not None]
    if len(seconds) < 2 or len(known) < len(seconds):
        return []
    cells = dict.fromkeys(HEADINGS, "") | {"run": "all", "training time": duration(sum(known))}
    return [tuple(cells.values())]


def _shortest(seconds: Mapping[Path, float | None]) -> float:
    """The time of the run that was trained shortest.

    Raises:
        InputError: a time is not known.
    """
    for run, time in seconds.items():
        if time is None:
            raise InputError(f"{run}: run.json has no training_seconds, so there is no time to compare at")
    return min(time for time in seconds.values() if time is not None)


def _best_dev_rate(file: Path) -> str:
    """The lowest WER that training saw on dev: that of the weights that were kept."""
    rates = [rate for _, _, rate in _dev_rates(file)]
    return percent(min(rates)) if rates else UNKNOWN


def _rate_and_epoch(file: Path, seconds: float) -> str:
    """The lowest WER on dev of the epochs that had ended by a time of training, and the last of these."""
    ended = [(epoch, rate) for epoch, end, rate in _dev_rates(file) if round(end, 1) <= seconds]  # as run.json has it
    return f"{percent(min(rate for _, rate in ended))} (epoch {ended[-1][0]})" if ended else UNKNOWN


def _dev_rates(file: Path) -> list[tuple[int, float, float]]:
    """Epoch, seconds of training at its end and WER on dev, of all epochs that were validated."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("val_wer")]
            return [(int(row["epoch"]), float(row.get("seconds") or "nan"), float(row["val_wer"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"cannot read the log {file}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr results",
        description="Keep what the results of runs rest on, and write the tables of a document from them.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    collect = actions.add_parser(
        "collect",
        help="copy configuration, log, scores and hypotheses of runs, without weights",
        description="Copy configuration, log, scores and hypotheses of runs, without weights; `asr compare` and `asr "
        "report` take the copies as they take the runs.",
    )
    collect.add_argument("run", nargs="+", help="run folders that were scored")
    collect.add_argument("-o", "--output", required=True, help="folder in which a folder for each is written")
    listing = actions.add_parser(
        "list",
        help="how runs were made: seed, epochs, time, machine, commit",
        description="How runs, or collected ones, were made: seed, epochs, machine, commit, time of each and all.",
    )
    listing.add_argument("run", nargs="+", help="run folders, or collected ones")
    listing.add_argument(
        "--same-time",
        action="store_true",
        help="also the best dev WER of each within the time of the one that was trained shortest",
    )
    listing.add_argument("--markdown", action="store_true", help="print Markdown")
    write = actions.add_parser(
        "write",
        help="make the tables of a document anew",
        description="Make the tables of a Markdown document anew. A table stands between `<!-- asr compare RUN ... "
        "-->`, which is the command that prints it, and `<!-- end -->`; paths may be patterns.",
    )
    write.add_argument("document", help="Markdown file")
    write.add_argument("--check", action="store_true", help="only say whether it is up to date (exit code 1 if not)")
    return parser
