"""Where the tokens of a text are: its most probable CTC alignment."""

from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from asr.decode.greedy import TokenPath, collapse


def align(log_probs: NDArray[Any], tokens: tuple[int, ...]) -> TokenPath:
    """Log-probabilities (T, V) and tokens (no blanks) that fit into T frames -> the best path that gives them.

    >>> frames = np.log([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.5, 0.4]])
    >>> path = align(frames, (1, 2))
    >>> path.starts, path.ends, [round(confidence, 2) for confidence in path.confidences]
    ((0, 2), (1, 3), [0.8, 0.4])
    """
    if not tokens:
        return TokenPath((), (), (), ())
    frames = torch.from_numpy(np.ascontiguousarray(log_probs, dtype=np.float32))[None]
    labels, scores = torchaudio.functional.forced_align(frames, torch.tensor([tokens], dtype=torch.int32))
    return collapse(labels[0].numpy(), scores[0].exp().numpy())
