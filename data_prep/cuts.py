"""Existing lhotse cuts, of any of its recipes or of a former preparation."""

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lhotse import MonoCut, SupervisionSegment
from lhotse.cut.set import deserialize_cut

from asr.errors import InputError
from asr.files import read_jsonl
from data_prep.utterance import Problem, Utterance

SUMMARY = "existing lhotse cuts: JSON Lines of MonoCuts whose audio is files; several supervisions are taken apart"

SUFFIXES = (".jsonl.gz", ".jsonl")

TOLERANCE = 0.01
"""Seconds by which a supervision may reach beyond its cut, or into the next: rounding."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the cuts' own to a command line."""
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        metavar="SRC",
        help="manifests of cuts (.jsonl or .jsonl.gz), or folders with them; each is a part, called as its file",
    )
    parser.add_argument(
        "--audio-root",
        type=Path,
        metavar="FOLDER",
        help="what relative audio paths are relative to (default: the manifest's folder)",
    )


def read(options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of all manifests. See `read_manifest` for errors."""
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for manifest in _manifests(options.source):
        found, wrong = read_manifest(manifest, options.audio_root)
        utterances += found
        problems += wrong
    return utterances, problems


def _manifests(sources: Sequence[Path]) -> list[Path]:
    manifests = []
    for source in sources:
        found = _manifests_in(source) if source.is_dir() else [source]
        if not found:
            raise InputError(f"{source} holds no manifest ({', '.join(SUFFIXES)})")
        manifests += found
    parts: dict[str, Path] = {}
    for manifest in manifests:
        other = parts.setdefault(part_of(manifest), manifest)
        if other != manifest:
            raise InputError(f"{other} and {manifest} would both be the part {part_of(manifest)!r}")
    return manifests


def _manifests_in(folder: Path) -> list[Path]:
    """The manifests of a folder, without hidden files: an interrupted preparation leaves some."""
    try:
        return sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error


def part_of(manifest: Path) -> str:
    """The part that a manifest is: its name without suffix.

    >>> part_of(Path("data/librispeech_cuts_dev-clean.jsonl.gz"))
    'librispeech_cuts_dev-clean'

    Raises:
        InputError: it is not JSON Lines.
    """
    suffix = next((suffix for suffix in SUFFIXES if manifest.name.endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"{manifest} is not a manifest known here ({', '.join(SUFFIXES)})")
    return manifest.name.removesuffix(suffix)


def read_manifest(manifest: Path, audio_root: Path | None = None) -> tuple[list[Utterance], list[Problem]]:
    """List the utterances of a manifest.

    A cut with one supervision is an utterance as it stands. Of a cut with several, each supervision is one, called as
    the supervision; text and audio of one that reaches beyond its cut do not agree, and it is a problem.

    Args:
        manifest: lines of MonoCuts.
        audio_root: what relative audio paths are relative to; None is the manifest's folder.

    Returns:
        Utterances in the manifest's order; and one problem for each cut that is not a MonoCut (a MixedCut,
        PaddingCut, MultiCut), has no supervision, or whose audio is not a file of one channel, or is transformed. Its
        subject is the entry, since another manifest may have a good cut of the same id.

    Raises:
        InputError: the manifest is missing, truncated or not JSON, or holds no cuts.
    """
    part = part_of(manifest)
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for number, row in enumerate(read_jsonl(manifest), start=1):
        named = isinstance(row, dict) and "id" in row
        called = f"cut {row['id']!r}: " if named else ""
        try:
            cut = _parse(row)
            audio = (audio_root or manifest.parent) / _audio(cut)
            utterances += _utterances(cut, audio, part)
            problems += _overlaps(cut)
        except InputError as error:
            place = f"{manifest}, entry {number}"
            name = str(row["id"]) if named else None
            problems.append(Problem(place, "bad-row", f"{called}{error}", refused=True, utterance=name))
    if not utterances and not problems:
        raise InputError(f"{manifest} holds no cuts")
    return utterances, problems


def _parse(row: Any) -> MonoCut:
    kind = row.get("type") if isinstance(row, dict) else type(row).__name__
    if kind != "MonoCut":
        raise InputError(f"expected a lhotse MonoCut, found {kind!r}")
    try:
        cut = deserialize_cut(row)
        _settle_values(cut)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise InputError(f"not a valid MonoCut ({type(error).__name__}: {error})") from error
    if not cut.supervisions:
        raise InputError("the cut has no supervision, and so no text")
    if cut.start < 0 or not cut.duration > 0:
        raise InputError(f"start {cut.start} s and duration {cut.duration} s do not make an utterance")
    return cut


def _settle_values(cut: MonoCut) -> None:
    """Make an id or a speaker that is an integer its text; lhotse takes every value as it comes.

    Raises:
        TypeError: another value is not of its kind.
    """
    times = [(cut.start, cut.duration), *((s.start, s.duration) for s in cut.supervisions)]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in itertools.chain(*times)):
        raise TypeError("start and duration must be finite numbers")
    for owner, name in [(cut, "id"), *itertools.product(cut.supervisions, ("id", "speaker", "text"))]:
        value = getattr(owner, name)
        if type(value) is int and name != "text":
            setattr(owner, name, str(value))
        elif not isinstance(value, str) and (value is not None or name == "id"):
            raise TypeError(f"{name} must be text, got {value!r}")


def _audio(cut: MonoCut) -> str:
    """The file with the cut's audio."""
    if cut.recording is None:
        raise InputError("the cut has no recording, and so no audio")
    if cut.recording.transforms:
        raise InputError("lhotse's lazy transforms of audio are not applied here: save the audio with them")
    if not cut.recording.sources:
        raise InputError("its recording has no source, and so no audio")
    (source, *others) = cut.recording.sources
    if source.type != "file":
        raise InputError(f"its audio must be a file, found a source of type {source.type!r}")
    if others or len(source.channels) != 1:
        channels = sum(len(source.channels) for source in cut.recording.sources)
        raise InputError(f"its recording has {channels} channels: save channel {cut.channel} as a file of its own")
    return str(source.source)


def _utterances(cut: MonoCut, audio: Path, part: str) -> Iterator[Utterance]:
    for supervision in cut.supervisions:
        if supervision.start < -TOLERANCE or supervision.end > cut.duration + TOLERANCE:
            raise InputError(
                f"supervision {supervision.id!r} is from {supervision.start} s to {supervision.end} s of a cut of "
                f"{cut.duration} s, so that the cut lacks audio of its text"
            )
    if len(cut.supervisions) == 1:
        (supervision,) = cut.supervisions
        yield Utterance(
            cut.id, audio, supervision.text, supervision.speaker, part, float(cut.start), float(cut.duration)
        )
        return
    for supervision in cut.supervisions:
        start = max(0.0, cut.start + supervision.start)
        yield Utterance(
            supervision.id, audio, supervision.text, supervision.speaker, part, round(start, 8), supervision.duration
        )


def _overlaps(cut: MonoCut) -> Iterator[Problem]:
    """Supervisions that begin before an earlier one has ended."""
    last: SupervisionSegment | None = None
    for supervision in sorted(cut.supervisions, key=lambda s: (s.start, s.id)):
        if last is not None and supervision.start < last.end - TOLERANCE:
            detail = f"begins {last.end - supervision.start:.2f} s before {last.id!r} ends"
            yield Problem(supervision.id, "overlap", detail, refused=False)
        if last is None or supervision.end > last.end:
            last = supervision
