"""How often words are right that a recogniser says to be sure of: a table and a picture of hypotheses files.

python examples/reliability.py "AN4 test=results/pretrained/hypotheses-an4-test-beam.jsonl.gz" -o docs/reliability.png
"""

import argparse
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asr.decode.hypotheses import read_hypotheses
from asr.errors import InputError
from asr.report.pictures import COLORS, STYLE
from asr.score.reliability import BINS, Reliability
from asr.score.scores import score

FEWEST = 10
"""Words below which a tenth has no point in the picture, but is in the table."""


def reliability_of(file: Path) -> Reliability:
    """Of one hypotheses file, whose words must have confidences."""
    try:
        found = score(read_hypotheses(file)).reliability
    except InputError as error:
        raise SystemExit(str(error)) from error
    if found is None:
        raise SystemExit(f"{file} has words without confidences")
    return found


def table(named: dict[str, Reliability]) -> str:
    """Markdown: the share of right words by tenths of confidence, then the summary of each."""
    lines = [f"| confidence | {' | '.join(named)} |", f"|---|{'---:|' * len(named)}"]
    for number, bins in enumerate(zip(*(found.bins() for found in named.values()), strict=True)):
        cells = [f"{100 * b.right / b.words:.0f} % ({b.right}/{b.words})" if b.words else "–" for b in bins]
        lines.append(f"| {number / BINS:.1f} to {(number + 1) / BINS:.1f} | {' | '.join(cells)} |")
    shares = [f"{100 * found.right.mean():.1f} %, {100 * found.expected:.1f} %" for found in named.values()]
    lines.append(f"| all: right, expected | {' | '.join(shares)} |")
    for name in ("normalised_cross_entropy", "area"):
        values = [getattr(found, name) for found in named.values()]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        heading = name.replace("_", " ") if name != "area" else "area under ROC"
        lines.append(f"| {heading} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(named: dict[str, Reliability]) -> Figure:
    """Right words over confidence, a line each; on the diagonal confidences are what they say."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.5, 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle=":")
        for (name, found), color in zip(named.items(), COLORS, strict=False):
            bins = [b for b in found.bins() if b.words >= FEWEST]
            shares = [100 * b.right / b.words for b in bins]
            axes.plot([100 * b.expected for b in bins], shares, marker="o", color=color, label=name)
        axes.set(xlabel="confidence (%)", ylabel="words that are right (%)", xlim=(0, 100), ylim=(0, 100))
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="upper left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="NAME=FILE", help="hypotheses.jsonl or .jsonl.gz")
    parser.add_argument("-o", "--output", type=Path, help="draw a PNG file")
    options = parser.parse_args()
    named: dict[str, Reliability] = {}
    for given in options.files:
        name, _, file = given.partition("=") if "=" in given else (given, "", given)
        if name in named:
            parser.error(f"two files are called {name!r}: give NAME=FILE with different names")
        named[name] = reliability_of(Path(file))
    print(table(named))
    if options.output:
        picture(named).savefig(options.output, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
