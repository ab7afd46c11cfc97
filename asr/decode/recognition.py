"""Waveforms -> text with a loaded model: the one path that `asr test`, `asr predict` and `asr transcribe` share."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.greedy import TimedText, TokenPath, greedy_paths, timed_tokens, timed_words
from asr.decode.windows import LONGEST_PIECE_SECONDS, long_features, windowed_log_probs
from asr.errors import InputError
from asr.model import LoadedModel


class Recognition(NamedTuple):
    """What was recognised in one utterance: its words separated by single spaces, and where they were seen."""

    text: str
    tokens: tuple[TimedText, ...]
    words: tuple[TimedText, ...]


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


def recognize(loaded: LoadedModel, waveforms: Sequence[Tensor], names: Sequence[str]) -> list[Recognition]:
    """Recognise a batch of waveforms (N_b,) at the model's sample rate.

    Args:
        loaded: the model.
        waveforms: float32, full scale 1.0.
        names: utterance ids or files, for errors.

    Raises:
        InputError: the model gives NaN for some of them, which are named.
    """
    if not waveforms:
        return []
    log_probs, lengths = compute_log_probs(loaded, waveforms)
    limits = lengths.tolist()
    broken = [name for name, frames, n in zip(names, log_probs, limits, strict=True) if frames[:n].isnan().any()]
    if broken:
        raise InputError(f"the model gives NaN for {', '.join(broken)}: its weights or feature statistics are broken")
    return [_recognition(loaded, path) for path in greedy_paths(log_probs, lengths)]


def _recognition(loaded: LoadedModel, path: TokenPath) -> Recognition:
    tokens = timed_tokens(path, loaded.tokenizer.tokens, seconds_per_frame(loaded))
    # Decoding by the tokenizer and not by joining the words: it alone knows what its tokens stand for.
    return Recognition(" ".join(loaded.tokenizer.decode(path.ids).split()), tokens, timed_words(tokens))
