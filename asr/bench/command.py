"""`asr bench`: what the recurrent core costs on this machine."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from asr.bench import step
from asr.bench.candidates import DTYPES, FOLDED, LARGE, LOOP, LSTM, PUBLIC_LOOP, Setting
from asr.bench.plot import sweep_picture
from asr.bench.rows import Case, Effort, Row, measure, tables
from asr.bench.stored import FORMULAS
from asr.bench.workload import Mode, Workload
from asr.files import write_json
from asr.grid.engines import ENGINES
from asr.provenance import commit, cpu_model

MODES: tuple[Mode, ...] = ("forward", "training")
SIZES: dict[Workload, tuple[Mode, ...]] = {
    Workload(16, 250, 10, 64, 64): MODES,
    Workload(16, 125, 16, 128, 128): MODES,
    Workload(32, 125, 8, 128, 96): MODES,
    Workload(1, 250, 10, 64, 64): ("forward",),
}
"""What is measured by default, and in which modes."""
SWEPT = ("batch", "time", "frequency", "hidden_size")
SWEEP_BASE = Workload(8, 32, 8, 64, 64)
FACTORS = (0.25, 0.5, 1, 2, 4)
NOTES = """\
Medians of rounds in which all candidates take turns. FLOPs of the products: 2 B T F 8H (I + 2H) forward, three times
that with the backward pass. "of nn.LSTM": of the rate of the nn.LSTM(h, h) over (B, T) with as many FLOPs; "of B*F": of
the rate of nn.LSTM(I, H) at batch B*F; "of product": of the rate of the fastest plain matrix product, which is that of
a full anti-diagonal or {large}; "of loop": of the rate of a loop over cells in the fastest form that
plain PyTorch has; "of public": of the rate of that loop as public implementations have it.
Peak: growth of {memory}. Formulas, for C = B T F, A = 2, n bytes a number, P parameters, m = min(T, F),
S = B m (m + 1) / 2, and some MB:"""


def sweep(base: Workload) -> list[Workload]:
    """One size after the other from a quarter to four times its base; the base itself comes once.

    >>> [str(w) for w in sweep(Workload(1, 1, 1, 1, 4))][-4:]
    ['1,1,1,1,1', '1,1,1,1,2', '1,1,1,1,8', '1,1,1,1,16']
    """
    varied = [
        replace(base, **{field: int(getattr(base, field) * factor)})
        for field in SWEPT
        for factor in FACTORS
        if getattr(base, field) * factor >= 1
    ]
    return list(dict.fromkeys([base, *varied]))


def cases(options: argparse.Namespace) -> list[Case]:
    """What is to be measured: all combinations of the options, sizes outermost."""
    if options.sweep:
        base = options.sizes[0] if options.sizes else SWEEP_BASE
        sizes = dict.fromkeys(sweep(base), MODES)
    else:
        sizes = dict.fromkeys(options.sizes, MODES) if options.sizes else SIZES
    return [
        Case(workload, Setting(options.device, dtype, mode), threads)
        for workload, modes in sizes.items()
        for dtype in options.dtype
        for threads in options.threads
        for mode in modes
        if mode in options.modes
    ]


def run(wanted: Sequence[Case], names: Sequence[str], effort: Effort) -> list[Row]:
    """Measure all cases behind a progress bar; torch's number of threads is as before afterwards."""
    threads = torch.get_num_threads()
    turns = effort.rounds + max(1, effort.warmup) + effort.memory
    rows: list[Row] = []
    try:
        with tqdm(total=len(wanted) * len(names) * turns, unit="turn", disable=None) as bar:
            for number, case in enumerate(wanted, start=1):

                def done(name: str, of: Case = case) -> None:
                    bar.set_postfix_str(f"{of.workload} {of.setting.mode} {name}", refresh=False)
                    bar.update(name in names)

                rows += measure(case, names, effort, done)
                bar.update(number * len(names) * turns - bar.n)
    finally:
        torch.set_num_threads(threads)
    return rows


def main(arguments: Sequence[str]) -> int:
    """`asr bench`. The exit code is 2 for options that cannot be used."""
    if list(arguments[:1]) == ["step"]:
        return step.main(arguments[1:])
    parser, grid = _parsers()
    options = parser.parse_args(arguments)
    _check(options, grid)
    wanted = cases(options)
    if not wanted:
        grid.error("--modes leaves nothing to measure: that size is measured forward only")
    names = [*options.engines, *(() if options.no_loop else (LOOP, PUBLIC_LOOP)), LSTM, FOLDED]
    rows = run(wanted, names, Effort(options.rounds, options.warmup, not options.no_memory))
    place = torch.cuda.get_device_name() if options.device == "cuda" else cpu_model()
    source = {"machine": place, "torch": torch.__version__, "commit": commit()}
    print(tables(rows))
    memory = "what torch's allocator gave out" if options.device == "cuda" else "resident memory"
    print("\n" + NOTES.format(memory=memory, large=" x ".join(map(str, LARGE))))
    print("\n".join(f"    {name}, {mode}: {formula}" for (name, mode), formula in FORMULAS.items() if name in names))
    print(f"{place}, torch {torch.__version__}, commit {source['commit']}")
    if options.json:
        write_json(options.json, [{**asdict(row), **source} for row in rows])
    if options.plot:
        sweep_picture(rows, Path(options.plot))
        print(f"picture: {options.plot}", file=sys.stderr)
    return 0


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse options that contradict each other or the machine, with exit code 2."""
    if options.plot and not options.sweep:
        parser.error("--plot draws a sweep: add --sweep")
    if options.sweep and options.sizes and len(options.sizes) > 1:
        parser.error(f"--sweep starts from one size, got {len(options.sizes)} --sizes")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device here")
    if options.device == "cpu" and "float16" in options.dtype:
        parser.error("--dtype float16 is for --device cuda; on the CPU there is bfloat16")


def _positive(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {minimum}, got {text!r}")
        return int(text)

    return parse


def _size(text: str) -> Workload:
    try:
        return Workload.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(prog="asr bench", description="Measure speed and memory on this machine.")
    what = parser.add_subparsers(required=True, metavar="WHAT")
    what.add_parser("step", help=step.SUMMARY)
    grid = what.add_parser(
        "grid",
        help="the Grid LSTM's engines beside nn.LSTM, loops over cells and plain matrix products",
        description="Time the Grid LSTM (one layer, one direction) by each of its engines, two loops over its cells, "
        "nn.LSTM of equal FLOPs, nn.LSTM at batch B*F, and plain matrix products, by turns in one run, and measure the "
        "peak of memory of each in a process of its own. Candidates that do not run here are named with the reason.",
    )
    add = grid.add_argument
    engines = [name for name in ENGINES if name != "definition"]
    add("--sizes", nargs="+", type=_size, metavar="B,T,F,I,H", help=f"default: {' '.join(map(str, SIZES))}")
    add("--engines", nargs="+", choices=list(ENGINES), default=engines, help=f"default: {' '.join(engines)}")
    add("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: both")
    add("--dtype", nargs="+", choices=list(DTYPES), default=["float32"], help="half precision is autocast's")
    add("--threads", nargs="+", type=_positive(1), default=[2], metavar="N", help="default: 2")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--rounds", type=_positive(1), default=5, metavar="N", help="turns of each candidate (default: 5)")
    add("--warmup", type=_positive(1), default=1, metavar="N", help="turns before those that count (default: 1)")
    add("--no-loop", action="store_true", help="leave out the loops over cells, which take longest")
    add("--no-memory", action="store_true", help="do not measure memory")
    add("--json", metavar="FILE", help="write all rows to this file")
    add("--sweep", action="store_true", help=f"vary B, T, F and H around one size (default: {SWEEP_BASE})")
    add("--plot", metavar="FILE.png", help="draw the sweep")
    return parser, grid
