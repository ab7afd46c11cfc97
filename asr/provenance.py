"""What a number was made with: versions, commit and machine. Recorded with every run and every score."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import asr

PACKAGES = ("torch", "torchaudio", "lightning", "lhotse", "jiwer")
INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX512-BF16",
    "avx512f": "AVX512",
    "avx2": "AVX2",
}
"""Names of instructions by how Linux calls them, widest first."""


def provenance() -> dict[str, Any]:
    """Versions, the commit of the source (None if it is not in a checkout), CPU, cores and torch's threads."""
    import torch

    return {
        "versions": versions(),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str | None]:
    """Versions of asr, of Python and of the packages whose results depend on them; None for one that is missing."""
    return {
        "asr": asr.__version__,
        "python": platform.python_version(),
        **{name: installed_version(name) for name in PACKAGES},
    }


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, found without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(folder: Path | None = None) -> str | None:
    """The git commit of the checkout that has this package at its top, with "-dirty" if tracked files differ from it.

    Args:
        folder: the checkout; by default the one that this package lies in.

    Returns:
        None where there is no such checkout: an installed package that happens to lie inside another repository
        does not get that one's commit.
    """
    folder = Path(asr.__file__).parents[1] if folder is None else folder
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != folder.resolve():
        return None
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """Git's output, or None where git is missing or fails."""
    # Within a git hook the environment names a repository: the folder shall decide, not that.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", *arguments]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the system gives it, with the widest instructions that it has for products.

    Virtual machines of one name can differ in these, and trainings in bfloat16 by a factor of two or three with them.
    """
    rows: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            rows.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    model = rows.get("model name") or platform.processor() or platform.machine()
    flags = rows.get("flags", "").split()
    widest = [called for flag, called in INSTRUCTIONS.items() if flag in flags]
    return ", ".join([model, *widest[:1]])


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
