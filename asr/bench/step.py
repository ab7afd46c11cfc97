"""`asr bench step`: how long a training step of configurations takes, in float32 and under autocast to bfloat16."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import torch
from torch import nn
from tqdm import tqdm

from asr.bench.timing import Timing, interleave
from asr.cpu import flushed_denormals, keep_freed_memory
from asr.experiment import read_experiment
from asr.files import write_json
from asr.model import CTCModel, build_encoder
from asr.provenance import commit, cpu_model
from asr.report.compare import plain_table

SUMMARY = "time a training step of configurations in float32 and bfloat16, by turns"
PRECISIONS = ("32-true", "bf16-mixed")
"""As `--trainer.precision` of `asr fit` has them."""
TOKENS = 30
FRAMES_PER_TOKEN = 12
CLIP = 1.0
HEADINGS = ("configuration", "parameters", "precision", "ms", "quartiles", "of float32's")


@dataclass(frozen=True)
class StepRow:
    """What was measured of a configuration in one precision; milliseconds are the rounds' median and quartiles."""

    configuration: str
    parameters: int
    precision: str
    utterances: int
    frames: int
    threads: int
    milliseconds: float
    milliseconds_low: float
    milliseconds_high: float
    rounds: int


@dataclass(frozen=True)
class StepBatch:
    """Utterances of random features, the shortest with four fifths of the longest's frames."""

    utterances: int = 16
    frames: int = 300


def training_step(model: CTCModel, num_features: int, batch: StepBatch, precision: str) -> Callable[[], None]:
    """Forward, CTC loss, backward, clipping and AdamW, as `asr fit` has them; without data and weight averaging."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    features = torch.randn(batch.utterances, batch.frames, num_features)
    lengths = torch.linspace(batch.frames * 4 // 5, batch.frames, batch.utterances).long()
    token_lengths = lengths // FRAMES_PER_TOKEN
    tokens = torch.randint(1, TOKENS, (batch.utterances, int(token_lengths.max())))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            log_probs, output_lengths = model(features, lengths)
        loss = nn.functional.ctc_loss(log_probs.transpose(0, 1), tokens, output_lengths, token_lengths)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    return step


def measure(
    paths: Sequence[str],
    precisions: Sequence[str],
    batch: StepBatch,
    rounds: int,
    done: Callable[[object], object] = lambda case: None,
) -> list[StepRow]:
    """Time a step of each configuration in each precision, all by turns.

    Args:
        done: told which case had its turn.

    Raises:
        InputError: a configuration cannot be read, or describes no model.
    """
    calls, parameters = {}, {}
    for path in paths:
        experiment = read_experiment(path)
        num_features = experiment.features().num_mels
        description = experiment.encoder(num_features).describe()
        for precision in precisions:
            model = CTCModel(build_encoder(**description), TOKENS).train()
            parameters[path] = model.parameter_count()
            calls[path, precision] = training_step(model, num_features, batch, precision)
    timings = interleave({" ".join(case): call for case, call in calls.items()}, rounds, warmup=2, done=done)
    return [_row(path, parameters[path], precision, batch, timings[f"{path} {precision}"]) for path, precision in calls]


def _row(path: str, parameters: int, precision: str, batch: StepBatch, timing: Timing) -> StepRow:
    sizes = batch.utterances, batch.frames, torch.get_num_threads()
    median, low, high = (1e3 * seconds for seconds in timing[:3])
    return StepRow(path, parameters, precision, *sizes, median, low, high, timing.rounds)


def table(rows: Sequence[StepRow]) -> str:
    """A line a row; the last column is the share of the same configuration's time in float32."""
    cells = []
    for _, group in groupby(rows, key=lambda row: row.configuration):
        of_configuration = list(group)
        full = next((row.milliseconds for row in of_configuration if row.precision == PRECISIONS[0]), None)
        for row in of_configuration:
            share = "–" if full is None else f"{row.milliseconds / full:.2f}"
            quartiles = f"{row.milliseconds_low:.1f}–{row.milliseconds_high:.1f}"
            named = (row.configuration, f"{row.parameters:,}", row.precision)
            cells.append((*named, f"{row.milliseconds:.1f}", quartiles, share))
    return plain_table(HEADINGS, cells)


def main(arguments: Sequence[str]) -> int:
    """`asr bench step`."""
    options = _parser().parse_args(arguments)
    batch, before = StepBatch(options.utterances, options.frames), torch.get_num_threads()
    kept = not options.release_memory and keep_freed_memory()
    torch.set_num_threads(options.threads)
    paths = list(dict.fromkeys(options.configurations))
    turns = len(paths) * len(options.precision) * (options.rounds + 2)
    try:
        with flushed_denormals(), tqdm(total=turns, unit="turn", disable=None) as bar:
            rows = measure(paths, options.precision, batch, options.rounds, lambda case: bar.update())
    finally:
        torch.set_num_threads(before)
    source = {"machine": cpu_model(), "torch": torch.__version__, "commit": commit(), "freed_memory_kept": kept}
    print(table(rows))
    freed = "kept" if kept else "left to malloc"
    size = f"{batch.utterances} utterances of up to {batch.frames} frames"
    print(f"\n{size}, {options.threads} thread(s); freed memory is {freed}")
    print(f"{source['machine']}, torch {source['torch']}, commit {source['commit']}")
    if options.json:
        write_json(options.json, [{**asdict(row), **source} for row in rows])
        print(f"rows: {options.json}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr bench step",
        description="Time a training step of configurations on the CPU: forward, CTC loss, backward, clipping, AdamW, "
        "on a batch of random features, by turns in one run.",
    )
    add = parser.add_argument
    add("configurations", nargs="+", metavar="CONFIG.yaml", help="as `asr fit` has them")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="default: both")
    add("--utterances", type=_positive, default=16, metavar="N", help="of the batch (default: 16)")
    add("--frames", type=_positive, default=300, metavar="N", help="of the longest utterance (default: 300)")
    add("--threads", type=_positive, default=1, metavar="N", help="default: 1")
    add("--rounds", type=_positive, default=7, metavar="N", help="turns of each (default: 7)")
    add("--release-memory", action="store_true", help="let malloc return freed memory, which `asr fit` does not")
    add("--json", metavar="FILE", help="write all rows to this file")
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)
