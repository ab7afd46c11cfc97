"""Features computed once and read back: a flat float16 file and an index per (cuts, speed, spectrum).

A store is a folder with `features.f16` (frames x mel bins, little-endian, before normalisation, utterances one after
the other) and `index.json`, which is written last: where it is, the store is whole. The folder's name holds a digest
of all that determines the content, so that changed cuts, audio files or options lead to another store.

Half precision keeps 11 significant bits: a stored value differs from the computed one by at most 2 ** -11 of its
magnitude, that is by less than 0.008 for the log-mels of audio up to full scale (their magnitude is below 16.2).
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from tqdm import tqdm

from asr.data.augmentation import change_speed
from asr.data.cuts import audio_file, load_waveform
from asr.data.features import FeatureConfig, FeatureStatistics, LogMel, StatisticsAccumulator
from asr.data.loading import WorkerPool
from asr.errors import InputError
from asr.files import atomic_writer, read_json, write_json

log = logging.getLogger(__name__)

VERSION = 1
"""Part of every digest; raised when the same inputs would give other bytes."""


class FeatureStore:
    """Features by utterance id, mapped into memory, so that processes share one copy.

    Raises:
        InputError: the folder holds no whole store.
    """

    def __init__(self, folder: Path) -> None:
        index = read_json(folder / "index.json")
        try:
            self.num_mels = int(index["num_mels"])
            ends = np.cumsum(index["frames"], dtype=np.int64)
            self._ranges = dict(zip(index["ids"], zip(ends - index["frames"], ends, strict=True), strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / 'index.json'} is not the index of a store: {error}") from error
        path = folder / "features.f16"
        expected = int(ends[-1]) * self.num_mels * 2
        if not path.is_file() or path.stat().st_size != expected:
            raise InputError(f"{path}: not the {expected} bytes that its index promises")
        # Mapped copy-on-write, since torch does not know of memory that cannot be written; nothing is.
        self._frames = torch.from_numpy(np.memmap(path, dtype="<f2", mode="c", shape=(int(ends[-1]), self.num_mels)))

    def __getitem__(self, utterance_id: str) -> Tensor:
        """Features (T, M) float32 before normalisation."""
        first, end = self._ranges[utterance_id]
        return self._frames[first:end].float()


def stored_features(
    folder: Path, name: str, cuts: Iterable[MonoCut], speed: float, features: FeatureConfig, num_workers: int
) -> FeatureStore:
    """Open the store of these cuts at a speed in `folder`, computing it first if it is not there or not whole.

    Processes that ask at the same time wait for the first. A progress bar shows the work.

    Args:
        folder: of all stores.
        name: of the split, for people.
        cuts: the utterances.
        speed: factor at which they are played.
        features: of which the spectrum counts, not the normalisation.
        num_workers: processes that compute.

    Raises:
        InputError: audio cannot be used, or the store cannot be written; the utterance or file is named.
    """
    cuts = list(cuts)
    store = folder / f"{name}-speed{speed:g}-{_digest(cuts, features, speed=speed)}"
    with _exclusive(store):
        with contextlib.suppress(InputError):
            return FeatureStore(store)
        for leftover in store.glob(".*.part"):  # of a process that was killed
            leftover.unlink()
        log.info("storing features of %d utterances in %s", len(cuts), store)
        frames = []
        with atomic_writer(store / "features.f16") as file:
            for matrix in _compute(cuts, features, speed, num_workers, f"features of {name}, speed {speed:g}"):
                file.write(matrix.astype("<f2").tobytes())
                frames.append(len(matrix))
        index = {"num_mels": features.num_mels, "speed": speed, "features": features.spectrum()}
        write_json(store / "index.json", {**index, "ids": [cut.id for cut in cuts], "frames": frames})
        return FeatureStore(store)


def statistics_of(
    folder: Path, name: str, cuts: Iterable[MonoCut], features: FeatureConfig, num_workers: int
) -> FeatureStatistics:
    """Feature statistics of these cuts, computed once and kept in `folder`. Arguments and errors: `stored_features`."""
    cuts = list(cuts)
    store = folder / f"{name}-statistics-{_digest(cuts, features)}"
    path = store / "feature_stats.json"
    with _exclusive(store):
        if not path.is_file():
            accumulator = StatisticsAccumulator(features.num_mels)
            for matrix in _compute(cuts, features, 1.0, num_workers, f"feature statistics of {name}"):
                accumulator.add(matrix)
            write_json(path, {"features": features.spectrum(), **asdict(accumulator.result())})
        found = read_statistics(path, features)
        if found is None:
            raise InputError(f"{path}: of other features than its folder's name says; delete the folder")
        return found


def read_statistics(path: Path, features: FeatureConfig) -> FeatureStatistics | None:
    """The statistics in a `feature_stats.json`; None if they are of other features.

    Raises:
        InputError: the file cannot be read or holds something else; the message names it and what was expected.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("features"), dict):
        found = f"the keys {sorted(data)}" if isinstance(data, dict) else type(data).__name__
        raise InputError(f"{path}: expected an object with 'features', 'mean', 'std' and 'frames', found {found}")
    if data["features"] != features.spectrum():
        return None
    for name in ("mean", "std"):
        values, least = data.get(name), 0.0 if name == "std" else -math.inf
        if not isinstance(values, list) or len(values) != features.num_mels or not all(_is(v, least) for v in values):
            of_std = ", not negative" if name == "std" else ""
            expected = f"{features.num_mels} numbers{of_std}, one for each mel bin"
            raise InputError(f"{path}: {name!r} must be {expected}, found {values!r:.100}")
    frames = data.get("frames")
    if not isinstance(frames, int) or not _is(frames, 1):
        raise InputError(f"{path}: 'frames' must be how many were counted, at least 1, found {frames!r:.100}")
    return FeatureStatistics(tuple(map(float, data["mean"])), tuple(map(float, data["std"])), frames)


def _is(value: Any, least: float) -> bool:
    """Whether it is a finite number of at least `least`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least


def _compute(
    cuts: list[MonoCut], features: FeatureConfig, speed: float, num_workers: int, purpose: str
) -> Iterator[np.ndarray]:
    pool = WorkerPool(_Unnormalized(cuts, features, speed), num_workers)
    try:
        yield from tqdm(pool.run(range(len(cuts))), desc=purpose, total=len(cuts), unit="utt", disable=None)
    finally:
        pool.close()


class _Unnormalized:
    """Index of a cut -> its features (T, M) float32, before normalisation."""

    def __init__(self, cuts: list[MonoCut], features: FeatureConfig, speed: float) -> None:
        self._cuts = cuts
        self._speed = speed
        self._sample_rate = features.sample_rate
        self._log_mel = LogMel(FeatureConfig(**features.spectrum(), normalization="none"))

    @torch.no_grad()
    def __getitem__(self, index: int) -> np.ndarray:
        waveform = torch.from_numpy(load_waveform(self._cuts[index], self._sample_rate))
        return self._log_mel(change_speed(waveform, self._speed)).numpy()


def _digest(cuts: Iterable[MonoCut], features: FeatureConfig, **more: Any) -> str:
    """A digest of the cuts, of their files' sizes and times, and of what is computed from them."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([VERSION, features.spectrum(), more], sort_keys=True).encode())
    for cut in cuts:
        path = audio_file(cut)
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"utterance {cut.id!r}: {path}: {error.strerror}") from error
        row = [cut.id, cut.start, cut.duration, cut.channel, path.name, status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror} (data.storage_folder chooses another)") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for the process that writes %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
