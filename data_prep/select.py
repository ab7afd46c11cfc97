"""Which utterances are used: speakers held out, and subsets that are seeded, nested and balanced over speakers.

Every choice follows one order, which depends on the seed and on the ids alone: speakers and, within a speaker,
utterances are put in the order of a hash; then round after round takes the next utterance of each speaker. A subset is
a prefix of that order. So, for one seed,

- a smaller subset is contained in a larger one (by hours, utterances, utterances per speaker or, without a limit on
  hours or utterances, by speakers);
- speakers of a subset differ by at most one utterance, except those who have no more to give;
- neither the order in which a corpus is listed nor other utterances of it move an utterance before another of the
  same speaker.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asr.errors import InputError
from asr.randomness import derive_seed


class Candidate(NamedTuple):
    """What selection knows of an utterance; `duration` in seconds, `speaker` None if unknown."""

    id: str
    speaker: str | None
    duration: float


@dataclass(frozen=True)
class Criteria:
    """What a subset shall be; None does not limit.

    Args:
        hours: as many utterances as fit into this.
        utterances: exactly so many.
        speakers: exactly so many.
        utterances_per_speaker: at most so many of each.
        min_duration: of an utterance, in seconds.
        max_duration: of an utterance, in seconds.
    """

    hours: float | None = None
    utterances: int | None = None
    speakers: int | None = None
    utterances_per_speaker: int | None = None
    min_duration: float | None = None
    max_duration: float | None = None

    def __post_init__(self) -> None:
        for name in ("hours", "utterances", "speakers", "utterances_per_speaker", "max_duration"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} of a subset must be greater than 0, got {value}")
        if self.min_duration is not None and not 0 <= self.min_duration <= (self.max_duration or float("inf")):
            raise InputError(
                f"min_duration of a subset must be from 0 to max_duration {self.max_duration}, got {self.min_duration}"
            )


class Selection(NamedTuple):
    """Ids of a subset, sorted, and how many were left out for which criterion."""

    chosen: tuple[str, ...]
    left_out: dict[str, int]


def select(candidates: Sequence[Candidate], criteria: Criteria, seed: int) -> Selection:
    """Choose a subset.

    >>> voices = [Candidate(f"{speaker}{n}", speaker, 60.0) for speaker in "AB" for n in range(90)]
    >>> subset = select(voices, Criteria(hours=1), seed=0)
    >>> len(subset.chosen), sum(id.startswith("A") for id in subset.chosen), subset.left_out
    (60, 30, {'hours': 120})
    >>> set(subset.chosen) < set(select(voices, Criteria(hours=2), seed=0).chosen)
    True

    Raises:
        InputError: there is less than asked for; the message says how much there is.
    """
    left_out: Counter[str] = Counter()
    kept = _within_duration(candidates, criteria, left_out)
    if criteria.speakers is not None:
        kept = _of_speakers(kept, criteria.speakers, seed, left_out)
    if criteria.utterances_per_speaker is not None:
        kept = _per_speaker(kept, criteria.utterances_per_speaker, seed, left_out)
    ordered = round_robin(kept, seed)
    if criteria.utterances is not None:
        if len(ordered) < criteria.utterances:
            raise InputError(f"a subset of {criteria.utterances} utterances was asked for, and {len(ordered)} are left")
        left_out["utterances"] += len(ordered) - criteria.utterances
        ordered = ordered[: criteria.utterances]
    if criteria.hours is not None:
        ordered = _within_hours(ordered, criteria.hours, left_out)
    return Selection(
        tuple(sorted(candidate.id for candidate in ordered)), {k: v for k, v in sorted(left_out.items()) if v}
    )


def round_robin(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """All candidates in the order of which every subset is a prefix: one of each speaker, round after round.

    >>> [c.speaker for c in round_robin([Candidate(id, id[0], 1.0) for id in ("A1", "A2", "A3", "B1")], seed=0)]
    ['A', 'B', 'A', 'A']
    """
    rounds: Counter[str | None] = Counter()
    placed = []
    for candidate in sorted(candidates, key=lambda c: _priority(seed, "utterance", c.id)):
        placed.append((rounds[candidate.speaker], _speaker_priority(seed, candidate.speaker), candidate))
        rounds[candidate.speaker] += 1
    return [candidate for _, _, candidate in sorted(placed, key=lambda place: place[:2])]


def held_out_speakers(speakers: Sequence[str], number: int, seed: int, purpose: str) -> tuple[str, ...]:
    """Draw `number` speakers, sorted; a smaller number of the same seed and purpose gives some of the same ones.

    >>> few, more = (held_out_speakers("ABCDEFGH", n, seed=1, purpose="dev") for n in (2, 4))
    >>> set(few) < set(more)
    True

    Raises:
        InputError: holding out so many would leave none.
    """
    distinct = sorted(set(speakers))
    if not 0 < number < len(distinct):
        raise InputError(
            f"{number} {purpose} speakers cannot be held out of {len(distinct)}: at least 1, and 1 has to stay"
        )
    return tuple(sorted(sorted(distinct, key=lambda s: _priority(seed, f"held out for {purpose}", s))[:number]))


def _priority(seed: int, purpose: str, name: str) -> tuple[int, str]:
    return derive_seed(seed, purpose, name), name


def _speaker_priority(seed: int, speaker: str | None) -> tuple[int, str]:
    return _priority(seed, "speaker", "" if speaker is None else speaker)


def _within_duration(candidates: Sequence[Candidate], criteria: Criteria, left_out: Counter[str]) -> list[Candidate]:
    low = criteria.min_duration or 0.0
    high = criteria.max_duration or float("inf")
    left_out["min_duration"] += sum(c.duration < low for c in candidates)
    left_out["max_duration"] += sum(c.duration > high for c in candidates)
    return [c for c in candidates if low <= c.duration <= high]


def _of_speakers(candidates: Sequence[Candidate], number: int, seed: int, left_out: Counter[str]) -> list[Candidate]:
    nameless = next((c.id for c in candidates if c.speaker is None), None)
    if nameless is not None:
        raise InputError(f"a subset by speakers needs every utterance's speaker, and that of {nameless!r} is unknown")
    speakers = sorted({c.speaker for c in candidates}, key=lambda s: _speaker_priority(seed, s))
    if len(speakers) < number:
        raise InputError(f"a subset of {number} speakers was asked for, and {len(speakers)} are left")
    chosen = set(speakers[:number])
    left_out["speakers"] += sum(c.speaker not in chosen for c in candidates)
    return [c for c in candidates if c.speaker in chosen]


def _per_speaker(candidates: Sequence[Candidate], limit: int, seed: int, left_out: Counter[str]) -> list[Candidate]:
    taken: Counter[str | None] = Counter()
    kept = []
    for candidate in round_robin(candidates, seed):
        taken[candidate.speaker] += 1
        if taken[candidate.speaker] <= limit:
            kept.append(candidate)
    left_out["utterances_per_speaker"] += len(candidates) - len(kept)
    return kept


def _within_hours(ordered: list[Candidate], hours: float, left_out: Counter[str]) -> list[Candidate]:
    """The longest prefix that lasts at most `hours`."""
    total = sum(c.duration for c in ordered)
    if total < hours * 3600 - 0.5:
        raise InputError(f"a subset of {hours:g} hours was asked for, and {total / 3600:.2f} are left")
    seconds, number = 0.0, 0
    for candidate in ordered:
        seconds += candidate.duration
        if seconds > hours * 3600 + 1e-6:
            break
        number += 1
    left_out["hours"] += len(ordered) - number
    return ordered[:number]
