"""Turns, medians and quartiles, with a clock that the test sets."""

import statistics

from asr.bench.timing import SHORTEST, interleave, summarize


class Clock:
    """Candidates move it forward by the seconds that they are said to take."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def candidate(self, name, seconds):
        durations = iter(seconds)

        def call():
            self.calls.append(name)
            self.now += next(durations)

        return call


def test_candidates_take_turns_in_every_round():
    clock = Clock()
    candidates = {name: clock.candidate(name, [1.0] * 6) for name in "abc"}
    told = []
    interleave(candidates, rounds=4, warmup=2, clock=clock, done=told.append)
    assert clock.calls == told == list("abc") * 6


def test_rounds_of_the_warm_up_do_not_count():
    clock = Clock()
    timing = interleave({"a": clock.candidate("a", [100, 50, 3, 1, 2])}, rounds=3, warmup=2, clock=clock)["a"]
    assert timing == (2, 1, 3, 3)


def test_there_is_always_a_warm_up():
    clock = Clock()
    timing = interleave({"a": clock.candidate("a", [100, 1])}, rounds=1, warmup=0, clock=clock)["a"]
    assert timing.median == 1


def test_a_short_candidate_is_called_several_times_a_turn_and_its_time_is_that_of_one_call():
    clock = Clock()
    short, calls = SHORTEST / 10, 1 + 2 * 10
    candidates = {"long": clock.candidate("long", [1.0] * 3), "short": clock.candidate("short", [short] * calls)}
    timings = interleave(candidates, rounds=2, warmup=1, clock=clock)
    assert clock.calls == ["long", "short", *["long", *["short"] * 10] * 2]
    assert abs(timings["short"].median - short) < 1e-9


def test_the_summary_is_the_median_and_the_quartiles_of_the_rounds():
    seconds = [float(n) for n in (8, 1, 5, 3, 9, 2, 7, 4, 6)]
    timing = summarize(seconds)
    assert timing.median == statistics.median(seconds)
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
    assert (timing.low, timing.high) == (quartiles[0], quartiles[2])


def test_an_even_number_of_rounds_has_the_mean_of_the_middle_ones():
    assert summarize([4.0, 1.0, 2.0, 10.0]).median == 3.0
    assert summarize([7.0]) == (7.0, 7.0, 7.0, 1)
