"""The embedded corpus: a robot's household commands spoken by free synthesisers, small enough to live in the package.

It is kept as Opus in LibriSpeech's layout and unpacked to FLAC when it is prepared, so that from there on it is read
like LibriSpeech. `embedded/README.md` says what is in it, how it was made, and under which licences.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asr.data.audio import read_audio
from asr.errors import InputError
from asr.files import read_json, write_json
from data_prep import librispeech
from data_prep.parallel import in_order
from data_prep.utterance import Problem, Utterance

SUMMARY = "the corpus that comes with this package: synthetic commands, no download"

CORPUS = Path(__file__).parent / "embedded" / "LibriSpeech"

DEFAULT_SPLITS = {
    "train": ("train-embedded",),
    "dev": ("dev-embedded",),
    "test": ("test-embedded",),
}
"""What is prepared when no split is named."""

SAMPLE_RATE = 16000
RECORD = "unpacked.json"
"""Beside the unpacked parts: which corpus they were unpacked from, and how many files that gave."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the corpus has no options of its own."""


def read(options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of the corpus, unpacked to `options.output`/audio/LibriSpeech unless they are there already.

    Raises:
        InputError: a part that is not there was named, a file of the corpus is damaged, or OUT cannot be written.
    """
    folder = unpack(CORPUS, options.output / "audio" / "LibriSpeech", options.jobs)
    parts = options.parts or [part for some in DEFAULT_SPLITS.values() for part in some]
    return librispeech.read_folder(folder, parts)


def unpack(corpus: Path, target: Path, jobs: int) -> Path:
    """Copy `corpus` to the folder `target`, its Opus files as 16-bit FLAC at 16 kHz; return `target`.

    The folder is whole or absent: it is written beside its place and renamed into it. One that was unpacked from the
    same corpus before and has lost no file is left as it is.

    Raises:
        InputError: a file cannot be decoded or is not mono at 16 kHz, or `target` cannot be written.
    """
    sources = sorted(path for path in corpus.rglob("*") if path.is_file())
    record: dict[str, str | int] = {"corpus": _digest(corpus, sources), "files": len(sources)}
    if _is_unpacked(target, record):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            fresh = Path(temporary) / "fresh"
            convert = functools.partial(_convert, corpus=corpus, target=fresh)
            with contextlib.closing(in_order(convert, sources, jobs, "unpacking")) as converted:
                for _ in converted:
                    pass
            write_json(fresh / RECORD, record)
            if target.exists():
                target.rename(Path(temporary) / "former")
            fresh.rename(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    return target


def _digest(corpus: Path, sources: list[Path]) -> str:
    """A hash of all names and contents."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sources:
        content = hashlib.blake2b(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(corpus).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _is_unpacked(target: Path, record: dict[str, str | int]) -> bool:
    """Whether `target` was unpacked from that corpus, and as many files are there as it gave."""
    if not (target / RECORD).is_file() or read_json(target / RECORD) != record:
        return False
    there = sum(path.is_file() for path in target.rglob("*"))
    return there >= int(record["files"]) + 1


def _convert(source: Path, corpus: Path, target: Path) -> None:
    """Write the copy of one file of the corpus."""
    copy = target / source.relative_to(corpus)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".opus":
        shutil.copyfile(source, copy)
        return
    samples, rate = read_audio(source)
    if (len(samples), rate) != (1, SAMPLE_RATE):
        raise InputError(f"{source}: {rate} Hz and {len(samples)} channels, expected {SAMPLE_RATE} Hz and one")
    whole = np.clip(np.round(samples[0] * 2.0**15), -(2**15), 2**15 - 1).astype(np.int16)
    packed = io.BytesIO()
    soundfile.write(packed, whole, SAMPLE_RATE, format="FLAC")
    copy.with_suffix(".flac").write_bytes(packed.getvalue())
