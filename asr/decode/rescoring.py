"""`asr lm rescore`: choose again among the texts of N-best lists, with a language model of characters."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decode.hypotheses import Hypothesis, parse_hypothesis, write_hypotheses
from asr.decode.outputs import name_of
from asr.errors import InputError
from asr.files import read_jsonl, write_json
from asr.lm.neural import CharacterLanguageModel, load_language_model
from asr.score.errors import ErrorCounts, align_words, count
from asr.score.scores import format_rate, name_some

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2)
BONUSES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""What `--tune` and `--halves` try, every pair."""
WEIGHT, BONUS = 0.5, 0.0
"""What is taken otherwise, unless it is given."""
BASES = ("total", "acoustic")

Floats = NDArray[np.float64]


class NBest(NamedTuple):
    """The N-best list of an utterance.

    Attributes:
        utterance: with the first text as its hypothesis.
        texts: of the list, the best first, with single spaces.
        scores: theirs before rescoring, natural logs (N,).
    """

    utterance: Hypothesis
    texts: tuple[str, ...]
    scores: Floats


class Weights(NamedTuple):
    """The score of a text becomes score + weight * log P(text) + bonus * words."""

    weight: float
    bonus: float


def read_nbest(path: Path | str, base: str = "total", limit: int | None = None) -> list[NBest]:
    """Read nbest.jsonl: objects with `id` and `nbest`, a list of objects with `text` and the score that `base` names.

    Args:
        path: of the file.
        base: which score.
        limit: how many texts of a list are taken, the first; None is all.

    Raises:
        InputError: the file cannot be read, holds no row, a row is of another form or has a score that is no finite
            number, or an id occurs twice; file and row are named.
    """
    lists: dict[str, NBest] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}, row {number}"
        found = _parse(row, base, limit, where)
        if found.utterance.id in lists:
            raise InputError(f"{where}: utterance {found.utterance.id!r} occurs twice")
        lists[found.utterance.id] = found
    if not lists:
        raise InputError(f"{path} holds no N-best lists")
    return list(lists.values())


def _parse(row: Any, base: str, limit: int | None, where: str) -> NBest:
    try:
        entries = row["nbest"][:limit]
        texts = tuple(" ".join(entry["text"].split()) for entry in entries)
        scores = [entry[base] for entry in entries]
        known = {name: row.get(name) for name in ("reference", "speaker", "seconds")}
        utterance = parse_hypothesis({"id": row["id"], "hypothesis": texts[0], **known}, where)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{where}: expected an object with id and nbest, a list of at least one object with text and {base}"
        ) from error
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
            raise InputError(f"{where} ({utterance.id}): {base!r} must be a finite number, got {score!r}")
    return NBest(utterance, texts, np.array(scores, dtype=np.float64))


def language_scores(lists: Sequence[NBest], model: CharacterLanguageModel) -> list[Floats]:
    """Natural log P(text) of every text of every list.

    Raises:
        InputError: a text has a character that the model does not know.
    """
    texts = list(dict.fromkeys(text for each in lists for text in each.texts))
    known = dict(zip(texts, model.score(texts), strict=True))
    return [np.array([known[text] for text in each.texts]) for each in lists]


def choose(nbest: NBest, language: Floats, weights: Weights) -> int:
    """Number of the text with the highest score, the first of equal ones."""
    words = np.array([len(text.split()) for text in nbest.texts])
    return int(np.argmax(nbest.scores + weights.weight * language + weights.bonus * words))


def tune(lists: Sequence[NBest], language: Sequence[Floats]) -> Weights:
    """The weights of the table that make the fewest word errors; of equal ones the smallest.

    Raises:
        InputError: a list has no reference.
    """
    errors = [[counts.errors for counts in list_errors(each)] for each in lists]

    def total(weights: Weights) -> int:
        return sum(
            wrong[choose(each, scores, weights)] for wrong, each, scores in zip(errors, lists, language, strict=True)
        )

    tried = [Weights(weight, bonus) for weight in WEIGHTS for bonus in BONUSES]
    return min(tried, key=lambda weights: (total(weights), weights.weight, abs(weights.bonus)))


def list_errors(nbest: NBest) -> list[ErrorCounts]:
    """Word errors of every text of a list.

    Raises:
        InputError: it has no reference.
    """
    reference = nbest.utterance.reference
    if reference is None:
        raise InputError(f"utterance {nbest.utterance.id!r} has no reference, and its errors cannot be counted")
    return [count(alignment) for alignment in align_words([reference] * len(nbest.texts), nbest.texts)]


def error_counts(lists: Sequence[NBest], chosen: Sequence[int]) -> dict[str, ErrorCounts]:
    """Word errors of the lists' first texts, of the chosen ones, and of the best that there are."""
    errors = [list_errors(each) for each in lists]
    taken = {
        "before": [each[0] for each in errors],
        "after": [each[number] for each, number in zip(errors, chosen, strict=True)],
        "best in list": [min(each, key=lambda counts: counts.errors) for each in errors],
    }
    return {name: sum(counts, ErrorCounts()) for name, counts in taken.items()}


def halves(lists: Sequence[NBest]) -> list[int]:
    """Half, 0 or 1, of every list: no speaker is in both, and they are of about as many utterances.

    Raises:
        InputError: the speaker of an utterance is not known, or there is only one.
    """
    counts: dict[str, int] = {}
    for each in lists:
        if each.utterance.speaker is None:
            raise InputError(f"utterance {each.utterance.id!r} has no speaker, and is in neither half of them")
        counts[each.utterance.speaker] = counts.get(each.utterance.speaker, 0) + 1
    if len(counts) < 2:
        raise InputError(f"there is one speaker, {', '.join(counts)}, and no second half")
    half: dict[str, int] = {}
    sizes = [0, 0]
    for speaker in sorted(counts, key=lambda name: (-counts[name], name)):  # the largest first, to the smaller half
        half[speaker] = int(sizes[1] < sizes[0])
        sizes[half[speaker]] += counts[speaker]
    return [half[str(each.utterance.speaker)] for each in lists]


def main(arguments: Sequence[str]) -> int:
    """`asr lm rescore`."""
    options = _parser().parse_args(arguments)
    _check(options)
    model, _ = load_language_model(options.lm)
    lists = read_nbest(options.nbest, options.base, options.texts)
    parts = halves(lists) if options.halves else [0] * len(lists)
    language = language_scores(lists, model)
    weights = _weights(options, model, lists, language, parts)
    chosen = [choose(each, scores, weights[part]) for each, scores, part in zip(lists, language, parts, strict=True)]
    hypotheses, record = _outputs(options)
    rows = [_row(each, number) for each, number in zip(lists, chosen, strict=True)]
    write_hypotheses(hypotheses, rows)
    write_json(record, _record(options, weights))
    changed = sum(row.hypothesis != each.utterance.hypothesis for row, each in zip(rows, lists, strict=True))
    print(f"another text than the first was chosen for {changed} of {len(lists)} utterances")
    pairs = list(zip(lists, chosen, strict=True))
    for half in (0, 1) if options.halves else ():
        _print_rates(f"half {half + 1}", [pair for pair, part in zip(pairs, parts, strict=True) if part == half])
    _print_rates("all", pairs)
    print(f"wrote {hypotheses} and {record.name}")
    return 0


def _outputs(options: argparse.Namespace) -> tuple[Path, Path]:
    """Where texts and record go: by names of their own, so that neither other lists' nor those of `asr test` are lost.

    Those of nbest-dev-beam.jsonl are hypotheses-dev-beam-rescored.jsonl and rescoring-dev-beam.json.
    """
    name = name_of(options.nbest).removeprefix("nbest").removeprefix("-")
    suffix = f"-{name}" if name else ""
    folder = Path(options.output)
    return folder / f"hypotheses{suffix}-rescored.jsonl", folder / f"rescoring{suffix}.json"


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers that cannot be, and those that would have no part in the result.

    Raises:
        InputError: there are some.
    """
    if options.texts is not None and options.texts < 1:
        raise InputError(f"--texts must be at least 1, got {options.texts}")
    if options.weight is not None and not 0 <= options.weight < np.inf:
        raise InputError(f"--weight must be a number of at least 0, got {options.weight}")
    if options.bonus is not None and not np.isfinite(options.bonus):
        raise InputError(f"--bonus must be a number, got {options.bonus}")
    given = [name for name in ("weight", "bonus") if getattr(options, name) is not None]
    if given and (options.tune or options.halves):
        by = "--tune" if options.tune else "--halves"
        raise InputError(f"{by} chooses both the weight and the bonus: leave out --{given[0]}")


def _weights(
    options: argparse.Namespace,
    model: CharacterLanguageModel,
    lists: Sequence[NBest],
    language: Sequence[Floats],
    parts: Sequence[int],
) -> list[Weights]:
    """The weights of every part of the lists: those given, or chosen on others."""
    if options.tune:
        held_out = read_nbest(options.tune, options.base, options.texts)
        _check_apart(options, lists, held_out)
        weights = tune(held_out, language_scores(held_out, model))
        print(f"chosen on {len(held_out)} utterances of {options.tune}: {weights}")
        return [weights]
    if not options.halves:
        return [
            Weights(
                WEIGHT if options.weight is None else options.weight, BONUS if options.bonus is None else options.bonus
            )
        ]
    found = []
    for part in (0, 1):
        others = [number for number, other in enumerate(parts) if other != part]
        found.append(tune([lists[number] for number in others], [language[number] for number in others]))
        print(f"half {part + 1}: {found[-1]}, chosen on the {len(others)} utterances of the other half's speakers")
    return found


def _check_apart(options: argparse.Namespace, lists: Sequence[NBest], held_out: Sequence[NBest]) -> None:
    """Refuse to choose the weights on utterances whose errors they are to lower.

    Raises:
        InputError: the lists share some, by their ids.
    """
    ids = {each.utterance.id for each in lists}
    shared = [each.utterance.id for each in held_out if each.utterance.id in ids]
    if shared:
        raise InputError(
            f"{len(shared)} utterances of {options.tune} are in {options.nbest} too, where errors are counted: "
            f"{name_some(shared)}"
        )


def _print_rates(name: str, chosen: Sequence[tuple[NBest, int]]) -> None:
    if all(each.utterance.reference is not None for each, _ in chosen):
        counts = error_counts([each for each, _ in chosen], [number for _, number in chosen])
        rates = ", ".join(f"{when} {format_rate(errors)}" for when, errors in counts.items())
        print(f"WER of {name}, {len(chosen)} utterances: {rates}")


def _row(nbest: NBest, number: int) -> Hypothesis:
    said = nbest.utterance
    return Hypothesis(said.id, nbest.texts[number], said.reference, said.speaker, said.seconds)


def _record(options: argparse.Namespace, weights: Sequence[Weights]) -> dict[str, Any]:
    return {
        "nbest": options.nbest,
        "lm": options.lm,
        "base": options.base,
        "texts": options.texts,
        "tuned_on": "the other half" if options.halves else options.tune,
        "weights": [each._asdict() for each in weights],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr lm rescore",
        description="Choose again among the texts of N-best lists: the score of the beam search, plus the weighted "
        "log-probability that a language model of `asr lm train` gives the text, plus a bonus for each word.",
        epilog="Writes hypotheses-rescored.jsonl and rescoring.json (for nbest-NAME.jsonl: "
        "hypotheses-NAME-rescored.jsonl and rescoring-NAME.json).",
    )
    parser.add_argument("nbest", help="nbest.jsonl of `asr predict --nbest`")
    parser.add_argument("--lm", required=True, help="folder of `asr lm train`")
    parser.add_argument("-o", "--output", required=True, help="folder for the results")
    parser.add_argument("--weight", type=float, help=f"of the language model (default: {WEIGHT:g})")
    parser.add_argument("--bonus", type=float, help=f"added for each word (default: {BONUS:g})")
    tuning = parser.add_mutually_exclusive_group()
    tuning.add_argument("--tune", help="choose both on these N-best lists, of other speakers, by their word errors")
    tuning.add_argument(
        "--halves",
        action="store_true",
        help="choose both for each half of the speakers on the other half, and say what that brings",
    )
    parser.add_argument("--texts", type=int, metavar="N", help="of each list, only the first N (default: all)")
    parser.add_argument("--base", choices=BASES, default="total", help="score that is added to (default: total)")
    return parser
