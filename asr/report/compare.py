"""`asr compare`: one table of several runs that were scored on the same thing, and whether they differ."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.files import write_text
from asr.report.circumstances import circumstances
from asr.report.evidence import Evidence, Settings, weigh
from asr.report.rescored import Rescored, only_common, peculiarities, rescore
from asr.report.runs import ScoredRun, check_comparable, read_runs
from asr.report.statements import explanations, statements
from asr.report.systems import System, systems_of
from asr.report.tables import headings, markdown_table, markdown_text, notes, plain_table, table_rows

__all__ = ["Comparison", "ScoredRun", "check_comparable", "compared", "main", "plain_table", "read_runs"]

MOST_DRAWS = 1_000_000
"""More take memory and time, and change no digit that is shown."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is said of several runs.

    Args:
        rescored: the runs and their utterances; with fewer scores than on disk if only common utterances are compared.
        systems: what is compared: single runs, and models with several; also those of which there are no utterances.
        evidence: intervals and pairs.
        statements: sentences that state differences, and rates over seeds.
        notes: what must be known to read table and statements.
    """

    rescored: tuple[Rescored, ...]
    systems: tuple[System, ...]
    evidence: Evidence
    statements: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[ScoredRun]:
        """The runs, with the scores that are compared."""
        return [one.run for one in self.rescored]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `runs` with all their scores, `models` (means over seeds), `comparisons`, and the words."""
        intervals = {rates.name: rates for rates in self.evidence.runs}
        runs = [
            {
                "name": run.name,
                **run.scores,
                "wer_interval": asdict(intervals[run.name].words) if run.name in intervals else None,
                "cer_interval": asdict(intervals[run.name].characters) if run.name in intervals else None,
            }
            for run in self.runs
        ]
        number, kind = self.evidence.blocks
        return {
            "runs": runs,
            "models": [asdict(rates) for rates in self.evidence.systems if len(rates.runs) > 1],
            "comparisons": [asdict(pair) for pair in self.evidence.pairs],
            "settings": {
                **asdict(self.evidence.settings),
                "blocks": kind,
                "number_of_blocks": number,
                "equal_blocks": self.evidence.equal_blocks,
            },
            "statements": list(self.statements),
            "notes": list(self.notes),
        }


def compared(
    runs: Sequence[ScoredRun],
    groups: Mapping[str, Sequence[ScoredRun]] | None = None,
    settings: Settings | None = None,
    common: bool = False,
    each: bool = False,
) -> Comparison:
    """Compare runs that were scored on the same thing.

    Args:
        runs: all of them.
        groups: name of a model -> its runs, each of another seed; others are told by their configurations.
        settings: of intervals and tests.
        common: compare on the utterances that all runs have, and state what is left out.
        each: compare every run by itself, also those of one model.

    Raises:
        InputError: see `check_comparable`, `rescore`, `only_common` and `systems_of`.
    """
    left_out: list[str] = []
    if common:
        check_comparable(runs, references=False)
        rescored, left_out = only_common([rescore(run) for run in runs])
        runs = [one.run for one in rescored]
        check_comparable(runs)
    else:
        check_comparable(runs)
        rescored = [rescore(run) for run in runs]
    systems, together = systems_of(runs, groups or {}, not each)
    evidence = weigh(rescored, systems, settings)
    unlike = [one.run.name for one in rescored if one.unlike]
    said = [*notes(runs, unlike), *left_out, *circumstances(runs), *together]
    said += [*peculiarities(rescored), *explanations(evidence)]
    return Comparison(tuple(rescored), tuple(systems), evidence, tuple(statements(evidence)), tuple(said))


def main(arguments: Sequence[str]) -> int:
    """`asr compare`."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.common and options.picture:
        parser.error("--picture draws all utterances and does not go with --common")
    if (options.groups or options.utterance) and not options.picture:
        parser.error("--groups and --utterance are of --picture, which is not asked for")
    comparison = compared_as(options)
    text = _as_json(comparison) if options.json else as_text(comparison, options.markdown)
    print(text)
    if options.output:
        write_text(options.output, text + "\n")
    if options.picture:
        from asr.report.pictures import comparison_picture, read_groups

        families = read_groups(options.groups) if options.groups else None
        try:
            comparison_picture(comparison.runs, Path(options.picture), options.utterance, families)
        except InputError as error:
            raise InputError(f"--picture cannot be drawn: {error}") from error
        # JSON on stdout is not to be mixed with anything.
        print(f"picture: {options.picture}", file=sys.stderr if options.json else sys.stdout)
    return 0


def compared_as(options: argparse.Namespace) -> Comparison:
    """Compare the runs as the options say: RUN, --split, --seeds-of and those of `add_statistics`."""
    runs, groups = _read(options)
    settings = Settings(options.draws, options.seed, options.level / 100, options.blocks, options.pairs)
    return compared(runs, groups, settings, options.common, options.each)


def _read(options: argparse.Namespace) -> tuple[list[ScoredRun], dict[str, list[ScoredRun]]]:
    """All runs, and those that --seeds-of puts together, which need not be given a second time."""
    members: dict[str, list[Path]] = {}
    for text in options.seeds_of:
        name, _, paths = text.partition("=")
        if not (name and paths) or name in members:
            raise InputError(f"--seeds-of {text}: expected a new NAME=RUN,RUN,...")
        members[name] = [Path(path) for path in paths.split(",")]
    paths = [Path(path) for path in options.runs]
    for path in (path for group in members.values() for path in group):
        if path.resolve() not in [known.resolve() for known in paths]:
            paths.append(path)
    if not paths:
        raise InputError("there is no run to compare")
    names = {group[0].resolve(): name for name, group in members.items() if len(group) == 1}
    runs = [
        replace(run, name=_one_line(names.get(path.resolve(), run.name)))
        for path, run in zip(paths, read_runs(paths, options.split), strict=True)
    ]
    by_place = {path.resolve(): run for path, run in zip(paths, runs, strict=True)}
    groups = {_one_line(name): [by_place[path.resolve()] for path in group] for name, group in members.items()}
    return runs, groups


def _one_line(name: str) -> str:
    """A name for tables and sentences, without what ends a line or cannot be printed.

    >>> _one_line("a\\nb")
    'a b'
    """
    return "".join(character if character.isprintable() else " " for character in name)


def _as_json(comparison: Comparison) -> str:
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)


def as_text(comparison: Comparison, markdown: bool = False) -> str:
    """The table, and below it what is said of differences and what must be known to read it."""
    rows = table_rows(comparison.runs, comparison.evidence)
    table = (markdown_table if markdown else plain_table)(headings(comparison.evidence.settings.level), rows)
    paragraphs = [list(lines) for lines in (comparison.statements, comparison.notes) if lines]
    if markdown:
        paragraphs = [[f"- {markdown_text(line)}" for line in lines] for lines in paragraphs]
    parts = ["\n".join(lines) for lines in paragraphs]
    return "\n\n".join([table, *parts])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr compare",
        description="One table of runs that were scored on the same utterances, references and text normalisation; "
        "others are refused, and what differs is named. Below it stands in words whether differences are any.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders (or scores.json files)")
    parser.add_argument("--split", default="test", help="which scores of the run folders (default: test)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown")
    form.add_argument("--json", action="store_true", help="print all scores, intervals and comparisons as JSON")
    parser.add_argument("-o", "--output", help="write what is printed to this file too")
    add_statistics(parser.add_argument_group("intervals and differences"))
    parser.add_argument(
        "--picture",
        help="draw one utterance as all models hear it (all must be there), and the WER of speakers, as PNG",
    )
    parser.add_argument("--utterance", help="which utterance (default: one on which the models differ)")
    parser.add_argument("--groups", help="table (TSV) with the columns speaker and family: bars are drawn by family")
    return parser


def add_statistics(parser: argparse._ArgumentGroup) -> None:
    """The options of intervals and differences, which `asr report` has as well."""
    parser.add_argument(
        "--seeds-of",
        action="append",
        default=[],
        metavar="NAME=RUN,RUN",
        help="runs of one model with different seeds, compared by their mean; those whose configurations differ in the "
        "seed alone are put together without being told",
    )
    parser.add_argument("--each", action="store_true", help="compare every run by itself, also those of one model")
    parser.add_argument("--common", action="store_true", help="compare on the utterances that all runs have")
    parser.add_argument(
        "--pairs",
        choices=["auto", "all", "first"],
        default="auto",
        help="compare all pairs, or each with the first (default: all of up to five)",
    )
    parser.add_argument(
        "--blocks",
        choices=["speakers", "utterances"],
        default="speakers",
        help="what the bootstrap draws: utterances by speaker where all speakers are known (default), or one by one",
    )
    parser.add_argument("--draws", type=_draws, default=Settings.draws, help="of the bootstrap (default: 10000)")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="of the draws (default: 0)")
    parser.add_argument("--level", type=_percent, default=95.0, help="of intervals, in percent (default: 95)")


def _draws(text: str) -> int:
    if not text.isdecimal() or len(text) > 20 or not 100 <= int(text) <= MOST_DRAWS:
        raise argparse.ArgumentTypeError(
            f"expected a number of at least 100, since fewer give no interval, and at most {MOST_DRAWS:,}, got {text}"
        )
    return int(text)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 50 <= value < 100:
        raise argparse.ArgumentTypeError(f"expected percents of at least 50 and below 100, got {text}")
    return value
