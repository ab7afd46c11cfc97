"""LibriSpeech, and every corpus in its layout: PART/SPEAKER/CHAPTER/{*.flac, SPEAKER-CHAPTER.trans.txt}.

LibriSpeech: V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015; https://www.openslr.org/12 and, for the small
parts train-clean-5 and dev-clean-2, https://www.openslr.org/31. CC BY 4.0.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.errors import InputError
from data_prep.download import Archive, fetch, unpack
from data_prep.reading import walk
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
    "dev-clean-2": 1089,
}
"""Utterances of whole parts: a word error rate on fewer is not one on that part."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is LibriSpeech's own to a command line."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="the corpus: a folder with parts (train-clean-5, dev-clean, ...), or the folder that holds LibriSpeech/; "
        "with --download, where to put it: into LibriSpeech/, unless parts are in SRC itself",
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
    root = _root(source, options.parts, options.download)
    if not options.parts:
        there = ", ".join(_parts_in(root)) or "none"
        raise InputError(f"name the parts to prepare, with --train, --dev or --test; parts in {source}: {there}")
    if options.download:
        for part in options.parts:
            download_part(part, root, source, options.base_url, keep_archive=not options.remove_archives)
    return read_folder(root, options.parts)


def download_part(part: str, root: Path, archives: Path, base_url: str = BASE_URL, keep_archive: bool = True) -> Path:
    """Fetch one part to the folder `archives`, check it and unpack it into `root`, unless it is there; return it.

    Raises:
        InputError: the part has no archive, or fetching, checking or unpacking it failed.
    """
    present = root / part
    if present.is_dir():
        print(f"{part}: already in {root}{_lacking(present)}", file=sys.stderr)
        return present
    if part not in ARCHIVES:
        raise InputError(f"--download knows no part {part!r} of LibriSpeech (known: {', '.join(ARCHIVES)})")
    path, md5 = ARCHIVES[part]
    archive = fetch(f"{base_url.rstrip('/')}/{path}", archives / f"{part}.tar.gz", md5)
    unpacked = unpack(archive, root, f"LibriSpeech/{part}")
    if not keep_archive:
        archive.unlink()
    return unpacked


def _lacking(part: Path) -> str:
    """What a part that is there lacks of LibriSpeech's, and how to get it; empty if nothing."""
    official = OFFICIAL_UTTERANCES.get(part.name, 0)
    found = sum(Path(name).suffix.lower() in AUDIO_SUFFIXES for _, names in walk(part) for name in names)
    if found >= official:
        return ""
    return f", without {official - found} of its {official} utterances; move {part} away to fetch all of them"


def read_folder(folder: Path, parts: Sequence[str]) -> tuple[list[Utterance], list[Problem]]:
    """List the utterances of the named parts of a folder in LibriSpeech's layout (`folder` or `folder`/LibriSpeech).

    Links are followed, once; hidden files and folders are left out.

    Returns:
        Utterances sorted by part and id, `text` None where a file has no transcript; and problems: transcripts
        without audio, unreadable files and lines, parts with fewer utterances than LibriSpeech's.

    Raises:
        InputError: the folder or a part is missing, a folder cannot be read, or a part holds no audio, or audio more
            than two folders deep.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} (--download makes one)")
    root = _root(folder, parts)
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


def _root(folder: Path, parts: Sequence[str], download: bool = False) -> Path:
    """The folder of the parts: `folder` if it holds one or is called LibriSpeech, else the LibriSpeech in it."""
    inside = folder / "LibriSpeech"
    if any((folder / part).is_dir() for part in (*parts, *ARCHIVES)):
        return folder
    called_so = inside.name in (folder.name, folder.resolve().name)
    return inside if inside.is_dir() or (download and not called_so) else folder


def _parts_in(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read_part(folder: Path) -> tuple[list[Utterance], list[Problem]]:
    """Everything under one part: one utterance for each audio file and each transcript that has one."""
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for place, names in walk(folder):
        audio = [place / name for name in names if Path(name).suffix.lower() in AUDIO_SUFFIXES]
        lines: list[tuple[str, str]] = []
        for name in (name for name in names if name.endswith(".trans.txt")):
            found, wrong = _read_transcripts(place / name)
            lines += found
            problems += wrong
        if audio:
            utterances += _pair(audio, lines, _speaker(place, folder), folder.name)
        stems = {path.stem for path in audio}
        problems += [
            Problem(identifier, "missing-audio", f"{place} has a transcript for it and no audio file", refused=True)
            for identifier, _ in lines
            if identifier not in stems
        ]
    return sorted(utterances, key=lambda u: (u.id, str(u.audio))), problems


def _speaker(place: Path, part: Path) -> str | None:
    """The speaker whose folder of `part` audio in `place` is in; None for audio in the part itself."""
    below = place.relative_to(part).parts
    if len(below) > 2:
        raise InputError(
            f"{place} is {len(below)} folders below the part {part}, and audio is at most two below it, in "
            f"SPEAKER/CHAPTER: was the part unpacked a folder too deep?"
        )
    return below[0] if below else None


def _pair(audio: Sequence[Path], lines: Sequence[tuple[str, str]], speaker: str | None, part: str) -> list[Utterance]:
    """One utterance for each pair of file and transcript, so that what is there twice is listed twice."""
    texts: dict[str, list[str | None]] = {}
    for identifier, text in lines:
        texts.setdefault(identifier, []).append(text)
    return [Utterance(path.stem, path, text, speaker, part) for path in audio for text in texts.get(path.stem, [None])]


def _read_transcripts(path: Path) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(id, text) of each line of a `*.trans.txt` file; what cannot be read, or is not UTF-8, is a problem."""
    lines: list[tuple[str, str]] = []
    problems: list[Problem] = []
    try:
        content = path.read_bytes()
    except OSError as error:
        return [], [Problem(str(path), "unreadable-text", f"cannot be read ({error.strerror})", refused=True)]
    for number, line in enumerate(content.splitlines(), start=1):
        identifier, _, text = line.partition(b" ")
        try:
            if identifier:
                lines.append((identifier.decode("utf-8"), text.decode("utf-8")))
        except UnicodeDecodeError as error:
            subject = identifier.decode("utf-8", "backslashreplace")
            detail = f"{path}, line {number}, is not UTF-8 (byte {error.start} of the text)"
            problems.append(Problem(subject, "unreadable-text", detail, refused=True))
    return lines, problems
