"""`asr gradients`: how far gradients reach in recurrent nets, at initialisation and trained."""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from asr.errors import InputError
from asr.files import write_json
from asr.inspect.gradient_picture import gradient_figure
from asr.inspect.gradients import Curve, Setting, Way, measure, measure_trained, plain
from asr.inspect.pictures import write_figure
from asr.model import load_model
from asr.provenance import provenance
from asr.report.tables import plain_table


def main(arguments: Sequence[str]) -> int:
    """`asr gradients`."""
    options = _parser().parse_args(arguments)
    for name, least in (("hidden_size", 1), ("reach", 1), ("layers", 1), ("seeds", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(options, name)}")
    infinite = next((bias for bias in options.forget_bias if not math.isfinite(bias)), None)
    if infinite is not None:
        raise InputError(f"--forget-bias must be a finite number, got {infinite}")
    names = [Path(path).resolve().name for path in options.runs]
    if len(set(names)) < len(names):
        names = options.runs
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} was given twice")
    loaded = [(name, load_model(path).model.encoder) for name, path in zip(names, options.runs, strict=True)]
    settings = [
        Setting(options.hidden_size, options.reach, options.layers, bias, options.seeds) for bias in options.forget_bias
    ]
    started = time.perf_counter()
    rows = [(setting, measure(setting)) for setting in settings]
    trained: dict[str, dict[Way, Curve]] = {}
    for name, encoder in loaded:
        trained |= measure_trained(name, encoder, settings[0])
    write_figure(gradient_figure(rows, trained), options.output)
    for setting, curves in rows:
        print(f"forget bias {setting.forget_bias:g}, gradient at the largest distance, of that at distance 0:")
        print(_table(curves), end="\n\n")
    if trained:
        print(f"trained:\n{_table(trained)}\n")
    if options.json:
        made_with = provenance()
        content = {
            "initial": [{"setting": asdict(setting), "curves": plain(curves)} for setting, curves in rows],
            "trained": plain(trained),
            "versions": made_with["versions"],
            "commit": made_with["commit"],
        }
        write_json(options.json, content)
    files = " and ".join(filter(None, [options.output, options.json]))
    print(f"wrote {files} in {time.perf_counter() - started:.0f} s")
    return 0


def _table(curves: dict[str, dict[Way, Curve]]) -> str:
    ways: tuple[Way, ...] = ("time", "frequency", "both", "depth")
    rows = [
        [name, *(f"{of_net[way].median[-1]:.1e}" if way in of_net else "–" for way in ways)]
        for name, of_net in curves.items()
    ]
    return plain_table(["net", *ways], rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr gradients",
        description="Draw the norm of the gradient of an output with respect to the input some cells before it, "
        "against that distance in time, in frequency, in both at once and in depth: RNN, LSTM, multidimensional LSTM "
        "(sum and stable) and Grid LSTM without and with memory along depth, all of the same hidden size and drawn at "
        "random, for random input; the median over seeds, and the range as a band.",
        epilog="RNN and LSTM run along time alone. Trained encoders are measured for random features: the whole "
        "encoder against output frames, and a grid against its cells.",
    )
    parser.add_argument(
        "runs", nargs="*", help="trained runs to measure too: run folders, checkpoints or exported ones"
    )
    parser.add_argument("-o", "--output", required=True, help="the picture, PNG")
    parser.add_argument("--json", help="write the curves to this file")
    parser.add_argument("--hidden-size", type=int, default=32, help="of all nets, and of the input (default: 32)")
    parser.add_argument("--reach", type=int, default=48, help="largest distance in time and frequency (default: 48)")
    parser.add_argument("--layers", type=int, default=12, help="layers of the deepest net (default: 12)")
    parser.add_argument(
        "--forget-bias", type=float, nargs="+", default=[0.0, 1.0], help="of forget gates, a row each (default: 0 1)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="nets and inputs drawn of each kind (default: 5)")
    return parser
