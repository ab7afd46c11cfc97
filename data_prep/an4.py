"""AN4, Carnegie Mellon's small corpus of spelled words, numbers and commands, in its original layout.

    etc/an4_{train,test}.fileids          an4_clstk/fash/an251-fash-b
    etc/an4_{train,test}.transcription    <s> YES </s> (an251-fash-b)
    wav/an4_clstk/fash/an251-fash-b.flac  or .wav, .sph (NIST SPHERE), .raw (16 kHz, 16 bit, big-endian, no header)

A. Acero, "Acoustical and Environmental Robustness in Automatic Speech Recognition", 1990; recorded in 1991. The
official split has 948 utterances of 74 speakers to train on and 130 of 10 others to test, and none to tune on.
"""

import argparse
import io
import re
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr.data.audio import AudioError
from asr.errors import InputError
from asr.files import atomic_writer
from data_prep.reading import walk
from data_prep.utterance import Problem, Utterance

SUMMARY = "AN4 in its original layout (etc/ and wav/), as FLAC, WAV, NIST SPHERE or raw audio"

PARTS = ("train", "test")

DEFAULT_SPLITS = {"train": ("train",), "test": ("test",)}
DEFAULT_HELD_OUT = {"dev": 8}

AUDIO_SUFFIXES = (".flac", ".wav", ".sph", ".raw")
RAW_RATE = 16000

_FOLDERS = {"an4_clstk": "train", "an4test_clstk": "test"}
_TRANSCRIPT = re.compile(r"(.*?)\(([^()\s]+)\)\s*")
_SENTENCE_MARKS = re.compile(r"</?s>")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is AN4's own to a command line."""
    parser.add_argument("source", type=Path, metavar="SRC", help="the folder with etc/ and wav/, or the one with an4/")
    parser.add_argument(
        "--unpack-raw",
        type=Path,
        metavar="FOLDER",
        help="for the raw edition, whose files have no header: write them as FLAC into FOLDER and use those",
    )


def read(options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of both parts, "train" and "test". See `read_folder` for errors."""
    return read_folder(options.source, options.unpack_raw)


def read_folder(folder: Path, unpack_raw: Path | None = None) -> tuple[list[Utterance], list[Problem]]:
    """List AN4 in `folder` (or `folder`/an4).

    Args:
        folder: with etc/ and wav/.
        unpack_raw: where FLAC copies of headerless files go; one that is there is used if it is of the same samples.

    Returns:
        Utterances sorted by part and id, `text` None for audio without transcript; and problems: transcripts without
        audio, and lines that are not transcripts.

    Raises:
        InputError: the folder or a file of etc/ is missing, a folder cannot be read, a file is not text, or audio has
            no header and `unpack_raw` is None.
    """
    root = folder / "an4" if (folder / "an4" / "etc").is_dir() else folder
    audio, problems = _with_headers(_audio_files(root / "wav"), root / "wav", unpack_raw)
    utterances: list[Utterance] = []
    listed: set[str] = set()
    for part in PARTS:
        texts, wrong = _read_transcripts(root / "etc" / f"an4_{part}.transcription")
        problems += wrong
        fileids = [line.strip() for line in _lines(root / "etc" / f"an4_{part}.fileids") if line.strip()]
        listed |= set(fileids)
        for fileid in fileids:
            found = audio.get(fileid, root / "wav" / f"{fileid}{AUDIO_SUFFIXES[0]}")
            utterances.append(_utterance(fileid, found, texts.pop(Path(fileid).name, None), part))
        problems += [
            Problem(name, "missing-audio", f"an4_{part}.transcription has {name}, an4_{part}.fileids has no file", True)
            for name in texts
        ]
    for fileid in sorted(set(audio) - listed):
        part = _FOLDERS.get(fileid.partition("/")[0], "unlisted")
        utterances.append(_utterance(fileid, audio[fileid], None, part))
    return sorted(utterances, key=lambda u: (u.part, u.id, str(u.audio))), problems


def _utterance(fileid: str, audio: Path, text: str | None, part: str) -> Utterance:
    return Utterance(Path(fileid).name, audio, text, Path(fileid).parent.name or None, part)


def _audio_files(folder: Path) -> dict[str, Path]:
    """Audio by file id; of a file in several formats the first of `AUDIO_SUFFIXES`."""
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent}")
    if not folder.is_dir():
        raise InputError(f"{folder.parent} is not AN4: it has no folder wav/")
    found: dict[str, Path] = {}
    files = [place / name for place, names in walk(folder) for name in names if Path(name).suffix in AUDIO_SUFFIXES]
    for path in sorted(files, key=lambda path: AUDIO_SUFFIXES.index(path.suffix)):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}, which AN4 needs: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from error


def _read_transcripts(path: Path) -> tuple[dict[str, str | None], list[Problem]]:
    """Text by utterance id; lines without an id at their end, and ids that occur twice, are problems."""
    texts: dict[str, str | None] = {}
    problems = []
    for number, line in enumerate(_lines(path), start=1):
        match = _TRANSCRIPT.fullmatch(line)
        if match and match[2] not in texts:
            texts[match[2]] = _SENTENCE_MARKS.sub(" ", match[1]).strip()
        elif line.strip():
            reason = f"a second transcript of {match[2]}" if match else "no (utterance-id) at its end"
            problems.append(
                Problem(f"{path.name}, line {number}", "unreadable-text", f"{path}: {reason}: {line!r}", True)
            )
    return texts, problems


def _with_headers(audio: dict[str, Path], wav: Path, folder: Path | None) -> tuple[dict[str, Path], list[Problem]]:
    """The same files, but those without a header are FLAC copies in `folder`, except if they cannot be read."""
    raw = {fileid: path for fileid, path in audio.items() if path.suffix == ".raw"}
    if not raw:
        return audio, []
    if folder is None:
        raise InputError(
            f"{wav} has {len(raw)} .raw files, which have no header and cannot be used as they are: "
            "--unpack-raw FOLDER writes them as FLAC (or get AN4's edition in NIST SPHERE)"
        )
    copies, problems = {}, []
    for fileid, path in tqdm(sorted(raw.items()), desc="raw to FLAC", unit=" files", disable=None):
        try:
            _write_if_changed(folder / f"{fileid}.flac", _flac(path))
            copies[fileid] = folder / f"{fileid}.flac"
        except AudioError as error:
            problems.append(Problem(path.stem, error.kind, str(error), True))
    return {**audio, **copies}, problems


def _flac(raw: Path) -> bytes:
    """16 kHz, 16 bit, big-endian mono samples without a header -> FLAC, losslessly."""
    try:
        content = raw.read_bytes()
    except OSError as error:
        raise AudioError(raw, "undecodable", f"cannot be read ({error.strerror})") from error
    if len(content) % 2 or not content:
        detail = f"its {len(content)} bytes are not a whole number of 16-bit samples"
        raise AudioError(raw, "truncated" if content else "empty-file", detail)
    packed = io.BytesIO()
    soundfile.write(packed, np.frombuffer(content, ">i2").astype(np.int16), RAW_RATE, format="FLAC")
    return packed.getvalue()


def _write_if_changed(path: Path, content: bytes) -> None:
    """Write a file, unless it holds that already: what was verified by its time stays so."""
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_writer(path) as file:
            file.write(content)
