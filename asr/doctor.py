"""`asr doctor`: does everything that is needed work here, and if not, what is to be done?

Only the standard library is imported at the top: a doctor who needs the patient's health is of no use.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from asr import __version__
from asr.provenance import available_cores, commit, cpu_model, installed_version

DISTRIBUTION = "asr-grid-lstm"
MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}
MALICIOUS = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}
"""Uploads that were taken over by attackers."""
FORMATS = {
    "WAV": ("wav", "PCM_16", True),
    "FLAC": ("flac", "PCM_16", True),
    "OGG Opus": ("ogg", "OPUS", True),
    "MP3": ("mp3", "MPEG_LAYER_III", False),
}
"""Name -> file suffix, soundfile's subtype, and whether the product needs it (the embedded corpus is in Opus)."""
BFLOAT16 = {
    "tiles": "products on AMX: bf16-mixed trains faster than float32",
    "pairs": "products by AVX512-BF16: bf16-mixed trains faster than float32",
    "widened": "products in float32, nothing faster is there: bf16-mixed saves memory, no time",
}
"""What each way of products in bfloat16 means for trainings."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        name: what was looked at.
        state: "ok", "missing" (something optional is not there) or "broken" (something needed is not there).
        detail: what was found.
        advice: what to do about it; empty if nothing.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    advice: str = ""


def examine() -> list[Finding]:
    """Make all checks. None raises: what a check stumbles over is its finding."""
    checks: list[Callable[[], list[Finding]]] = [
        check_python,
        check_requirements,
        check_torch_pair,
        check_devices,
        check_shared_memory,
        check_audio,
        check_engines,
        check_compiler,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:
            findings.append(Finding(check.__name__.removeprefix("check_"), "broken", _first_line(error)))
    return findings


def check_python() -> list[Finding]:
    """This package and Python."""
    source = commit() or "not a git checkout"
    return [
        Finding("asr", "ok", f"{__version__} ({source}) in {Path(__file__).parent}"),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
    ]


def check_requirements() -> list[Finding]:
    """Whether the packages that the installation asked for are there, in versions that it allows."""
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        advice = "install the project: pip install -e ."
        return [Finding("packages", "missing", f"{DISTRIBUTION} is not installed, it is run from its folder", advice)]
    findings = []
    for line in declared:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted = f"{requirement.name}{requirement.specifier}"
            findings.append(judge_version(requirement.name, installed_version(requirement.name), wanted))
    bad = [finding for finding in findings if finding.state != "ok"]
    good = ", ".join(f"{finding.name} {finding.detail}" for finding in findings if finding.state == "ok")
    return [Finding("packages", "ok", good), *bad]


def judge_version(name: str, version: str | None, wanted: str) -> Finding:
    """Compare an installed version with what is wanted (`torch==2.11.0`).

    >>> judge_version("lhotse", "1.30.0", "lhotse>=1.33,<1.34").state
    'broken'
    """
    from packaging.requirements import Requirement

    advice = f"pip install '{wanted}'"
    if version is None:
        return Finding(name, "broken", "is not installed", advice)
    if version in MALICIOUS.get(name, ()):
        advice = f"uninstall it at once and change every password and key that it could read; then {advice}"
        return Finding(name, "broken", f"{version} is a malicious upload", advice)
    if not Requirement(wanted).specifier.contains(version, prereleases=True):
        return Finding(name, "broken", f"{version} is installed, and {wanted} is needed", advice)
    return Finding(name, "ok", version)


def check_torch_pair() -> list[Finding]:
    """Whether torch and torchaudio are a pair that works together."""
    findings = [_import("torch"), _import("torchaudio")]
    pair = pair_advice(installed_version("torch"), installed_version("torchaudio"))
    if pair is not None:
        return [pair] if findings[1].state == "broken" else [*findings, pair]
    if findings[0].state == "ok" and findings[1].state == "broken":
        advice = "torchaudio and torch must come from the same index (both with CUDA or both without): reinstall both"
        return [findings[0], Finding("torchaudio", "broken", findings[1].detail, advice)]
    return findings


def pair_advice(torch: str | None, torchaudio: str | None) -> Finding | None:
    """What is wrong with this pair of versions, if anything is.

    >>> pair_advice("2.11.0+cpu", "2.11.0") is None
    True
    """
    if torch is None or torchaudio is None:
        return None
    builds = [version.partition("+") for version in (torch, torchaudio)]
    releases, tags = [build[0] for build in builds], [build[2] for build in builds]
    advice = f"pip install --force-reinstall torch=={releases[0]} torchaudio=={releases[0]}, both from one index"
    if releases[0] != releases[1]:
        return Finding("torch and torchaudio", "broken", f"{torch} and {torchaudio} are no pair", advice)
    if all(tags) and tags[0] != tags[1]:
        return Finding("torch and torchaudio", "broken", f"builds differ: {torch} and {torchaudio}", advice)
    return None


def _import(module: str) -> Finding:
    try:
        return Finding(module, "ok", f"{importlib.import_module(module).__version__} can be imported")
    except Exception as error:  # a library that lacks another raises OSError, a half-installed one anything
        return Finding(module, "broken", f"cannot be imported: {_first_line(error)}", f"reinstall {module}")


def check_devices() -> list[Finding]:
    """Processor, threads and GPUs."""
    import torch

    findings = [Finding("cpu", "ok", f"{cpu_model()}, {available_cores()} cores, {torch.get_num_threads()} threads")]
    if not torch.cuda.is_available():
        findings.append(Finding("gpu", "missing", f"none that torch {torch.__version__} can use (not needed)"))
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = device.total_memory / 2**30
        findings.append(
            Finding(f"gpu {index}", "ok", f"{device.name}, {memory:.1f} GiB, sm_{device.major}{device.minor}")
        )
    return findings


def check_shared_memory(folder: Path = Path("/dev/shm"), least: float = 256.0) -> list[Finding]:
    """Whether worker processes can hand over batches (containers often allow 64 MiB)."""
    if not folder.is_dir():
        return []
    megabytes = shutil.disk_usage(folder).total / 2**20
    if megabytes < least:
        advice = "give the container more (docker run --shm-size=2g), or train with --data.num_workers 0"
        return [Finding("shared memory", "missing", f"{megabytes:.0f} MiB in {folder} are little for workers", advice)]
    return [Finding("shared memory", "ok", f"{megabytes:.0f} MiB in {folder}")]


def check_audio() -> list[Finding]:
    """Write and read a tone in every format, the way that the product reads audio."""
    import soundfile

    library = Finding("libsndfile", "ok", f"{soundfile.__libsndfile_version__} (soundfile {soundfile.__version__})")
    with tempfile.TemporaryDirectory() as folder:
        tests = [round_trip(name, Path(folder), *entry) for name, entry in FORMATS.items()]
    return [library, *tests]


def round_trip(name: str, folder: Path, suffix: str, subtype: str, needed: bool) -> Finding:
    """Write a second of a tone, read it, and compare."""
    import numpy as np
    import soundfile

    from asr.data.audio import read_audio

    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    try:
        soundfile.write(folder / f"tone.{suffix}", tone, 16000, subtype=subtype)
        samples, rate = read_audio(folder / f"tone.{suffix}")
        similarity = float(np.corrcoef(tone[2000:14000], samples[0][2000:14000])[0, 1])
        problem = "" if (rate, samples.shape[0]) == (16000, 1) and similarity > 0.9 else f"similarity {similarity:.2f}"
    except Exception as error:  # soundfile, libsndfile and our own reader have their kinds of errors
        problem = _first_line(error)
    if not problem:
        return Finding(f"audio {name}", "ok", "written and read")
    advice = "pip install --force-reinstall soundfile (its wheels bring libsndfile 1.2)"
    return Finding(f"audio {name}", "broken" if needed else "missing", f"a tone does not survive: {problem}", advice)


def check_engines() -> list[Finding]:
    """The engines of the Grid LSTM, and whether bfloat16 makes them faster on this processor."""
    import torch

    from asr.grid.engines import ENGINES, choose_engine
    from asr.grid.native.kernel import bfloat16_way
    from asr.grid.options import GridOptions

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fastest = choose_engine("auto", GridOptions(axes=2, hidden_size=48), device, torch.float32)
    chosen = next(name for name, engine in ENGINES.items() if engine is fastest)
    findings = [Finding("grid engines", "ok", f"{', '.join(ENGINES)}; auto is {chosen}")]
    if ENGINES["cpu"].refusal(GridOptions(axes=2, hidden_size=48), torch.device("cpu"), torch.bfloat16) is None:
        findings.append(Finding("bfloat16, CPU", "ok", BFLOAT16[bfloat16_way()]))
    return findings


def check_compiler() -> list[Finding]:
    """A C++ compiler."""
    candidates = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    if found is None:
        return [Finding("c++ compiler", "missing", "none found (not needed: engines in plain PyTorch run without one)")]
    run = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20)
    return [Finding("c++ compiler", "ok", f"{found}: {(run.stdout.splitlines() or ['version unknown'])[0]}")]


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def main(arguments: Sequence[str]) -> int:
    """`asr doctor`. Returns 1 if something that is needed is broken."""
    parser = argparse.ArgumentParser(
        prog="asr doctor",
        description="Report versions, devices, audio support and engines. The exit code is 1 if something that is "
        "needed does not work.",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    findings = examine()
    broken = [finding for finding in findings if finding.state == "broken"]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{MARKS[finding.state]}  {finding.name:<{width}}  {finding.detail}")
            if finding.advice:
                print(f"    {'':<{width}}  -> {finding.advice}")
        print(f"\n{len(broken)} of {len(findings)} checks failed" if broken else "\nall that is needed works")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
