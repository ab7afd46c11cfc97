"""Builds the C++ kernel at first use, once for each state of source, torch, compiler and processor."""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fopenmp")
CACHE = "ASR_GRID_CACHE"
"""Environment variable: the folder of built kernels, instead of asr_grid/ in torch's folder of extensions."""

log = logging.getLogger(__name__)


class Unavailable(RuntimeError):
    """The kernel cannot be built or loaded here; the message says why."""


@functools.cache
def library() -> ctypes.CDLL:
    """The kernel, built if it was not yet.

    Raises:
        Unavailable: there is no compiler, or it failed.
    """
    folder = cache_folder() / key()
    path = folder / "scan.so"
    if not path.exists():
        with _alone(folder):
            if not path.exists():
                _build(path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"{path} does not load: {error}") from error


@functools.cache
def unavailable() -> str | None:
    """Why there is no kernel, said once as a warning; None if there is one, built if it was not yet."""
    try:
        library()
    except Unavailable as error:
        log.warning("the CPU kernel of the Grid LSTM is not there, a slower engine takes over: %s", error)
        return f"its kernel is not there: {error}"
    return None


def cache_folder() -> Path:
    """Where built kernels lie.

    Raises:
        Unavailable: neither variable names a folder, and there is no home.
    """
    if own := os.environ.get(CACHE):
        return Path(own)
    if extensions := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(extensions) / "asr_grid"
    try:
        return Path.home() / ".cache" / "torch_extensions" / "asr_grid"
    except RuntimeError as error:
        raise Unavailable(f"no folder for built kernels: {error} Set {CACHE} to one.") from error


def key() -> str:
    """Names a build: all that the machine code depends on."""
    digest = hashlib.sha256()
    for source in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")]):
        digest.update(source.read_bytes())
    for fact in (torch.__version__, compiler(), *FLAGS, processor()):
        digest.update(fact.encode() + b"\0")
    return digest.hexdigest()[:24]


def compiler() -> str:
    """The compiler's own account of its version.

    Raises:
        Unavailable: there is none.
    """
    command = os.environ.get("CXX") or "c++"
    try:
        run = subprocess.run([*shlex.split(command), "--version"], capture_output=True, text=True, check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"no C++ compiler: {command!r} does not run ({error})") from error
    return f"{command} {run.stdout}"


def processor() -> str:
    """The instructions that the processor has."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return f"{platform.machine()} {platform.processor()}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise Unavailable(f"{folder}: {error}") from error


def _build(path: Path) -> None:
    """Compile in a folder of its own and move the result into place: it is there whole or not at all."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns that there is no CUDA
    from torch.utils.cpp_extension import load

    for left_over in path.parent.glob("build-*"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    log.info("building the CPU kernel of the Grid LSTM, once for this machine (half a minute)")
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as folder:
        try:
            with _programs_of_this_environment():
                load(
                    "asr_grid_scan",
                    [str(SOURCES / "scan.cpp")],
                    extra_cflags=list(FLAGS),
                    extra_ldflags=["-fopenmp"],
                    build_directory=folder,
                    is_python_module=False,
                )
        except Exception as error:  # torch raises RuntimeError, CalledProcessError and OSError
            raise Unavailable(f"the C++ kernel does not build: {error}") from error
        (built,) = Path(folder).glob("asr_grid_scan*.so")  # torch numbers later builds of a process
        os.replace(built, path)


@contextlib.contextmanager
def _programs_of_this_environment() -> Iterator[None]:
    """Lets torch find the ninja that was installed beside Python, also where the environment is not activated."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([path, str(Path(sys.executable).parent)])
    try:
        yield
    finally:
        os.environ["PATH"] = path
