"""Folders and text files as corpora have them: read whole, or refused by name."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.errors import InputError


def read_utf8(path: Path) -> str:
    """A UTF-8 file's text, with or without byte order mark.

    Raises:
        InputError: the file is missing or of another encoding; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}, line 1, is UTF-16, and must be UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}, is not UTF-8 (byte 0x{content[error.start]:02X})") from error


def walk(folder: Path, skip: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Each folder with its file names, sorted, without hidden ones; links are followed, once; `skip` is left out.

    Raises:
        InputError: a folder cannot be read, or a link to one cannot be followed; the message names it.
    """
    seen: set[Path] = {skip.resolve()} if skip else set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        real = Path(place).resolve()
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in seen else []
        if real not in seen:
            seen.add(real)
            visible = sorted(name for name in names if not name.startswith("."))
            _check_links(Path(place), visible)
            yield Path(place), visible


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def _check_links(place: Path, names: Sequence[str]) -> None:
    """A link to a folder that is not there is listed as a file; audio and transcripts that are not there come later."""
    for name in names:
        if not Path(name).suffix and not os.path.exists(place / name):
            raise InputError(f"{place / name} is a link that leads nowhere, or where nothing may be read")
