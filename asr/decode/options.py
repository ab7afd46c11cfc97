"""How log-probabilities become text: the options of every command that decodes, and decoder.json."""

import argparse
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from asr.decode.confidence import Calibration, calibration_from_dict
from asr.decode.fusion import WordWeights
from asr.decode.pruning import Pruning
from asr.errors import InputError
from asr.files import read_json, sha256_of

DECODERS = ("greedy", "beam", "flashlight")
DECODER_FILE = "decoder.json"
BELIEFS = ("decoder", "lm", "alpha", "beta", "unknown_penalty", "lexicon", "look_ahead", "char_lm", "char_alpha")
"""Options that change how probable a text is; the others limit the search."""
MODEL_WORDS = "lm"
"""Names, in the place of a lexicon's file, the words of the language model."""


@dataclass(frozen=True)
class DecodingOptions:
    """A decoder and what it uses. Files are given by path; None is none.

    Args:
        decoder: one of `DECODERS`.
        lm: n-gram model of words.
        alpha: its weight.
        beta: added for each word.
        unknown_penalty: taken off for each character of a word that the model does not know.
        lexicon: file of words, one a line, or "lm" for the language model's: no others are written.
        look_ahead: whether a word that is being spelt is charged the best unigram it can still become.
        char_lm: n-gram model of characters (of the model's tokens, in fact).
        char_alpha: its weight.
        beam, beam_threshold, token_threshold, top_tokens, blank_skip: see `Pruning`; 0 turns a threshold off.
        confidence: of the beam search, how its words' confidences are calibrated (`asr tune-decoder`); None leaves them
            the share of the beam's probability.
    """

    decoder: str = "greedy"
    lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.0
    unknown_penalty: float = 0.5
    lexicon: str | None = None
    look_ahead: bool = True
    char_lm: str | None = None
    char_alpha: float = 0.5
    beam: int = 100
    beam_threshold: float = 20.0
    token_threshold: float = 6.0
    top_tokens: int = 0
    blank_skip: float = 0.0
    confidence: Calibration | None = None

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise InputError(f"--decoder must be one of {', '.join(DECODERS)}, got {self.decoder!r}")
        if self.lexicon == MODEL_WORDS and self.lm is None:
            raise InputError(f"--lexicon {MODEL_WORDS} means the words of the language model: give --lm")
        given = [f"--{name.replace('_', '-')}" for name in ("lm", "char_lm", "lexicon") if getattr(self, name)]
        if self.decoder == "greedy" and given:
            raise InputError(f"the greedy decoder uses no {', '.join(given)}: give --decoder beam")
        self.pruning()
        self.weights()
        if not 0 <= self.char_alpha < float("inf"):
            raise InputError(f"--char-alpha must be a number of at least 0, got {self.char_alpha}")

    def pruning(self) -> Pruning:
        """The limits of the beam search."""
        return Pruning(
            self.beam,
            self.beam_threshold if self.beam_threshold != 0 else None,
            self.token_threshold if self.token_threshold != 0 else None,
            self.top_tokens if self.top_tokens != 0 else None,
            self.blank_skip if self.blank_skip != 0 else None,
        )

    def weights(self) -> WordWeights:
        """The weights of the word model."""
        return WordWeights(self.alpha, self.beta, self.unknown_penalty)

    def files(self) -> dict[str, str]:
        """The files it uses, by option."""
        paths = {"lm": self.lm, "char_lm": self.char_lm, "lexicon": self.lexicon}
        return {name: path for name, path in paths.items() if path and path != MODEL_WORDS}

    def to_dict(self) -> dict[str, Any]:
        """All options as plain data, each file with its SHA-256."""
        data = asdict(self)
        return data | {name: {"path": path, "sha256": sha256_of(path)} for name, path in self.files().items()}

    def to_record(self) -> dict[str, Any] | str:
        """For scores.json: "greedy", or what has a part in the result."""
        if self.decoder == "greedy":
            return "greedy"
        data = self.to_dict()
        unused = [] if self.lm or self.lexicon else ["beta", "unknown_penalty"]
        unused += [] if self.lm else ["lm", "alpha", "look_ahead"]
        unused += [] if self.char_lm else ["char_lm", "char_alpha"]
        unused += [] if self.lexicon else ["lexicon"]
        unused += [] if self.confidence else ["confidence"]
        return {name: value for name, value in data.items() if name not in unused}


def decoding_from_dict(data: Any, where: str, folder: Path | None = None) -> DecodingOptions:
    """The inverse of `DecodingOptions.to_dict`. Files are where they were, or in `folder`.

    Raises:
        InputError: it has not this form, or a file is gone or another one than it was; `where` is named.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where} holds no options of a decoder")
    known = {field.name: field.type for field in fields(DecodingOptions)}
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise InputError(f"{where} has options that no decoder has: {', '.join(unknown)}")
    values = dict(data)
    for name in ("lm", "char_lm", "lexicon"):
        if isinstance(data.get(name), dict):
            values[name] = _same_file(data[name], f"{where}, {name}", folder)
    if data.get("confidence") is not None:
        values["confidence"] = calibration_from_dict(data["confidence"], f"{where}, confidence")
    for name, value in values.items():
        _check_type(value, known[name], f"{where}: {name}")
    return DecodingOptions(**values)


def _check_type(value: Any, kind: Any, where: str) -> None:
    """Refuse what JSON may hold and an option may not; a whole number is a number too, and a truth value is none."""
    kinds = float | int if kind is float else kind
    too_large = isinstance(value, int) and abs(value) > sys.float_info.max
    if too_large or not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise InputError(f"{where} must be {names.get(kind, 'a file with its SHA-256, or null')}, got {value!r}")


def _same_file(record: dict[str, Any], where: str, folder: Path | None) -> str:
    """The file of a record, by its SHA-256: as its path says, or beside what records it."""
    path = Path(str(record.get("path")))
    places = [path] if folder is None else [path, folder / path, folder / path.name]
    there = [place for place in places if place.is_file()]
    for place in there:
        if sha256_of(place) == record.get("sha256"):
            return str(place)
    if not there:
        raise InputError(f"{where}: there is no file {path}")
    raise InputError(f"{where}: {there[0]} is not the file that it was (its SHA-256 was {record.get('sha256')})")


def read_decoder(path: Path | str) -> DecodingOptions:
    """The options in a decoder.json, as `asr tune-decoder` writes it; its files may have been moved beside it.

    Raises:
        InputError: see `decoding_from_dict`.
    """
    content = read_json(path)
    options = content.get("options") if isinstance(content, dict) else None
    return decoding_from_dict(options, str(path), Path(path).parent)


def check_tokens(config: Path | str | None, digest: str) -> None:
    """Refuse a decoder.json of a model with other tokens; `digest` is that of this model's.

    Raises:
        InputError: it is one.
    """
    if config is None:
        return
    content = read_json(config)
    if content.get("tokens", digest) != digest:
        raise InputError(f"{config} was tuned for a model with other tokens: tune this one with `asr tune-decoder`")


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of decoding, of which none has a default: see `decoding_of`."""
    group = parser.add_argument_group("decoding")
    group.add_argument("--decoder", choices=DECODERS, help="default: greedy, or beam where a language model is given")
    group.add_argument(
        "--decoder-config", metavar="FILE", help="decoder.json of `asr tune-decoder`; options overrule it"
    )
    group.add_argument("--lm", metavar="FILE", help="n-gram model of words: ARPA (.arpa, .arpa.gz) or .npz")
    group.add_argument("--alpha", type=float, help="weight of the word model (default: 0.5)")
    group.add_argument("--beta", type=float, help="added for each word (default: 1)")
    group.add_argument("--unknown-penalty", type=float, help="for each character of an unknown word (default: 0.5)")
    group.add_argument("--lexicon", metavar="FILE", help="write only these words, one a line; `lm`: those of --lm")
    group.add_argument(
        "--look-ahead",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="charge a word from its first letter on the best unigram that it can still become (default: yes)",
    )
    group.add_argument("--char-lm", metavar="FILE", help="n-gram model of characters, or of the model's tokens")
    group.add_argument("--char-alpha", type=float, help="weight of that model (default: 0.5)")
    group.add_argument("--beam", type=int, help="prefixes kept (default: 100)")
    group.add_argument("--beam-threshold", type=float, help="nats below the best, 0 for no limit (default: 20)")
    group.add_argument(
        "--token-threshold", type=float, help="nats below a frame's best token, 0: no limit (default: 6)"
    )
    group.add_argument("--top-tokens", type=int, help="tokens of a frame, 0 for no limit (default: 0)")
    group.add_argument("--blank-skip", type=float, help="take frames with this much blank as blank (default: 0, never)")


def packed_decoder(model: Path | str) -> Path | None:
    """The decoder.json of an exported model, if it holds one: it is decoded so unless another way is named.

    In a run folder decoder.json is one of many results, and is used only where --decoder-config names it.
    """
    file = Path(model) / DECODER_FILE
    return file if (Path(model) / "model.json").is_file() and file.is_file() else None


def decoder_file(options: argparse.Namespace, model: Path | str | None = None) -> Path | None:
    """The decoder.json that a command line uses: that of --decoder-config, or else the one that `model` holds.

    Greedy decoding has nothing that such a file could set.
    """
    if options.decoder == "greedy":
        return None
    if options.decoder_config is not None:
        return Path(options.decoder_config)
    return packed_decoder(model) if model is not None and options.decoder in (None, "beam") else None


def decoding_of(options: argparse.Namespace, model: Path | str | None = None) -> DecodingOptions:
    """The options given on a command line, on top of those of --decoder-config, or of those that `model` holds.

    Raises:
        InputError: an option is out of range or contradicts another, or decoder.json cannot be used.
    """
    names = [field.name for field in fields(DecodingOptions) if field.name != "confidence"]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    config = decoder_file(options, model)
    if config:
        tuned = read_decoder(config)
        decoding = replace(tuned, **given)
        # The calibration is one of what the tuned weights and models believe.
        unlike = any(getattr(decoding, name) != getattr(tuned, name) for name in BELIEFS)
        return replace(decoding, confidence=None) if unlike else decoding
    if "decoder" not in given and set(given) & {"lm", "char_lm", "lexicon"}:
        given["decoder"] = "beam"
    decoding = DecodingOptions(**given)
    unused = sorted(set(given) - {"decoder"})
    if decoding.decoder == "greedy" and unused:
        raise InputError(f"the greedy decoder has no --{unused[0].replace('_', '-')}: give --decoder beam")
    return decoding
