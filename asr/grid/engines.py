"""The engines by name, and the choice of one."""

import logging
import os
from functools import cache

import torch

from asr.grid.compiling import constant
from asr.grid.definition import Definition
from asr.grid.native_engine import CPUKernel, TritonKernel
from asr.grid.options import Engine, Options
from asr.grid.wavefront import Wavefront

ENGINES: dict[str, type[Engine]] = {
    "triton": TritonKernel,
    "cpu": CPUKernel,
    "wavefront": Wavefront,
    "definition": Definition,
}
"""Engines that compute the same to rounding, in the order in which "auto" tries them."""

OVERRIDE = "ASR_GRID_ENGINE"
"""Environment variable: the engine that "auto" means."""

_log = logging.getLogger(__name__)


def known_engine(name: str) -> str:
    """The name of an engine, or "auto".

    Raises:
        ValueError: there is none of that name.
    """
    if not isinstance(name, str) or (name != "auto" and name not in ENGINES):
        raise ValueError(f"engine must be 'auto' or one of {sorted(ENGINES)}, got {name!r}")
    return name


def choose_engine(name: str, options: Options, device: torch.device, dtype: torch.dtype) -> type[Engine]:
    """The engine called `name`; for "auto" the first that runs these options there.

    What "auto" passes over, and why, goes to the log, once for each reason. The environment variable ASR_GRID_ENGINE
    names another engine for "auto".

    Raises:
        ValueError: there is none of that name, it cannot run these options there, or torch.export, which is under way,
            cannot see through it.
    """
    asked = ""
    if name == "auto" and os.environ.get(OVERRIDE):
        name, asked = os.environ[OVERRIDE], f", which {OVERRIDE} names,"
        if name != "auto" and name not in ENGINES:
            raise ValueError(f"{OVERRIDE} must name 'auto' or one of {sorted(ENGINES)}, got {name!r}")
    if known_engine(name) != "auto":
        reason = ENGINES[name].refusal(options, device, dtype)
        if reason is not None:
            raise ValueError(f"engine {name!r}{asked} cannot run this: {reason}")
    else:
        name = _first_engine(options, device, dtype)
    # Steps are counted and cells visited in Python, but a program that is exported has no extents yet.
    if torch.compiler.is_exporting() and name in ("wavefront", "definition"):
        reason = ENGINES["cpu"].refusal(options, device, dtype)
        other = "engine 'cpu' can" if reason is None else f"engine 'cpu' can, but not run this: {reason}"
        raise ValueError(f"engine {name!r}{asked} cannot be exported by torch.export; {other}")
    return ENGINES[name]


def _first_engine(options: Options, device: torch.device, dtype: torch.dtype) -> str:
    """The name of the first engine that runs these options there; Triton's interpreter, which is slow, is no engine."""
    for name, engine in ENGINES.items():
        reason = engine.refusal(options, device, dtype)
        if reason is None and engine is TritonKernel and device.type != "cuda":
            reason = "Triton's interpreter is for tests, which name it"
        if reason is None:
            _say_once(f"engine {name!r} is used on {device.type}")
            return name
        _say_once(f"engine {name!r} is passed over: {reason}")
    raise ValueError(f"no engine runs {options} on {device}")


@constant
def _say_once(message: str) -> None:
    _said(message)


@cache
def _said(message: str) -> None:
    _log.info(message)
