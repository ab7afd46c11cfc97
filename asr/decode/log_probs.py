"""Log-probabilities of a split in one file, so that it can be decoded many times and computed once.

A safetensors file with `log_probs` (frames of all utterances, V), float32, and `lengths` (utterances,), int64; its
metadata has the utterance ids and what the log-probabilities are of.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from asr.data.tokens import Tokenizer
from asr.errors import InputError
from asr.files import atomic_writer

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """What log-probabilities were computed from.

    Args:
        model_sha256: of the file with the weights.
        manifest_sha256: of the cuts.
        tokens: digest of the model's tokens; see `tokens_digest`.
    """

    model_sha256: str | None
    manifest_sha256: str
    tokens: str


def tokens_digest(tokenizer: Tokenizer) -> str:
    """A hash of the tokens by id."""
    return hashlib.sha256(json.dumps(tokenizer.tokens).encode("utf-8")).hexdigest()[:16]


def write_log_probs(path: Path | str, rows: dict[str, Rows], origin: Origin) -> None:
    """Write log-probabilities (T, V) by utterance id; the same bytes for the same ones, whatever their order."""
    names = sorted(rows)
    tensors = {
        "log_probs": np.concatenate([np.asarray(rows[name], dtype=np.float32) for name in names]),
        "lengths": np.array([len(rows[name]) for name in names], dtype=np.int64),
    }
    metadata = {"content": json.dumps({"ids": names, "origin": asdict(origin)})}
    with atomic_writer(path) as file:
        file.write(save(tensors, metadata))


def read_log_probs(path: Path | str, origin: Origin | None = None) -> dict[str, Rows]:
    """Read log-probabilities by utterance id.

    Args:
        path: of the file.
        origin: what they must have been computed from, if given.

    Raises:
        InputError: the file cannot be read, or its content was computed from something else.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            content = json.loads((file.metadata() or {})["content"])
            values, lengths = file.get_tensor("log_probs"), file.get_tensor("lengths")
        names: Sequence[str] = content["ids"]
        found = content["origin"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} holds no log-probabilities that can be read: {error}") from error
    if origin is not None and found != asdict(origin):
        changed = [name for name, value in asdict(origin).items() if found.get(name) != value]
        raise InputError(f"{path} was computed from something else ({', '.join(changed)}): delete it")
    bounds = np.cumsum(lengths)[:-1]
    return dict(zip(names, np.split(values, bounds), strict=True))
