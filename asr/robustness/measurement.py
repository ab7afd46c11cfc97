"""Error rates of one model under several conditions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from asr.data.sampling import plan_evaluation
from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.robustness.conditions import Condition
from asr.score.scores import Scores, score
from asr.score.uncertainty import DRAWS, Resampling

Recogniser = Callable[[Sequence[Tensor], Sequence[str]], Sequence[str]]
"""(waveforms (N_b,), utterance ids) -> texts."""
PAUSE_SECONDS = 0.3
"""Silence between utterances that are put together to a long recording."""


@dataclass(frozen=True)
class Utterance:
    """What is recognised and what was said.

    Args:
        id: its name.
        waveform: samples (N,).
        reference: the transcript.
        speaker: None if unknown.
    """

    id: str
    waveform: Tensor
    reference: str
    speaker: str | None


@dataclass(frozen=True)
class Row:
    """The result under a condition.

    Args:
        condition: its name.
        utterances, words: how many were scored.
        errors: substitutions, deletions and insertions of words.
        wer, cer: rates.
        lower, upper: 95 % bootstrap interval of the WER, over speakers where they are known; None for a single piece.
        blocks: as how many of equal size the speakers (or pieces) count that it was drawn from; None where not known.
    """

    condition: str
    utterances: int
    words: int
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    wer: float
    cer: float
    lower: float | None
    upper: float | None
    blocks: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(
    utterances: Sequence[Utterance],
    condition: Condition,
    recognise: Recogniser,
    sample_rate: int,
    batch_seconds: float,
    done: Callable[[int], object],
) -> Row:
    """Recognise utterances under a condition, and count errors.

    Args:
        utterances: at least one.
        condition: the change of their audio.
        recognise: the recogniser.
        sample_rate: in Hz.
        batch_seconds: padded audio in a batch.
        done: called with the number of utterances of each batch that is done.
    """
    by_id = {utterance.id: utterance for utterance in utterances}
    durations = {u.id: min(batch_seconds, len(u.waveform) / sample_rate) for u in utterances}
    texts: dict[str, str] = {}
    for batch in plan_evaluation(durations, batch_seconds):
        changed = [condition.change(by_id[name].waveform, name) for name in batch]
        texts.update(zip(batch, recognise(changed, batch), strict=True))
        done(len(batch))
    return row_of(condition.name, utterances, texts)


def row_of(name: str, utterances: Sequence[Utterance], texts: Mapping[str, str]) -> Row:
    """Count the errors of texts, by utterance id.

    Raises:
        InputError: there is no reference word.
    """
    scores = score([Hypothesis(u.id, texts[u.id], u.reference, u.speaker) for u in utterances], None)
    words = scores.words
    if words.rate is None:
        raise InputError("the references hold no word: there is no error rate")
    return Row(
        name,
        len(utterances),
        words.length,
        words.errors,
        words.substitutions,
        words.deletions,
        words.insertions,
        words.rate,
        scores.characters.rate or 0.0,
        *_interval(scores),
    )


def _interval(scores: Scores) -> tuple[float | None, float | None, float | None]:
    """Both ends, and the number of blocks."""
    counts = [utterance.words for utterance in scores.utterances]
    if len(counts) < 2:
        return None, None, None
    speakers = [utterance.speaker or utterance.id for utterance in scores.utterances]
    drawn = Resampling.of([[c.errors for c in counts]], [c.length for c in counts], speakers, DRAWS)
    found = drawn.interval(0)
    return found.lower, found.upper, drawn.equal_blocks


def long_recordings(utterances: Iterable[Utterance], minutes: float, sample_rate: int) -> list[list[Utterance]]:
    """Groups of utterances, in order, each as long as fits into `minutes` with `PAUSE_SECONDS` between two."""
    limit, pause = 60 * minutes * sample_rate, round(PAUSE_SECONDS * sample_rate)
    groups: list[list[Utterance]] = []
    length = 0.0
    for utterance in utterances:
        added = pause + len(utterance.waveform)
        if not groups or length + added > limit:
            groups.append([])
            length = 0.0
        groups[-1].append(utterance)
        length += added
    return groups


def joined(group: Sequence[Utterance], name: str, sample_rate: int) -> Utterance:
    """One recording of several utterances, with silence between them."""
    pause = torch.zeros(round(PAUSE_SECONDS * sample_rate))
    parts = [part for utterance in group for part in (pause, utterance.waveform)][1:]
    return Utterance(name, torch.cat(parts), " ".join(utterance.reference for utterance in group), None)
