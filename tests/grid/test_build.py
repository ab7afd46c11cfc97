"""The C++ kernel is built once, whatever else starts or was killed; without it a slower engine takes over."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from asr.grid import GridLSTM
from asr.grid.native import build

SMALL = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def small_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kernel that compiles at once, and a cache of its own."""
    source = tmp_path / "source" / "scan.cpp"
    source.parent.mkdir()
    source.write_text(SMALL)
    monkeypatch.setattr(build, "SOURCES", source.parent)
    monkeypatch.setenv(build.CACHE, str(tmp_path / "cache"))
    forget()
    yield source
    forget()


def forget() -> None:
    build.library.cache_clear()
    build.unavailable.cache_clear()


def test_the_kernel_is_built_once_and_found_again(small_source: Path) -> None:
    assert build.library().answer() == 42
    (built,) = build.cache_folder().glob("*/scan.so")
    written = built.stat().st_mtime_ns
    forget()
    assert build.library().answer() == 42
    assert built.stat().st_mtime_ns == written


def test_another_source_is_another_build(small_source: Path) -> None:
    first = build.key()
    small_source.write_text(SMALL.replace("42", "43"))
    assert build.key() != first
    (small_source.parent / "new.h").write_text("")
    assert build.key() not in (first,)


@pytest.mark.parametrize("name", ["compiler", "processor"])
def test_another_compiler_or_processor_is_another_build(
    small_source: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = build.key()
    monkeypatch.setattr(build, name, lambda: "another")
    assert build.key() != first


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(("name", "folder"), [(build.CACHE, "here"), ("TORCH_EXTENSIONS_DIR", "here/asr_grid")])
def test_who_names_a_folder_needs_no_home(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in (build.CACHE, "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(build.Unavailable, match="no folder for built kernels: .* Set ASR_GRID_CACHE to one"):
        build.cache_folder()
    monkeypatch.setenv(name, str(tmp_path / "here"))
    assert build.cache_folder() == tmp_path / folder


def test_a_compiler_may_have_arguments(small_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = os.environ.get("CXX") or "c++"
    small_source.write_text(SMALL.replace("42", "ANSWER"))
    keys = set()
    for answer in (43, 44):
        monkeypatch.setenv("CXX", f"{command} -DANSWER={answer}")
        forget()
        assert build.library().answer() == answer
        keys.add(build.key())
    assert len(keys) == 2


ANSWER = """
import pathlib, sys
from asr.grid.native import build
build.SOURCES = pathlib.Path(sys.argv[1])
print(build.library().answer())
"""


def test_several_processes_may_start_at_once_after_a_build_that_was_killed(small_source: Path) -> None:
    dead = build.cache_folder() / build.key() / "build-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    command = [sys.executable, "-c", ANSWER, str(small_source.parent)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=100)[0].split()[-1:] for process in processes] == [["42"]] * 3
    assert sorted(path.name for path in dead.parent.iterdir()) == ["lock", "scan.so"]


@pytest.mark.parametrize("without", ["a compiler", "a source that compiles", "a folder to write to", "a home"])
def test_without_a_kernel_the_wavefront_takes_over_with_one_warning(
    without: str, small_source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if without == "a compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif without == "a source that compiles":
        small_source.write_text("this is no C++\n")
    elif without == "a home":
        monkeypatch.delenv(build.CACHE)
        monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
        monkeypatch.setattr(Path, "home", no_home)
    else:
        in_the_way = small_source.parent / "file"
        in_the_way.touch()
        monkeypatch.setenv(build.CACHE, str(in_the_way))
    grid = GridLSTM(3, 4)
    with caplog.at_level(logging.WARNING):
        outputs = [grid(torch.ones(1, 2, 2, 3))[0] for _ in range(2)]
    (warning,) = [
        record for record in caplog.records if record.name.startswith("asr.grid") and record.levelno >= logging.WARNING
    ]
    assert "a slower engine takes over" in warning.getMessage()
    grid.engine = "wavefront"
    assert outputs[0].equal(grid(torch.ones(1, 2, 2, 3))[0])
    grid.engine = "cpu"
    with pytest.raises(ValueError, match="engine 'cpu' cannot run this: its kernel is not there"):
        grid(torch.ones(1, 2, 2, 3))
