"""What decoder.json says it was tuned on, beside what it is used for now."""

from pathlib import Path
from typing import NamedTuple

from asr.errors import InputError
from asr.files import read_json, sha256_of
from asr.model import LoadedModel, find_checkpoint

DECODER_FILE = "decoder.json"


class Tuning(NamedTuple):
    """What a decoder.json was tuned on, and with; None where it does not say.

    Attributes:
        references: digest of the utterances and their references; see `asr.score.scores.reference_digest`.
        weights: SHA-256 of the model's weights.
    """

    references: str | None
    weights: str | None


def read_tuning(config: Path | str) -> Tuning:
    """What the file says of its tuning.

    Raises:
        InputError: it cannot be read.
    """
    content = read_json(config)
    found = content.get("tuned_on") if isinstance(content, dict) else None
    record = found if isinstance(found, dict) else {}
    return Tuning(record.get("reference_digest"), record.get("model_sha256"))


def tuned_for(config: Path, model: Path, weights: str | None = None) -> bool | None:
    """Whether a decoder was tuned for the weights of a model; None: not known.

    Args:
        config: decoder.json. In an exported folder it belongs to the model, whose weights are in a new file.
        model: path of the model.
        weights: SHA-256 of its weights; None reads their file.

    Raises:
        InputError: a file cannot be read, or there is no such model.
    """
    tuned = read_tuning(config).weights
    exported = (model / "model.json").is_file()
    packed = exported and config.resolve() == (model / DECODER_FILE).resolve()
    if packed or tuned is None:
        return None
    if weights is None:
        weights = sha256_of(model / "model.safetensors" if exported else find_checkpoint(model))
    return tuned == weights


def tuned_on(config: Path, references: str, model: Path, loaded: LoadedModel) -> dict[str, bool | None]:
    """For scores.json: whether the decoder was tuned on what is scored, and for the model that is; None: not known.

    Args:
        config: decoder.json.
        references: digest of those that are scored.
        model: the path that was given.
        loaded: the model.
    """
    tuned = read_tuning(config).references
    return {
        "these_references": None if tuned is None else tuned == references,
        "this_model": tuned_for(config, model, loaded.metadata.get("sha256")),
    }


def notes_on(config: Path, found: dict[str, bool | None]) -> list[str]:
    """What a reader of the error rate has to know of the decoder, in sentences; see `tuned_on`."""
    notes = []
    if found["these_references"]:
        notes.append(f"{config} was tuned on these very references: this is no error rate of unseen speech")
    if found["this_model"] is False:
        notes.append(f"{config} was tuned for other weights than those of this model")
    return notes


def check_target(path: Path) -> None:
    """Refuse to write decoder.json in the place of something else.

    Raises:
        InputError: the name does not end in .json, or there is a file that is no decoder.json.
    """
    if path.suffix != ".json":
        raise InputError(f"--config is where decoder.json is written, so its name ends in .json, not {path.name!r}")
    if not path.exists():
        return
    try:
        content = read_json(path)
    except InputError:
        content = None
    options = content.get("options") if isinstance(content, dict) else None
    if not (isinstance(options, dict) and "decoder" in options):
        raise InputError(f"{path} is no decoder.json, and is not overwritten: give another --config")
