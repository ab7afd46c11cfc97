"""Copies of audio at another sample rate and with one channel, made only when asked for, each of them named."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from asr.data.audio import AudioError, audio_format, read_audio
from asr.files import atomic_writer
from data_prep.parallel import in_order
from data_prep.utterance import Problem, Utterance

FULL_SCALE = 32767 / 32768
"""Largest sample of a 16-bit file."""


def convert(
    utterances: Sequence[Utterance], parts: Collection[str], folder: Path, sample_rate: int, jobs: int
) -> tuple[list[Utterance], list[Problem]]:
    """Give utterances that are not at `sample_rate` (Hz) in one channel a copy that is.

    Copies are 16-bit FLAC files in `folder`; a segment of a longer file becomes a file of its own. Channels are
    averaged, then samples are resampled (torchaudio's windowed sinc), and made softer if they would exceed full scale.
    A copy that is there is used again if its source has not changed. What cannot be read stays as it is, for
    verification to name.

    Returns:
        The utterances in the same order; and a problem, which does not refuse it, for each that was converted.

    Raises:
        InputError: a copy cannot be written.
    """
    make = functools.partial(_convert, folder=folder, sample_rate=sample_rate)
    wanted = [index for index, utterance in enumerate(utterances) if utterance.part in parts]
    result, problems = list(utterances), []
    with contextlib.closing(in_order(make, [utterances[i] for i in wanted], jobs, "converting")) as converted:
        for index, (utterance, problem) in zip(wanted, converted, strict=True):
            result[index] = utterance
            problems += [problem] if problem else []
    return result, problems


def _convert(utterance: Utterance, folder: Path, sample_rate: int) -> tuple[Utterance, Problem | None]:
    try:
        rate, channels, _ = audio_format(utterance.audio)
        if (rate, channels) == (sample_rate, 1):
            return utterance, None
        copy = folder / _name(utterance, sample_rate)
        if not copy.exists():
            samples, _ = read_audio(utterance.audio, utterance.start, utterance.duration)
            if utterance.duration is not None and samples.shape[1] < (utterance.duration - 0.01) * rate:
                return utterance, None
            _write_flac(copy, resample(samples.mean(axis=0), rate, sample_rate), sample_rate)
    except AudioError:
        return utterance, None
    detail = f"{utterance.audio}: {rate} Hz, {channels} channels; {copy}: {sample_rate} Hz, 1 channel"
    copied = dataclasses.replace(utterance, audio=copy, start=0.0, duration=None, source=utterance.original)
    return copied, Problem(utterance.id, "converted", detail, refused=False)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples (N,) at `rate` Hz -> the same signal at `new_rate` Hz, without what is above half of either."""
    resampled = torchaudio.functional.resample(torch.from_numpy(samples), rate, new_rate, lowpass_filter_width=32)
    return np.asarray(resampled.numpy())


def _name(utterance: Utterance, sample_rate: int) -> str:
    """A file name that is readable by its id and a function of the source, its state and what is made of it."""
    state = utterance.audio.stat()
    source = (str(utterance.audio.absolute()), state.st_size, state.st_mtime_ns, utterance.start, utterance.duration)
    digest = hashlib.blake2b(repr((*source, sample_rate)).encode(), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', utterance.id)[:100]}-{digest}.flac"


def _write_flac(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    samples = samples * min(1.0, FULL_SCALE / max(float(np.abs(samples).max()), 1e-9))
    packed = io.BytesIO()
    soundfile.write(packed, np.round(samples * 2**15).astype(np.int16), sample_rate, format="FLAC")
    with atomic_writer(path) as file:
        file.write(packed.getvalue())
