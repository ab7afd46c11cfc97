"""Errors counted by group of utterances, and by word."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from asr.report.html.records import Gathered, RunRecord, Utterance
from asr.report.pictures import OTHERS
from asr.score.errors import Edit, ErrorCounts
from asr.score.scores import UNKNOWN_SPEAKER

By = Literal["speaker", "family", "seconds", "words", "snr", "condition"]

SECONDS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
"""Upper ends of the groups of duration, in seconds."""
WORDS = (2, 5, 10, 15, 20, 30, 40)
"""Upper ends of the groups of length, in words, where durations are not known."""
MOST_RATIOS = 8
"""Up to so many different signal-to-noise ratios have a group each; beyond, they are grouped by 5 dB."""


@dataclass(frozen=True)
class Group:
    """Utterances that have something in common.

    Args:
        name: for tables and axes.
        utterances: how many.
        words: of their references.
        counts: word errors by run; None for one without hypotheses.
    """

    name: str
    utterances: int
    words: int
    counts: tuple[ErrorCounts | None, ...]


@dataclass(frozen=True)
class Breakdown:
    """All utterances in groups; `by` says by what."""

    by: By
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Confusion:
    """An error and how often each run made it; None where that is not known."""

    edit: Edit
    counts: tuple[int | None, ...]

    @property
    def total(self) -> int:
        """Over all runs."""
        return sum(count or 0 for count in self.counts)


def by_speaker(gathered: Gathered) -> Breakdown | None:
    """By speaker, the highest mean error rate of the runs first; None if no speaker is known."""
    if not any(utterance.speaker for utterance in gathered.utterances):
        return None
    return _worst_first(_breakdown(gathered, "speaker", lambda utterance: utterance.speaker or UNKNOWN_SPEAKER))


def by_family(gathered: Gathered) -> Breakdown | None:
    """By family of speakers, ordered as speakers are; None if no families were named."""
    families = gathered.families
    if not (families and gathered.utterances):
        return None
    return _worst_first(_breakdown(gathered, "family", lambda utterance: families.get(utterance.speaker or "", OTHERS)))


def _worst_first(breakdown: Breakdown) -> Breakdown:
    def order(group: Group) -> tuple[float, str]:
        rates = [count.rate or 0.0 for count in group.counts if count is not None]
        return (-sum(rates) / len(rates), group.name)

    return Breakdown(breakdown.by, tuple(sorted(breakdown.groups, key=order)))


def by_length(gathered: Gathered) -> Breakdown | None:
    """By duration where that of every utterance is known, else by words of the reference; None without utterances."""
    if not gathered.utterances:
        return None
    if all(utterance.seconds is not None for utterance in gathered.utterances):
        names = [f"{_to(low)}{high:g} s" for low, high in zip((0.0, *SECONDS), SECONDS, strict=False)]
        names.append(f"over {SECONDS[-1]:g} s")
        return _in_order(_breakdown(gathered, "seconds", lambda u: names[_place(u.seconds or 0.0, SECONDS)]), names)
    names = [_whole(low + 1, high) for low, high in zip((-1, *WORDS), WORDS, strict=False)]
    names.append(f"over {WORDS[-1]} words")
    return _in_order(_breakdown(gathered, "words", lambda u: names[_place(u.words, WORDS)]), names)


def _to(low: float) -> str:
    return f"{low:g}–" if low else "up to "


def _whole(low: int, high: int) -> str:
    return f"{low}–{high} words"


def _place(value: float, ends: Sequence[float]) -> int:
    """The first group whose upper end a value does not exceed."""
    return next((index for index, end in enumerate(ends) if value <= end), len(ends))


def _in_order(breakdown: Breakdown, names: Sequence[str]) -> Breakdown:
    return Breakdown(breakdown.by, tuple(sorted(breakdown.groups, key=lambda group: names.index(group.name))))


def by_snr(gathered: Gathered) -> Breakdown | None:
    """By known signal-to-noise ratio, the lowest first, utterances without one last; None if none is known."""
    known = {utterance.snr for utterance in gathered.utterances if utterance.snr is not None}
    if not known:
        return None
    width = None if len(known) <= MOST_RATIOS else 5

    def low(ratio: float) -> float:
        return ratio if width is None else width * math.floor(ratio / width)

    def name(utterance: Utterance) -> str:
        if utterance.snr is None:
            return "not mixed"
        return (
            f"{low(utterance.snr):g} dB" if width is None else f"{low(utterance.snr)}–{low(utterance.snr) + width} dB"
        )

    order = {name(u): (u.snr is None, 0.0 if u.snr is None else low(u.snr)) for u in gathered.utterances}
    groups = _breakdown(gathered, "snr", name).groups
    return Breakdown("snr", tuple(sorted(groups, key=lambda group: order[group.name])))


def by_condition(gathered: Gathered) -> Breakdown | None:
    """The same utterances under noise and other changes, in the order measured; None if no run was measured so."""
    groups: dict[str, Group] = {}
    for run in gathered.runs:
        for name, heard in run.conditions.rows.items():
            rows = [one.conditions.rows.get(name) for one in gathered.runs]
            counts = tuple(None if row is None else row.counts for row in rows)
            groups.setdefault(name, Group(name, heard.utterances, heard.counts.length, counts))
    return Breakdown("condition", tuple(groups.values())) if groups else None


def _breakdown(gathered: Gathered, by: By, name_of: Callable[[Utterance], str]) -> Breakdown:
    members: dict[str, list[Utterance]] = {}
    for utterance in gathered.utterances:
        members.setdefault(name_of(utterance), []).append(utterance)
    groups = []
    for name, utterances in members.items():
        counts = tuple(
            sum((run.utterances[u.id].words for u in utterances), ErrorCounts()) if run.utterances else None
            for run in gathered.runs
        )
        groups.append(Group(name, len(utterances), sum(u.words for u in utterances), counts))
    return Breakdown(by, tuple(groups))


def breakdowns_of(gathered: Gathered) -> list[Breakdown]:
    """All that can be made of the utterances that were scored."""
    found = (by_speaker(gathered), by_family(gathered), by_length(gathered), by_snr(gathered))
    return [breakdown for breakdown in found if breakdown is not None]


def confusions(gathered: Gathered) -> tuple[Confusion, ...]:
    """Every error that any run made, the most frequent over all runs first."""
    counted = [Counter(_errors(run)) if run.utterances else None for run in gathered.runs]
    errors = {edit for counter in counted if counter for edit in counter}
    found = (
        Confusion(edit, tuple(None if counter is None else counter[edit] for counter in counted)) for edit in errors
    )
    return tuple(sorted(found, key=lambda one: (-one.total, one.edit)))


def _errors(run: RunRecord) -> Iterator[Edit]:
    return (edit for utterance in run.utterances.values() for edit in utterance.alignment if edit.kind != "hit")
