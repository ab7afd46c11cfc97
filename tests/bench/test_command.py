"""`asr bench grid` at tiny sizes, end to end, and the errors of wrong options."""

import json
import struct

import pytest
import torch

from asr import cli
from asr.bench import candidates, rows
from asr.bench.candidates import FOLDED, LOOP, LSTM, PUBLIC_LOOP, RefusedError, Setting
from asr.bench.command import cases, run, sweep
from asr.bench.plot import sweep_figure
from asr.bench.rows import Case, Effort, Row, make_rows, tables
from asr.bench.timing import Timing
from asr.bench.workload import Workload

KEYS = {
    "engine", "batch", "time", "frequency", "input_size", "hidden_size", "dtype", "threads", "mode", "milliseconds",
    "gflops_per_second", "ratio_to_nn_lstm", "peak_bytes", "predicted_bytes", "machine", "torch", "commit",
}  # fmt: skip
TINY = Workload(2, 4, 3, 2, 3)
CASE = Case(TINY, Setting("cpu", "float32", "training"), 1)


@pytest.fixture(autouse=True)
def _quick_products(monkeypatch):
    monkeypatch.setattr(candidates, "LARGE", (8, 8, 8))
    monkeypatch.setattr("asr.bench.timing.SHORTEST", 0.0)


def bench(*arguments):
    return cli.main(["bench", "grid", "--engines", "wavefront", "--threads", "1", "--rounds", "1", *arguments])


def test_one_run_measures_every_candidate_in_both_modes(tmp_path, capsys):
    assert bench("--sizes", str(TINY), "--json", str(tmp_path / "rows.json")) == 0
    written = json.loads((tmp_path / "rows.json").read_text())
    assert all(row.keys() >= KEYS for row in written)
    printed = capsys.readouterr().out
    for mode in ("forward", "training"):
        of_mode = {row["engine"]: row for row in written if row["mode"] == mode}
        assert of_mode.keys() >= {"wavefront", LOOP, PUBLIC_LOOP, LSTM, FOLDED, "product of a step, torch.mm"}
        for row in of_mode.values():
            assert row["gflops_per_second"] == pytest.approx(row["flops"] / row["milliseconds"] / 1e6)
            assert row["engine"] in printed
        for name in ("wavefront", LOOP, PUBLIC_LOOP, FOLDED):
            rate, reference = of_mode[name]["gflops_per_second"], of_mode[LSTM]["gflops_per_second"]
            assert of_mode[name]["ratio_to_nn_lstm"] == pytest.approx(rate / reference)
            assert of_mode[name]["peak_bytes"] >= 0
        assert of_mode["wavefront"]["predicted_bytes"] > 0


def test_an_engine_that_cannot_run_is_a_row_that_says_why_and_the_others_are_measured(monkeypatch, capsys, tmp_path):
    def refuse(*arguments):
        raise RefusedError("it needs a CUDA device")

    monkeypatch.setattr(candidates, "engine", refuse)
    file = tmp_path / "rows.json"
    assert bench("--sizes", str(TINY), "--modes", "forward", "--no-memory", "--json", str(file)) == 0
    assert "wavefront: skipped, it needs a CUDA device" in capsys.readouterr().out
    by_name = {row["engine"]: row for row in json.loads(file.read_text())}
    assert by_name["wavefront"]["skipped"] == "it needs a CUDA device"
    assert by_name["wavefront"]["milliseconds"] is None
    assert by_name[LSTM]["milliseconds"] > 0


def test_the_module_that_is_measured_runs_by_the_engine_of_its_row(monkeypatch):
    built = []
    grid = candidates.GridLSTM
    monkeypatch.setattr(candidates, "GridLSTM", lambda *a, engine: built.append(engine) or grid(*a, engine=engine))
    rows.measure(CASE, ["definition", "wavefront"], Effort(1, 1, memory=False))
    assert built == ["definition", "wavefront"]


def test_ratios_are_those_of_rates():
    product = "large product, torch.mm"
    flops = {"wavefront": 100, LOOP: 100, PUBLIC_LOOP: 100, LSTM: 110, FOLDED: 60, product: 4000}
    seconds = {"wavefront": 2.0, LOOP: 8.0, PUBLIC_LOOP: 24.0, LSTM: 1.0, FOLDED: 3.0, product: 20.0}
    timings = {name: Timing(median, median / 2, median * 2, 5) for name, median in seconds.items()}
    grid = make_rows(CASE, flops, timings, {}, {})[0]
    assert grid.ratio_to_nn_lstm == pytest.approx(50 / 110)
    assert grid.ratio_to_folded_nn_lstm == pytest.approx(50 / 20)
    assert grid.ratio_to_product == pytest.approx(50 / 200)
    assert grid.ratio_to_loop == pytest.approx(4)
    assert grid.ratio_to_public_loop == pytest.approx(12)
    assert (grid.milliseconds, grid.milliseconds_low, grid.milliseconds_high) == (2000, 1000, 4000)


def test_the_table_names_size_mode_and_what_nn_lstm_costs_exactly():
    timing = Timing(0.0123, 0.01, 0.02, 5)
    text = tables(make_rows(CASE, {"wavefront": TINY.flops("training")}, {"wavefront": timing}, {}, {}))
    assert f"B,T,F,I,H = {TINY}: forward and backward, float32, cpu, 1 thread(s)" in text
    h = TINY.equal_lstm_size
    assert f"nn.LSTM({h}, {h}) has {8 * h * h / (8 * 3 * (2 + 6) * 3):.4f} times as many" in text
    assert "12.30" in text
    assert "10.00–20.00" in text


def test_threads_are_those_of_the_case_and_are_put_back():
    seen = []
    before = torch.get_num_threads()
    run([Case(TINY, CASE.setting, 3)], [LSTM], Effort(1, 1, memory=False))
    assert torch.get_num_threads() == before

    def spy(*arguments, **options):
        seen.append(torch.get_num_threads())
        raise RefusedError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "loop", spy)
        run([Case(TINY, CASE.setting, 3)], [LOOP], Effort(1, 1, memory=False))
    assert seen == [3]


def test_a_sweep_varies_one_size_at_a_time_by_factors_of_its_base():
    base = Workload(8, 8, 8, 5, 8)
    swept = sweep(base)
    assert len(swept) == len(set(swept)) == 1 + 4 * 4
    changes = [[a / b for a, b in zip(vars(w).values(), vars(base).values(), strict=True) if a != b] for w in swept[1:]]
    assert sorted(map(tuple, changes)) == sorted([(0.25,), (0.5,), (2,), (4,)] * 4)


def test_a_sweep_is_drawn_with_a_line_a_candidate_and_a_guide(tmp_path):
    file = tmp_path / "sweep.png"
    options = ["--sizes", "1,2,2,1,2", "--sweep", "--no-memory", "--no-loop", "--modes", "forward"]
    assert bench(*options, "--plot", str(file)) == 0
    assert struct.unpack(">II", file.read_bytes()[16:24])[0] > 1000


def test_each_panel_shows_the_sizes_that_vary_and_a_line_of_linear_growth():
    setting = Setting("cpu", "float32", "forward")
    base = Workload(4, 8, 4, 2, 4)
    measured = [
        Row(name, *vars(w).values(), "cpu", "float32", 1, "forward", 1, milliseconds=factor * w.cells)
        for w in sweep(base)
        for name, factor in (("wavefront", 1.0), (LOOP, 3.0))
    ]
    assert {row.case.setting for row in measured} == {setting}
    batch_panel = sweep_figure(measured).axes[0]
    lines = {line.get_label(): line for line in batch_panel.get_lines()}
    assert set(lines) == {"wavefront", LOOP, "linear growth"}
    assert list(lines["wavefront"].get_xdata()) == [1, 2, 4, 8, 16]
    assert list(lines[LOOP].get_ydata()) == [3.0 * b * 8 * 4 for b in (1, 2, 4, 8, 16)]
    x, y = lines["linear growth"].get_data()
    assert len({round(b / a, 9) for a, b in zip(x, y, strict=True)}) == 1
    assert batch_panel.get_xscale() == batch_panel.get_yscale() == "log"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "1,2,3"], "five integers with commas between them, got '1,2,3'"),
        (["--sizes", "1,2,3,4,0"], "must be at least 1, got '1,2,3,4,0'"),
        (["--threads", "0"], "must be an integer of at least 1, got '0'"),
        (["--rounds", "many"], "must be an integer of at least 1, got 'many'"),
        (["--engines", "steam"], "invalid choice: 'steam'"),
        (["--dtype", "float16"], "--dtype float16 is for --device cuda"),
        (["--plot", "x.png"], "--plot draws a sweep: add --sweep"),
        (["--sweep", "--sizes", "1,2,3,4,5", "2,2,3,4,5"], "starts from one size, got 2"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_wrong_options_end_with_2_and_a_message(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "grid", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_cuda_where_there_is_none_is_a_wrong_option(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "grid", "--device", "cuda"])
    assert stop.value.code == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_by_default_a_single_utterance_is_measured_forward_only():
    from asr.bench.command import _parsers

    wanted = cases(_parsers()[0].parse_args(["grid"]))
    assert {case.threads for case in wanted} == {2}
    assert {case.setting.dtype for case in wanted} == {"float32"}
    assert {case.setting.mode for case in wanted if case.workload.batch == 1} == {"forward"}
    assert all({"forward", "training"} == {c.setting.mode for c in wanted if c.workload == case.workload}
               for case in wanted if case.workload.batch > 1)  # fmt: skip
