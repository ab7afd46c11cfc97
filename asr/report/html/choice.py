"""Which utterances are shown, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from asr.errors import InputError
from asr.report.html.records import Gathered, Utterance
from asr.score.scores import name_some

LONGEST = 8.0
"""Seconds up to which an utterance is easily read in a picture; longer ones are shown if there are no others."""
NUMBER = 6


@dataclass(frozen=True)
class Choice:
    """An utterance and the reason why it is shown."""

    utterance: Utterance
    reason: str


def chosen(gathered: Gathered, ids: Sequence[str]) -> list[Choice]:
    """The utterances that were asked for, in that order, each once.

    Raises:
        InputError: some of them were not scored; they are named.
    """
    known = {utterance.id: utterance for utterance in gathered.utterances}
    absent = [name for name in ids if name not in known]
    if absent:
        raise InputError(f"--utterances: {name_some(absent)} not among the {len(known)} utterances that were scored")
    return [Choice(known[name], "asked for") for name in dict.fromkeys(ids)]


def choose(gathered: Gathered, number: int = NUMBER) -> list[Choice]:
    """By turns one on which the runs differ most, one of the worst, and a typical one, until there are `number`.

    A typical utterance has an error rate close to that of the whole test set, and a length close to the median. Ties
    go to the one with more words, then to the first id, so that the choice is the same every time.
    """
    candidates = [u for u in gathered.utterances if (u.seconds or 0.0) <= LONGEST and u.words]
    candidates = candidates or list(gathered.utterances)
    orders = [
        ("one of those on which the models differ most", _by_difference(gathered, candidates)),
        ("one of those with the most errors", _by_badness(gathered, candidates)),
        ("a typical one: its error rate is close to that of the test set", _by_typicality(gathered, candidates)),
    ]
    if len(gathered.detailed) < 2:
        orders = orders[1:]
    found: dict[str, Choice] = {}
    while len(found) < min(number, len(candidates)):
        reason, order = orders[len(found) % len(orders)]
        utterance = next(one for one in order if one.id not in found)
        found[utterance.id] = Choice(utterance, reason)
    return sorted(found.values(), key=lambda choice: [reason for reason, _ in orders].index(choice.reason))


def _errors(gathered: Gathered, utterance: Utterance) -> list[int]:
    return [gathered.runs[index].utterances[utterance.id].words.errors for index in gathered.detailed]


def _rate(gathered: Gathered, utterance: Utterance) -> float:
    """Mean error rate of the runs."""
    errors = _errors(gathered, utterance)
    return sum(errors) / len(errors) / max(1, utterance.words)


def _by_difference(gathered: Gathered, candidates: Sequence[Utterance]) -> list[Utterance]:
    def order(utterance: Utterance) -> tuple[float, int, str]:
        errors = _errors(gathered, utterance)
        return (min(errors) - max(errors), -utterance.words, utterance.id)

    return sorted(candidates, key=order)


def _by_badness(gathered: Gathered, candidates: Sequence[Utterance]) -> list[Utterance]:
    return sorted(candidates, key=lambda u: (-sum(_errors(gathered, u)), -_rate(gathered, u), u.id))


def _by_typicality(gathered: Gathered, candidates: Sequence[Utterance]) -> list[Utterance]:
    runs = [gathered.runs[index] for index in gathered.detailed]
    overall = sum(s.scores["errors"] for s in runs) / max(1, sum(s.scores["words"] for s in runs))
    lengths = sorted(u.words for u in candidates)
    median = lengths[len(lengths) // 2]

    def order(utterance: Utterance) -> tuple[float, int, str]:
        far = abs(_rate(gathered, utterance) - overall) + abs(utterance.words - median) / max(1, median)
        return (round(far, 9), -utterance.words, utterance.id)

    return sorted(candidates, key=order)
