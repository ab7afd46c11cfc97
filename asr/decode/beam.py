"""CTC prefix beam search in numpy, over many utterances at once.

A prefix is a sequence of tokens; its probability is the sum over all alignments that collapse to it (Graves et al.,
"Connectionist temporal classification", ICML 2006; the search is Hannun et al.'s, arXiv 1408.2873). For each prefix two
log-probabilities are kept: of its alignments that end with the blank and of those that end with its last token. In a
frame a prefix stays (by the blank, or by its last token again) or is extended by a token; where the extension of one
prefix is another one that is in the beam as well, both are added up. What language models say of a prefix depends on
the prefix alone (`asr.decode.fusion`), so it is added to the sum and never to single alignments.

With a beam that is never full and without pruning the result is exact: equal to the sum over all alignments.

All logarithms are natural. Shapes: U utterances, B prefixes, K tokens considered in a frame, V tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asr.decode.greedy import BLANK_ID
from asr.decode.pruning import FLOOR, Pruning, skip_blanks
from asr.decode.spelling import Spelling
from asr.decode.trace import Step, Trace
from asr.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Fusion(Protocol):
    """What something other than sound says of prefixes. States are tuples of arrays (U, B)."""

    def start(self, utterances: int) -> tuple[Any, ...]:
        """State of the empty prefix, arrays (U, 1)."""

    def extend(self, state: tuple[Any, ...], tokens: Ints) -> tuple[Floats, tuple[Any, ...]]:
        """Changes of the score when tokens (U, K) extend the prefixes, (U, B, K), -inf where that is not allowed; and
        the state, which may now know more."""

    def advance(self, state: tuple[Any, ...], tokens: Ints) -> tuple[Any, ...]:
        """State of the prefixes extended by tokens (U, B), 0 for those that stay."""

    def finish(self, state: tuple[Any, ...]) -> Floats:
        """Changes of the score at the end of the text, (U, B); -inf where it may not end."""

    def parts(self, state: tuple[Any, ...]) -> dict[str, Floats]:
        """What the score at the end consists of, unweighted, by name, arrays (U, B)."""


class Candidate(NamedTuple):
    """A token sequence that is left at the end of an utterance.

    Args:
        tokens: ids; one token of white space at most between words.
        acoustic: log of the sum over its alignments.
        total: with all that language models add.
        parts: what these add, unweighted, by name.
        place: in the last beam.
    """

    tokens: tuple[int, ...]
    acoustic: float
    total: float
    parts: dict[str, float]
    place: int


class Found(NamedTuple):
    """What a search has found in one utterance: candidates, the best first, and how it came there."""

    candidates: list[Candidate]
    trace: Trace


class _Beams(NamedTuple):
    """The prefixes of a frame: arrays (U, B), a place that is not used has -inf in `blank` and `token`."""

    blank: Floats  # log-probability of the alignments that end with the blank
    token: Floats  # and of those that end with the last token
    fused: Floats  # what language models add
    key: NDArray[np.uint64]  # a hash of the prefix
    parent: NDArray[np.uint64]  # that of the prefix without its last token
    last: Ints  # last token
    states: tuple[tuple[Any, ...], ...]


class _Frame(NamedTuple):
    """One frame of U utterances."""

    log_probs: Floats  # (U, V)
    tokens: Ints  # (U, K)
    token_log_probs: Floats  # (U, K), -inf where fewer are considered
    place: Ints  # (U, V), where a token is in `tokens`, -1 if it is not


class BeamSearch:
    """Finds the most probable token sequences of utterances.

    Args:
        spelling: the tokens.
        pruning: see there.
        fusions: language models and lexica, whose scores are added.
    """

    def __init__(self, spelling: Spelling, pruning: Pruning, fusions: Sequence[Fusion] = ()) -> None:
        self.pruning, self.fusions = pruning, tuple(fusions)
        self.vocabulary = len(spelling.tokens)
        self.breaks = spelling.breaks
        self.separator = -1 if spelling.separator is None else spelling.separator
        self.codes = np.random.default_rng(0).integers(1, 1 << 63, self.vocabulary, dtype=np.uint64)

    def decode(self, log_probs: Sequence[NDArray[Any]]) -> list[list[Candidate]]:
        """Log-probabilities (T, V) of some utterances -> candidates of each; see `search`."""
        return [found.candidates for found in self.search(log_probs)]

    def search(self, log_probs: Sequence[NDArray[Any]]) -> list[Found]:
        """Log-probabilities (T, V) of some utterances -> candidates of each, the best first; at least one.

        Where a lexicon lets none of the prefixes that are left end, the last word of each is cut off, and its total is
        without what the end of a text adds.

        Utterances of similar length are decoded fastest together. No result depends on which are.

        Raises:
            InputError: an array is not (T, V) or has NaN or +inf; the message names the place and the frame.
        """
        frames = [_checked(values, self.vocabulary, place) for place, values in enumerate(log_probs)]
        kept = [np.arange(len(values)) for values in frames]
        if self.pruning.blank_skip is not None:
            shorter = [skip_blanks(values.astype(np.float64), self.pruning.blank_skip) for values in frames]
            frames, kept = [values for values, _ in shorter], [places for _, places in shorter]
        order = sorted(range(len(frames)), key=lambda index: -len(frames[index]))
        steps: list[Step] = []
        results = self._search([frames[index] for index in order], steps)
        by_place = {place: (row, found) for row, (place, found) in enumerate(zip(order, results, strict=True))}
        return [Found(by_place[i][1], Trace(steps, by_place[i][0], kept[i])) for i in range(len(frames))]

    def _search(self, utterances: Sequence[NDArray[Any]], steps: list[Step]) -> list[list[Candidate]]:
        """Decode utterances that are sorted, the longest first; what is done in each frame goes to `steps`."""
        lengths = np.array([len(values) for values in utterances], dtype=np.int64)
        found: list[list[Candidate]] = [[] for _ in utterances]
        beams = self._start(len(utterances))
        for time in range(int(lengths.max(initial=0)) + 1):
            active = int((lengths > time).sum())
            if active < len(beams.blank):
                ended = _rows(beams, slice(active, None))
                for row, candidates in enumerate(self._finish(ended, steps[:time], active), start=active):
                    found[row] = candidates
                beams = _rows(beams, slice(0, active))
            if active:
                frame = self._frame(np.stack([values[time] for values in utterances[:active]]).astype(np.float64))
                beams, source, tokens = self._step(beams, frame)
                score = np.logaddexp(beams.blank, beams.token) + beams.fused
                steps.append(Step(source.astype(np.int32), tokens.astype(np.int32), score.astype(np.float32)))
        return found

    def _start(self, utterances: int) -> _Beams:
        shape = (utterances, 1)
        seeds = np.random.default_rng(1).integers(1, 1 << 63, shape, dtype=np.uint64)
        last = np.full(shape, max(self.separator, BLANK_ID), dtype=np.int64)  # white space before the text is none
        nothing = np.full(shape, -np.inf)
        states = tuple(fusion.start(utterances) for fusion in self.fusions)
        return _Beams(np.zeros(shape), nothing, np.zeros(shape), seeds, ~seeds, last, states)

    def _frame(self, log_probs: Floats) -> _Frame:
        tokens = np.argsort(-log_probs[:, 1:], axis=1, kind="stable") + 1
        values = np.take_along_axis(log_probs, tokens, axis=1)
        if self.pruning.token_threshold is not None:
            values[values < log_probs.max(axis=1, keepdims=True) - self.pruning.token_threshold] = -np.inf
        count = int(np.isfinite(values).sum(axis=1).max())
        count = min(count, self.pruning.top_tokens or count)
        tokens, values = tokens[:, :count], values[:, :count]
        place = np.full(log_probs.shape, -1, dtype=np.int64)
        considered = np.where(np.isfinite(values), np.arange(count), -1)
        np.put_along_axis(place, tokens, considered, axis=1)
        return _Frame(log_probs, tokens, values, place)

    def _step(self, beams: _Beams, frame: _Frame) -> tuple[_Beams, Ints, Ints]:
        """Prefixes after one more frame; which of those before each comes from, and the token it was extended by."""
        total = np.logaddexp(beams.blank, beams.token)
        stay_blank = total + frame.log_probs[:, :1]
        # White space after white space is none: all of the mass may stay by it.
        own = np.where(beams.last == self.separator, total, beams.token)
        stay_token = own + np.take_along_axis(frame.log_probs, beams.last, axis=1)
        stay_token[beams.last == BLANK_ID] = -np.inf  # the empty prefix, if there is no separator
        extended = self._extended(beams, frame, total)
        stay_token = _merge(beams, frame, stay_token, extended)
        changes = np.zeros(())
        states = []
        for fusion, state in zip(self.fusions, beams.states, strict=True):
            change, known = fusion.extend(state, frame.tokens)
            changes = changes + change
            states.append(known)
        scores = np.concatenate(
            [
                np.logaddexp(stay_blank, stay_token) + beams.fused,
                (extended + (beams.fused[:, :, None] + changes)).reshape(len(total), -1),
            ],
            axis=1,
        )
        stayed = beams._replace(blank=stay_blank, token=stay_token, states=tuple(states))
        return self._select(stayed, frame, scores, extended, np.broadcast_to(changes, extended.shape))

    def _extended(self, beams: _Beams, frame: _Frame, total: Floats) -> Floats:
        """Log-probabilities (U, B, K) of the prefixes extended by each token, last frame included."""
        tokens = frame.tokens[:, None, :]
        repeated = tokens == beams.last[:, :, None]  # the same token again needs a blank between
        extended = np.where(repeated, beams.blank[:, :, None], total[:, :, None])
        extended += frame.token_log_probs[:, None, :]
        if self.separator >= 0:
            extended[repeated & (tokens == self.separator)] = -np.inf
        return extended

    def _select(
        self, beams: _Beams, frame: _Frame, scores: Floats, extended: Floats, changes: Floats
    ) -> tuple[_Beams, Ints, Ints]:
        """Keep the best of `scores` (U, B + B K): prefixes that stay, then extended ones."""
        if self.pruning.beam_threshold is not None:
            lowest = scores.max(axis=1, keepdims=True) - self.pruning.beam_threshold
            scores = np.where(scores < lowest, -np.inf, scores)
        size = min(self.pruning.beam, int(np.isfinite(scores).sum(axis=1).max()))
        size = max(size, 1)
        if size < scores.shape[1]:
            best = np.argpartition(scores, scores.shape[1] - size, axis=1)[:, scores.shape[1] - size :]
        else:
            best = np.broadcast_to(np.arange(size), (len(scores), size))
        width, considered = beams.blank.shape[1], frame.tokens.shape[1]
        stays = best < width
        source = np.where(stays, best, (best - width) // max(considered, 1))
        column = np.where(stays, 0, (best - width) % max(considered, 1))
        alive = np.isfinite(np.take_along_axis(scores, best, axis=1))
        rows = np.arange(len(scores))[:, None]
        if considered:
            tokens = np.where(stays, BLANK_ID, frame.tokens[rows, column])
            added, change = extended[rows, source, column], changes[rows, source, column]
        else:
            tokens, added, change = np.zeros_like(best), np.full(best.shape, -np.inf), np.zeros(best.shape)
        kept = _Beams._make([*(array[rows, source] for array in beams[:-1]), ()])
        key = np.where(stays, kept.key, _mixed(kept.key + self.codes[tokens]))
        states = tuple(
            fusion.advance(tuple(array[rows, source] for array in state), tokens)
            for fusion, state in zip(self.fusions, beams.states, strict=True)
        )
        after = _Beams(
            blank=np.where(stays & alive, kept.blank, -np.inf),
            token=np.where(alive, np.where(stays, kept.token, added), -np.inf),
            fused=np.where(stays | ~alive, kept.fused, kept.fused + change),
            key=np.where(alive, key, 0),
            parent=np.where(alive, np.where(stays, kept.parent, kept.key), 1),
            last=np.where(stays, kept.last, tokens),
            states=states,
        )
        return after, source, tokens

    def _finish(self, beams: _Beams, steps: Sequence[Step], first: int) -> list[list[Candidate]]:
        """Candidates of the utterances in rows from `first` on, which have ended."""
        acoustic = np.logaddexp(beams.blank, beams.token)
        closing = np.zeros_like(acoustic)
        parts: dict[str, Floats] = {}
        for fusion, state in zip(self.fusions, beams.states, strict=True):
            closing = closing + fusion.finish(state)
            parts |= fusion.parts(state)
        found = []
        for row in range(len(acoustic)):
            totals = acoustic[row] + beams.fused[row] + closing[row]
            cut = not np.isfinite(totals).any()
            if cut:
                totals = acoustic[row] + beams.fused[row]
            order = [int(index) for index in np.argsort(-totals, kind="stable") if np.isfinite(totals[index])]
            trace = Trace(steps, first + row, np.arange(len(steps)))
            sequences = trace.sequences(np.array(order, dtype=np.int64), len(steps))
            found.append(
                [
                    Candidate(
                        self._without_last_word(tokens) if cut else tokens,
                        float(acoustic[row, index]),
                        float(totals[index]),
                        {name: float(values[row, index]) for name, values in parts.items()},
                        index,
                    )
                    for index, tokens in zip(order, sequences, strict=True)
                ]
            )
        return found

    def _without_last_word(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        ends = [place for place, token in enumerate(tokens) if self.breaks[token]]
        return tokens[: ends[-1]] if ends else ()


def _merge(beams: _Beams, frame: _Frame, stay_token: Floats, extended: Floats) -> Floats:
    """Where an extension of a prefix is another prefix of the beam, add it there, and strike it out of `extended`."""
    keys = beams.key.reshape(-1)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys[order], beams.parent.reshape(-1)), len(keys) - 1)
    parents = order[place]
    width, considered = beams.key.shape[1], frame.tokens.shape[1]
    column = np.take_along_axis(frame.place, beams.last, axis=1).reshape(-1)
    child = np.flatnonzero((keys[parents] == beams.parent.reshape(-1)) & (column >= 0))
    merged: Floats = stay_token.reshape(-1).copy()
    cells = parents[child] * considered + column[child]
    flat = extended.reshape(-1)
    merged[child] = np.logaddexp(merged[child], flat[cells])
    flat[cells] = -np.inf
    return merged.reshape(-1, width)


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of 64-bit integers that spreads every bit (the finaliser of splitmix64)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _rows(beams: _Beams, rows: slice) -> _Beams:
    states = tuple(tuple(array[rows] for array in state) for state in beams.states)
    return _Beams._make([*(array[rows] for array in beams[:-1]), states])


def _checked(values: NDArray[Any], vocabulary: int, place: int) -> NDArray[Any]:
    """In the precision that they have, half as large for most."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != vocabulary:
        raise InputError(f"log-probabilities must be (frames, {vocabulary}), entry {place} is {array.shape}")
    bad = np.isnan(array).any(axis=1) | (array == np.inf).any(axis=1)
    if bad.any():
        raise InputError(f"the log-probabilities of entry {place} are not finite at frame {int(np.argmax(bad))}")
    return np.maximum(array, FLOOR)
