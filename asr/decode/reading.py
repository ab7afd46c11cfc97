"""Log-probabilities -> what was said: one object for all decoders, which can be made anew in another process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from asr.data.tokens import Tokenizer, tokenizer_from_dict
from asr.decode.alignment import align, align_in_pieces
from asr.decode.confidence import Evidence
from asr.decode.decoders import BeamDecoder, Result, build_decoder
from asr.decode.greedy import WORD_MARK, TimedText, TokenPath, greedy_paths, timed_tokens, timed_words
from asr.decode.nbest import ScoredText, word_confidences
from asr.decode.options import DecodingOptions
from asr.decode.trace import Word, beam_confidences


class Recognition(NamedTuple):
    """What was recognised in one utterance.

    Args:
        text: words separated by single spaces.
        tokens: the model's tokens, where they were seen, with posteriors.
        words: the words; their confidence is the product of their tokens' if decoded greedily, else the share of the
            beam's probability that had them when they ended (`asr.decode.trace.beam_confidences`), or what that means
            by the calibration of a tuned decoder (`asr.decode.confidence`).
        alternatives: the best texts with their scores, itself first, as many as were asked for; none if greedy.
    """

    text: str
    tokens: tuple[TimedText, ...]
    words: tuple[TimedText, ...]
    alternatives: tuple[ScoredText, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a `Reader` is made of, as plain data.

    Args:
        tokens: `Tokenizer.to_dict()`.
        frame_seconds: duration of an output frame.
        options: of the decoder.
        nbest: texts that are kept of each utterance.
    """

    tokens: dict[str, Any]
    frame_seconds: float
    options: DecodingOptions = field(default_factory=DecodingOptions)
    nbest: int = 0


class Reader:
    """Turns log-probabilities into `Recognition`s.

    Raises:
        InputError: see `asr.decode.decoders.build_decoder`.
    """

    def __init__(self, reading: Reading, quiet: bool = False) -> None:
        self.reading = reading
        self.tokenizer: Tokenizer = tokenizer_from_dict(reading.tokens)
        greedy = reading.options.decoder == "greedy"
        self.decoder = None if greedy else build_decoder(reading.options, self.tokenizer, quiet)

    def read(self, log_probs: Sequence[NDArray[Any]]) -> list[Recognition]:
        """Log-probabilities (T, V) of some utterances -> what was said in each.

        Raises:
            InputError: values are not finite.
        """
        if self.decoder is None:
            return [self._greedy(path) for path in _greedy_paths(log_probs)]
        found = self.decoder.results(log_probs)
        return [self._recognition(values, result) for values, result in zip(log_probs, found, strict=True)]

    def reweighted(self, log_probs: Sequence[NDArray[Any]], options: DecodingOptions) -> list[Recognition]:
        """As `read`, with other weights or limits of a beam search from now on."""
        if isinstance(self.decoder, BeamDecoder):
            self.decoder.reweight(options)
        return self.read(log_probs)

    def texts(self, log_probs: Sequence[NDArray[Any]], options: DecodingOptions) -> list[str]:
        """The best texts alone of `reweighted`, in less time."""
        if not isinstance(self.decoder, BeamDecoder):
            return [recognition.text for recognition in self.read(log_probs)]
        self.decoder.reweight(options)
        return [texts[0].text for texts in self.decoder.decode(log_probs)]

    def _greedy(self, path: TokenPath) -> Recognition:
        tokens = timed_tokens(path, self.tokenizer.tokens, self.reading.frame_seconds)
        # Decoding by the tokenizer and not by joining the words: it alone knows what its tokens stand for.
        return Recognition(" ".join(self.tokenizer.decode(path.ids).split()), tokens, timed_words(tokens))

    def _recognition(self, log_probs: NDArray[Any], result: Result) -> Recognition:
        best = result.texts[0]
        if result.trace is None:
            path = align(log_probs, best.tokens)
        else:
            seen = result.trace.seen(best.place)[: len(best.tokens)]
            path = align_in_pieces(log_probs, best.tokens, seen)
        tokens = timed_tokens(path, self.tokenizer.tokens, self.reading.frame_seconds)
        if result.trace is not None and isinstance(self.decoder, BeamDecoder):
            words = words_of(path, self.tokenizer.tokens)
            confidences = beam_confidences(result.trace, best.place, words, self.decoder.text_of)
        else:
            confidences = word_confidences(result.texts)
        timed = tuple(map(self._sure, timed_words(tokens), confidences))
        return Recognition(best.text, tokens, timed, tuple(result.texts[: self.reading.nbest]))

    def _sure(self, word: TimedText, share: float) -> TimedText:
        """A word, whose confidence is the product of its tokens' posteriors, with the decoder's own confidence."""
        calibration = self.reading.options.confidence if isinstance(self.decoder, BeamDecoder) else None
        return word._replace(confidence=calibration(Evidence(share, word.confidence)) if calibration else share)


def words_of(path: TokenPath, tokens: Sequence[str]) -> list[Word]:
    """Where the words of a path are in it; `tokens` are the V tokens by id.

    >>> words_of(TokenPath((2, 2, 1, 2), (0, 2, 3, 5), (1, 3, 4, 6), (1.0,) * 4), ["<blank>", " ", "A"])
    [Word(tokens=(0, 1), end=3), Word(tokens=(3, 3), end=6)]
    """
    words: list[Word] = []
    open_word = False
    for place, (token, end) in enumerate(zip(path.ids, path.ends, strict=True)):
        text = tokens[token].replace(WORD_MARK, " ")
        open_word = open_word and not text.startswith(" ")
        if text.strip():
            first = words.pop().tokens[0] if open_word else place
            words.append(Word((first, place), end))
            open_word = True
    return words


def _greedy_paths(log_probs: Sequence[NDArray[Any]]) -> list[TokenPath]:
    if not log_probs:
        return []
    rows = [torch.from_numpy(np.asarray(values)) for values in log_probs]
    lengths = torch.tensor([len(row) for row in rows])
    return greedy_paths(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
