"""What torch.compile is to leave alone, marked without loading it.

The decorators of torch.compiler import torch._dynamo, and with it Triton: a second, and much memory, when `asr.grid` is
imported, that a program which compiles nothing need not spend.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Like torch.compiler.disable: neither the function nor what it calls is traced, but run between two graphs.

    This is what torch decorates its own functions with. It loads the compiler at the first call.
    """
    return cast(Callable[P, R], torch._disable_dynamo(function))  # type: ignore[attr-defined]


def constant(function: Callable[P, R]) -> Callable[P, R]:
    """Like torch.compiler.assume_constant_result: called once while tracing, in the place of being traced."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
