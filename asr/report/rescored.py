"""The utterances behind scores.json: hypotheses scored again, by utterance, as intervals and tests need them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from asr.decode.hypotheses import Hypothesis, read_hypotheses
from asr.errors import InputError
from asr.report.runs import ScoredRun
from asr.score.errors import ErrorCounts
from asr.score.references import read_references, with_references
from asr.score.scores import Scores, UtteranceScore, name_some, score
from asr.text import normalizer


@dataclass(frozen=True)
class Rescored:
    """A run and its utterances.

    Args:
        run: as it was read.
        scores: of its hypotheses, which add up to what `run.scores` says; None if there are no hypotheses.
        reason: why there are none; else "".
        unlike: ids of hypotheses that are not written as the normaliser writes, though the references are.
    """

    run: ScoredRun
    scores: Scores | None
    reason: str = ""
    unlike: tuple[str, ...] = ()


def rescore(run: ScoredRun) -> Rescored:
    """Score the hypotheses of a run again: with the references and the normalisation of its scores.

    Raises:
        InputError: the hypotheses cannot be read, an utterance occurs twice in them, the references that they were
            scored on are not there, or they do not give the errors, words and references of scores.json; files are
            named.
    """
    if not run.hypotheses.is_file():
        return Rescored(run, None, f"there is no {run.hypotheses}")
    rows = read_hypotheses(run.hypotheses)
    if run.references is not None:
        if not run.references.is_file():
            raise InputError(
                f"{run.path} was scored on the references of {run.references}, which are not there (of a relative path "
                "in the current folder or beside the scores)"
            )
        rows = with_references(rows, read_references(run.references))
    identifier = run.scores.get("normalizer")
    if any(row.reference is None for row in rows):
        return Rescored(run, None, f"{run.hypotheses} has utterances without a reference")
    found, unlike = score(rows, identifier), _unlike(rows, run)
    if not _fits(found, run) and identifier:  # they were normalised while they were scored
        found, unlike = score(rows, identifier, normalizer(identifier)), ()
    if not _fits(found, run):
        raise InputError(
            f"{run.path}: its scores ({run.scores['errors']} errors, {run.scores['words']} words) and "
            f"{run.hypotheses} ({found.words.errors}, {found.words.length}) do not belong together: score them again"
        )
    return Rescored(run, found, unlike=unlike)


def _unlike(rows: Sequence[Hypothesis], run: ScoredRun) -> tuple[str, ...]:
    """Hypotheses of an imported system that the normaliser of the scores would change."""
    identifier, imported = run.scores.get("normalizer"), run.scores.get("imported")
    if not identifier or not isinstance(imported, Mapping) or imported.get("normalizer"):
        return ()
    change = normalizer(identifier)
    return tuple(row.id for row in rows if change(row.hypothesis) != row.hypothesis)


def _fits(found: Scores, run: ScoredRun) -> bool:
    return (found.words.errors, found.words.length, found.reference_digest) == (
        run.scores["errors"],
        run.scores["words"],
        run.scores["reference_digest"],
    )


def only_common(rescored: Sequence[Rescored]) -> tuple[list[Rescored], list[str]]:
    """Take from every run the utterances that all of them have.

    Returns:
        The runs, whose scores are those of the common utterances, and notes on what was left out.

    Raises:
        InputError: a run has no hypotheses, no utterance is common, or references of a common one differ.
    """
    utterances = []
    for one in rescored:
        if one.scores is None:
            raise InputError(f"{one.run.path} cannot be reduced to common utterances: {one.reason}")
        utterances.append({utterance.id: utterance for utterance in one.scores.utterances})
    common = set.intersection(*map(set, utterances))
    if not common:
        raise InputError("the runs have no utterance in common")
    notes = []
    chosen = []
    for one, own in zip(rescored, utterances, strict=True):
        assert one.scores is not None
        left_out = sorted(own.keys() - common)
        if left_out:
            notes.append(
                f"{len(left_out)} of {len(own)} utterances of {one.run.name} are left out: {name_some(left_out, 3)}."
            )
        scores = Scores(tuple(own[name] for name in sorted(common)), one.scores.normalizer)
        run = replace(one.run, scores={**one.run.scores, **scores.to_dict()})
        chosen.append(Rescored(run, scores, unlike=tuple(name for name in one.unlike if name in common)))
    if notes:
        notes.insert(
            0, "Only the utterances that all runs have are compared; real-time factors are of all that were decoded."
        )
    return chosen, notes


def peculiarities(rescored: Sequence[Rescored]) -> list[str]:
    """Empty references, empty hypotheses and those of another writing, in words, and how they are counted."""
    known = [(one, one.scores.utterances) for one in rescored if one.scores is not None]
    lines = []
    empty = [one.id for one in known[0][1] if not one.words.length] if known else []
    if empty:
        inserted = [f"{one.run.name}: {sum(u.words.errors for u in own if not u.words.length)}" for one, own in known]
        lines.append(
            f"{len(empty)} of {len(known[0][1])} references are empty ({name_some(empty, 3)}): what was recognised "
            f"there counts as insertions ({', '.join(inserted)})."
        )
    for one, own in known:
        lines += [*_silent(one.run, own), *_of_writing(one, len(own))]
    return lines


def _silent(run: ScoredRun, own: Sequence[UtteranceScore]) -> list[str]:
    """Utterances with words of which a run has none, apart from those that an imported file lacked."""
    silent = [one.id for one in own if one.words.length and one.words == ErrorCounts(deletions=one.words.length)]
    imported = run.scores.get("imported")
    lacking = imported.get("missing_as_empty") if isinstance(imported, Mapping) else None
    missing = [name for name in silent if name in lacking] if isinstance(lacking, list) else []
    heard = [name for name in silent if name not in missing]
    said = (
        (heard, f"{run.name} recognised nothing in"),
        (missing, f"The file that {run.name} was imported from has no hypothesis of"),
    )
    return [
        f"{what} {len(names)} of {len(own)} utterances ({name_some(names, 3)}): all words there count as deleted."
        for names, what in said
        if names
    ]


def _of_writing(one: Rescored, number: int) -> list[str]:
    if not one.unlike:
        return []
    identifier = one.run.scores["normalizer"]
    return [
        f"{len(one.unlike)} of {number} hypotheses of {one.run.name} are not written as {identifier} writes "
        f"({name_some(one.unlike, 3)}), so that another way of writing counts as errors: `asr import "
        f"--normalizer {identifier}` treats both sides alike."
    ]
