"""Log-probabilities of recordings of any duration, window by window, with context on both sides.

A bidirectional encoder needs the whole utterance, and was trained on short ones. A long recording is therefore cut
into windows that overlap; of each window only the frames in the middle are kept, which have seen `CONTEXT_SECONDS` of
what lies before and after them. The frames kept are those of the recording, once each, so that no word is lost or
doubled where windows meet, and decoding runs over all of them in one piece.

What the network and the spectra take is bounded; samples, features and log-probabilities are in memory whole.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.data.features import LogMel
from asr.model import CTCModel

LONGEST_PIECE_SECONDS = 40.0
"""Audio up to this duration is computed in one piece (the longest utterance of LibriSpeech has 35 s)."""
WINDOW_SECONDS = 24.0
"""Most that is kept of a window."""
CONTEXT_SECONDS = 4.0
"""What a window has on each side beyond what is kept of it."""
WINDOWS_AT_ONCE = 4
"""Windows computed in one batch."""
FEATURE_PIECE_FRAMES = 6000
"""Feature frames computed at once."""


class Window(NamedTuple):
    """Frames [start, end), of which [first, last) are kept; all count output frames of the recording."""

    start: int
    first: int
    last: int
    end: int


def windows(frames: int, size: int, context: int) -> list[Window]:
    """Cover frames by windows that keep at most `size` frames each, nearly equal ones, and see `context` more.

    >>> windows(10, size=6, context=2)
    [Window(start=0, first=0, last=5, end=7), Window(start=3, first=5, last=10, end=10)]
    """
    count = -(-frames // size)
    bounds = [index * frames // count for index in range(count + 1)]
    return [
        Window(max(0, first - context), first, last, min(frames, last + context))
        for first, last in itertools.pairwise(bounds)
    ]


def long_features(features: LogMel, waveform: Tensor, piece_frames: int = FEATURE_PIECE_FRAMES) -> Tensor:
    """`features(waveform)`, samples (N,) -> (T, M), without the spectra of more than `piece_frames` at a time."""
    config = features.config
    pieces = [
        features.unnormalized(waveform[first * config.hop_length :][: _samples_of(piece_frames, features)])
        for first in range(0, config.num_frames(len(waveform)), piece_frames)
    ]
    return features.normalize(torch.cat(pieces))


def _samples_of(frames: int, features: LogMel) -> int:
    return (frames - 1) * features.config.hop_length + features.config.window_length


def windowed_log_probs(
    model: CTCModel,
    features: Tensor,
    frame_seconds: float,
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Tensor:
    """Log-probabilities (T', V), on the CPU, of the features (T, M) of a long recording.

    Args:
        model: the model.
        features: normalised.
        frame_seconds: duration of an output frame.
        window_seconds: kept of a window, at most.
        context_seconds: more that a window sees on each side. With as much as the encoder ever looks at, the result is
            that of the recording in one piece.
    """
    step = model.encoder.subsampling
    frames = int(model.encoder.output_lengths(torch.tensor(len(features))))
    plan = windows(frames, max(1, round(window_seconds / frame_seconds)), round(context_seconds / frame_seconds))
    kept: list[Tensor] = []
    for some in _groups(plan, WINDOWS_AT_ONCE):
        # What an output frame at a window's end looks at beyond it is not kept, so no frame is cut in two.
        pieces = [features[window.start * step : window.end * step] for window in some]
        lengths = torch.tensor([len(piece) for piece in pieces], device=features.device)
        log_probs, _ = model(pad_sequence(pieces, batch_first=True), lengths)
        for window, piece in zip(some, log_probs.cpu(), strict=True):
            kept.append(piece[window.first - window.start : window.last - window.start].clone())
    return torch.cat(kept)


def _groups(plan: list[Window], size: int) -> Iterator[list[Window]]:
    for first in range(0, len(plan), size):
        yield plan[first : first + size]
