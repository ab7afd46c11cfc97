"""Measurements -> rows -> a table."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import torch

from asr.bench.candidates import FOLDED, LOOP, LSTM, PRODUCTS, PUBLIC_LOOP, RefusedError, Setting, build, products
from asr.bench.memory import Growth, peak_growth
from asr.bench.stored import predicted_bytes
from asr.bench.timing import Timing, interleave
from asr.bench.workload import Workload
from asr.report.compare import plain_table

HEADINGS = (
    "", "ms", "quartiles", "GFLOP/s", "of nn.LSTM", "of B*F", "of product", "of loop", "of public",
    "peak MB", "formula MB",
)  # fmt: skip


class Case(NamedTuple):
    """Everything that is compared with each other."""

    workload: Workload
    setting: Setting
    threads: int


class Effort(NamedTuple):
    """How much is measured.

    Args:
        rounds: turns of each candidate.
        warmup: turns before them.
        memory: whether the peak is measured too.
    """

    rounds: int = 5
    warmup: int = 1
    memory: bool = True


@dataclass(frozen=True)
class Row:
    """One candidate in one case.

    Args:
        engine: an engine of `asr.grid`, or another candidate's name.
        batch, time, frequency, input_size, hidden_size: of the Grid LSTM, also where the candidate is another.
        mode: "forward" or "training".
        flops: of this candidate's products.
        milliseconds: the median, with the quartiles; None where it was skipped.
        ratio_to_nn_lstm: its GFLOP/s over those of nn.LSTM of equal FLOPs.
        ratio_to_folded_nn_lstm: over those of nn.LSTM(I, H) at batch B*F.
        ratio_to_product: over those of the fastest plain matrix product.
        ratio_to_loop: over those of the loop over cells in its fastest form.
        ratio_to_public_loop: over those of that loop as other implementations have it.
        peak_bytes: growth of the peak of memory; None where it was not measured.
        predicted_bytes: what the formula says (`asr.bench.stored`).
        skipped: why there are no figures; None where there are.
    """

    engine: str
    batch: int
    time: int
    frequency: int
    input_size: int
    hidden_size: int
    device: str
    dtype: str
    threads: int
    mode: str
    flops: int
    milliseconds: float | None = None
    milliseconds_low: float | None = None
    milliseconds_high: float | None = None
    rounds: int = 0
    gflops_per_second: float | None = None
    ratio_to_nn_lstm: float | None = None
    ratio_to_folded_nn_lstm: float | None = None
    ratio_to_product: float | None = None
    ratio_to_loop: float | None = None
    ratio_to_public_loop: float | None = None
    peak_bytes: int | None = None
    predicted_bytes: int | None = None
    skipped: str | None = None

    @property
    def case(self) -> Case:
        workload = Workload(self.batch, self.time, self.frequency, self.input_size, self.hidden_size)
        return Case(workload, Setting(self.device, self.dtype, self.mode), self.threads)  # type: ignore[arg-type]


def flops_of(name: str, case: Case) -> int:
    """FLOPs of an engine, a loop or a reference."""
    workload, mode = case.workload, case.setting.mode
    if name == LSTM:
        return workload.equal_lstm_flops(mode)
    return workload.folded_lstm_flops(mode) if name == FOLDED else workload.flops(mode)


def measure(
    case: Case, names: Sequence[str], effort: Effort, done: Callable[[str], object] = lambda name: None
) -> list[Row]:
    """Time the candidates of one case by turns, beside plain products, and measure the memory of each.

    Args:
        names: candidates (`asr.bench.candidates.build`); the references of the ratios are taken from among them.
        done: told the name after each turn.
    """
    torch.set_num_threads(case.threads)
    calls, skipped = {}, {}
    for name in names:
        try:
            calls[name] = build(name, case.workload, case.setting)
        except RefusedError as error:
            skipped[name] = str(error)
    flops = {name: flops_of(name, case) for name in names}
    for name, (of_product, call) in products(case.workload, case.setting).items():
        calls[name], flops[name] = call, of_product
    timings = interleave(calls, effort.rounds, effort.warmup, done=done)
    growths: dict[str, Growth] = {}
    if effort.memory:
        for name in names:
            if name in timings:
                growths[name] = peak_growth(name, case.workload, case.setting, case.threads)
                if growths[name].refused:
                    print(f"{name}: its memory was not measured, {growths[name].refused}", file=sys.stderr)
                done(name)
    return make_rows(case, flops, timings, growths, skipped)


def make_rows(
    case: Case,
    flops: Mapping[str, int],
    timings: Mapping[str, Timing],
    growths: Mapping[str, Growth],
    skipped: Mapping[str, str],
) -> list[Row]:
    """Rates, ratios and rows, in the order of `flops`. A ratio without its reference is None."""
    rates = {name: flops[name] / timing.median / 1e9 for name, timing in timings.items()}
    limit = max((rate for name, rate in rates.items() if name.startswith(PRODUCTS)), default=None)
    workload, setting = case.workload, case.setting

    def over(name: str, reference: float | None) -> float | None:
        return rates[name] / reference if reference and not name.startswith(PRODUCTS) else None

    rows = []
    for name in flops:
        row = Row(name, **asdict(workload), **setting._asdict(), threads=case.threads, flops=flops[name])
        figures: dict[str, Any] = {"skipped": skipped.get(name)}
        if name in timings:
            median, low, high, rounds = timings[name]
            figures = {
                "milliseconds": 1e3 * median,
                "milliseconds_low": 1e3 * low,
                "milliseconds_high": 1e3 * high,
                "rounds": rounds,
                "gflops_per_second": rates[name],
                "ratio_to_nn_lstm": over(name, rates.get(LSTM)),
                "ratio_to_folded_nn_lstm": over(name, rates.get(FOLDED)),
                "ratio_to_product": over(name, limit),
                "ratio_to_loop": over(name, rates.get(LOOP)),
                "ratio_to_public_loop": over(name, rates.get(PUBLIC_LOOP)),
                "peak_bytes": growths[name].peak_bytes if name in growths else None,
                "predicted_bytes": predicted_bytes(name, workload, setting),
            }
        rows.append(replace(row, **figures))
    return rows


def tables(rows: Iterable[Row]) -> str:
    """A table a case."""
    texts = []
    for case, of_case in groupby(rows, key=lambda row: row.case):
        shown = list(of_case)
        lines = [_title(case), plain_table(HEADINGS, [_cells(row) for row in shown if row.skipped is None])]
        lines += [f"{row.engine}: skipped, {row.skipped}" for row in shown if row.skipped is not None]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _title(case: Case) -> str:
    workload, setting = case.workload, case.setting
    mode = "forward" if setting.mode == "forward" else "forward and backward"
    h, exact = workload.equal_lstm_size, workload.equal_lstm_flops(setting.mode) / workload.flops(setting.mode)
    return (
        f"B,T,F,I,H = {workload}: {mode}, {setting.dtype}, {setting.device}, {case.threads} thread(s); "
        f"{workload.flops(setting.mode) / 1e9:.3f} GFLOP; nn.LSTM({h}, {h}) has {exact:.4f} times as many"
    )


def _cells(row: Row) -> tuple[str, ...]:
    assert row.milliseconds is not None
    return (
        row.engine,
        _decimal(row.milliseconds, 2),
        f"{_decimal(row.milliseconds_low, 2)}–{_decimal(row.milliseconds_high, 2)}",
        _decimal(row.gflops_per_second, 1),
        _decimal(row.ratio_to_nn_lstm, 3),
        _decimal(row.ratio_to_folded_nn_lstm, 3),
        _decimal(row.ratio_to_product, 3),
        _decimal(row.ratio_to_loop, 2),
        _decimal(row.ratio_to_public_loop, 2),
        _decimal(row.peak_bytes, 1, 1e6),
        _decimal(row.predicted_bytes, 1, 1e6),
    )


def _decimal(value: float | None, digits: int, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:.{digits}f}"
