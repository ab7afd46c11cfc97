"""`asr score`: WER and CER of hypotheses, wherever they come from."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.decode.hypotheses import read_hypotheses
from asr.files import read_json, write_json, write_text
from asr.provenance import provenance
from asr.score.references import read_references, with_references
from asr.score.reliability import format_reliability
from asr.score.scores import Scores, format_alignments, format_rate, format_utterance, name_some, score
from asr.text import normalizer

WORST = 3
"""Utterances that are printed."""


def main(arguments: Sequence[str]) -> int:
    """`asr score`."""
    options = _parser().parse_args(arguments)
    normalize = normalizer(options.normalizer) if options.normalizer else None
    rows = read_hypotheses(options.hypotheses)
    if options.reference:
        rows = with_references(rows, read_references(options.reference))
    scores = score(rows, normalize.identifier if normalize else None, normalize)
    record = recorded(Path(options.hypotheses))
    if normalize is None and record.get("reference_digest") == scores.reference_digest:
        scores = replace(scores, normalizer=record.get("normalizer"))
    if options.output:
        made_with = provenance()
        write_json(
            options.output,
            {
                **scores.to_dict(),
                "hypotheses": options.hypotheses,
                "references": options.reference,
                "seed": record.get("seed"),
                "versions": made_with["versions"],
                "commit": made_with["commit"],
            },
        )
    if options.alignments:
        write_text(options.alignments, format_alignments(scores))
    print(summary(scores))
    for path in (options.output, options.alignments):
        if path:
            print(f"wrote {Path(path)}")
    return 0


def recorded(hypotheses: Path) -> dict[str, Any]:
    """What is known of a hypotheses file: the scores that `asr test` wrote beside it, else the record of its run."""
    split = re.fullmatch(r"hypotheses(.*)\.jsonl(?:\.gz)?", hypotheses.name)
    for name in ([f"scores{split[1]}.json"] if split else []) + ["run.json"]:
        file = hypotheses.parent / name
        if file.is_file() and isinstance(content := read_json(file), dict):
            return content
    return {}


def summary(scores: Scores) -> str:
    """Rates with their counts, and the worst utterances that have errors."""
    words, characters = scores.words, scores.characters
    lines = [
        f"WER {format_rate(words)}: {words.substitutions} substitutions, {words.deletions} deletions, "
        f"{words.insertions} insertions",
        f"CER {format_rate(characters)}, spaces included",
        f"{len(scores.utterances)} utterances, {_speakers(scores)}, "
        f"{sum(utterance.words.errors > 0 for utterance in scores.utterances)} utterances with errors",
    ]
    sure = scores.reliability
    if sure:
        lines.append(format_reliability(sure))
    empty = [utterance.id for utterance in scores.utterances if utterance.words.length == 0]
    if empty:
        lines.append(
            f"{len(empty)} empty references ({name_some(empty, 3)}): what was recognised there counts as insertions"
        )
    worst = [utterance for utterance in scores.worst()[:WORST] if utterance.words.errors]
    return "\n".join(lines + ["\n" + format_utterance(utterance).rstrip() for utterance in worst])


def _speakers(scores: Scores) -> str:
    """How many there are, as far as that is known."""
    names = [utterance.speaker for utterance in scores.utterances]
    known, unknown = len({name for name in names if name}), sum(not name for name in names)
    if not known:
        return "speakers not known"
    return f"{known} speakers" + (f" and {unknown} utterances of unknown ones" if unknown else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr score",
        description="Word and character error rate of a hypotheses file: errors summed over utterances and divided "
        "once. The CER counts one space between words as a character.",
    )
    parser.add_argument("hypotheses", help="hypotheses.jsonl: objects with id, hypothesis and, usually, reference")
    parser.add_argument(
        "--reference",
        help="references instead of those in the file: lhotse cuts or objects with id and reference (.jsonl, "
        ".jsonl.gz), or lines `ID WORD WORD ...`",
    )
    parser.add_argument(
        "--normalizer", help="apply a text normaliser to both sides first, for example english/1 (default: none)"
    )
    parser.add_argument("-o", "--output", help="write the scores to this JSON file")
    parser.add_argument("--alignments", help="write all alignments, worst utterance first, to this text file")
    return parser
