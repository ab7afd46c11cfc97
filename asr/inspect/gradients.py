"""How far gradients reach, in time, in frequency and through layers: the vanishing gradient of the literature.

A net that is drawn at random runs over random input. The gradient of its output at one cell with respect to the input
some cells before it, as a Frobenius norm, says how much of what happened there a training could learn from
(Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063). Along one axis it goes
by one path, from cell to cell. Across both, d steps along each, there are C(2d, d) paths. The multidimensional LSTM's
sum adds up all of them; a Grid LSTM's memories do not, since each stays on its axis.
"""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from asr.encoders import GridLSTMEncoder, MultidimensionalLSTMEncoder
from asr.encoders.contract import Encoder
from asr.grid import GridLSTM, MultidimensionalLSTM
from asr.inspect.receptive import gradient_norms

DRAWS = 8
"""Vectors of random signs for each net; see `gradient_norms`."""
Way = Literal["time", "frequency", "both", "depth"]


@dataclass(frozen=True)
class Setting:
    """Sizes of the experiment.

    Args:
        hidden_size: H, the same for all nets, and features of the input.
        reach: the largest distance in time and frequency.
        layers: the largest distance in depth.
        forget_bias: initial bias of forget gates.
        seeds: nets and inputs that are drawn.
    """

    hidden_size: int = 32
    reach: int = 48
    layers: int = 12
    forget_bias: float = 1.0
    seeds: int = 5


class Curve(NamedTuple):
    """Gradient norms of one net along one way, at distances 0, 1, ..., divided by that at the first.

    The least, median and greatest over seeds. Through the depth, distance d is of a net of d + 1 layers.
    """

    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


class _Frames(nn.Module):
    """A net along time alone: (B, T, F, I) -> (B, T, F, H), each frequency by itself."""

    def __init__(self, net: GridLSTM) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        batch, _, blocks, _ = x.shape
        output = self.net(x.transpose(1, 2).flatten(0, 1))[0]
        return torch.unflatten(output, 0, (batch, blocks)).transpose(1, 2)


class _Grid(nn.Module):
    """A net along both axes: (B, T, F, I) -> (B, T, F, ...)."""

    def __init__(self, net: GridLSTM | MultidimensionalLSTM) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.net(x)[0]
        return output


def nets(setting: Setting, layers: int) -> dict[str, Callable[[], nn.Module]]:
    """What makes a net of each kind, (B, T, F, H) -> (B, T, F, D), drawn as torch.nn.LSTM's are."""
    size, bias = setting.hidden_size, setting.forget_bias
    return {
        "RNN": lambda: _Frames(GridLSTM(size, size, layers, axes=1, cell="rnn")),
        "LSTM": lambda: _Frames(GridLSTM(size, size, layers, axes=1, forget_bias=bias)),
        "multidimensional LSTM, sum": lambda: _Grid(
            MultidimensionalLSTM(size, size, layers, cell="sum", forget_bias=bias)
        ),
        "multidimensional LSTM, stable": lambda: _Grid(
            MultidimensionalLSTM(size, size, layers, cell="stable", forget_bias=bias)
        ),
        "Grid LSTM": lambda: _Grid(GridLSTM(size, size, layers, forget_bias=bias)),
        "Grid LSTM, memory along depth": lambda: _Grid(GridLSTM(size, size, layers, depth="lstm", forget_bias=bias)),
    }


ONE_AXIS = ("RNN", "LSTM")
"""Nets that run along time alone."""


def distances(
    net: Callable[[Tensor], Tensor], inputs: Tensor, draws: int = DRAWS, seed: int = 0
) -> dict[Way, list[float]]:
    """Gradient norms of the last cell's output with respect to the inputs 0, 1, ... cells before it.

    Args:
        net: (B, T, F, I) -> (B, T, F, D).
        inputs: (T, F, I).
        draws: see `gradient_norms`.
        seed: of the signs.

    Returns:
        Norms in time (F unchanged), in frequency, and at as many steps along both.
    """
    time, frequency, _ = inputs.shape
    each = gradient_norms(net, inputs, [(time - 1, frequency - 1)] * draws, draws=1, seed=seed)  # all draws at once
    back = each.square().sum(dim=-1).mean(dim=0).sqrt().flip(0, 1)
    return {"time": back[:, 0].tolist(), "frequency": back[0].tolist(), "both": back.diagonal().tolist()}


def measure(setting: Setting, say: Callable[[str], None] = lambda text: None) -> dict[str, dict[Way, Curve]]:
    """The curves of every kind of net, by name and way."""
    curves: dict[str, dict[Way, Curve]] = {}
    for name in nets(setting, 1):
        say(f"{name} ...")
        runs = [_one_seed(name, setting, seed) for seed in range(setting.seeds)]
        curves[name] = {way: _curve([run[way] for run in runs]) for way in runs[0]}
    return curves


def _one_seed(name: str, setting: Setting, seed: int) -> dict[Way, list[float]]:
    extent = 1 + setting.reach
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extents = (extent, 1) if name in ONE_AXIS else (extent, extent)
        inputs = torch.randn(*extents, setting.hidden_size, dtype=torch.double)
        found = distances(nets(setting, 1)[name]().double(), inputs, seed=seed)
        if name in ONE_AXIS:
            found = {"time": found["time"]}
        small = torch.randn(4, 1 if name in ONE_AXIS else 4, setting.hidden_size, dtype=torch.double)
        through = [
            distances(nets(setting, layers)[name]().double(), small, seed=seed)["time"][0]
            for layers in range(1, setting.layers + 1)
        ]
    return {**found, "depth": through}


def _curve(runs: Sequence[Sequence[float]]) -> Curve:
    """Over seeds, each divided by its own first value."""
    relative = [[value / run[0] for value in run] for run in runs]
    columns = list(zip(*relative, strict=True))
    return Curve(tuple(map(min, columns)), tuple(map(statistics.median, columns)), tuple(map(max, columns)))


def measure_trained(name: str, encoder: Encoder, setting: Setting) -> dict[str, dict[Way, Curve]]:
    """The curves of a trained encoder for random features, in time for the whole of it, both ways for its grid.

    Distances are output frames of the encoder, and cells of the grid.
    """
    trained = copy.deepcopy(encoder).double().eval()
    frames, sub, features = 1 + setting.reach, trained.subsampling, trained.num_features
    parts: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], tuple[Way, ...]]] = {
        f"{name}: encoder": (_of_encoder(trained), (frames, 1, sub * features), ("time",))
    }
    if isinstance(trained, GridLSTMEncoder | MultidimensionalLSTMEncoder):
        grid = trained.grid
        shape = (frames, trained.patches.num_blocks, trained.patches.size)
        parts[f"{name}: grid"] = (lambda x: grid(trained.embedding(x))[0], shape, ("time", "frequency", "both"))
    curves: dict[str, dict[Way, Curve]] = {}
    for part, (net, sizes, ways) in parts.items():
        runs = []
        for seed in range(setting.seeds):
            random = torch.Generator().manual_seed(seed)
            runs.append(distances(net, torch.randn(*sizes, dtype=torch.double, generator=random), seed=seed))
        curves[part] = {way: _curve([run[way] for run in runs]) for way in ways}
    return curves


def _of_encoder(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """An encoder as a net along time, (B, T', 1, features of an output frame's input) -> (B, T', 1, D)."""

    def compute(x: Tensor) -> Tensor:
        features = x.reshape(len(x), -1, encoder.num_features)
        return cast(Tensor, encoder(features, torch.full((len(x),), features.shape[1]))[0])[:, :, None]

    return compute


def plain(curves: Mapping[str, Mapping[Way, Curve]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The curves as plain data."""
    return {
        name: {way: {field: list(values) for field, values in curve._asdict().items()} for way, curve in of_net.items()}
        for name, of_net in curves.items()
    }
