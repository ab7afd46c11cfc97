"""Flashlight's beam search, as torchaudio wraps it, under the definition of ours.

It needs the package flashlight-text, which is no requirement of this one. Differences to `asr.decode.beam`: a lexicon
or nothing but the tokens (no open vocabulary with a word model, no model of characters), look-ahead always, and no
skipping of blanks.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from asr.data.tokens import CharacterTokenizer, Tokenizer
from asr.decode.nbest import ScoredText
from asr.decode.options import DecodingOptions
from asr.decode.pruning import FLOOR
from asr.decode.spelling import Spelling
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.decode.decoders import Result
    from asr.decode.fusion import LanguageModel

SPACE = "|"
"""Flashlight's files cannot hold the space itself."""
ENDLESS = 1e9


class FlashlightDecoder:
    """torchaudio's `ctc_decoder` with what `DecodingOptions` name.

    A lexicon's words are spelt with the space at their end. So that the last word of an utterance has one, a frame that
    is surely a space is put after it.

    Args:
        options: of the decoder "flashlight".
        tokenizer: of the acoustic model, a character one that has the space.

    Raises:
        InputError: flashlight-text is missing, or it cannot do what the options say.
    """

    def __init__(self, options: DecodingOptions, tokenizer: Tokenizer) -> None:
        from asr.decode.decoders import read_word_model, trie_words

        self.tokenizer, self.options = tokenizer, options
        _check(options, tokenizer)
        spelling = Spelling(tokenizer.tokens)
        self.space = tokenizer.tokens.index(" ")
        self.model = read_word_model(options.lm) if options.lm else None
        self.words = trie_words(options, self.model, spelling)[0] if options.lexicon else []
        self.decoder = self._decoder()

    def _decoder(self) -> Any:
        options, make = self.options, _ctc_decoder()
        tokens = [token if token != " " else SPACE for token in self.tokenizer.tokens]
        common = {
            "tokens": tokens,
            "nbest": options.beam,
            "beam_size": options.beam,
            "beam_size_token": options.top_tokens or None,
            "beam_threshold": options.beam_threshold or ENDLESS,
            "log_add": True,
            "blank_token": tokens[0],
            "sil_token": SPACE,
        }
        if not self.words:
            return make(lexicon=None, **common)
        with tempfile.TemporaryDirectory() as folder:
            lexicon = Path(folder) / "lexicon.txt"
            lexicon.write_text(
                "".join(f"{word}\t{' '.join([*word, SPACE])}\n" for word in self.words), encoding="utf-8"
            )
            lm = None if self.model is None else _word_model(self.model, self.words)
            weights = {"lm_weight": options.alpha if lm else 0.0, "word_score": options.beta}
            return make(lexicon=str(lexicon), lm=lm, **common, **weights)

    def results(self, log_probs: Sequence[NDArray[Any]]) -> list["Result"]:
        from asr.decode.decoders import Result

        return [Result(self._decode(np.maximum(values, FLOOR)), None) for values in log_probs]

    def _decode(self, log_probs: NDArray[Any]) -> list[ScoredText]:
        if self.words:
            end = np.full((1, log_probs.shape[1]), FLOOR)
            end[0, self.space] = 0.0
            log_probs = np.concatenate([log_probs, end])
        emissions = torch.from_numpy(log_probs.astype(np.float32))[None].contiguous()
        totals: dict[str, float] = {}
        for result in self.decoder(emissions)[0] if len(log_probs) else []:
            text = " ".join(self.tokenizer.decode(result.tokens.tolist()).split())
            totals[text] = float(np.logaddexp(totals.get(text, -np.inf), result.score))  # white space is kept apart
        texts = [self._scored(text, total) for text, total in totals.items()]
        return sorted(texts, key=lambda entry: -entry.total) or [ScoredText("", (), 0.0, 0.0, {})]

    def _scored(self, text: str, total: float) -> ScoredText:
        """With the acoustic score that is left when that of the language model is taken off."""
        parts: dict[str, float] = {}
        acoustic = total
        if self.words:
            parts["words"] = float(len(text.split()))
            acoustic -= self.options.beta * parts["words"]
        if self.model is not None:
            parts["word_lm"] = text_log_prob(self.model, text.split())
            acoustic -= self.options.alpha * parts["word_lm"]
        return ScoredText(text, tuple(self.tokenizer.encode(text)), total, acoustic, parts)


def text_log_prob(model: "LanguageModel", words: Sequence[str]) -> float:
    """Natural log of the probability of a text and its end."""
    number = {word: index for index, word in enumerate(model.words)}
    state, total = np.array([model.start]), 0.0
    for word in words:
        log_probs, state = model.score(state, np.array([number.get(word, model.unknown)]))
        total += float(log_probs[0])
    return total + float(model.end(state)[0])


def _check(options: DecodingOptions, tokenizer: Tokenizer) -> None:
    if options.lm and not options.lexicon:
        raise InputError(
            "--decoder flashlight needs --lexicon beside --lm (`--lexicon lm`): take --decoder beam without"
        )
    if not isinstance(tokenizer, CharacterTokenizer) or " " not in tokenizer.tokens or SPACE in tokenizer.tokens:
        raise InputError("--decoder flashlight needs a character token set with the space (and without '|')")


def _ctc_decoder() -> Any:
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:
        raise InputError(
            "--decoder flashlight needs the package flashlight-text (pip install flashlight-text); --decoder beam "
            "needs nothing more"
        ) from error
    return ctc_decoder


def _word_model(model: "LanguageModel", words: Sequence[str]) -> Any:
    """A language model as flashlight asks for it, word by word; its numbers of words are those of the lexicon."""
    from torchaudio.models.decoder import CTCDecoderLM, CTCDecoderLMState

    number = {word: index for index, word in enumerate(model.words)}
    # Flashlight numbers the words of a lexicon in the order of a dictionary of them; <unk> comes after.
    numbers = [number.get(word, model.unknown) for word in words]

    class WordModel(CTCDecoderLM):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.states: dict[Any, int] = {}
            self.scores: dict[tuple[int, int], tuple[float, int]] = {}

        def start(self, start_with_nothing: bool) -> Any:
            state = CTCDecoderLMState()
            self.states = {state: model.start}
            return state

        def score(self, state: Any, usr_token_idx: int) -> tuple[Any, float]:
            word = numbers[usr_token_idx] if usr_token_idx < len(numbers) else model.unknown
            pair = (self.states[state], word)
            if pair not in self.scores:
                log_probs, after = model.score(np.array([pair[0]]), np.array([word]))
                self.scores[pair] = float(log_probs[0]), int(after[0])
            following = state.child(usr_token_idx)
            log_prob, self.states[following] = self.scores[pair]
            return following, log_prob

        def finish(self, state: Any) -> tuple[Any, float]:
            return state.child(len(numbers) + 1), float(model.end(np.array([self.states[state]]))[0])

    return WordModel()
