"""Error rates of a corpus: errors summed over utterances and divided once."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.score.errors import Alignment, ErrorCounts, align_words, character_counts, count, format_alignment
from asr.score.reliability import Reliability, reliability

UNKNOWN_SPEAKER = "unknown"
"""Under this name the utterances whose speaker is not known are counted together."""


@dataclass(frozen=True)
class UtteranceScore:
    """Counts and word alignment of one utterance."""

    id: str
    speaker: str | None
    reference: str
    words: ErrorCounts
    characters: ErrorCounts
    alignment: Alignment
    confidences: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of a corpus, one entry an utterance in the order given.

    Args:
        utterances: the scored utterances.
        normalizer: identifier of the text normalisation that references and hypotheses went through ("english/1");
            None if it is not known.
    """

    utterances: tuple[UtteranceScore, ...]
    normalizer: str | None = None

    @property
    def words(self) -> ErrorCounts:
        """Word errors of the corpus; `words.rate` is the WER."""
        return sum((utterance.words for utterance in self.utterances), ErrorCounts())

    @property
    def characters(self) -> ErrorCounts:
        """Character errors of the corpus, spaces between words included; `characters.rate` is the CER."""
        return sum((utterance.characters for utterance in self.utterances), ErrorCounts())

    @property
    def speakers(self) -> dict[str, list[UtteranceScore]]:
        """Utterances by speaker, sorted by name."""
        groups: dict[str, list[UtteranceScore]] = {}
        for utterance in self.utterances:
            groups.setdefault(utterance.speaker or UNKNOWN_SPEAKER, []).append(utterance)
        return dict(sorted(groups.items()))

    @property
    def reference_digest(self) -> str:
        """A hash of utterance ids and references: equal for two systems scored on the same thing."""
        return reference_digest((utterance.id, utterance.reference) for utterance in self.utterances)

    @property
    def reliability(self) -> Reliability | None:
        """Confidences of words beside whether they are right; None where they are not known of all words."""
        rows = self.utterances
        return reliability([row.alignment for row in rows], [row.confidences for row in rows])

    def worst(self) -> list[UtteranceScore]:
        """Utterances by number of word errors, most first; then by rate, character errors and id."""

        def badness(utterance: UtteranceScore) -> tuple[float, float, float, str]:
            rate = utterance.words.rate
            return (-utterance.words.errors, -(rate or 0.0), -utterance.characters.errors, utterance.id)

        return sorted(self.utterances, key=badness)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the core of scores.json. An undefined rate (no reference words) is None."""
        words, characters, sure = self.words, self.characters, self.reliability
        return {
            "wer": words.rate,
            "cer": characters.rate,
            "errors": words.errors,
            "words": words.length,
            "substitutions": words.substitutions,
            "deletions": words.deletions,
            "insertions": words.insertions,
            "character_errors": characters.errors,
            "characters": characters.length,
            "utterances": len(self.utterances),
            "empty_references": sum(utterance.words.length == 0 for utterance in self.utterances),
            "speakers": {name: _speaker(utterances) for name, utterances in self.speakers.items()},
            "confidences": sure.to_dict() if sure else None,
            "normalizer": self.normalizer,
            "reference_digest": self.reference_digest,
        }


def _speaker(utterances: Sequence[UtteranceScore]) -> dict[str, Any]:
    words = sum((utterance.words for utterance in utterances), ErrorCounts())
    return {"wer": words.rate, "errors": words.errors, "words": words.length, "utterances": len(utterances)}


def score(
    hypotheses: Iterable[Hypothesis], normalizer: str | None = None, normalize: Callable[[str], str] | None = None
) -> Scores:
    """Align every hypothesis with its reference.

    An empty reference is scored: what was recognised counts as insertions. A missing one (None) is refused.

    Args:
        hypotheses: rows with references.
        normalizer: recorded in the scores.
        normalize: applied to references and hypotheses first, if given.

    Raises:
        InputError: there is no row, an id occurs twice, or a reference is missing; the utterances are named.
    """
    rows = list(hypotheses)
    _check(rows)
    change = normalize or str
    references = [change(row.reference or "") for row in rows]
    texts = [change(row.hypothesis) for row in rows]
    words, characters = align_words(references, texts), character_counts(references, texts)
    utterances = (
        UtteranceScore(row.id, row.speaker, reference, count(by_word), by_character, by_word, row.confidences)
        for row, reference, by_word, by_character in zip(rows, references, words, characters, strict=True)
    )
    return Scores(tuple(utterances), normalizer)


def _check(rows: Sequence[Hypothesis]) -> None:
    if not rows:
        raise InputError("there is no hypothesis to score")
    repeated = sorted(name for name, times in Counter(row.id for row in rows).items() if times > 1)
    if repeated:
        raise InputError(f"{len(repeated)} utterances occur more than once: {name_some(repeated)}")
    missing = [row.id for row in rows if row.reference is None]
    if missing:
        raise InputError(f"{len(missing)} of {len(rows)} utterances have no reference: {name_some(missing)}")


def reference_digest(references: Iterable[tuple[str, str]]) -> str:
    """Hash (id, reference) pairs, whatever their order; white space within a reference counts as one space."""
    lines = sorted(f"{name}\t{' '.join(text.split())}" for name, text in references)
    return hashlib.blake2b("\n".join(lines).encode("utf-8"), digest_size=8).hexdigest()


def name_some(names: Sequence[str], limit: int = 5) -> str:
    """The first few of many names, and how many more there are.

    >>> name_some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def format_rate(counts: ErrorCounts) -> str:
    """A rate with its counts.

    >>> format_rate(ErrorCounts(hits=9, deletions=1)), format_rate(ErrorCounts(insertions=2))
    ('10.00 % (1/10)', 'undefined (2 errors, no reference words)')
    """
    if counts.rate is None:
        return f"undefined ({counts.errors} errors, no reference words)"
    return f"{100 * counts.rate:.2f} % ({counts.errors}/{counts.length})"


def format_utterance(utterance: UtteranceScore) -> str:
    """An utterance's header line and alignment."""
    speaker = f", speaker {utterance.speaker}" if utterance.speaker else ""
    return f"{utterance.id}{speaker}: {format_rate(utterance.words)}\n{format_alignment(utterance.alignment)}\n"


def format_alignments(scores: Scores) -> str:
    """The content of alignments.txt: the total, then every utterance, worst first."""
    words = scores.words
    head = (
        f"WER {format_rate(words)}: {words.substitutions} substitutions, {words.deletions} deletions, "
        f"{words.insertions} insertions; {len(scores.utterances)} utterances, worst first\n"
        f"CER {format_rate(scores.characters)}, spaces included\n\n"
    )
    return head + "\n".join(format_utterance(utterance) for utterance in scores.worst())
