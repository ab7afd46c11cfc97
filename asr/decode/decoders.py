"""Decoders: log-probabilities -> N-best texts, each an object made once and used for many utterances."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from asr.data.tokens import Tokenizer
from asr.decode.beam import BeamSearch, Fusion
from asr.decode.fusion import LanguageModel, TokenFusion, WordFusion
from asr.decode.nbest import ScoredText, merge_texts
from asr.decode.options import DecodingOptions
from asr.decode.parts import MODEL_WORDS
from asr.decode.spelling import Spelling, spellable
from asr.decode.trace import Trace
from asr.errors import InputError
from asr.score.scores import name_some

NO_WORDS = ("<s>", "</s>", "<unk>", "<UNK>")
"""Entries of a language model that no one says."""


class Result(NamedTuple):
    """Texts, the best first and at least one; and how our search found them."""

    texts: list[ScoredText]
    trace: Trace | None


class NBestDecoder(Protocol):
    """What a beam search of ours and one of others have in common."""

    def results(self, log_probs: Sequence[NDArray[Any]]) -> list[Result]:
        """Log-probabilities (T, V) of some utterances -> what was found in each."""


class BeamDecoder:
    """Our beam search with what `DecodingOptions` name.

    Args:
        options: of the decoder "beam".
        tokenizer: of the acoustic model.
        quiet: do not say on stderr what of a language model or lexicon cannot be used.

    Raises:
        InputError: a file cannot be read, or is in other letters than the tokens.
    """

    def __init__(self, options: DecodingOptions, tokenizer: Tokenizer, quiet: bool = False) -> None:
        self.tokenizer = tokenizer
        spelling = Spelling(tokenizer.tokens)
        model = read_word_model(options.lm) if options.lm else None
        fusions: list[Fusion] = []
        self.notes: list[str] = []
        if model is not None or options.lexicon:
            words, notes = trie_words(options, model, spelling)
            self.notes += notes
            closed = options.lexicon is not None
            fusions.append(WordFusion(spelling, words, options.weights(), model, closed, options.look_ahead))
        if options.char_lm:
            fusion = TokenFusion(spelling, read_token_model(options.char_lm, tokenizer.tokens), options.char_alpha)
            if fusion.missing:
                self.notes.append(f"{options.char_lm} does not know the tokens {list(fusion.missing)}")
            fusions.append(fusion)
        if not quiet:
            for note in self.notes:
                print(f"note: {note}", file=sys.stderr)
        self.search = BeamSearch(spelling, options.pruning(), fusions)

    def results(self, log_probs: Sequence[NDArray[Any]]) -> list[Result]:
        return [Result(merge_texts(f.candidates, self.text_of), f.trace) for f in self.search.search(log_probs)]

    def decode(self, log_probs: Sequence[NDArray[Any]]) -> list[list[ScoredText]]:
        """The texts alone."""
        return [result.texts for result in self.results(log_probs)]

    def reweight(self, options: DecodingOptions) -> None:
        """Take weights and limits of other options; the files stay."""
        self.search.pruning = options.pruning()
        for fusion in self.search.fusions:
            if isinstance(fusion, WordFusion):
                fusion.weights = options.weights()
            elif isinstance(fusion, TokenFusion):
                fusion.weight = options.char_alpha

    def text_of(self, ids: Sequence[int]) -> str:
        # The tokenizer alone knows what its tokens stand for.
        return " ".join(self.tokenizer.decode(ids).split())


def build_decoder(options: DecodingOptions, tokenizer: Tokenizer, quiet: bool = False) -> NBestDecoder:
    """The decoder of options other than greedy.

    Raises:
        InputError: see `BeamDecoder` and `FlashlightDecoder`.
    """
    if options.decoder == "flashlight":
        from asr.decode.flashlight import FlashlightDecoder

        return FlashlightDecoder(options, tokenizer)
    return BeamDecoder(options, tokenizer, quiet)


def read_word_model(path: str) -> LanguageModel:
    """An n-gram model of words.

    Raises:
        InputError: it cannot be read, or is one of characters; the message names the file.
    """
    from asr.lm.storage import read_model

    model = read_model(path)
    if model.unit == "character":
        raise InputError(f"{path} is a model of characters, not of words: give it as --char-lm")
    return model


def read_token_model(path: str, tokens: Sequence[str]) -> LanguageModel:
    """An n-gram model of the acoustic model's tokens, the blank first.

    Raises:
        InputError: it cannot be read, or is one of characters though the tokens are longer; the message names the file.
    """
    from asr.lm.storage import read_model

    model = read_model(path)
    longer = [token for token in tokens[1:] if len(token) > 1]
    if model.unit == "character" and longer:
        raise InputError(
            f"{path} is a model of characters, and cannot be used: the acoustic model's tokens are byte pairs "
            f"({name_some(longer, 3)}); take a model of words, --lm"
        )
    return model


def trie_words(
    options: DecodingOptions, model: LanguageModel | None, spelling: Spelling
) -> tuple[list[str], list[str]]:
    """The words that a search looks for, and notes on those that it cannot.

    Raises:
        InputError: the tokens can spell none of them, or the language model knows none of the lexicon's.
    """
    known = [] if model is None else [word for word in model.words if word not in NO_WORDS]
    if options.lexicon and options.lexicon != MODEL_WORDS:
        words, source = read_lexicon(options.lexicon), options.lexicon
    else:
        words, source = known, str(options.lm)
    kept, lost = spellable(words, spelling)
    if not kept:
        raise InputError(
            f"none of the {len(words)} words of {source} ({name_some(words, 3)}) can be written with the model's "
            f"tokens, whose characters are {spelling.characters!r}{_case_hint(words, spelling)}"
        )
    notes = (
        [
            f"{len(lost)} of {len(words)} words of {source} have characters that the model cannot write: "
            f"{name_some(lost)}"
        ]
        if lost
        else []
    )
    if model is not None and source == options.lexicon:
        outside = sorted(set(kept) - set(known))
        if len(outside) == len(kept):
            raise InputError(
                f"{options.lm} knows none of the {len(kept)} words of {source}{_case_hint(known, spelling)}"
            )
        if outside:
            notes.append(
                f"{options.lm} does not know {len(outside)} of the {len(kept)} words of {source}: {name_some(outside)}"
            )
    return kept, notes


def _case_hint(words: Sequence[str], spelling: Spelling) -> str:
    changed = [word.swapcase() for word in words[:1000]]
    return ": they are in the other case" if spellable(changed, spelling)[0] else ""


def read_lexicon(path: str) -> list[str]:
    """The distinct words of a file in their order: the first word of each line (what follows it is passed over).

    Raises:
        InputError: the file cannot be read, is not UTF-8 text or holds no word.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the lexicon {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the lexicon {path} is not UTF-8 text: {error}") from error
    words = list(dict.fromkeys(line.split()[0] for line in lines if line.split()))
    if not words:
        raise InputError(f"the lexicon {path} holds no word")
    return words
