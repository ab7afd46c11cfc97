"""Fetching archives over a bad line, and unpacking them without trusting them."""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import sys
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from tqdm import tqdm

from asr.errors import InputError
from asr.files import write_json

BLOCK = 1 << 20
"""Bytes read at a time."""


class Archive(NamedTuple):
    """A downloadable archive: its path below a base URL, and the MD5 sum published for it."""

    path: str
    md5: str


class Patience(NamedTuple):
    """How long to keep trying. `attempts` counts attempts in a row that brought no new bytes; times in seconds."""

    attempts: int = 6
    timeout: float = 60.0
    backoff: float = 1.0


class _Interrupted(Exception):
    """The transfer failed in a way that trying again may mend."""


class _Stored(NamedTuple):
    """What is known of the file that a partial download belongs to."""

    url: str
    validator: str | None
    total: int | None


def fetch(url: str, target: Path, md5: str | None = None, patience: Patience | None = None) -> Path:
    """Download `url` to `target`, unless `target` is there and has the sum; return `target`.

    Bytes are collected in `target`.part. An interrupted download goes on from there (HTTP Range, with If-Range, so
    that a file which changed on the server is begun anew), also in a later run; a server that refuses ranges makes it
    begin anew. Lost connections, timeouts, and the statuses 408, 429 and 5xx are tried again with growing pauses.

    Raises:
        InputError: the server refuses, keeps failing, or `target` cannot be written (what arrived stays for the next
            attempt); or the sum is wrong (the file is deleted). The message names the URL and the file.
    """
    patience = patience or Patience()
    if target.exists():
        check_md5(target, md5)
        return target
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_all(url, part, patience)
        check_md5(part, md5)
        part.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {part}: {error.strerror}") from error
    _note(part).unlink(missing_ok=True)
    return target


def check_md5(path: Path, md5: str | None) -> None:
    """Compare a file with its published sum (None: nothing to compare); delete it if they differ.

    Raises:
        InputError: they differ; the message has both sums.
    """
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, _progress(path.stat().st_size, 0, f"checking {path.name}") as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        path.unlink()
        _note(path).unlink(missing_ok=True)
        raise InputError(
            f"{path} is corrupt and was deleted: its MD5 sum is {digest.hexdigest()}, the published one {md5}"
        )


def _fetch_all(url: str, part: Path, patience: Patience) -> None:
    """Repeat `_fetch_once` until `part` is whole, or nothing new has come for `patience.attempts` attempts."""
    best, failures = _size(part), 0
    with _pool(url, patience) as pool:
        while True:
            try:
                return _fetch_once(pool, url, part)
            except (_Interrupted, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
                failures = 0 if _size(part) > best else failures + 1
                best = max(best, _size(part))
                if failures >= patience.attempts:
                    raise InputError(
                        f"cannot fetch {url}: {_reason(error)}, {failures} times in a row "
                        f"({_size(part)} bytes are kept in {part} to go on from)"
                    ) from error
                pause = patience.backoff * 2 ** max(0, failures - 1)
                print(f"{url}: {_reason(error)}; again in {pause:g} s", file=sys.stderr)
                time.sleep(pause)


def _fetch_once(pool: urllib3.PoolManager, url: str, part: Path) -> None:
    """One request for the rest of `part`. Returns when it is whole."""
    stored = _read_note(part, url)
    size = _size(part) if stored else 0
    # Without "identity" a server may compress what is already a .tar.gz, and ranges would count other bytes.
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
        if stored and stored.validator:
            headers["If-Range"] = stored.validator
    response = pool.request("GET", url, headers=headers, preload_content=False, decode_content=False)
    try:
        _check_status(response, url)
        if response.status == 416:
            return _after_refused_range(response, part, size)
        current = _describe(response, url)
        if response.status == 206 and not _continues(response, size, stored, current):
            _discard(part)
            raise _Interrupted("the file changed on the server")
        if response.status == 200:
            if size:
                print(f"{url}: begun anew, the server sent the whole file", file=sys.stderr)
            size = 0
        write_json(_note(part), current._asdict())
        _receive(response, part, size, current.total)
    finally:
        response.close()


def _check_status(response: urllib3.BaseHTTPResponse, url: str) -> None:
    status = response.status
    if status in (408, 429) or status >= 500:
        raise _Interrupted(f"the server answers {status} {response.reason}")
    if status not in (200, 206, 416):
        raise InputError(f"cannot fetch {url}: the server answers {status} {response.reason}")


def _describe(response: urllib3.BaseHTTPResponse, url: str) -> _Stored:
    """What the answer says of the whole file: validator for If-Range (RFC 9110, 13.1.5: no weak tags), and size."""
    tag = response.headers.get("ETag")
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    _, total = _content_range(response)
    length = response.headers.get("Content-Length", "")
    if response.status == 200 and length.isdigit():
        total = int(length)
    return _Stored(url, validator, total)


def _content_range(response: urllib3.BaseHTTPResponse) -> tuple[int | None, int | None]:
    """(first byte, size of the whole file) from `Content-Range`, each None if unknown."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (int(total) if total != "*" else None)


def _continues(response: urllib3.BaseHTTPResponse, size: int, stored: _Stored | None, current: _Stored) -> bool:
    """Whether a 206 answer is the rest of what `stored` describes."""
    first, _ = _content_range(response)
    same_size = stored is None or None in (stored.total, current.total) or stored.total == current.total
    same_tag = stored is None or None in (stored.validator, current.validator) or stored.validator == current.validator
    return first == size and same_size and same_tag


def _after_refused_range(response: urllib3.BaseHTTPResponse, part: Path, size: int) -> None:
    """416: nothing is left to send if `part` is whole, else it is not a piece of that file."""
    _, total = _content_range(response)
    if total is None or total != size:
        _discard(part)
        raise _Interrupted(f"the server has no bytes after {size}")


def _receive(response: urllib3.BaseHTTPResponse, part: Path, size: int, total: int | None) -> None:
    """Append the answer's body to the first `size` bytes of `part`."""
    with part.open("r+b" if size else "wb") as file, _progress(total, size, part.name.removesuffix(".part")) as bar:
        file.seek(size)
        file.truncate()
        for block in response.stream(BLOCK, decode_content=False):
            file.write(block)
            bar.update(len(block))
    if total is not None and _size(part) != total:
        raise _Interrupted(f"{_size(part)} of {total} bytes arrived")


def _pool(url: str, patience: Patience) -> urllib3.PoolManager:
    """Connections for `url`, through the proxy that the environment names for it (http_proxy, no_proxy, ...)."""
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=patience.timeout, read=patience.timeout),
        "retries": urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=8),
    }
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **settings)
    return urllib3.PoolManager(**settings)


def _reason(error: Exception) -> str:
    """One line for an error, without urllib3's object addresses."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    return re.sub(r"^<?[\w.]+\(.*?\)>?: |^<[^>]*>: ", "", str(error)) or type(error).__name__


def _progress(total: int | None, initial: int, name: str) -> tqdm:
    return tqdm(total=total, initial=initial, desc=name, unit="B", unit_scale=True, disable=None)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """Where it is written what `part` is a part of."""
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path, url: str) -> _Stored | None:
    """The note of an earlier download of the same URL; None if there is none, and `part` is worth nothing then."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        stored = _Stored(**json.loads(_note(part).read_text(encoding="utf-8")))
        return stored if stored.url == url else None
    return None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def unpack(archive: Path, folder: Path, wanted: str) -> Path:
    """Unpack a tar archive's folder `wanted` (such as "LibriSpeech/dev-clean") into `folder`, and return it there.

    It appears there, under its last name, only when all of it is unpacked; an interrupted unpacking is done again.
    Loose files beside it (LibriSpeech's README.TXT, SPEAKERS.TXT) are put beside it too, unless they are there.

    Raises:
        InputError: a member would be written outside of `folder`, or is a link, a device or the like; the archive is
            damaged or lacks `wanted`; or `folder` cannot be written. Nothing is left behind then.
    """
    target, staging = folder / Path(wanted).name, folder / f".{archive.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        for member, data in _members(archive):
            path = staging / member
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(data, file, BLOCK)
        if not (staging / wanted).is_dir():
            raise InputError(f"{archive} holds no folder {wanted}")
        for path in sorted((staging / wanted).parent.iterdir()):
            place = folder / path.name
            if path.is_file() and not place.exists():
                path.replace(place)
        (staging / wanted).replace(target)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise InputError(f"{archive} is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"cannot unpack {archive} into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _members(archive: Path) -> Iterator[tuple[str, Any]]:
    """(name, open file) of each regular file of an archive, each checked before it is handed out.

    The caller writes them itself, instead of `TarFile.extract`, so that neither owners, modes nor links come out of an
    archive. This is stricter than tarfile's `filter="data"`, which the first releases of Python 3.11 lack.
    """
    with tarfile.open(archive, "r:*") as tar:
        progress = tqdm(tar, desc=f"unpacking {archive.name}", unit=" files", disable=None)
        for member in progress:
            name = member.name.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
                raise InputError(f"{archive}: member {member.name!r} lies outside of the archive's folder")
            if not (member.isfile() or member.isdir()):
                raise InputError(f"{archive}: member {member.name!r} is neither a file nor a folder")
            if member.isfile():
                yield name, tar.extractfile(member)
        while tar.fileobj is not None and tar.fileobj.read(BLOCK):
            pass  # to the end, where a compressed file's own checksum is compared
