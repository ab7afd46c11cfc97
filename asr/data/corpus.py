"""A prepared corpus folder: its splits, its token set, its statistics, and what must hold between them."""

import bisect
import functools
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lhotse import CutSet, MonoCut
from torch import Tensor

from asr.data.augmentation import samples_at_speed
from asr.data.cuts import audio_file, read_cuts, text_of
from asr.data.features import FeatureConfig, FeatureStatistics
from asr.data.sampling import enumerate_some
from asr.data.store import read_statistics
from asr.data.tokens import Tokenizer, minimum_frames, read_tokenizer
from asr.errors import InputError
from asr.files import read_json

TRAIN = "train"
"""The split of which preparation computes the feature statistics."""

TOLERANCE = 0.01
"""Seconds that adjacent stretches of a recording may share: rounding."""


class PreparedCorpus:
    """The folder that `asr-prepare` writes. Everything is read when it is first asked for.

    Args:
        root: the folder.

    Raises:
        InputError: (when asked) a file is missing or not what it should be.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def _read(self, name: str) -> Any:
        self._check_root()
        return read_json(self.root / name)

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise InputError(f"data.root {str(self.root)!r} is not a folder; prepare a corpus with asr-prepare")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Text <-> token ids, by `tokens.json`."""
        self._check_root()
        return read_tokenizer(self.root / "tokens.json")

    @property
    def token_data(self) -> dict[str, Any]:
        """The token set as plain data."""
        return self.tokenizer.to_dict()

    @cached_property
    def normalizer(self) -> str:
        """Identifier of the rules that the texts were normalised by, for example "english/1"."""
        data = self._read("normalization.json")
        if not isinstance(data, dict) or not isinstance(data.get("name"), str) or "version" not in data:
            raise InputError(f"{self.root / 'normalization.json'}: needs the keys 'name' and 'version'")
        return f"{data['name']}/{data['version']}"

    def statistics(self, features: FeatureConfig, splits: Sequence[str] = (TRAIN,)) -> FeatureStatistics | None:
        """The statistics found at preparation; None if there are none, or they are of other features or splits.

        Raises:
            InputError: see `asr.data.store.read_statistics`.
        """
        path = self.root / "feature_stats.json"
        manifests = [self._manifest(split).resolve() for split in splits]
        if manifests != [self._manifest(TRAIN).resolve()] or not path.is_file():
            return None
        return read_statistics(path, features)

    def has(self, split: str) -> bool:
        """Whether there is a manifest of this name or path."""
        return self._manifest(split).is_file()

    def _manifest(self, split: str) -> Path:
        return Path(split) if split.endswith((".jsonl", ".jsonl.gz")) else self.root / f"{split}.jsonl.gz"

    def manifest(self, split: str) -> Path:
        """The manifest of a split; `split` may also be the path of a manifest (`*.jsonl`, `*.jsonl.gz`).

        Raises:
            InputError: there is none; the splits that exist are named.
        """
        path = self._manifest(split)
        if not path.is_file():
            self._check_root()
            known = sorted(file.name.removesuffix(".jsonl.gz") for file in self.root.glob("*.jsonl.gz"))
            raise InputError(f"{path}: no such manifest; splits of {self.root}: {', '.join(known) or 'none'}")
        return path

    def read(self, splits: Sequence[str]) -> CutSet:
        """The cuts of one or more splits, whose texts are checked against the token set.

        Raises:
            InputError: a manifest or text cannot be used, or an id occurs in two splits; ids are named.
        """
        parts = [read_cuts(self.manifest(split)) for split in splits]
        for number, (split, part) in enumerate(zip(splits, parts, strict=True)):
            self._check_texts(split, part)
            for earlier in range(number):
                check_disjoint(splits[earlier], parts[earlier], split, part)
        return parts[0] if len(parts) == 1 else CutSet.from_cuts(cut for part in parts for cut in part)

    def _check_texts(self, split: str, cuts: CutSet) -> None:
        refused, reason = [], None
        for cut in cuts:
            try:
                self.tokenizer.encode(text_of(cut))
            except InputError as error:
                refused.append(cut.id)
                reason = reason or error
        if refused:
            raise InputError(
                f"{len(refused)} utterance(s) of {split} cannot be written with {self.root / 'tokens.json'}: "
                f"{enumerate_some(refused)}; the first: {reason}"
            )


class Stretch(NamedTuple):
    """A stretch of a recording, from `start` to `end` in seconds, and the name of what lies there."""

    recording: Hashable
    start: float
    end: float
    name: str


class Stretches:
    """Stretches of recordings, by which another that overlaps one of them is found without a look at each.

    >>> known = Stretches([Stretch("talk", 0.0, 8.0, "long"), Stretch("talk", 1.0, 2.0, "short")])
    >>> known.overlapping(Stretch("talk", 3.0, 9.0, "new")).name
    'long'
    >>> known.overlapping(Stretch("talk", 8.0, 9.0, "adjacent"))
    """

    def __init__(self, stretches: Iterable[Stretch]) -> None:
        by_recording: defaultdict[Hashable, list[Stretch]] = defaultdict(list)
        for stretch in stretches:
            by_recording[stretch.recording].append(stretch)
        self._starts: dict[Hashable, list[float]] = {}
        self._last: dict[Hashable, list[Stretch]] = {}  # of the first, the first two, ... the one that ends last
        for recording, some in by_recording.items():
            some.sort(key=lambda stretch: stretch.start)
            self._starts[recording] = [stretch.start for stretch in some]
            self._last[recording] = list(itertools.accumulate(some, later_end))

    def overlapping(self, stretch: Stretch) -> Stretch | None:
        """One that shares more than `TOLERANCE` with this one; None if there is none."""
        begun = bisect.bisect_left(self._starts.get(stretch.recording, ()), stretch.end - TOLERANCE)
        if begun == 0:
            return None
        last = self._last[stretch.recording][begun - 1]
        return last if last.end - TOLERANCE > stretch.start else None


def later_end(one: Stretch, other: Stretch) -> Stretch:
    """That of two stretches which ends later."""
    return other if other.end > one.end else one


def real_paths(paths: Iterable[Path]) -> Iterator[str]:
    """The paths with all links followed, each folder only once: quick for many files."""
    real_folder = functools.cache(os.path.realpath)
    for path in paths:
        folder, name = os.path.split(path)
        file = os.path.join(real_folder(folder), name)
        yield os.path.realpath(file) if os.path.islink(file) else file


def check_disjoint(name: str, cuts: CutSet, other_name: str, other: CutSet) -> None:
    """Refuse two sets of cuts that share an id or audio: more than `TOLERANCE` of a recording, by whatever path.

    Raises:
        InputError: they share some; the first ten are named.
    """
    ids = {cut.id for cut in cuts}
    known = Stretches(_stretches(cuts))
    shared = [stretch.name for stretch in _stretches(other) if stretch.name in ids or known.overlapping(stretch)]
    if shared:
        raise InputError(
            f"{len(shared)} utterance(s) are in both {name} and {other_name} (same id or same audio): "
            f"{enumerate_some(shared)}"
        )


def _stretches(cuts: CutSet) -> Iterator[Stretch]:
    for cut, path in zip(cuts, real_paths(map(audio_file, cuts)), strict=True):
        yield Stretch((path, cut.channel), cut.start, cut.end, cut.id)


def find_infeasible(
    cuts: Iterable[MonoCut],
    tokenizer: Tokenizer,
    features: FeatureConfig,
    output_lengths: Callable[[Tensor], Tensor],
    speed: float = 1.0,
) -> dict[str, str]:
    """The utterances that CTC cannot align: id -> what is missing.

    CTC needs a frame per token and one between adjacent equal tokens.

    Args:
        cuts: the utterances.
        tokenizer: makes their tokens.
        features: makes their frames.
        output_lengths: the encoder's: input frames -> output frames.
        speed: the fastest at which they are played.
    """
    cuts = list(cuts)
    samples = (samples_at_speed(round(cut.duration * features.sample_rate), speed) for cut in cuts)
    frames = output_lengths(torch.tensor([features.num_frames(n) for n in samples], dtype=torch.int64))
    needed = (max(1, minimum_frames(tokenizer.encode(text_of(cut)))) for cut in cuts)
    return {
        cut.id: f"{has} frames for {len(text_of(cut))} characters, {needs} needed"
        for cut, has, needs in zip(cuts, frames.tolist(), needed, strict=True)
        if has < needs
    }
