"""Greedy CTC decoding: the most probable token of each frame, repeats collapsed, blanks dropped.

The definition is Graves, Fernández, Gomez and Schmidhuber's best path decoding ("Connectionist temporal
classification", ICML 2006, section 3.2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from asr.errors import InputError

BLANK_ID = 0
WORD_MARK = "▁"
"""What sentencepiece writes for the space at the beginning of a word."""


@dataclass(frozen=True)
class TokenPath:
    """The tokens of one utterance along its best path.

    Args:
        ids: token ids, no blanks.
        starts: first output frame of each token's run.
        ends: the frame after its last.
        confidences: the highest posterior probability of the token within its run.
    """

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    confidences: tuple[float, ...]


class TimedText(NamedTuple):
    """A word or token, where it was seen, and how sure the model was.

    Args:
        text: the word or token.
        start: of its first frame, in seconds.
        end: of its last frame, in seconds. CTC tends to show a token for a frame or two, late in its sound.
        confidence: posterior probability between 0 and 1; a word has the product of its tokens', for it is right only
            if all of them are.
    """

    text: str
    start: float
    end: float
    confidence: float


def greedy_decode(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Log-probabilities (B, T, V), lengths (B,) -> token ids of each utterance.

    >>> import torch
    >>> frames = torch.tensor([[1, 1, 0, 1, 2, 2, 0]])
    >>> greedy_decode(torch.nn.functional.one_hot(frames, 3).float().log(), torch.tensor([7]))
    [[1, 1, 2]]

    Raises:
        InputError: see `greedy_paths`.
    """
    return [list(path.ids) for path in greedy_paths(log_probs, lengths)]


def greedy_paths(log_probs: Tensor, lengths: Tensor) -> list[TokenPath]:
    """Log-probabilities (B, T, V), lengths (B,) -> the best path of each utterance.

    Frames from an utterance's length on are not looked at. Among equally probable tokens of a frame, any may be taken.

    Raises:
        InputError: a frame has no most probable token, because a value is NaN or all are infinite; the message names
            the place in the batch and the frame.
    """
    best, ids = log_probs.detach().max(dim=-1)
    best_values, id_values = best.float().cpu().numpy(), ids.cpu().numpy()
    paths = []
    for index, length in enumerate(lengths.tolist()):
        values = best_values[index, :length]
        if not np.isfinite(values).all():
            frame = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(f"the log-probabilities of batch entry {index} are not finite at frame {frame}")
        paths.append(collapse(id_values[index, :length], np.exp(values)))
    return paths


def collapse(ids: np.ndarray, probabilities: np.ndarray) -> TokenPath:
    """Token ids of each frame and their posteriors, both (T,) -> the path without repeats and blanks."""
    if len(ids) == 0:
        return TokenPath((), (), (), ())
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    ends = np.append(starts[1:], len(ids))
    highest = np.minimum(np.maximum.reduceat(probabilities, starts), 1.0)  # log-softmax may round to above 0
    kept = ids[starts] != BLANK_ID
    return TokenPath(
        tuple(ids[starts][kept].tolist()),
        tuple(starts[kept].tolist()),
        tuple(ends[kept].tolist()),
        tuple(highest[kept].tolist()),
    )


def timed_tokens(path: TokenPath, tokens: Sequence[str], seconds_per_frame: float) -> tuple[TimedText, ...]:
    """The tokens of a path with times; `tokens` are the V tokens by id."""
    return tuple(
        TimedText(tokens[i], start * seconds_per_frame, end * seconds_per_frame, confidence)
        for i, start, end, confidence in zip(path.ids, path.starts, path.ends, path.confidences, strict=True)
    )


def timed_words(timed: Sequence[TimedText]) -> tuple[TimedText, ...]:
    """Group timed tokens, characters or sentencepiece's, to words. The space belongs to no word.

    >>> timed_words([TimedText(c, i, i + 1, 1 - i / 8) for i, c in enumerate("HI A")])
    (TimedText(text='HI', start=0, end=2, confidence=0.875), TimedText(text='A', start=3, end=4, confidence=0.625))
    """
    groups: list[list[TimedText]] = [[]]
    for token in timed:
        text = token.text.replace(WORD_MARK, " ")
        if text.startswith(" "):
            groups.append([])
        if text.strip():
            groups[-1].append(token._replace(text=text.strip()))
    return tuple(
        TimedText("".join(t.text for t in group), group[0].start, group[-1].end, math.prod(t.confidence for t in group))
        for group in groups
        if group
    )
