"""What a beam search did, frame by frame: prefixes of the past, and how sure of a word the beam was when it ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decode.greedy import BLANK_ID
from asr.score.errors import Alignment, align_words

SETTLING_FRAMES = 8
"""How long after a word's end the beam is asked for its alternatives: a word may still change then, and what comes
later has not yet pushed them out."""
CONTEXT_FRAMES = 40
"""Frames before a word that are aligned with it."""
LEAST_SHARE = 1e-3
"""Alternatives with less of the beam's probability are not looked at."""

Places = NDArray[np.integer]


class Step(NamedTuple):
    """A frame of the search of U utterances, with B prefixes each.

    Args:
        source: int32 (U, B), which of the prefixes of the frame before each comes from.
        token: int32 (U, B), the token that it was extended by, 0 for none.
        score: float32 (U, B), log-probability with all that language models add so far; -inf for none.
    """

    source: NDArray[np.int32]
    token: NDArray[np.int32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """The search of one utterance.

    Args:
        steps: of all utterances that were decoded together, a frame each; those of this one come first.
        row: the utterance's place among them.
        frames: for each step of this one, the first frame of the log-probabilities that it stands for.
    """

    steps: Sequence[Step]
    row: int
    frames: Places

    def sequences(self, places: Places, end: int, begin: int = 0) -> list[tuple[int, ...]]:
        """Tokens that prefixes in the beam after step `end` - 1 were extended by from step `begin` on."""
        if end <= begin:
            return [() for _ in places]
        added = []
        for step in reversed(self.steps[begin:end]):
            added.append(step.token[self.row, places])
            places = step.source[self.row, places]
        return [tuple(row[row != BLANK_ID].tolist()) for row in np.stack(added[::-1], axis=1)]

    def path(self, place: int) -> tuple[Places, Places]:
        """For the prefix in a place of the last beam: its place after each step, and the steps at which it grew."""
        places = np.zeros(len(self.frames), dtype=np.int64)
        grew = []
        for time in range(len(self.frames) - 1, -1, -1):
            places[time] = place
            step = self.steps[time]
            if step.token[self.row, place] != BLANK_ID:
                grew.append(time)
            place = int(step.source[self.row, place])
        return places, np.array(grew[::-1], dtype=np.int64)

    def seen(self, place: int) -> Places:
        """For the prefix in a place of the last beam: the frames of the log-probabilities at which it grew."""
        return self.frames[self.path(place)[1]]

    def shares(self, time: int) -> NDArray[np.float64]:
        """The probability of each prefix after a step, given that one of them is right, (B,)."""
        scores = self.steps[time].score[self.row].astype(np.float64)
        weights = np.exp(scores - scores.max())
        return np.asarray(weights / weights.sum())


class Word(NamedTuple):
    """A word of the best text.

    Args:
        tokens: places of its first and its last token in the text's tokens; white space counts.
        end: the frame after its last one.
    """

    tokens: tuple[int, int]
    end: int


def beam_confidences(
    trace: Trace, place: int, words: Sequence[Word], text_of: Callable[[Sequence[int]], str]
) -> tuple[float, ...]:
    """How much of the beam's probability had each word of the best text when it had just ended.

    `SETTLING_FRAMES` after a word's end, the prefixes in the beam are aligned with that of the best text by a minimal
    number of word edits, from `CONTEXT_FRAMES` before the word on; the confidence is the share of those that have the
    same word in its place. At the end of a long text the beam holds few alternatives of its beginning, and would be far
    too sure of it.

    Args:
        trace: of the utterance.
        place: of the best text in the last beam.
        words: of the best text, in order.
        text_of: text of token ids.
    """
    places, grew = trace.path(place)
    return tuple(_confidence(trace, places, grew, word, text_of) for word in words)


def _confidence(
    trace: Trace, places: Places, grew: Places, word: Word, text_of: Callable[[Sequence[int]], str]
) -> float:
    first, last = word.tokens
    ended = int(np.searchsorted(trace.frames, word.end + SETTLING_FRAMES - 1, side="right")) - 1
    time = min(max(ended, int(grew[last])), len(places) - 1)
    begin = max(0, int(grew[first]) - CONTEXT_FRAMES)
    before = int(np.searchsorted(grew, begin))  # tokens that are not in the tails
    shares = trace.shares(time)
    kept = np.flatnonzero((shares >= LEAST_SHARE) | (np.arange(len(shares)) == places[time]))
    tails = dict.fromkeys(trace.sequences(np.array([places[time]]), time + 1, begin), 0.0)
    for tail, share in zip(trace.sequences(kept, time + 1, begin), shares[kept], strict=True):
        tails[tail] = tails.get(tail, 0.0) + float(share)
    best, *_ = tails
    # The word's number in the best tail: how many words its tokens up to the word's last one make, less one.
    number = len(text_of(best[: last - before + 1]).split()) - 1
    texts: dict[str, float] = {}
    for tail, share in tails.items():
        text = text_of(tail)
        texts[text] = texts.get(text, 0.0) + share
    alignments = align_words([text_of(best)] * len(texts), list(texts))
    has = [_in_place(alignment, number) for alignment in alignments]
    total = sum(texts.values())
    return min(1.0, sum(share for share, same in zip(texts.values(), has, strict=True) if same) / total)


def _in_place(alignment: Alignment, number: int) -> bool:
    """Whether the word of that number of the reference is a hit."""
    return [edit.kind for edit in alignment if edit.kind != "insertion"][number] == "hit"
