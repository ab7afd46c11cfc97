"""What the model of a run hears in an utterance, for pictures and pages."""

from pathlib import Path

import numpy as np
from torch import Tensor

from asr.decode.greedy import TokenPath, greedy_paths
from asr.decode.recognition import compute_log_probs
from asr.errors import InputError
from asr.model import LoadedModel, load_model
from asr.report.runs import ScoredRun


def model_of(run: ScoredRun) -> LoadedModel:
    """The model that was scored.

    Raises:
        InputError: it cannot be loaded, or the scores do not say which it is.
    """
    source = (run.scores.get("model") or {}).get("source")
    if not source:
        raise InputError(f"the scores of {run.path} name no model that could hear an utterance: were they imported?")
    if run.path.is_dir():
        return load_model(run.path)
    return load_model(Path(source).parent if source.endswith(".safetensors") else source)


def posteriors_of(loaded: LoadedModel, waveform: Tensor) -> tuple[np.ndarray, TokenPath]:
    """Samples (N,) at the model's rate -> posteriors (T', V), and the best path through them."""
    log_probs, lengths = compute_log_probs(loaded, [waveform])
    return log_probs[0, : int(lengths[0])].exp().numpy(), greedy_paths(log_probs, lengths)[0]
