"""Draws docs/schedule.png, the picture of docs/schedule.md: python docs/schedule.py

The numbers in the cells are computed by the schedule that the engines use, not written down here. With --stacks, prints
the table of stacks instead.
"""

import io
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from asr.files import atomic_writer
from asr.grid import GridLSTM
from asr.grid.schedule import ScanOrder, diagonal_schedule

TIME, FREQUENCY = 7, 4
LENGTHS = (5, 4)
"""Extents of a shorter utterance in the same batch."""
BANDS = 2
STYLE: Any = {"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left"}


def steps_of(lengths: tuple[int, int], backward: tuple[bool, bool]) -> dict[tuple[int, int], int]:
    """The step at which each cell (t, f) of a padded grid is computed, as the engine's own scan order has it."""
    extents = (TIME, FREQUENCY)
    order = ScanOrder(extents, torch.tensor([lengths]), [backward])
    cells = torch.arange(TIME * FREQUENCY, dtype=torch.float32)[:, None]
    visited = order.to_every_scan(cells)[0, :, 0].long().tolist()
    steps = diagonal_schedule(extents, torch.device("cpu")).steps
    return {
        divmod(cell, FREQUENCY): number for number, step in enumerate(steps) for cell in visited[step.start : step.stop]
    }


def draw_grid(ax: Axes, steps: dict[tuple[int, int], int], lengths: tuple[int, int], colors: Colormap) -> None:
    """Cells with the number of their step; padded ones are hatched."""
    last = TIME + FREQUENCY - 2
    for (t, f), step in steps.items():
        real = t < lengths[0] and f < lengths[1]
        face = colors(0.12 + 0.76 * step / last) if real else "white"
        hatch = None if real else "////"
        ax.add_patch(Rectangle((t - 0.42, f - 0.42), 0.84, 0.84, facecolor=face, edgecolor="#888888", hatch=hatch))
        if real:
            ax.text(t, f, str(step), ha="center", va="center", color="white" if step < last / 2 else "black")
    ax.set_xlim(-0.7, TIME - 0.3)
    ax.set_ylim(-0.7, FREQUENCY - 0.3)
    ax.set_aspect("equal")
    ax.set_xticks(range(TIME))
    ax.set_yticks(range(FREQUENCY))
    ax.set_xlabel("t, time")
    ax.set_ylabel("f, frequency")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)


def draw_arrows(ax: Axes, cell: tuple[int, int], backward: tuple[bool, bool]) -> None:
    """What a cell waits for: one arrow from its predecessor along each axis."""
    for axis in range(2):
        before = list(cell)
        before[axis] += 1 if backward[axis] else -1
        start = [b + 0.25 * (c - b) for b, c in zip(before, cell, strict=True)]
        end = [c - 0.25 * (c - b) for b, c in zip(before, cell, strict=True)]
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#D55E00", "linewidth": 2})


def draw_skewed(ax: Axes, steps: dict[tuple[int, int], int], colors: Colormap) -> None:
    """The same cells with the step as the horizontal axis: a column is what one product computes."""
    last = max(steps.values())
    for (t, f), step in steps.items():
        face = colors(0.12 + 0.76 * step / last)
        ax.add_patch(Rectangle((step - 0.42, f - 0.42), 0.84, 0.84, facecolor=face, edgecolor="#888888"))
        ax.text(step, f, f"t={t}", ha="center", va="center", fontsize=8, color="white" if step < last / 2 else "black")
    ax.add_patch(Rectangle((3.5, -0.55), 1, FREQUENCY + 0.1, fill=False, edgecolor="#D55E00", linewidth=2.5))
    ax.set_xlim(-0.7, last + 0.7)
    ax.set_ylim(-0.7, FREQUENCY - 0.3)
    ax.set_aspect("equal")
    ax.set_xticks(range(last + 1))
    ax.set_yticks(range(FREQUENCY))
    ax.set_xlabel("step s = t + f")
    ax.set_ylabel("f, frequency")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)


def figure() -> Figure:
    """Four panels: the steps of a scan, the same sorted by step, a scan backward in time, bands."""
    whole = (TIME, FREQUENCY)
    drawn = Figure(figsize=(12, 7.4), layout="constrained")
    FigureCanvasAgg(drawn)
    (first, second), (third, fourth) = drawn.subplots(2, 2)
    colors = colormaps["viridis"]
    forward = steps_of(whole, (False, False))
    draw_grid(first, forward, whole, colors)
    draw_arrows(first, (3, 2), (False, False))
    first.set_title("1. The number is the step at which a cell is computed.\nA cell waits for two others (arrows).")
    draw_skewed(second, forward, colors)
    count = len(set(forward.values()))
    second.set_title(f"2. Cells by step: {TIME * FREQUENCY} cells in {count} steps.\nA column (framed) is one product.")
    draw_grid(third, steps_of(LENGTHS, (True, False)), LENGTHS, colors)
    draw_arrows(third, (2, 2), (True, False))
    third.set_title(
        "3. Backward in time, a shorter utterance: its scan begins\nat its own last frame. Hatched: padding."
    )
    draw_grid(fourth, forward, whole, colors)
    for band in range(1, BANDS):
        edge = next(f for f in range(FREQUENCY) if f * BANDS // FREQUENCY == band) - 0.5
        fourth.axhline(edge, color="#D55E00", linewidth=2.5)
    for band in range(BANDS):
        middle = [f for f in range(FREQUENCY) if f * BANDS // FREQUENCY == band]
        fourth.text(TIME - 0.4, sum(middle) / len(middle), f"weights {band + 1}", va="center", color="#D55E00")
    fourth.set_xlim(-0.7, TIME + 0.9)
    fourth.set_title("4. Bands have weights of their own: the same steps,\none product a band in each.")
    return drawn


def stack_milliseconds(depth: Any, hidden_size: int, training: bool) -> tuple[float, float]:
    """Processor time of 4 layers, one after the other and as one wavefront: by turns, the best of 7 each."""
    module = GridLSTM(hidden_size, hidden_size, 4, depth=depth, engine="wavefront")
    x = torch.randn(1, 100, 10, hidden_size, requires_grad=True)
    best = {False: float("inf"), True: float("inf")}
    for _ in range(7):
        for as_one in best:
            with mock.patch("asr.grid.wavefront.pays", return_value=as_one), torch.set_grad_enabled(training):
                start = time.process_time()
                output = module(x)[0]
                if training:
                    torch.autograd.grad(output.sum(), [x, *module.parameters()])
                best[as_one] = min(best[as_one], time.process_time() - start)
    return 1e3 * best[False], 1e3 * best[True]


def print_stacks() -> None:
    """The table of stacks, on one thread."""
    torch.set_num_threads(1)
    for hidden_size in (16, 48, 96):
        for training in (False, True):
            pairs = [stack_milliseconds(depth, hidden_size, training) for depth in ("none", "relu", "lstm")]
            cells = " | ".join(f"{apart:.1f}, {as_one:.1f}" for apart, as_one in pairs)
            print(f"| {hidden_size} | {'training' if training else 'forward'} | {cells} |")


def main() -> None:
    """Write the picture beside this file; the same picture is the same bytes."""
    if "--stacks" in sys.argv:
        print_stacks()
        return
    packed = io.BytesIO()
    with rc_context(STYLE):
        figure().savefig(packed, format="png", dpi=100, metadata={"Software": None})
    with atomic_writer(Path(__file__).with_suffix(".png")) as file:
        file.write(packed.getvalue())


if __name__ == "__main__":
    main()
