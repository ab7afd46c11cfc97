"""Weights of another model as a starting point, also for another token set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.errors import InputError
from asr.model import CTCModel, LoadedModel


@dataclass(frozen=True)
class WarmStart:
    """What a warm start took over and what it did not.

    Args:
        loaded: parameters taken whole.
        tokens: tokens whose row of the head was taken (empty if the head was taken whole or not at all).
        fresh: parameters left as initialised, each with the reason.
        unused: parameters of the source that found no place.
    """

    loaded: tuple[str, ...]
    tokens: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"loaded ({len(self.loaded)}): {', '.join(self.loaded) or 'nothing'}"]
        rows = f"head rows loaded for {len(self.tokens)} tokens: {' '.join(map(repr, self.tokens))}"
        lines += [rows] * bool(self.tokens)
        lines += [f"not loaded ({len(self.fresh)}): {', '.join(self.fresh) or 'nothing'}"]
        lines += [f"unused ({len(self.unused)}): {', '.join(self.unused)}"] * bool(self.unused)
        return "\n".join(lines)


def warm_start(model: CTCModel, tokens: tuple[str, ...], source: LoadedModel) -> WarmStart:
    """Copy into `model` what fits of `source`: parameters of the same name and shape, and the head's rows by token.

    Raises:
        InputError: nothing at all fits.
    """
    theirs = source.model.state_dict()
    ours = model.state_dict()
    loaded, fresh = [], []
    same_tokens = tokens == source.tokenizer.tokens
    common: tuple[str, ...] = ()
    if not same_tokens and _same_width(ours, theirs):
        common = tuple(token for token in tokens if token in source.tokenizer.tokens)
    for name, value in ours.items():
        if name.startswith("head.") and not same_tokens:
            _copy_rows(value, theirs.get(name), common, tokens, source.tokenizer.tokens)
            if len(common) < len(tokens):
                fresh.append(f"{name} (rows of {len(tokens) - len(common)} of {len(tokens)} tokens)")
        elif name not in theirs:
            fresh.append(f"{name} (not in the source)")
        elif theirs[name].shape != value.shape:
            fresh.append(f"{name} (shape {tuple(value.shape)}, source {tuple(theirs[name].shape)})")
        else:
            value.copy_(theirs[name])
            loaded.append(name)
    if not loaded and not common:
        raise InputError(f"--init_from {source.metadata['source']}: none of its parameters fits this model")
    unused = [name for name in theirs if name not in loaded and not name.startswith("head.")]
    return WarmStart(tuple(loaded), common, tuple(fresh), tuple(unused))


def _same_width(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether rows of the heads can be exchanged."""
    weight = theirs.get("head.weight")
    return weight is not None and weight.shape[1:] == ours["head.weight"].shape[1:]


def _copy_rows(
    ours: Tensor,
    theirs: Tensor | None,
    common: tuple[str, ...],
    our_tokens: tuple[str, ...],
    their_tokens: tuple[str, ...],
) -> None:
    """Copy the rows of the tokens in common."""
    if theirs is None or not common:
        return
    rows = torch.tensor([our_tokens.index(token) for token in common], dtype=torch.int64)
    ours[rows] = theirs[[their_tokens.index(token) for token in common]]
