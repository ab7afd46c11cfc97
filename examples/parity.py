"""Parity of k bits, learnt by a Grid LSTM without axes and by plain feed-forward nets of as many parameters.

    python examples/parity.py --bits 4 8 16 24 32 --minutes 10 --seed 0 --plot parity.png

As in Kalchbrenner et al. (2016, section 4.1), the k bits enter at once, the parity leaves as one number, and layers
share their weights. The 1-D grid is `GridLSTM(axes=0, depth="lstm", tied=True)`, with memory along depth. The others
are tied feed-forward nets of the same depth, as wide as makes the numbers of parameters nearest.

The weights of the bits begin as +-c/sqrt(k) with random signs, in all nets: gradients at Gaussian ones hardly carry the
parity of many bits, those of random signs do (Abbe et al. 2024, arXiv 2412.04910, on two-layer ReLU nets). Every
step and test draws fresh strings. CPU time is shared evenly among the trainings to come; who fails is not tried again.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from asr.grid import GridLSTM

HIDDEN, LAYERS, BATCH, RATE = 64, 3, 128, 3e-3
SCALES = {"grid": 3.0, "relu": 1.0, "tanh": 1.0}  # c: 1 and 3 were tried at 16 bits
LEARNT = 0.999  # of 4096 fresh strings, every 50 steps


class Result(NamedTuple):
    net: str
    bits: int
    parameters: int
    accuracy: float
    steps: int
    seconds: float


class Grid(nn.Module):
    """The 1-D Grid LSTM: bits -> hidden and memory -> tied layers -> one logit."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.grid = GridLSTM(bits, HIDDEN, num_layers=LAYERS, axes=0, depth="lstm", tied=True, forget_bias=1.0)
        self.first = self.grid.input_projection
        self.output = nn.Linear(HIDDEN, 1)

    def forward(self, bits: Tensor) -> Tensor:
        return self.output(self.grid(bits)[0]).squeeze(1)


class FeedForward(nn.Module):
    """Tied layers of one activation, between layers of their own for input and output."""

    def __init__(self, bits: int, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.middle, self.output = nn.Linear(bits, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.activation = activation

    def forward(self, bits: Tensor) -> Tensor:
        x = self.first(bits)
        for _ in range(LAYERS):
            x = self.activation(self.middle(x))
        return self.output(x).squeeze(1)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def build(name: str, bits: int) -> nn.Module:
    """The net of that name, with random signs for the bits. A feed-forward net of width w has w^2 + w (k + 3) + 1."""
    net: nn.Module = Grid(bits)
    if name != "grid":
        half = (bits + 3) / 2
        width = round(math.sqrt(half**2 + count(net) - 1) - half)
        net = FeedForward(bits, width, {"relu": torch.relu, "tanh": torch.tanh}[name])
    signs = torch.randint(0, 2, net.first.weight.shape) * 2.0 - 1
    net.first.weight.data = SCALES[name] / math.sqrt(bits) * signs
    return net


def strings(amount: int, bits: int) -> tuple[Tensor, Tensor]:
    """Random strings (amount, k) as +-1, and their parities (amount,): 1 where the number of ones is odd."""
    drawn = torch.randint(0, 2, (amount, bits))
    return 2.0 * drawn - 1, (drawn.sum(1) % 2).float()


def train(name: str, bits: int, seconds: float, seed: int) -> Result:
    """Train until the parity is learnt or the CPU seconds are over."""
    torch.manual_seed(seed)
    net = build(name, bits)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    start, steps, accuracy = time.process_time(), 0, 0.0
    while accuracy < LEARNT and time.process_time() - start < seconds:
        for _ in range(50):
            x, y = strings(BATCH, bits)
            loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        steps += 50
        with torch.no_grad():
            x, y = strings(4096, bits)
            accuracy = float(((net(x) > 0) == (y > 0)).float().mean())
    return Result(name, bits, count(net), accuracy, steps, time.process_time() - start)


def draw(results: Sequence[Result], file: Path) -> None:
    """Accuracy against k, a line a net."""
    ax = (figure := Figure(figsize=(6, 3.5), layout="constrained")).subplots()
    for name, color in {"grid": "#0072B2", "relu": "#E69F00", "tanh": "#009E73"}.items():
        points = [(result.bits, 100 * result.accuracy) for result in results if result.net == name]
        ax.plot(*zip(*points, strict=True), marker="o", color=color, label=name) if points else None
    ax.axhline(50, color="grey", linestyle=":", label="chance")
    ax.set(xlabel="k, bits", ylabel="accuracy on fresh strings in %", ylim=(45, 102))
    ax.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the parity of k bits by three nets of as many parameters.")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 8, 16, 24, 32])
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, for all trainings together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: list[Result] = []
    left = [(bits, name) for bits in sorted(options.bits) for name in SCALES]
    print("  k   net  parameters  accuracy   steps  CPU seconds", flush=True)
    while left:
        bits, name = left[0]
        share = (60 * options.minutes - sum(result.seconds for result in results)) / len(left)
        results.append(result := train(name, bits, share, options.seed))
        left = [pair for pair in left[1:] if pair[1] != name or result.accuracy >= LEARNT]
        print("{1:3}  {0}  {2:>10,}  {3:8.4f}  {4:6}  {5:11.1f}".format(*result), flush=True)
    for name in SCALES:
        learnt = [result.bits for result in results if result.net == name and result.accuracy >= LEARNT]
        print(f"{name}: the largest k learnt is {max(learnt, default=0)}")
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
