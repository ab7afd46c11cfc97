"""N-best lists: the texts of a beam search with their scores, and how sure of each word they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.decode.beam import Candidate
from asr.score.errors import Alignment, align_words


@dataclass(frozen=True)
class ScoredText:
    """One entry of an N-best list.

    Args:
        text: words separated by single spaces.
        tokens: ids of its most probable token sequence.
        total: the score it is ranked by (natural log).
        acoustic: log of the summed probability of its alignments.
        parts: what language models add, unweighted, by name: "word_lm" and "token_lm" (natural log), "words" and
            "unknown_characters" (counts).
        place: of that token sequence in the last beam.
    """

    text: str
    tokens: tuple[int, ...]
    total: float
    acoustic: float
    parts: dict[str, float]
    place: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for nbest.jsonl."""
        parts = {
            name: round(value) if name in ("words", "unknown_characters") else round(value, 4)
            for name, value in self.parts.items()
        }
        return {"text": self.text, "total": round(self.total, 4), "acoustic": round(self.acoustic, 4), **parts}


def merge_texts(candidates: Sequence[Candidate], text_of: Callable[[Sequence[int]], str]) -> list[ScoredText]:
    """Candidates -> texts, the best first. What different token sequences of one text have is added up."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(text_of(candidate.tokens), []).append(candidate)
    texts = [
        ScoredText(
            text,
            group[0].tokens,
            float(np.logaddexp.reduce([candidate.total for candidate in group])),
            float(np.logaddexp.reduce([candidate.acoustic for candidate in group])),
            group[0].parts,
            group[0].place,
        )
        for text, group in groups.items()
    ]
    return sorted(texts, key=lambda entry: -entry.total)


def posteriors(texts: Sequence[ScoredText]) -> np.ndarray:
    """Probabilities (N,) of the entries, given that one of them is right: their scores' softmax."""
    totals = np.array([entry.total for entry in texts])
    weights = np.exp(totals - totals.max())
    return np.asarray(weights / weights.sum())


def word_alternatives(texts: Sequence[ScoredText], limit: int = 100) -> list[dict[str, float]]:
    """For each word of the best text, what stands in its place in all texts, with probabilities that sum to 1.

    Each text is aligned with the best one by a minimal number of word edits; in the place of a word stands the same
    word, another one, or none (""). Words that a text has between those of the best one are in no place.

    Args:
        texts: the best first; not empty.
        limit: texts that are looked at.
    """
    texts = texts[:limit]
    words = texts[0].text.split()
    if not words:
        return []
    alignments = align_words([texts[0].text] * len(texts), [entry.text for entry in texts])
    slots: list[dict[str, float]] = [{} for _ in words]
    for probability, alignment in zip(posteriors(texts), alignments, strict=True):
        for slot, word in zip(slots, _in_places(alignment), strict=True):
            slot[word] = slot.get(word, 0.0) + float(probability)
    return slots


def word_confidences(texts: Sequence[ScoredText], limit: int = 100) -> tuple[float, ...]:
    """For each word of the best text, the probability that it stands in its place: see `word_alternatives`.

    >>> entries = [ScoredText("A B", (), 0.0, 0.0, {}), ScoredText("A C", (), -1.0, 0.0, {})]
    >>> [round(confidence, 2) for confidence in word_confidences(entries)]
    [1.0, 0.73]
    """
    slots = word_alternatives(texts, limit)
    return tuple(min(slot[word], 1.0) for slot, word in zip(slots, texts[0].text.split(), strict=True)) if slots else ()


def _in_places(alignment: Alignment) -> list[str]:
    return [edit.hypothesis for edit in alignment if edit.kind != "insertion"]
