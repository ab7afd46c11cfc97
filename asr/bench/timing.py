"""Timing by turns: all candidates run once a round, so that what disturbs the machine disturbs all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

SHORTEST = 0.02
"""Seconds: a shorter candidate is called several times a turn."""


class Timing(NamedTuple):
    """Seconds a call: the median of the rounds, and their lower and upper quartiles."""

    median: float
    low: float
    high: float
    rounds: int


def summarize(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of the rounds (the nearest rounds, not interpolated).

    >>> summarize([5.0, 1.0, 2.0, 3.0, 9.0])
    Timing(median=3.0, low=2.0, high=5.0, rounds=5)
    """
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Timing(median(ordered), ordered[round(last / 4)], ordered[last - round(last / 4)], len(ordered))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    done: Callable[[str], object] = lambda name: None,
) -> dict[str, Timing]:
    """Time candidates by turns.

    Args:
        candidates: name -> what to call; a call returns when its work is done.
        rounds: turns of each that count.
        warmup: turns of each before, at least one: the last one says how many calls a turn needs.
        clock: seconds.
        done: told the name after each turn.

    Returns:
        Seconds a call, by name.
    """
    calls = dict.fromkeys(candidates, 1)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-max(1, warmup), rounds):
        for name, call in candidates.items():
            start = clock()
            for _ in range(calls[name]):
                call()
            each = (clock() - start) / calls[name]
            if number >= 0:
                seconds[name].append(each)
            elif number == -1:
                calls[name] = max(1, round(SHORTEST / max(each, 1e-9)))
            done(name)
    return {name: summarize(of_rounds) for name, of_rounds in seconds.items()}
