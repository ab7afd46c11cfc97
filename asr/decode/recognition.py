"""Waveforms -> text with a loaded model: the one path that `asr test`, `asr predict` and `asr transcribe` share."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.greedy import TimedText, TokenPath, greedy_paths, timed_tokens, timed_words
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

    Features are computed for each utterance by itself, so that no result depends on the batch.
    """
    device, mean = next(loaded.model.parameters()).device, loaded.features.mean
    features = [loaded.features(waveform.to(mean.device)).to(device) for waveform in waveforms]
    lengths = torch.tensor([len(frames) for frames in features], device=device)
    log_probs, lengths = loaded.model(pad_sequence(features, batch_first=True), lengths)
    return log_probs, lengths


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
