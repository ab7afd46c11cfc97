"""Models as files: ARPA, which other tools read, or a compact one of our own, which opens faster."""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_writer
from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.model import NGramModel
from asr.lm.trie import Trie, suffixes

FORMAT = 1
"""Version of the compact files; one with a higher number is refused."""


def read_model(path: Path | str) -> NGramModel:
    """Read a model: `*.npz` as `write_model` makes it, anything else as ARPA.

    Raises:
        InputError: it cannot be read or is no such file; the message names it, for ARPA with the line.
    """
    return _read_compact(Path(path)) if str(path).endswith(".npz") else read_arpa(path)


def write_model(path: Path | str, model: NGramModel) -> None:
    """Write a model: compact if the name ends in `.npz`, ARPA if it ends in `.arpa` or `.arpa.gz`.

    Equal models give equal bytes. A compact file holds, in NumPy's format, the words, the number of n-grams of each
    order, and of every node in the order of `Trie` its last word, its number of children, log_prob and backoff.

    Raises:
        InputError: the name ends otherwise, or the file cannot be written.
    """
    check_name(path)
    if str(path).endswith(".npz"):
        with atomic_writer(path) as file:
            file.write(_packed(model))
    else:
        write_arpa(path, model)


def check_name(path: Path | str) -> None:
    """Refuse a name that `write_model` would refuse.

    Raises:
        InputError: the name says no format.
    """
    if not str(path).endswith((".arpa", ".arpa.gz", ".npz")):
        raise InputError(f"a language model is written to *.arpa, *.arpa.gz or *.npz, not to {path}")


def _packed(model: NGramModel) -> bytes:
    size = len(model.words)
    contexts = model.states
    parents, last = np.divmod(model.trie.keys, size)
    children = np.bincount(parents, minlength=contexts)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        format=np.array([FORMAT]),
        words=np.frombuffer("\n".join(model.words).encode(), dtype=np.uint8),
        counts=np.array(model.counts),
        last=last.astype(np.min_scalar_type(size)),
        children=children.astype(np.min_scalar_type(int(children.max()))),
        log_prob=model.trie.log_prob[1:],
        backoff=model.trie.backoff[:contexts],
        record=np.frombuffer(json.dumps(model.record, ensure_ascii=False).encode(), dtype=np.uint8),
    )
    return buffer.getvalue()


def _read_compact(path: Path) -> NGramModel:
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                if int(stored["format"][0]) > FORMAT:
                    raise InputError(f"{path} was written by a newer version (format {int(stored['format'][0])})")
                return _unpacked({name: stored[name] for name in stored.files})
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no language model as `asr lm build` writes it: {error}") from error


def _unpacked(stored: dict[str, NDArray[Any]]) -> NGramModel:
    odd = [name for name, part in stored.items() if part.ndim != 1]
    if odd:
        raise ValueError(f"its part {odd[0]!r} has the shape {stored[odd[0]].shape}, and not one dimension")
    words = tuple(stored["words"].tobytes().decode().split("\n"))
    counts = tuple(stored["counts"].tolist())
    last = stored["last"].astype(np.int64)
    parents = np.repeat(np.arange(len(stored["children"])), stored["children"])
    if not len(parents) == len(last) == len(stored["log_prob"]) == sum(counts):
        raise ValueError("its parts differ in length")
    keys = parents * len(words) + last
    log_prob = np.concatenate([np.zeros(1, dtype=np.float32), stored["log_prob"]])
    backoff = np.zeros_like(log_prob)
    backoff[: len(stored["backoff"])] = stored["backoff"]
    record = json.loads(stored["record"].tobytes())
    if not isinstance(record, dict):
        raise ValueError(f"its record is {record!r}, and no object")
    return NGramModel(words, Trie(keys, log_prob, backoff, suffixes(keys, counts, len(words)), counts), record)
