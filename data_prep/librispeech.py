"""LibriSpeech, and every corpus in its layout: PART/SPEAKER/CHAPTER/{*.flac, SPEAKER-CHAPTER.trans.txt}.

LibriSpeech: V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015; https://www.openslr.org/12 and, for the small
parts train-clean-5 and dev-clean-2, https://www.openslr.org/31. CC BY 4.0.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.errors import InputError
from data_prep.download import Archive, fetch, unpack
from data_prep.utterance import Problem, Utterance

SUMMARY = "LibriSpeech and mini LibriSpeech: downloaded parts, or a folder in LibriSpeech's layout"

AUDIO_SUFFIXES = frozenset({".flac", ".opus", ".ogg", ".wav"})

# The MD5 sums are published beside the archives, in https://www.openslr.org/resources/12/md5sum.txt and
# https://www.openslr.org/resources/31/md5sum.txt.
ARCHIVES = {
    name: Archive(f"{resource}/{name}.tar.gz", md5)
    for name, resource, md5 in (
        ("train-clean-100", 12, "2a93770f6d5c6c964bc36631d331a522"),
        ("train-clean-360", 12, "c0e676e450a7ff2f54aeade5171606fa"),
        ("train-other-500", 12, "d1a0fd59409feb2c614ce4d30c387708"),
        ("dev-clean", 12, "42e2234ba48799c1f50f24a7926300a1"),
        ("dev-other", 12, "c8d0bcc9cca99d4f8b62fcc847357931"),
        ("test-clean", 12, "32fa31d27d2e1cad72775fee3f4849a9"),
        ("test-other", 12, "fb5a50374b501bb3bac4815ee91d3135"),
        ("train-clean-5", 31, "5df7d4e78065366204ca6845bb08f490"),
        ("dev-clean-2", 31, "6d7ab67ac6a1d2c993d050e16d61080d"),
    )
}
"""Downloadable parts by name."""

BASE_URL = "https://www.openslr.org/resources"
MIRRORS = "https://us.openslr.org/resources, https://openslr.elda.org/resources"

OFFICIAL_UTTERANCES = {
    "train-clean-100": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
    "train-clean-5": 1519,
}
"""Utterances of whole parts: a word error rate on fewer is not one on that part."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is LibriSpeech's own to a command line."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="the corpus: a folder with parts (train-clean-5, dev-clean, ...), or the folder that holds LibriSpeech/; "
        "with --download, where to put it",
    )
    group = parser.add_argument_group("download")
    group.add_argument(
        "--download",
        action="store_true",
        help=f"fetch the parts that SRC lacks, resuming what was interrupted; known: {', '.join(ARCHIVES)}",
    )
    group.add_argument(
        "--base-url", default=BASE_URL, metavar="URL", help=f"where to fetch from (default %(default)s; also {MIRRORS})"
    )
    group.add_argument("--remove-archives", action="store_true", help="delete each .tar.gz once it is unpacked")


def read(options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of the parts that `options.parts` names, downloaded first if `options.download` says so.

    Raises:
        InputError: no part is named, one is neither there nor known, or a download fails.
    """
    source = options.source
    if not options.parts:
        there = ", ".join(_parts_in(_root(source))) or "none"
        raise InputError(f"name the parts to prepare, with --train, --dev or --test; parts in {source}: {there}")
    if options.download:
        for part in options.parts:
            download_part(part, source, options.base_url, keep_archive=not options.remove_archives)
    return read_folder(source, options.parts)


def download_part(part: str, folder: Path, base_url: str = BASE_URL, keep_archive: bool = True) -> Path:
    """Fetch, check and unpack one part into `folder`/LibriSpeech/`part`, unless it is there; return that folder.

    Raises:
        InputError: the part has no archive, or fetching, checking or unpacking it failed.
    """
    present = _root(folder) / part
    if present.is_dir():
        print(f"{part}: already in {present.parent}", file=sys.stderr)
        return present
    if part not in ARCHIVES:
        raise InputError(f"--download knows no part {part!r} of LibriSpeech (known: {', '.join(ARCHIVES)})")
    path, md5 = ARCHIVES[part]
    archive = fetch(f"{base_url.rstrip('/')}/{path}", folder / f"{part}.tar.gz", md5)
    unpacked = unpack(archive, folder, f"LibriSpeech/{part}")
    if not keep_archive:
        archive.unlink()
    return unpacked


def read_folder(folder: Path, parts: Sequence[str]) -> tuple[list[Utterance], list[Problem]]:
    """List the utterances of the named parts of a folder in LibriSpeech's layout (`folder` or `folder`/LibriSpeech).

    Returns:
        Utterances sorted by part and id, `text` None where a file has no transcript; and problems: transcripts
        without audio, unreadable lines, parts with fewer utterances than LibriSpeech's.

    Raises:
        InputError: the folder or a part is missing, or a part holds no audio.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} (--download makes one)")
    root = _root(folder)
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for part in sorted(set(parts)):
        if not (root / part).is_dir():
            there = ", ".join(_parts_in(root)) or "none"
            hint = "; --download fetches it" if part in ARCHIVES else ""
            raise InputError(f"{root} has no part {part!r} (parts there: {there}){hint}")
        found, wrong = _read_part(root / part)
        if not found:
            raise InputError(f"{root / part} holds no audio ({', '.join(sorted(AUDIO_SUFFIXES))})")
        utterances += found
        problems += wrong
        official = OFFICIAL_UTTERANCES.get(part, 0)
        if len(found) < official:
            detail = f"{root / part} holds {len(found)} of the {official} utterances of LibriSpeech's {part}"
            problems.append(Problem(part, "incomplete-part", detail, refused=False))
    return utterances, problems


def _root(folder: Path) -> Path:
    return folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder


def _parts_in(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read_part(folder: Path) -> tuple[list[Utterance], list[Problem]]:
    """Everything under one part: one utterance for each audio file and each transcript that has one."""
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        audio = [Path(place) / name for name in sorted(names) if Path(name).suffix.lower() in AUDIO_SUFFIXES]
        lines: list[tuple[str, str]] = []
        for name in sorted(name for name in names if name.endswith(".trans.txt")):
            found, wrong = _read_transcripts(Path(place) / name)
            lines += found
            problems += wrong
        relative = Path(place).relative_to(folder)
        speaker = relative.parts[0] if relative.parts else None
        utterances += _pair(audio, lines, speaker, folder.name)
        stems = {path.stem for path in audio}
        problems += [
            Problem(identifier, "missing-audio", f"{place} has a transcript for it and no audio file", refused=True)
            for identifier, _ in lines
            if identifier not in stems
        ]
    return sorted(utterances, key=lambda u: (u.id, str(u.audio))), problems


def _pair(audio: Sequence[Path], lines: Sequence[tuple[str, str]], speaker: str | None, part: str) -> list[Utterance]:
    """One utterance for each pair of file and transcript, so that what is there twice is listed twice."""
    texts: dict[str, list[str | None]] = {}
    for identifier, text in lines:
        texts.setdefault(identifier, []).append(text)
    return [Utterance(path.stem, path, text, speaker, part) for path in audio for text in texts.get(path.stem, [None])]


def _read_transcripts(path: Path) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(id, text) of each line of a `*.trans.txt` file; lines that are not UTF-8 are problems."""
    lines: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        identifier, _, text = line.partition(b" ")
        try:
            if identifier:
                lines.append((identifier.decode("utf-8"), text.decode("utf-8")))
        except UnicodeDecodeError as error:
            subject = identifier.decode("utf-8", "backslashreplace")
            detail = f"{path}, line {number}, is not UTF-8 (byte {error.start} of the text)"
            problems.append(Problem(subject, "unreadable-text", detail, refused=True))
    return lines, problems
