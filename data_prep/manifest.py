"""Writing a prepared folder: manifests of lhotse cuts, statistics and records, all of them or none."""

import contextlib
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from asr.data.audio import read_audio
from asr.data.features import FeatureConfig, LogMel, StatisticsAccumulator
from asr.errors import InputError
from asr.files import read_json, write_json, write_jsonl
from data_prep.measure import Measurement
from data_prep.parallel import in_order
from data_prep.utterance import Utterance


class Entry(NamedTuple):
    """An accepted utterance with its normalised text, and the samples (per channel) of its whole file."""

    utterance: Utterance
    text: str
    measurement: Measurement
    file_samples: int

    @property
    def id(self) -> str:
        """The utterance's id."""
        return self.utterance.id


def make_folder(folder: Path) -> None:
    """Make the output folder.

    Raises:
        InputError: it cannot be made; for one, because a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the output folder {folder}: {error.strerror}") from error


def write(folder: Path, splits: Mapping[str, Sequence[Entry]], files: Mapping[str, Any]) -> list[str]:
    """Write `SPLIT.jsonl.gz` for each split and the JSON `files`: all of them, or none if one cannot be written.

    Manifests of splits that a former preparation of the same folder had, and this one has not, are removed.

    Returns:
        The names of those removed.

    Raises:
        InputError: a file cannot be written; the message names it.
    """
    staging = folder / ".preparing"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for split, entries in splits.items():
            rows = (cut(entry, folder) for entry in sorted(entries, key=lambda entry: entry.id))
            write_jsonl(staging / f"{split}.jsonl.gz", rows)
        for name, content in files.items():
            write_json(staging / name, content)
        removed = [name for name in _former_manifests(folder) if not (staging / name).exists()]
        for path in sorted(staging.iterdir()):
            path.replace(folder / path.name)
        for name in removed:
            (folder / name).unlink(missing_ok=True)
        for name in {"tokens.json", "feature_stats.json"} - set(files):
            (folder / name).unlink(missing_ok=True)  # of another train split
    except OSError as error:
        raise InputError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return removed


def _former_manifests(folder: Path) -> list[str]:
    with contextlib.suppress(InputError, AttributeError, TypeError):
        splits = read_json(folder / "selection.json").get("splits", {})
        return [name for split in sorted(splits) if (folder / (name := f"{split}.jsonl.gz")).is_file()]
    return []


def cut(entry: Entry, folder: Path) -> dict[str, Any]:
    """The lhotse MonoCut of an utterance, as plain data, its audio path relative to `folder`."""
    from lhotse import MonoCut, Recording, SupervisionSegment
    from lhotse.audio import AudioSource

    utterance, found = entry.utterance, entry.measurement
    path = relative_path(utterance.audio, folder)
    whole = utterance.start == 0 and utterance.duration is None
    recording = Recording(
        id=utterance.id if whole else path,
        sources=[AudioSource("file", list(range(found.channels)), path)],
        sampling_rate=found.sample_rate,
        num_samples=entry.file_samples,
        duration=entry.file_samples / found.sample_rate,
    )
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=0.0,
        duration=found.seconds,
        text=entry.text,
        speaker=utterance.speaker,
    )
    return MonoCut(
        id=utterance.id,
        start=utterance.start,
        duration=found.seconds,
        channel=0,
        supervisions=[supervision],
        recording=recording,
    ).to_dict()


def relative_path(audio: Path, folder: Path) -> str:
    """`audio` as seen from `folder`, with links in either folder's path followed (`..` leads out of a link's target).

    >>> relative_path(Path("/corpora/a/b.flac"), Path("/prepared/a"))
    '../../corpora/a/b.flac'
    """
    return Path(os.path.relpath(_resolve(audio.parent), _resolve(folder)), audio.name).as_posix()


@functools.lru_cache(maxsize=4096)
def _resolve(folder: Path) -> Path:
    return folder.resolve()


def feature_statistics(entries: Sequence[Entry], config: FeatureConfig, jobs: int) -> dict[str, Any]:
    """Statistics of the features of all utterances (the content of `feature_stats.json`).

    Each utterance is reduced by itself and they are merged in the order of their ids, whatever `jobs` is.
    """
    utterances = [entry.utterance for entry in sorted(entries, key=lambda entry: entry.id)]
    total = StatisticsAccumulator(config.num_mels)
    reduce_one = functools.partial(_reduce, config=config)
    with contextlib.closing(in_order(reduce_one, utterances, jobs, "feature statistics")) as reduced:
        for one in reduced:
            total.merge(one)
    return {"features": config.spectrum(), **asdict(total.result())}


def _reduce(utterance: Utterance, config: FeatureConfig) -> StatisticsAccumulator:
    waveform = read_audio(utterance.audio, utterance.start, utterance.duration)
    one = StatisticsAccumulator(config.num_mels)
    one.add(_log_mel(config).unnormalized(torch.from_numpy(waveform.samples[0])).numpy())
    return one


@functools.lru_cache(maxsize=1)
def _log_mel(config: FeatureConfig) -> LogMel:
    return LogMel(replace(config, normalization="none"))
