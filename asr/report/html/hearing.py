"""A shown utterance as the models hear it: features, patches, posteriors, and the audio itself."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from lhotse import MonoCut

from asr.data.cuts import load_waveform
from asr.data.features import FeatureConfig
from asr.decode.greedy import TokenPath
from asr.decode.recognition import seconds_per_frame
from asr.encoders.contract import Encoder
from asr.encoders.patches import Patches
from asr.errors import InputError
from asr.model import LoadedModel
from asr.report.hearing import model_of, posteriors_of
from asr.report.html.choice import Choice
from asr.report.html.records import Gathered


@dataclass(frozen=True)
class Heard:
    """What one model makes of an utterance.

    Args:
        run: its index among the runs.
        posteriors: (T', V).
        path: the best path, which is what the letters above the posteriors are.
        tokens: the V tokens.
        seconds_per_frame: of the output.
    """

    run: int
    posteriors: np.ndarray
    path: TokenPath
    tokens: tuple[str, ...]
    seconds_per_frame: float


@dataclass(frozen=True)
class Spectrogram:
    """Features before normalisation (T, M), and how models that share them cut them into patches.

    Args:
        features: (T, M).
        config: what they were computed by.
        patches: index of a run -> its patches.
    """

    features: np.ndarray
    config: FeatureConfig
    patches: Mapping[int, Patches]

    @property
    def seconds(self) -> float:
        """From the beginning of the first frame to that of the one after the last."""
        return len(self.features) * self.config.hop_length / self.config.sample_rate


@dataclass(frozen=True)
class Shown:
    """An utterance with what could be made of it; `missing` says what could not, and why."""

    choice: Choice
    audio: bytes | None
    spectrograms: tuple[Spectrogram, ...]
    heard: tuple[Heard, ...]
    missing: tuple[str, ...]


Models = Mapping[int, LoadedModel]
"""Index of a run -> its model, for those that have one."""


class Missing(NamedTuple):
    """A run of which there is no model, and why."""

    name: str
    reason: str


def load_models(gathered: Gathered) -> tuple[dict[int, LoadedModel], list[Missing]]:
    """The models of the runs, and those that have none on this machine."""
    models, missing = {}, []
    for index, run in enumerate(gathered.runs):
        if not (run.scores.get("model") or {}).get("source"):
            missing.append(Missing(run.name, "its scores name no model: no posteriors, no patches"))
            continue
        try:
            models[index] = model_of(run.scored)
        except InputError as error:
            missing.append(Missing(run.name, f"its model cannot be loaded here: no posteriors, no patches ({error})"))
    return models, missing


def show(gathered: Gathered, choices: Sequence[Choice], models: Models) -> list[Shown]:
    """Read the audio of each chosen utterance and give it to each model."""
    if not gathered.cuts:  # which the page says once
        return [Shown(choice, None, (), (), ()) for choice in choices]
    return [_show(choice, gathered.cuts.get(choice.utterance.id), models) for choice in choices]


def _show(choice: Choice, cut: MonoCut | None, models: Models) -> Shown:
    if cut is None:
        return Shown(choice, None, (), (), ("no audio: it is not in the manifest",))
    missing: list[str] = []
    audio = None
    try:
        audio = flac(load_waveform(cut, cut.recording.sampling_rate), cut.recording.sampling_rate)
    except InputError as error:
        return Shown(choice, None, (), (), (str(error),))
    heard, spectrograms = [], dict[FeatureConfig, Spectrogram]()
    for index, loaded in models.items():
        try:
            one, seen = _hear(index, loaded, cut)
        except InputError as error:
            missing.append(str(error))
            continue
        heard.append(one)
        before = spectrograms.get(seen.config)
        spectrograms[seen.config] = seen if before is None else _merged(before, seen)
    return Shown(choice, audio, tuple(spectrograms.values()), tuple(heard), tuple(dict.fromkeys(missing)))


def _merged(one: Spectrogram, other: Spectrogram) -> Spectrogram:
    return Spectrogram(one.features, one.config, {**one.patches, **other.patches})


def _hear(index: int, loaded: LoadedModel, cut: MonoCut) -> tuple[Heard, Spectrogram]:
    config = loaded.description.features
    waveform = torch.from_numpy(load_waveform(cut, config.sample_rate))
    posteriors, path = posteriors_of(loaded, waveform)
    heard = Heard(index, posteriors, path, loaded.tokenizer.tokens, seconds_per_frame(loaded))
    features = loaded.features.unnormalized(waveform).numpy()
    return heard, Spectrogram(features, config, {index: patches_of(loaded.model.encoder)})


def patches_of(encoder: Encoder) -> Patches:
    """How an encoder cuts features into patches; one that does not takes whole frames, as many as it steps by."""
    for name in ("patches", "stacking"):
        found = getattr(encoder, name, None)
        if isinstance(found, Patches) and _sizes(found) == _sizes(encoder):  # and not of what convolutions make of them
            return found
    return Patches(encoder.num_features, encoder.subsampling, encoder.num_features)


def _sizes(part: Patches | Encoder) -> tuple[int, int]:
    return part.num_features, part.subsampling


def flac(samples: np.ndarray, sample_rate: int) -> bytes:
    """Samples (N,), full scale 1.0, as a FLAC file of 16 bits, which every browser plays and which loses nothing."""
    packed = io.BytesIO()
    soundfile.write(packed, np.clip(samples, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    return packed.getvalue()
