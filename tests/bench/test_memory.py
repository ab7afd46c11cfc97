"""Growth of the peak: of a known allocation, and of candidates in processes of their own."""

import pytest
import torch

from asr.bench import memory
from asr.bench.candidates import RefusedError, Setting
from asr.bench.memory import peak_growth, resident_growth
from asr.bench.stored import predicted_bytes
from asr.bench.workload import Workload

MEBIBYTE = 2**20


def test_what_a_call_uses_and_frees_again_is_seen():
    growth = resident_growth(lambda: torch.ones(64 * MEBIBYTE // 4).sum())
    assert 63 * MEBIBYTE < growth < 72 * MEBIBYTE


def test_what_was_used_and_freed_before_the_call_is_not():
    torch.ones(64 * MEBIBYTE // 4).sum()
    growth = resident_growth(lambda: torch.ones(8 * MEBIBYTE // 4).sum())
    assert growth < 16 * MEBIBYTE


@pytest.mark.parametrize("mode", ["forward", "training"])
def test_the_formula_of_the_wavefront_predicts_its_peak_within_a_third(mode):
    workload, setting = Workload(8, 60, 8, 64, 64), Setting("cpu", "float32", mode)
    predicted = predicted_bytes("wavefront", workload, setting)
    assert predicted is not None
    assert predicted / 1.3 < peak_growth("wavefront", workload, setting, threads=1).peak_bytes < 1.3 * predicted


def test_a_refusal_in_the_other_process_is_its_reason(monkeypatch):
    def refuse(*arguments):
        raise RefusedError("no such kernel")

    monkeypatch.setattr(memory, "build", refuse)
    setting = Setting("cpu", "float32", "forward")
    assert memory._measure("wavefront", Workload(1, 2, 2, 1, 1), setting, 1) == (None, "no such kernel")
