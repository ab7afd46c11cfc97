"""The numbers of a report for others: tables of plain values, as JSON or CSV files, and Markdown for a README."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.files import write_json, write_text
from asr.report.html.records import Gathered
from asr.report.html.words import breakdowns_of, by_length, confusions
from asr.report.tables import headings, markdown_table, markdown_text, table_rows
from asr.score.errors import ErrorCounts
from asr.score.scores import format_rate

Row = dict[str, Any]
KINDS = ("substitutions", "deletions", "insertions")


def tables(gathered: Gathered) -> dict[str, list[Row]]:
    """Everything that is counted: name of a table -> its rows, all with the same keys; what is not known is None."""
    return {
        "runs": list(_runs(gathered)),
        "comparisons": list(_comparisons(gathered)),
        "curves": [{"run": run.name, **epoch._asdict()} for run in gathered.runs for epoch in run.curve],
        "groups": list(_groups(gathered)),
        "conditions": list(_conditions(gathered)),
        "confusions": list(_confusions(gathered)),
        "utterances": list(_utterances(gathered)),
    }


def _runs(gathered: Gathered) -> Iterator[Row]:
    rates = {one.name: one for one in gathered.comparison.evidence.runs}
    for run in gathered.runs:
        scores, own = run.scores, rates.get(run.name)
        model = scores.get("model") or {}
        yield {
            "run": run.name,
            "path": str(run.scored.path),
            "split": gathered.split,
            "wer": scores["wer"],
            "wer_lower": own.words.lower if own else None,
            "wer_upper": own.words.upper if own else None,
            "cer": scores["cer"],
            "cer_lower": own.characters.lower if own else None,
            "cer_upper": own.characters.upper if own else None,
            **{name: scores.get(name) for name in ("errors", *KINDS, "words", "utterances")},
            **{name: model.get(name) for name in ("parameters", "multiply_adds_per_second")},
            **{name: scores.get(name) for name in ("real_time_factor", "training_seconds", "seed")},
            **{name: scores.get(name) for name in ("normalizer", "reference_digest", "commit")},
        }


def _comparisons(gathered: Gathered) -> Iterator[Row]:
    for pair in gathered.comparison.evidence.pairs:
        yield {
            "first": pair.first,
            "second": pair.second,
            "difference": pair.words.difference,
            "lower": pair.words.lower,
            "upper": pair.words.upper,
            "level": pair.words.level,
            "blocks": pair.words.blocks,
            "draws": pair.words.draws,
            **{f"{test.lower()}_p": p for test, p in pair.p_values.items()},
            **{f"{test.lower()}_p_corrected": pair.corrected.get(test) for test in pair.p_values},
            "without_vote": ", ".join(pair.abstaining),
            "verdict": pair.verdict,
        }


def _counts(counts: ErrorCounts) -> Row:
    return {"words": counts.length, **{kind: getattr(counts, kind) for kind in KINDS}, "wer": counts.rate}


def _groups(gathered: Gathered) -> Iterator[Row]:
    for breakdown in breakdowns_of(gathered):
        for group in breakdown.groups:
            for index in gathered.detailed:
                counts = group.counts[index]
                assert counts is not None
                yield {
                    "by": breakdown.by,
                    "group": group.name,
                    "utterances": group.utterances,
                    "run": gathered.runs[index].name,
                    **_counts(counts),
                }


def _conditions(gathered: Gathered) -> Iterator[Row]:
    for run in gathered.runs:
        for name, heard in run.conditions.rows.items():
            yield {"condition": name, "utterances": heard.utterances, "run": run.name, **_counts(heard.counts)}


def _confusions(gathered: Gathered) -> Iterator[Row]:
    for one in confusions(gathered):
        for index in gathered.detailed:
            if one.counts[index]:
                yield {
                    **one.edit._asdict(),
                    "run": gathered.runs[index].name,
                    "count": one.counts[index],
                }


def _utterances(gathered: Gathered) -> Iterator[Row]:
    for utterance in gathered.utterances:
        for index in gathered.detailed:
            scored = gathered.runs[index].utterances[utterance.id]
            yield {
                "id": utterance.id,
                "speaker": utterance.speaker,
                "seconds": utterance.seconds,
                "snr": utterance.snr,
                "run": gathered.runs[index].name,
                **_counts(scored.words),
                "reference": utterance.reference,
                "hypothesis": " ".join(edit.hypothesis for edit in scored.alignment if edit.hypothesis),
            }


def write_tables_json(path: Path, gathered: Gathered) -> None:
    """What `asr compare --json` prints, and the tables that it does not have, as one JSON object."""
    write_json(path, {**tables(gathered), **gathered.comparison.to_dict()})


def write_tables_csv(folder: Path, gathered: Gathered) -> list[Path]:
    """A CSV file a table: comma-separated, UTF-8, an empty cell for what is not known.

    Returns:
        The files; a table without rows is not written.
    """
    written = []
    for name, rows in tables(gathered).items():
        if rows:
            path = folder / f"{name}.csv"
            write_text(path, _csv(rows))
            written.append(path)
    return written


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    packed = io.StringIO()
    writer = csv.DictWriter(packed, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return packed.getvalue()


def markdown(gathered: Gathered) -> str:
    """The table, what is said of differences, kinds of errors and error rates by length, for a README."""
    comparison = gathered.comparison
    parts = [
        markdown_table(headings(comparison.evidence.settings.level), table_rows(comparison.runs, comparison.evidence))
    ]
    for sentences in (comparison.statements, comparison.notes):
        parts += ["\n".join(f"- {markdown_text(sentence)}" for sentence in sentences)] if sentences else []
    kinds = [run for run in gathered.runs if all(isinstance(run.scores.get(kind), int) for kind in KINDS)]
    if kinds:
        parts.append(
            markdown_table(["model", *KINDS], [[run.name, *(f"{run.scores[k]:,}" for k in KINDS)] for run in kinds])
        )
    lengths = by_length(gathered)
    if lengths is not None:
        names = [gathered.runs[index].name for index in gathered.detailed]
        rows = [
            [group.name, f"{group.words:,}", *(format_rate(count) for count in group.counts if count is not None)]
            for group in lengths.groups
        ]
        parts.append(markdown_table(["utterance length", "words", *names], rows))
    return "\n\n".join(parts) + "\n"
