"""Waveforms -> text with a loaded model: the one path that `asr test`, `asr predict` and `asr transcribe` share."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.options import DecodingOptions
from asr.decode.reading import Reader, Reading, Recognition
from asr.decode.windows import LONGEST_PIECE_SECONDS, long_features, windowed_log_probs
from asr.errors import InputError
from asr.model import LoadedModel


def seconds_per_frame(loaded: LoadedModel) -> float:
    """Duration of one output frame of the model, in seconds."""
    features = loaded.description.features
    return loaded.model.encoder.subsampling * features.hop_length / features.sample_rate


@torch.inference_mode()
def compute_log_probs(loaded: LoadedModel, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Waveforms (N_b,) at the model's sample rate -> log-probabilities (B, T', V), lengths (B,).

    Features are computed for each utterance by itself, so that no result depends on the batch. What is longer than
    `LONGEST_PIECE_SECONDS` is computed window by window (`asr.decode.windows`).
    """
    longest = LONGEST_PIECE_SECONDS * loaded.description.features.sample_rate
    whole = [index for index, waveform in enumerate(waveforms) if len(waveform) <= longest]
    rows: dict[int, Tensor] = dict(zip(whole, _in_one_batch(loaded, [waveforms[i] for i in whole]), strict=True))
    for index in range(len(waveforms)):
        if index not in rows:
            features = long_features(loaded.features, waveforms[index].to(loaded.features.mean.device))
            rows[index] = windowed_log_probs(loaded.model, features.to(_device(loaded)), seconds_per_frame(loaded))
    ordered = [rows[index].to(_device(loaded)) for index in range(len(waveforms))]
    lengths = torch.tensor([len(row) for row in ordered], device=_device(loaded))
    return pad_sequence(ordered, batch_first=True), lengths


def _in_one_batch(loaded: LoadedModel, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Log-probabilities (T'_b, V) of utterances that are padded to the longest."""
    if not waveforms:
        return []
    mean = loaded.features.mean
    features = [loaded.features(waveform.to(mean.device)).to(_device(loaded)) for waveform in waveforms]
    lengths = torch.tensor([len(frames) for frames in features], device=_device(loaded))
    log_probs, lengths = loaded.model(pad_sequence(features, batch_first=True), lengths)
    return [row[:length] for row, length in zip(log_probs, lengths.tolist(), strict=True)]


def _device(loaded: LoadedModel) -> torch.device:
    return next(loaded.model.parameters()).device


def reading_of(loaded: LoadedModel, options: DecodingOptions | None = None, nbest: int = 0) -> Reading:
    """What reads the log-probabilities of a model: greedily, or by other options."""
    return Reading(loaded.tokenizer.to_dict(), seconds_per_frame(loaded), options or DecodingOptions(), nbest)


def finite_log_probs(
    loaded: LoadedModel, waveforms: Sequence[Tensor], names: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Log-probabilities (T'_b, V) of a batch of waveforms (N_b,) at the model's sample rate.

    Args:
        loaded: the model.
        waveforms: float32, full scale 1.0.
        names: utterance ids or files, for errors.

    Raises:
        InputError: the model gives NaN for some of them, which are named, or their features are not finite.
    """
    if not waveforms:
        return []
    log_probs, lengths = compute_log_probs(loaded, waveforms)
    rows = [frames[:n].cpu().numpy() for frames, n in zip(log_probs, lengths.tolist(), strict=True)]
    broken = [name for name, row in zip(names, rows, strict=True) if np.isnan(row).any()]
    if broken:
        _check_features(loaded, waveforms, names)
        raise InputError(f"the model gives NaN for {', '.join(broken)}: its weights or feature statistics are broken")
    return rows


def _check_features(loaded: LoadedModel, waveforms: Sequence[Tensor], names: Sequence[str]) -> None:
    """Refuse audio so loud that the power of its frames is no finite number, whatever the statistics of features.

    Raises:
        InputError: there is some.
    """
    device = loaded.features.mean.device
    for name, waveform in zip(names, waveforms, strict=True):
        if not bool(loaded.features.unnormalized(waveform.to(device)).isfinite().all()):
            peak = float(waveform.abs().max())
            raise InputError(f"the features of {name} are not finite: its samples reach {peak:g}, and full scale is 1")


def recognize(
    loaded: LoadedModel, waveforms: Sequence[Tensor], names: Sequence[str], reader: Reader | None = None
) -> list[Recognition]:
    """Recognise a batch of waveforms (N_b,) at the model's sample rate, greedily or by another reader.

    Raises:
        InputError: see `finite_log_probs`.
    """
    return (reader or Reader(reading_of(loaded))).read(finite_log_probs(loaded, waveforms, names))
