"""Where the tokens of a text are: its most probable CTC alignment.

Time and memory of an alignment grow with frames times tokens, so that long recordings are aligned in pieces.
"""

from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from asr.decode.greedy import TokenPath, collapse
from asr.errors import InputError

MOST_CELLS = 1 << 31
"""Frames times (2 tokens + 1) at which torchaudio 2.11 ends in a segmentation fault."""
PIECE_FRAMES = 2000
"""Frames that are aligned at once, more or less."""
TOKENS_AHEAD = 50
"""Tokens that a piece looks further: what is beyond them does not move those before them."""


def align(log_probs: NDArray[Any], tokens: tuple[int, ...]) -> TokenPath:
    """Log-probabilities (T, V) and tokens (no blanks) that fit into T frames -> the best path that gives them.

    >>> frames = np.log([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.5, 0.4]])
    >>> path = align(frames, (1, 2))
    >>> path.starts, path.ends, [round(confidence, 2) for confidence in path.confidences]
    ((0, 2), (1, 3), [0.8, 0.4])

    Raises:
        InputError: there are more frames and tokens than torchaudio aligns.
    """
    if not tokens:
        return TokenPath((), (), (), ())
    if len(log_probs) * (2 * len(tokens) + 1) >= MOST_CELLS:
        raise InputError(f"{len(log_probs)} frames and {len(tokens)} tokens are too many to be aligned in one piece")
    frames = torch.from_numpy(np.ascontiguousarray(log_probs, dtype=np.float32))[None]
    labels, scores = torchaudio.functional.forced_align(frames, torch.tensor([tokens], dtype=torch.int32))
    return collapse(labels[0].numpy(), scores[0].exp().numpy())


def align_in_pieces(
    log_probs: NDArray[Any], tokens: tuple[int, ...], seen: NDArray[np.integer], size: int | None = None
) -> TokenPath:
    """The same, piece by piece: each looks further than it goes, and where it ends the next one begins.

    Args:
        log_probs: (T, V).
        tokens: no blanks.
        seen: for each token the frame at which a search saw it first, ascending, so that the tokens fit there; it may
            be some tokens early. Equal neighbours are at least two frames apart.
        size: frames of a piece, more or less; `PIECE_FRAMES` by default.
    """
    size = size or PIECE_FRAMES
    starts: list[int] = []
    ends: list[int] = []
    confidences: list[float] = []
    begin = first = 0
    while first < len(tokens):
        stop = max(first + 1, int(np.searchsorted(seen, begin + size)))
        ahead, end = stop + TOKENS_AHEAD, len(log_probs)
        if ahead < len(tokens):
            end = int(seen[ahead]) - int(tokens[ahead] == tokens[ahead - 1])  # a blank is between equal ones
        else:
            stop = ahead = len(tokens)
        path = align(log_probs[begin:end], tokens[first:ahead])
        kept = stop - first
        starts += (begin + frame for frame in path.starts[:kept])
        ends += (begin + frame for frame in path.ends[:kept])
        confidences += path.confidences[:kept]
        begin, first = begin + (path.starts[kept] if kept < len(path.starts) else 0), stop
    return TokenPath(tokens, tuple(starts), tuple(ends), tuple(confidences))
