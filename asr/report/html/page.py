"""Everything as one HTML file that loads nothing from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from asr.report.html import captions, figures
from asr.report.html.alignment import columns, lines
from asr.report.html.hearing import Missing, Shown
from asr.report.html.origins import HEADINGS, facts, origin_rows, versions
from asr.report.html.records import Gathered
from asr.report.html.results import intervals, main_result, table
from asr.report.html.spectrum import data_uri, utterance_picture
from asr.report.html.svg import key
from asr.report.html.words import Breakdown, Confusion, breakdowns_of, by_condition, confusions
from asr.score.scores import format_rate

FOLDER = Path(__file__).parent
MOST_WORDS = 12
"""Rows of a table of confused words."""


def breakable(name: str) -> Markup:
    """A name that a narrow column breaks after its underscores and hyphens, and not within words.

    >>> breakable("stacked_blstm-seed0")
    Markup('stacked_<wbr>blstm-<wbr>seed0')
    """
    return Markup(re.sub("([_-])", r"\1<wbr>", str(escape(name))))


def page(gathered: Gathered, shown: Sequence[Shown], missing: Sequence[Missing], made: datetime) -> str:
    """The report as HTML.

    Args:
        gathered: the runs.
        shown: utterances with pictures and audio.
        missing: of which run no model was found, and why.
        made: date of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["breakable"] = breakable
    style, script = (Markup((FOLDER / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js"))
    names = [run.name for run in gathered.runs]
    context: dict[str, Any] = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "names": names,
        "marks": [key(index) for index in range(len(names))],
        "rate": lambda count: "–" if count is None else format_rate(count),
        "detailed": gathered.detailed,
        "facts": facts(gathered, made),
        "captions": captions.captions(gathered),
        "origin_headings": HEADINGS,
        "origins": origin_rows(gathered),
        "versions": versions(gathered),
        "footer": "Made by `asr report`. This file holds everything that it shows.",
        "missing": _missing(gathered, missing),
        **_results(gathered),
        **_charts(gathered),
        **_words(gathered),
        **_utterances(gathered, shown, names),
    }
    context["contents"] = _contents(context)
    return environment.get_template("template.html").render(context)


def _policy(style: str, script: str) -> str:
    """What the page may load: what it holds, and nothing else; no other script, should one ever get into it."""
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{hashes[0]}'; "
        f"script-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )


def _missing(gathered: Gathered, models: Sequence[Missing]) -> list[str]:
    """What is missing, runs that lack the same together."""
    lacking: dict[str, list[str]] = {}
    for name, reason in [*((run.name, reason) for run in gathered.runs for reason in run.missing), *models]:
        lacking.setdefault(reason, []).append(name)
    return [*gathered.missing, *(f"{', '.join(names)}: {reason}" for reason, names in lacking.items())]


def _results(gathered: Gathered) -> dict[str, Any]:
    headings, rows = table(gathered.comparison)
    return {
        "title": captions.title(gathered),
        "lede": main_result(gathered),
        "headings": headings,
        "rows": rows,
        "comparisons": _statements(gathered),
        "notes": gathered.comparison.notes,
    }


def _statements(gathered: Gathered) -> list[tuple[str, str]]:
    """What is said of differences, and in a word before each whether it is one."""
    sentences, pairs = gathered.comparison.statements, gathered.comparison.evidence.pairs
    tags = [""] * (len(sentences) - len(pairs)) + [captions.VERDICTS[pair.verdict] for pair in pairs]
    return list(zip(tags, sentences, strict=True))


def _charts(gathered: Gathered) -> dict[str, Any]:
    under = by_condition(gathered)
    every = [*breakdowns_of(gathered), *([under] if under else [])]
    breakdowns = [_breakdown(gathered, breakdown) for breakdown in every]
    return {
        "curves": figures.learning_curves(gathered),
        "with_curves": [index for index, run in enumerate(gathered.runs) if run.curve],
        "costs": figures.cost_charts(gathered, intervals(gathered)),
        "with_scores": [index for index, run in enumerate(gathered.runs) if run.scores["wer"] is not None],
        "types": figures.error_types(gathered),
        "breakdowns": breakdowns,
    }


def _breakdown(gathered: Gathered, breakdown: Breakdown) -> dict[str, Any]:
    chart = figures.rows_chart if breakdown.by in ("speaker", "family", "condition") else figures.columns_chart
    known = [any(group.counts[index] for group in breakdown.groups) for index in range(len(gathered.runs))]
    return {
        "breakdown": breakdown,
        "legend": [index for index, there in enumerate(known) if there],
        "chart": chart(gathered, breakdown),
        **captions.of_breakdown(breakdown, figures.MOST_ROWS),
    }


def _words(gathered: Gathered) -> dict[str, Any]:
    if not gathered.detailed:
        return {"confused": []}
    found = confusions(gathered)
    tables = []
    for kind, texts in captions.WORDS.items():
        rows: list[Confusion] = [one for one in found if one.edit.kind == kind]
        title, heading = texts
        tables.append(
            {
                "title": title,
                "heading": heading,
                "caption": captions.of_words(len(rows), min(MOST_WORDS, len(rows))),
                "rows": rows[:MOST_WORDS],
            }
        )
    return {"confused": tables}


def _utterances(gathered: Gathered, shown: Sequence[Shown], names: Sequence[str]) -> dict[str, Any]:
    articles = [_article(gathered, one, names) for one in shown]
    return {"shown": articles, "any_picture": any(article["picture"] for article in articles)}


def _article(gathered: Gathered, shown: Shown, names: Sequence[str]) -> dict[str, Any]:
    utterance = shown.choice.utterance
    alignments = [gathered.runs[index].utterances[utterance.id].alignment for index in gathered.detailed]
    patches = [
        (index, grid, spectrogram) for spectrogram in shown.spectrograms for index, grid in spectrogram.patches.items()
    ]
    # Of all grids those with bands along frequency say most.
    chosen = next((index for index, grid, _ in patches if grid.num_blocks > 1), patches[0][0] if patches else None)
    return {
        "id": utterance.id,
        "meta": captions.of_utterance(shown.choice, _errors(gathered, utterance.id)),
        "missing": shown.missing,
        "audio": data_uri("audio/flac", shown.audio) if shown.audio else None,
        "picture": utterance_picture(shown, names),
        "grids": [
            {
                "index": index,
                "name": names[index],
                "size": captions.of_patches(grid, of.config),
                "chosen": index == chosen,
            }
            for index, grid, of in patches
        ],
        "lines": lines(columns(alignments)),
    }


def _errors(gathered: Gathered, name: str) -> list[tuple[str, int]]:
    runs = [gathered.runs[index] for index in gathered.detailed]
    return [(run.name, run.utterances[name].words.errors) for run in runs]


def _contents(context: dict[str, Any]) -> list[dict[str, str]]:
    parts = [
        ("table", "Error rates", True),
        ("curves", "Learning curves", context["curves"]),
        ("cost", "Error rate against cost", context["costs"]),
        ("types", "Kinds of errors", context["types"]),
        ("words", "Most confused words", context["confused"]),
        *((part["id"], part["title"], True) for part in context["breakdowns"]),
        ("utterances", "Utterances", context["shown"]),
        ("missing", "What is missing", context["missing"]),
        ("origin", "Where the numbers come from", True),
    ]
    return [{"id": name, "title": title} for name, title, there in parts if there]
