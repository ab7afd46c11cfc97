"""`asr report`: one page about several runs that were scored on the same thing."""

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from asr.errors import InputError
from asr.files import write_text
from asr.report.compare import add_statistics, compared_as
from asr.report.html.choice import NUMBER, Choice, choose, chosen
from asr.report.html.exports import markdown, write_tables_csv, write_tables_json
from asr.report.html.hearing import load_models, show
from asr.report.html.page import page
from asr.report.html.records import Gathered, gather
from asr.report.pictures import read_groups

LARGE = 10_000_000
"""Bytes of a page beyond which it is said how to make it smaller."""


def main(arguments: Sequence[str]) -> int:
    """`asr report`."""
    options = _parser().parse_intermixed_args(arguments)
    if not (options.output or options.markdown or options.csv or options.json):
        raise InputError("asr report writes nothing: give -o FILE.html, --markdown FILE, --csv FOLDER or --json FILE")
    families = read_groups(options.groups) if options.groups else None
    gathered = gather(compared_as(options), options.split, Path(options.cuts) if options.cuts else None, families)
    choices = _choices(gathered, options)
    if options.output:
        _write_page(Path(options.output), gathered, choices)
    if options.markdown:
        write_text(options.markdown, markdown(gathered))
        print(f"wrote {options.markdown}")
    if options.csv:
        files = write_tables_csv(Path(options.csv), gathered)
        print(f"wrote {', '.join(path.name for path in files)} in {options.csv}")
    if options.json:
        write_tables_json(Path(options.json), gathered)
        print(f"wrote {options.json}")
    return 0


def _choices(gathered: Gathered, options: argparse.Namespace) -> list[Choice]:
    if options.utterances is not None:
        return chosen(gathered, [name for name in options.utterances.split(",") if name])
    if options.number < 0:
        raise InputError(f"--number must be at least 0, got {options.number}")
    return choose(gathered, options.number) if gathered.utterances else []


def _write_page(path: Path, gathered: Gathered, choices: Sequence[Choice]) -> None:
    models, missing = load_models(gathered) if choices and gathered.cuts else ({}, [])
    content = page(gathered, show(gathered, choices, models), missing, date_of_page())
    write_text(path, content)
    size = len(content.encode())
    print(f"wrote {path} ({size / 1e6:.1f} MB, {len(choices)} utterances)")
    if size > LARGE:
        print("note: most of it is audio; --number shows fewer utterances, --utterances chooses shorter ones")


def date_of_page() -> datetime:
    """Now, or what SOURCE_DATE_EPOCH says (seconds since 1970), with which the same runs give the same bytes.

    Raises:
        InputError: it is no number of seconds.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(given), UTC) if given else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"SOURCE_DATE_EPOCH is {given!r}, and must be a number of seconds since 1970") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr report",
        description="One HTML file about runs that were scored on the same utterances, references and text "
        "normalisation (others are refused, and what differs is named): error rates with intervals and what may be "
        "said of differences, learning curves, error rate against cost, kinds of errors, confused words, error rates "
        "by speaker, length and signal-to-noise ratio, under noise where a run folder has robustness.json of `asr "
        "robustness --json`, and utterances to look at and listen to. It needs no network and no other file. The same "
        "numbers also as Markdown, CSV and JSON.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders (or scores.json files)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the page to this file")
    parser.add_argument("--split", default="test", help="which scores of the run folders (default: test)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--utterances", metavar="ID,...", help="show these utterances")
    which.add_argument(
        "--number",
        type=int,
        default=NUMBER,
        help="utterances that are shown: those on which models differ most, the worst, and typical ones, by turns "
        "(default: %(default)s)",
    )
    parser.add_argument("--cuts", metavar="FILE", help="lhotse cuts of the test set, if not where the scores say")
    parser.add_argument("--groups", metavar="FILE", help="table (TSV) with the columns speaker and family")
    parser.add_argument("--markdown", metavar="FILE", help="write the table and what is said of it for a README")
    parser.add_argument("--csv", metavar="FOLDER", help="write all numbers as CSV files")
    parser.add_argument("--json", metavar="FILE", help="write all numbers as one JSON file")
    add_statistics(parser.add_argument_group("intervals and differences, as for asr compare"))
    return parser
