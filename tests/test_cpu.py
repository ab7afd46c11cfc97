"""Large blocks are reused and not mapped anew, by a process's page faults; for a while numbers near zero are zero."""

import os
import subprocess
import sys

import pytest
import torch

from asr.cli import main
from asr.cpu import CHOSEN_BY_USER, flushed_denormals, keep_freed_memory

FAULTS = """
import resource, sys
import torch
from asr.cpu import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else False)
def touch():
    torch.ones(2**24)  # 64 MiB
for _ in range(20):  # malloc cuts a few aligned blocks before it has one that fits
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
UNSET = {name: value for name, value in os.environ.items() if not name.startswith(CHOSEN_BY_USER)}


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has chosen an allocator."""
    for name in os.environ.keys() - UNSET.keys():
        monkeypatch.delenv(name)


def faults(mode: str, **environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and page faults of ten tensors after the first ones."""
    call = [sys.executable, "-c", FAULTS, mode]
    done = subprocess.run(call, env={**UNSET, **environment}, capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif("glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="malloc is not glibc's")
def test_large_blocks_are_mapped_once() -> None:
    released, (kept, count) = faults("release"), faults("keep")
    assert kept
    assert count < 100 < released[1]


def test_who_chose_an_allocator_keeps_it(unset: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


def test_a_system_without_glibc_is_left_as_it_is(unset: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.cpu.ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor always computes with denormal numbers")
def test_numbers_near_zero_are_zero_as_long_as_it_is_asked_for() -> None:
    small = torch.tensor([1e-30])
    with flushed_denormals():
        assert not (small * 1e-10).any()
        with flushed_denormals():
            pass
        assert not (small * 1e-10).any()
    assert (small * 1e-10).all()


def test_fit_keeps_memory_and_flushes_denormals(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Training:
        def __init__(self, arguments: list[str]) -> None:
            seen.append(arguments)

        def train(self) -> None:
            seen.append(bool((torch.tensor([1e-30]) * 1e-10).any()))

    monkeypatch.setattr("asr.training.command.FitCLI", Training)
    monkeypatch.setattr("asr.training.command.keep_freed_memory", lambda: seen.append("memory"))
    assert main(["fit", "-c", "some.yaml"]) == 0
    assert seen == ["memory", ["-c", "some.yaml"], False]
