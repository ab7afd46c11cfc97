"""How log-probabilities become text: the options of every command that decodes, and decoder.json."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from asr.decode.confidence import Calibration, calibration_from_dict
from asr.decode.fusion import WordWeights
from asr.decode.parts import MODEL_WORDS, MODELS, dashed, idle, refuse_idle
from asr.decode.pruning import Pruning
from asr.decode.tuned import DECODER_FILE, tuned_for
from asr.errors import InputError
from asr.files import read_json, sha256_of

DECODERS = ("greedy", "beam", "flashlight")


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
        _check_ranges(vars(self))
        refuse_idle(vars(self), [field.name for field in fields(self) if getattr(self, field.name) != field.default])

    def pruning(self) -> Pruning:
        """The limits of the beam search."""
        return _pruning(vars(self))

    def weights(self) -> WordWeights:
        """The weights of the word model."""
        return _weights(vars(self))

    def files(self) -> dict[str, str]:
        """The files it uses, by option."""
        paths = {name: getattr(self, name) for name in MODELS}
        return {name: path for name, path in paths.items() if path and path != MODEL_WORDS}

    def to_dict(self) -> dict[str, Any]:
        """All options as plain data, each file with its SHA-256."""
        data = asdict(self)
        return data | {name: {"path": path, "sha256": sha256_of(path)} for name, path in self.files().items()}

    def to_record(self) -> dict[str, Any] | str:
        """For scores.json: "greedy", or what has a part in the result."""
        if self.decoder == "greedy":
            return "greedy"
        unused = idle(vars(self))
        return {name: value for name, value in self.to_dict().items() if name not in unused and value is not None}


DEFAULTS = {field.name: field.default for field in fields(DecodingOptions)}
OPTIONS = tuple(name for name in DEFAULTS if name != "confidence")
"""What a command line can give."""


def _check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse what no limit or weight can be.

    Raises:
        InputError: there is such a value.
    """
    _pruning(values)
    _weights(values)
    if not 0 <= values["char_alpha"] < float("inf"):
        raise InputError(f"--char-alpha must be a number of at least 0, got {values['char_alpha']}")


def _pruning(values: Mapping[str, Any]) -> Pruning:
    limits = ("beam_threshold", "token_threshold", "top_tokens", "blank_skip")
    return Pruning(values["beam"], *(values[name] or None for name in limits))


def _weights(values: Mapping[str, Any]) -> WordWeights:
    return WordWeights(values["alpha"], values["beta"], values["unknown_penalty"])


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
    for name in MODELS:
        if isinstance(data.get(name), dict):
            values[name] = _same_file(data[name], f"{where}, {name}", folder)
    if data.get("confidence") is not None:
        values["confidence"] = calibration_from_dict(data["confidence"], f"{where}, confidence")
    for name, value in values.items():
        _check_type(value, known[name], f"{where}: {name}")
    return _kept(DEFAULTS | values)


def _kept(values: dict[str, Any]) -> DecodingOptions:
    """Options out of a file, which nobody gave: weights and limits without a part have their defaults.

    Raises:
        InputError: see `DecodingOptions`.
    """
    _check_ranges(values)
    reset = idle(values).keys() - set(MODELS)
    return DecodingOptions(**{name: value for name, value in values.items() if name not in reset})


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
    return decoding_from_dict(_content(path).get("options"), str(path), Path(path).parent)


def _content(path: Path | str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no options of a decoder: an object is wanted, got {content!r:.80}")
    return content


def check_tokens(config: Path | str | None, digest: str) -> None:
    """Refuse a decoder.json of a model with other tokens; `digest` is that of this model's.

    Raises:
        InputError: it is one, or no decoder.json at all.
    """
    if config is None:
        return
    if _content(config).get("tokens", digest) != digest:
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

    Raises:
        InputError: --decoder-config is given for greedy decoding, which has nothing that such a file could set.
    """
    if options.decoder_config is None:
        return packed_decoder(model) if model is not None and options.decoder in (None, "beam") else None
    if options.decoder == "greedy":
        raise InputError(f"--decoder-config ({options.decoder_config}) has no part in the result: --decoder is greedy")
    return Path(options.decoder_config)


def decoding_of(
    options: argparse.Namespace, model: Path | str | None = None, calibrated: bool = True
) -> DecodingOptions:
    """The options given on a command line, on top of those of --decoder-config, or of those that `model` holds.

    The calibration of confidences is left out, and that is said, where it does not hold: with another search than was
    tuned, or with other weights of the acoustic model.

    Args:
        options: of the command line; see `add_decoding_arguments`.
        model: path of the model.
        calibrated: False leaves the calibration out in any case.

    Raises:
        InputError: an option is out of range, contradicts another or has no part in the result; or decoder.json cannot
            be used.
    """
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    config = decoder_file(options, model)
    tuned = read_decoder(config) if config else DecodingOptions()
    if not config and set(given) & set(MODELS):
        given = {"decoder": "beam"} | given
    values = vars(tuned) | given
    refuse_idle(values, given)
    decoding = _kept(values)
    if not (config and calibrated and tuned.confidence):
        return replace(decoding, confidence=None)
    return _calibrated(decoding, _unlike(decoding, tuned, config) or _foreign(config, model))


def decoder_for(config: Path | str, model: Path | str) -> DecodingOptions:
    """As `read_decoder`, for a model: a calibration of other weights than the model's is left out, which is said.

    Raises:
        InputError: see `read_decoder`; or there is no such model.
    """
    decoding = read_decoder(config)
    return _calibrated(decoding, _foreign(Path(config), model)) if decoding.confidence else decoding


def _calibrated(decoding: DecodingOptions, reason: str) -> DecodingOptions:
    """The options, without their calibration and with a note if there is a reason why it does not hold."""
    if not reason:
        return decoding
    print(f"note: the confidences of words are not calibrated: {reason}", file=sys.stderr)
    return replace(decoding, confidence=None)


def _unlike(decoding: DecodingOptions, tuned: DecodingOptions, config: Path) -> str:
    """Why a calibration does not hold for a search: what differs from the tuned one; empty if nothing does."""
    names = [name for name in OPTIONS if name not in idle(vars(decoding))]
    pairs = {name: (getattr(decoding, name), getattr(tuned, name)) for name in names}
    changed = [f"{dashed(name)} {now}, not {then}" for name, (now, then) in pairs.items() if now != then]
    return f"{config} was tuned with another search ({'; '.join(changed)})" if changed else ""


def _foreign(config: Path, model: Path | str | None) -> str:
    """Why a calibration does not hold for a model: it is that of other weights; empty if it is not known to be."""
    foreign = model is not None and tuned_for(config, Path(model)) is False
    return f"{config} was tuned for other weights than those of {model}" if foreign else ""
