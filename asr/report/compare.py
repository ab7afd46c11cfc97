"""`asr compare`: one table of several runs that were scored on the same thing."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.files import write_text
from asr.report.runs import ScoredRun, check_comparable, read_runs
from asr.report.tables import HEADINGS, markdown_table, notes, plain_table, table_rows

__all__ = ["ScoredRun", "check_comparable", "main", "markdown_table", "plain_table", "read_runs"]


def main(arguments: Sequence[str]) -> int:
    """`asr compare`."""
    options = _parser().parse_args(arguments)
    runs = read_runs([Path(path) for path in options.runs], options.split)
    check_comparable(runs)
    if options.json:
        text = json.dumps([{"name": run.name, **run.scores} for run in runs], indent=2, ensure_ascii=False)
    else:
        table = (markdown_table if options.markdown else plain_table)(HEADINGS, table_rows(runs))
        text = table + "\n\n" + "\n".join(notes(runs))
    print(text)
    if options.output:
        write_text(options.output, text + "\n")
    if options.picture:
        from asr.report.pictures import comparison_picture, read_groups

        groups = read_groups(options.groups) if options.groups else None
        comparison_picture(runs, Path(options.picture), options.utterance, groups)
        # JSON on stdout is not to be mixed with anything.
        print(f"picture: {options.picture}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr compare",
        description="One table of runs that were scored on the same utterances, references and text normalisation; "
        "others are refused, and what differs is named.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders (or scores.json files)")
    parser.add_argument("--split", default="test", help="which scores of the run folders (default: test)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    form.add_argument("--json", action="store_true", help="print all scores as JSON")
    parser.add_argument("-o", "--output", help="write the table to this file too")
    parser.add_argument("--picture", help="draw one utterance as all models hear it, and the WER of speakers, as PNG")
    parser.add_argument("--utterance", help="which utterance (default: one on which the models differ)")
    parser.add_argument("--groups", help="table (TSV) with the columns speaker and family: bars are drawn by family")
    return parser
