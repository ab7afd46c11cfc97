"""Files that are either whole or absent: every result is written beside its place and renamed into it."""

import contextlib
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from asr.errors import InputError


@contextlib.contextmanager
def atomic_writer(path: Path | str) -> Iterator[BinaryIO]:
    """Open a temporary file in `path`'s folder for binary writing; rename it to `path` if the block succeeds.

    A reader sees the former content or the whole new one, also when the process is killed or the disk is full.
    Missing parent folders are made.

    Raises:
        InputError: the folder cannot be made or written, or the disk is full; the message names `path`.
    """
    path = Path(path)
    temporary: str | None = None
    in_block = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            in_block = True
            yield file
            in_block = False
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        of_another_file = in_block and isinstance(error, OSError) and error.filename is not None
        if isinstance(error, OSError) and error.errno is not None and not of_another_file:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        raise


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_writer(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically; gzip (with time 0, so that equal rows give equal bytes) for `*.gz`."""
    with atomic_writer(path) as file:
        if str(path).endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                _write_rows(packed, rows)
        else:
            _write_rows(file, rows)


def _write_rows(file: BinaryIO | gzip.GzipFile, rows: Iterable[Any]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")


def obstacle(folder: Path) -> Path | None:
    """What keeps files from being written into a folder, which may not be there yet; None if nothing does.

    That is a file in its place or above it, or the folder in which it would be made, if that cannot be written.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return None if existing.is_dir() and os.access(existing, os.W_OK) else existing


def shared_key(rows: Iterable[Any], keys: Sequence[str]) -> str | None:
    """The first of `keys` that any object among `rows` has: where all of them are to have what it stands for.

    >>> shared_key([{"text": "a"}, {"pred_text": "b"}], ["pred_text", "text"]), shared_key([3], ["text"])
    ('pred_text', None)
    """
    found = {key for row in rows if isinstance(row, dict) for key in row}
    return next((key for key in keys if key in found), None)


def read_jsonl(path: Path | str) -> Iterator[Any]:
    """Yield the values of a JSON-lines file, gzipped if it ends in `.gz`.

    Raises:
        InputError: the file is missing, truncated, damaged or has a line that is not JSON; the message names file and
            line.
    """
    path = Path(path)
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for line in file:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}{f' after line {number}' if number else ''}: {reason}") from error
    except ValueError as error:
        raise InputError(f"{path}, line {number}, is not valid JSON: {error}") from error
