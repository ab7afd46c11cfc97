"""Character prediction: a stacked LSTM against a Grid LSTM of time x depth, tied and untied, of as many parameters.

    python examples/characters.py book.txt -o runs/characters --seconds 200 --plot characters.png

The text is read line by line, plain or gzipped. It is cut into five parts; of each, the last lines are a stretch to
choose learning rates on (2 %) and one that is never trained on (3 %), with gaps of 2 % before, between and behind
that are left out. The lines of `--exclude` are left out everywhere, and `--margin` lines on either side of each.

All models see the same batches in the same order, by the same optimiser, engine and number of trials of the learning
rate. Each trains for the same CPU time, one thread, measurements not counted; the weights that are measured are
averages. What is done is kept in the folder, one JSON file a model, and is not done again.

CPU time depends on what else the machine does. `--time` therefore times some steps of all models by turns, and keeps
their speeds; from then on times in the table and the plot are characters over these speeds.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from asr.files import read_json, write_json, write_text
from asr.lm.neural import BOUNDARY, CharacterLanguageModel, bits_per_character, save_language_model
from asr.lm.neural_training import Training, TrainingOptions, train
from asr.lm.sentences import read_sentences
from asr.provenance import provenance

NETS: dict[str, tuple[Literal["lstm", "grid"], bool]] = {
    "lstm": ("lstm", False),
    "grid": ("grid", False),
    "tied grid": ("grid", True),
}
COLORS = {"lstm": "#E69F00", "grid": "#0072B2", "tied grid": "#009E73"}
RATES = (4e-3, 1.2e-2)
MARKS = [n / 10 for n in (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
"""Of the CPU time, where the curves are measured."""
TICKS = [0.1, 0.2, 0.5, 1, 2, 5]
"""Of the axis of characters, in millions."""
COUNTS = [500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000]
"""Characters trained on, where they are measured as well."""
PARTS, GAP, TUNING, UNSEEN = 5, 0.02, 0.02, 0.03
STREAMS = 64


class Texts(NamedTuple):
    """A text to train on, one to choose learning rates on and one that is unseen, each with a final line break."""

    training: str
    tuning: str
    unseen: str
    counts: dict[str, int]

    @property
    def alphabet(self) -> str:
        return "".join(sorted(set(self.training + self.tuning + self.unseen)))


def read_lines(path: Path) -> list[str]:
    """The lines of a text, plain or gzipped, or the transcripts of manifests (`asr.lm.sentences.read_sentences`)."""
    return [line.strip() for line in read_sentences(path)]


def split(lines: Sequence[str], excluded: set[str], margin: int) -> Texts:
    """Cut a text as the head of this file says. Lines of training that occur in the other texts are left out too."""
    named = [at for at, line in enumerate(lines) if line in excluded]
    left_out = {near for at in named for near in range(max(0, at - margin), min(len(lines), at + margin + 1))}
    chosen: dict[str, list[str]] = {"training": [], "tuning": [], "unseen": [], "gaps": []}
    for at, line in enumerate(lines):
        if at not in left_out:
            chosen[purpose(at % (part := len(lines) / PARTS) / part)].append(line)
    elsewhere = set(chosen["tuning"]) | set(chosen["unseen"])
    training = [line for line in chosen["training"] if line not in elsewhere]
    counts = {
        "lines": len(lines),
        "excluded": len(named),
        "in the margins": len(left_out) - len(named),
        "in gaps": len(chosen["gaps"]),
        "repeated": len(chosen["training"]) - len(training),
        "training": len(training),
        "tuning": len(chosen["tuning"]),
        "unseen": len(chosen["unseen"]),
    }
    amount, shared = shared_runs(training, chosen["unseen"])
    counts[f"shared runs of 8 words, of {amount}"] = shared
    texts = [BOUNDARY.join(part) + BOUNDARY for part in (training, chosen["tuning"], chosen["unseen"])]
    return Texts(texts[0], texts[1], texts[2], counts)


def purpose(place: float) -> str:
    """What a line at this place of its part, in [0, 1), is for."""
    for name, share in (("gaps", GAP), ("unseen", UNSEEN), ("gaps", GAP), ("tuning", TUNING), ("gaps", GAP)):
        if (place := place + share) >= 1:
            return name
    return "training"


def shared_runs(training: Sequence[str], unseen: Sequence[str], length: int = 8) -> tuple[int, int]:
    """Runs of 8 words within the lines of the unseen text, and how many of them occur in the training text."""

    def runs(lines: Sequence[str]) -> Iterator[tuple[str, ...]]:
        for line in lines:
            words = line.split()
            yield from (tuple(words[at : at + length]) for at in range(len(words) - length + 1))

    there = set(runs(training))
    found = [run in there for run in runs(unseen)]
    return len(found), sum(found)


def build(net: str, layers: int, parameters: int, alphabet: str, seed: int) -> CharacterLanguageModel:
    """The net with the size of hidden vectors that makes its number of parameters nearest."""
    architecture, tied = NETS[net]

    def make(size: int) -> CharacterLanguageModel:
        return CharacterLanguageModel(alphabet, architecture, layers, size, tied)

    low, high = 1, 4096
    while high - low > 1:  # at `low` there are fewer parameters than wanted, at `high` more
        with torch.device("meta"):
            more = make(middle := (low + high) // 2).parameter_count() > parameters
        low, high = (low, middle) if more else (middle, high)
    with torch.device("meta"):
        size = min((low, high), key=lambda size: abs(make(size).parameter_count() - parameters))
    torch.manual_seed(seed)
    return make(size)


def run(net: str, layers: int, texts: Texts, options: argparse.Namespace) -> dict[str, Any]:
    """Try the learning rates, train at the better one, write the result and the model; or read the result."""
    name = name_of(net, layers)
    file = options.output / f"{name}.json"
    settings = {"parameters": options.parameters, "seconds": options.seconds, "trial_seconds": options.trial_seconds}
    settings |= {"seed": options.seed, "rates": list(RATES), "text": texts.counts}
    former: dict[str, Any] = read_json(file) if file.is_file() else {"settings": None}
    if former["settings"] == settings:
        return former

    def fresh() -> CharacterLanguageModel:
        return build(net, layers, options.parameters, texts.alphabet, options.seed)

    model = fresh()
    codes, tuning, unseen = (model.encode(text) for text in (texts.training, texts.tuning, texts.unseen))
    trials = {}
    for rate in RATES:
        trial = Training(fresh(), codes, TrainingOptions(rate, STREAMS))
        trials[str(rate)] = train(trial, [options.trial_seconds], measure_on(tuning))[-1].unseen_bits
        print(f"{name}: rate {rate:g}, {trials[str(rate)]:.3f} bits after {options.trial_seconds:g} s", flush=True)
    rate = min(RATES, key=lambda rate: trials[str(rate)])
    training = Training(model, codes, TrainingOptions(rate, STREAMS, seed=options.seed))
    points = train(training, [options.seconds * mark for mark in MARKS], measure_on(unseen), COUNTS)
    result = {
        "net": net,
        "layers": layers,
        "parameters": model.parameter_count(),
        "size": model.describe()["size"],
        "trials": trials,
        "training": asdict(training.options),
        "points": [point._asdict() for point in points],
        "unseen_bits_by_stream": bits_per_character(training.averaged, unseen, STREAMS).tolist(),
        "settings": settings,
        "provenance": provenance(),
    }
    save_language_model(training.averaged, options.output / name, {"excluded": texts.counts, "seed": options.seed})
    write_json(file, result)
    print(f"{name}: {points[-1]}", flush=True)
    return result


def measure_speeds(options: argparse.Namespace, texts: Texts, rounds: int = 5) -> dict[str, float]:
    """Characters a second in training by net and layers, the median of some rounds, by turns."""
    trainings = {}
    for net, layers in ((net, layers) for layers in options.layers for net in options.nets):
        model = build(net, layers, options.parameters, texts.alphabet, options.seed)
        trainings[name_of(net, layers)] = Training(
            model, model.encode(texts.training), TrainingOptions(streams=STREAMS)
        )
    seen: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(rounds + 1):  # the first of them warms up
        for name, training in trainings.items():
            seconds, characters = training.seconds, training.characters
            training.until(characters=characters + 1)
            seen[name].append((training.characters - characters) / (training.seconds - seconds))
    return {name: median(rates[1:]) for name, rates in seen.items()}


def name_of(net: str, layers: int) -> str:
    return f"{net.replace(' ', '_')}_{layers}"


def timed(result: dict[str, Any], speeds: dict[str, float]) -> dict[str, Any]:
    """The result with all points at the times at which they would be at the measured speed, if there is one."""
    last = result["points"][-1]
    speed = speeds.get(name_of(result["net"], result["layers"]), last["characters"] / last["seconds"])
    points = [point | {"seconds": point["characters"] / speed} for point in result["points"]]
    return result | {"points": points, "speed": speed}


def measure_on(codes: Tensor) -> Callable[[CharacterLanguageModel], float]:
    return lambda model: float(bits_per_character(model, codes, STREAMS).mean())


def at_characters(result: dict[str, Any], count: int) -> float | None:
    """Bits per character on the unseen text at the first point after so many characters; None if it never was there."""
    return next((point["unseen_bits"] for point in result["points"] if point["characters"] >= count), None)


def difference(result: dict[str, Any], other: dict[str, Any]) -> str:
    """The mean over the unseen text's streams of the bits saved, with a 95 % interval (normal approximation)."""
    first, second = (torch.tensor(each["unseen_bits_by_stream"], dtype=torch.float64) for each in (result, other))
    saved = second - first
    return f"{saved.mean():+.3f} ± {1.96 * saved.std() / len(saved) ** 0.5:.3f}"


def at_seconds(result: dict[str, Any], seconds: float) -> float:
    """Bits per character on the unseen text at a time, interpolated over the logarithm of time."""
    times = np.log([point["seconds"] for point in result["points"]])
    return float(np.interp(np.log(seconds), times, [point["unseen_bits"] for point in result["points"]]))


def table(results: Sequence[dict[str, Any]]) -> str:
    """A row a model, as Markdown. The equal time of nets of one depth is the longest that all of them have."""
    counts = [count for count in COUNTS if any(at_characters(result, count) is not None for result in results)]
    head = ["model", "layers", "size", "parameters", "rate (bits in the trials)", "characters a second"]
    head += ["trained on", "bits at its end", "less than the lstm", "bits at equal time"]
    head += [f"bits at {count / 1e6:g} M" for count in counts]
    rows = [head, ["---"] * len(head)]
    for result in results:
        alike = [other for other in results if other["layers"] == result["layers"]]
        seconds = min(other["points"][-1]["seconds"] for other in alike)
        lstm = [other for other in alike if other["net"] == "lstm" != result["net"]]
        trials = ", ".join(f"{float(rate):g}: {bits:.3f}" for rate, bits in result["trials"].items())
        row = [result["net"], str(result["layers"]), str(result["size"]), f"{result['parameters']:,}"]
        row += [f"{result['training']['learning_rate']:g} ({trials})", f"{result['speed']:,.0f}"]
        row += [f"{result['points'][-1]['characters'] / 1e6:.2f} M", f"{result['points'][-1]['unseen_bits']:.3f}"]
        row += [difference(result, lstm[0]) if lstm else "", f"{at_seconds(result, seconds):.3f} ({seconds:.0f} s)"]
        rows.append(row + [f"{b:.3f}" if (b := at_characters(result, count)) is not None else "" for count in counts])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def draw(results: Sequence[dict[str, Any]], file: Path) -> None:
    """Bits per character on the unseen text against time and against characters; a row of axes a depth."""
    depths = sorted({result["layers"] for result in results})
    figure = Figure(figsize=(8, 3.2 * len(depths)), layout="constrained")
    axes = figure.subplots(len(depths), 2, sharey=True, sharex="col", squeeze=False)
    for row, layers in zip(axes, depths, strict=True):
        for result in (result for result in results if result["layers"] == layers):
            y = [point["unseen_bits"] for point in result["points"]]
            for ax, key, unit in zip(row, ("seconds", "characters"), (60, 1e6), strict=True):
                x = [point[key] / unit for point in result["points"]]
                ax.plot(x, y, marker=".", color=COLORS[result["net"]], label=result["net"])
        row[0].set(ylabel="bits per character, unseen", title=f"{layers} layers", xlabel="CPU minutes of training")
        row[1].set(title=f"{layers} layers", xlabel="million characters trained on", xscale="log")
        row[1].set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        row[1].minorticks_off()
        row[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict characters by stacked LSTMs and Grid LSTMs of equal size.")
    parser.add_argument("text", type=Path, help="a text, plain or gzipped")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for results and models")
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], help="texts or cuts that shall not be seen")
    parser.add_argument("--margin", type=int, default=10, help="lines left out on either side of an excluded one")
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--parameters", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=200.0, help="CPU time of each training")
    parser.add_argument("--trial-seconds", type=float, default=24.0, help="CPU time of each trial of a learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--time", action="store_true", help="only time steps of all models, by turns")
    options = parser.parse_args()
    torch.set_num_threads(1)
    excluded = {line for path in options.exclude for line in read_lines(path)}
    texts = split(read_lines(options.text), excluded, options.margin)
    print(json.dumps(texts.counts), flush=True)
    if options.time:
        write_json(options.output / "speeds.json", measure_speeds(options, texts))
        return
    for name in ("training", "tuning", "unseen"):  # for other language models
        write_text(options.output / f"{name}.txt", getattr(texts, name))
    results = [run(net, layers, texts, options) for layers in options.layers for net in options.nets]
    speeds = read_json(options.output / "speeds.json") if (options.output / "speeds.json").is_file() else {}
    results = [timed(result, speeds) for result in results]
    print(table(results))
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
