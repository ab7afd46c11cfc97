"""Solving for the size at which a model has a given cost."""

import math
from collections.abc import Callable, Mapping

from asr.errors import InputError

LARGEST = 2**20
"""Steps of the size beyond which nothing is looked for."""
MEASUREMENTS = 8
"""How often a size that is solved for by time may be tried."""


def sizes_at(step: int, ratios: Mapping[str, float]) -> dict[str, int]:
    """The solved options at a step of their common size: the one of the largest ratio has the step as its value.

    So the largest option grows one by one, and the others with it, rounded.

    >>> sizes_at(100, {"hidden_size": 1, "lstm_hidden_size": 4})
    {'hidden_size': 25, 'lstm_hidden_size': 100}
    """
    largest = max(ratios.values())
    return {option: max(1, math.floor(step * ratio / largest + 0.5)) for option, ratio in ratios.items()}


def solve(cost: Callable[[int], float], target: float, tolerance: float, what: str) -> int:
    """The step whose cost is nearest to the target, for a cost that never falls.

    >>> solve(lambda n: n * n, target=1000, tolerance=0.05, what="squares")
    32

    Raises:
        InputError: no step's cost is within the tolerance; the message states the nearest on both sides.
    """
    below, above = _bracket(cost, target, what)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if cost(middle) <= target else (below, middle)
    around = [step for step in (below, above) if step >= 1]
    best = min(around, key=lambda step: abs(cost(step) - target))
    if abs(cost(best) - target) > tolerance * target:
        found = " and ".join(f"{cost(step):,.0f} at size {step}" for step in around)
        raise InputError(f"{what}: {target:,.0f} cannot be met within {100 * tolerance:g} %; the nearest are {found}")
    return best


def _bracket(cost: Callable[[int], float], target: float, what: str) -> tuple[int, int]:
    """Steps on both sides of the target; the lower one may be 0."""
    above = 1
    while cost(above) < target:
        above *= 2
        if above > LARGEST or (above > 64 and cost(above) == cost(1)):
            raise InputError(f"{what}: the size has no influence that reaches {target:,.0f}; it is {cost(above):,.0f}")
    return above // 2, above


def solve_measured(
    cost: Callable[[int], float], target: float, tolerance: float, what: str, first: int
) -> tuple[int, float]:
    """A step whose measured cost is within the tolerance, and that cost: by secants between logarithms.

    Args:
        cost: grows with the step, with noise; each step is asked for once.
        target: to be met.
        tolerance: relative.
        what: for messages.
        first: the step to begin with.

    Raises:
        InputError: it was not met; the message states the nearest.
    """
    measured: dict[int, float] = {}
    step = first
    while step not in measured and len(measured) < MEASUREMENTS:
        measured[step] = cost(step)
        if abs(measured[step] - target) <= tolerance * target:
            return step, measured[step]
        step = _next_step(measured, target)
    best = min(measured, key=lambda tried: abs(measured[tried] - target))
    raise InputError(
        f"{what}: {target:,.0f} cannot be met within {100 * tolerance:g} % (measured {len(measured)} sizes); the "
        f"nearest is {measured[best]:,.1f} at size {best}"
    )


def _next_step(measured: Mapping[int, float], target: float) -> int:
    """Where a power law through the two nearest of what was measured meets the target."""
    near = sorted(measured, key=lambda step: abs(math.log(measured[step] / target)))[:2]
    power = 1.0
    if len(near) == 2:
        power = math.log(measured[near[0]] / measured[near[1]]) / math.log(near[0] / near[1])
        power = min(3.0, max(0.3, power))  # noise between neighbours is no slope
    wanted = float(near[0] * (target / measured[near[0]]) ** (1 / power))
    step = round(max(1.0, min(wanted, 8.0 * near[0])))
    if step in measured:  # the nearest one is its neighbour
        step += 1 if measured[step] < target else -1
    return max(1, step)
