"""The engines by name."""

from asr.grid.definition import Definition
from asr.grid.options import Engine
from asr.grid.wavefront import Wavefront

ENGINES: dict[str, type[Engine]] = {"wavefront": Wavefront, "definition": Definition}
"""Engines that compute the same to rounding. "auto" is the fastest that works here."""


def choose_engine(name: str) -> type[Engine]:
    """The engine called `name`.

    Raises:
        ValueError: there is none of that name.
    """
    if name == "auto":
        return Wavefront
    if name not in ENGINES:
        raise ValueError(f"engine must be 'auto' or one of {sorted(ENGINES)}, got {name!r}")
    return ENGINES[name]
