"""Growth of the peak: of a known allocation, and of candidates in processes of their own."""

import os
import signal

import pytest
import torch

from asr.bench import memory
from asr.bench.candidates import RefusedError, Setting
from asr.bench.memory import peak_growth, resident_growth
from asr.bench.stored import FORMULAS, predicted_bytes
from asr.bench.workload import Workload

MEBIBYTE = 2**20


def test_what_a_call_uses_and_frees_again_is_seen():
    growth = resident_growth(lambda: torch.ones(64 * MEBIBYTE // 4).sum())
    assert 63 * MEBIBYTE < growth < 72 * MEBIBYTE


def test_what_was_used_and_freed_before_the_call_is_not():
    torch.ones(64 * MEBIBYTE // 4).sum()
    growth = resident_growth(lambda: torch.ones(8 * MEBIBYTE // 4).sum())
    assert growth < 16 * MEBIBYTE


CASES = [
    (engine, dtype, mode)
    for engine, dtype in (("wavefront", "float32"), ("cpu", "float32"), ("cpu", "bfloat16"))
    for mode in ("forward", "training")
]


@pytest.mark.parametrize(("engine", "dtype", "mode"), CASES)
def test_the_formula_of_an_engine_predicts_its_peak_within_a_third(engine, dtype, mode):
    workload, setting = Workload(32, 60, 10, 64, 64), Setting("cpu", dtype, mode)
    growth = peak_growth(engine, workload, setting, threads=1)
    if growth.peak_bytes is None:
        pytest.skip(f"{engine}: {growth.refused}")
    predicted = predicted_bytes(engine, workload, setting)
    assert predicted is not None
    assert predicted / 1.3 < growth.peak_bytes < 1.3 * predicted


def test_formulas_are_linear_in_cells():
    for engine, mode in FORMULAS:
        sizes = [Workload(batch, 10, 10, 8, 8) for batch in (1, 2, 3)]
        first, second, third = (predicted_bytes(engine, w, Setting("cpu", "float32", mode)) for w in sizes)
        assert third - second == second - first > 0


def test_a_refusal_in_the_other_process_is_its_reason(monkeypatch):
    def refuse(*arguments):
        raise RefusedError("no such kernel")

    monkeypatch.setattr(memory, "build", refuse)
    setting = Setting("cpu", "float32", "forward")
    assert memory._measure("wavefront", Workload(1, 2, 2, 1, 1), setting, 1) == (None, "no such kernel")


def test_a_process_that_is_killed_is_a_reason_and_no_error():
    setting = Setting("cpu", "float32", "forward")
    growth = peak_growth(_Killing("wavefront"), Workload(1, 2, 2, 1, 1), setting, threads=1)
    assert growth.peak_bytes is None
    assert "killed" in growth.refused


class _Killing(str):
    """A name that ends the process in which it is read."""

    def __reduce__(self):
        return _end, (1,)


def _end(code):
    os.kill(os.getpid(), signal.SIGKILL)
