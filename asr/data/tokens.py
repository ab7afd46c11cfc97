"""Text <-> token ids. Id 0 is CTC's blank and belongs to no text."""

import base64
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from asr.errors import InputError
from asr.files import read_json

BLANK = "<blank>"


class Tokenizer(Protocol):
    """What models, decoders and the datamodule need of a token set."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The V tokens by id, `tokens[0]` the blank."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; `InputError` names every character that the token set lacks."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids (no blanks among them)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `tokenizer_from_dict` makes the same tokenizer."""


class CharacterTokenizer:
    """One token a character.

    >>> tokenizer = CharacterTokenizer(" AB")
    >>> tokenizer.encode("AB A"), tokenizer.decode([2, 3, 1, 2])
    ([2, 3, 1, 2], 'AB A')
    """

    def __init__(self, characters: Sequence[str]) -> None:
        repeated = sorted({c for c in characters if list(characters).count(c) > 1})
        if repeated or any(len(c) != 1 for c in characters):
            raise InputError(f"a character token set needs single, distinct characters, got {list(characters)}")
        self.tokens = (BLANK, *characters)
        self._ids = {character: index for index, character in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[c] for c in text]
        except KeyError:
            unknown = sorted({c for c in text if c not in self._ids})
            known = "".join(self.tokens[1:])
            raise InputError(f"characters {unknown} of {text!r} are not in the token set {known!r}") from None

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.tokens[i] for i in ids)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "characters", "tokens": list(self.tokens)}


class SentencePieceTokenizer:
    """Byte-pair pieces of a trained sentencepiece model, whose id 0 (its unknown piece) serves as the blank."""

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        if self._processor.unk_id() != 0:
            raise InputError(
                f"the sentencepiece model must have its unknown piece at id 0, not {self._processor.unk_id()}"
            )
        pieces = [self._processor.id_to_piece(i) for i in range(1, self._processor.get_piece_size())]
        self.tokens = (BLANK, *pieces)

    @classmethod
    def train(cls, texts: Sequence[str], vocabulary_size: int) -> "SentencePieceTokenizer":
        """Train byte-pair encoding on texts; `vocabulary_size` counts the blank.

        Raises:
            InputError: the texts do not allow that vocabulary size.
        """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocabulary_size,
                character_coverage=1.0,
                max_sentence_length=max(map(len, map(str.encode, texts)), default=1) + 1,  # longer ones are skipped
                normalization_rule_name="identity",
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2]  # before it is where in sentencepiece's source
            raise InputError(
                f"cannot train {vocabulary_size} byte-pair tokens on {len(texts)} texts: {reason}"
            ) from error
        return cls(model.getvalue())

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._processor.encode(text)
        if 0 in ids:
            known = {c for token in self.tokens[1:] for c in token} | {" "}
            raise InputError(f"characters {sorted(set(text) - known)} of {text!r} are not in the byte-pair token set")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._processor.decode(list(ids)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "sentencepiece",
            "model": base64.b64encode(self._model).decode("ascii"),
            "tokens": list(self.tokens),
        }


def tokenizer_from_dict(data: dict[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from `Tokenizer.to_dict`'s plain data (the content of `tokens.json`).

    Raises:
        InputError: the kind is unknown or the data is not of its form.
    """
    if not isinstance(data, dict):
        raise InputError(f"not a token set: expected an object with 'kind' and 'tokens', found {type(data).__name__}")
    kind, tokens, model = data.get("kind"), data.get("tokens"), data.get("model")
    if kind == "characters":
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens) or not tokens:
            raise InputError(f"not a token set: 'tokens' must be a list of texts, found {tokens!r:.100}")
        if tokens[0] != BLANK:
            raise InputError(f"not a token set: its first token must be {BLANK!r}, found {tokens[0]!r}")
        return CharacterTokenizer(tokens[1:])
    if kind == "sentencepiece":
        if not isinstance(model, str):
            raise InputError(f"not a token set: 'model' must be the model in base64, found {model!r:.100}")
        try:
            return SentencePieceTokenizer(base64.b64decode(model, validate=True))
        except (ValueError, RuntimeError) as error:
            raise InputError(f"not a token set: its sentencepiece model cannot be read ({error})") from error
    raise InputError(f"not a token set: kind {kind!r} (known: 'characters', 'sentencepiece'), keys {sorted(data)}")


def read_tokenizer(path: Path | str) -> Tokenizer:
    """The tokenizer of a `tokens.json`.

    Raises:
        InputError: the file cannot be read or is not a token set; the message names it.
    """
    data = read_json(path)
    try:
        return tokenizer_from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def minimum_frames(ids: Sequence[int]) -> int:
    """Frames that CTC needs for these tokens: one each, and a blank between adjacent repeats.

    >>> minimum_frames([1, 2, 2, 3]), minimum_frames([])
    (5, 0)
    """
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))
