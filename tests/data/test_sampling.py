import itertools
from collections import Counter

import numpy as np
import pytest

from asr.data.sampling import enumerate_some, plan_evaluation, plan_training, share
from asr.errors import InputError

CAP = 60.0


def durations(n: int, seed: int = 0) -> dict[str, float]:
    return {f"u{i:05d}": float(d) for i, d in enumerate(np.random.default_rng(seed).uniform(0.5, 16, n))}


def padded(ids: list[str], seconds: dict[str, float]) -> float:
    return max(seconds[i] for i in ids) * len(ids)


def plan(seconds: dict[str, float], epoch: int = 0, seed: int = 0, buckets: int = 10) -> list[list[str]]:
    return plan_training(seconds, CAP, buckets, seed, epoch)


@pytest.mark.parametrize("n", [1, 2, 5, 9, 10, 11, 300, 1000])
@pytest.mark.parametrize("buckets", [1, 10])
def test_a_training_plan_holds_every_utterance_once_within_the_cap(n: int, buckets: int) -> None:
    seconds = durations(n)
    batches = plan(seconds, buckets=buckets)
    assert Counter(itertools.chain(*batches)) == Counter(list(seconds))
    assert max(padded(ids, seconds) for ids in batches) <= CAP


def test_more_utterances_than_lhotse_buffers_are_all_planned() -> None:
    seconds = {f"u{i}": 1.0 + (i % 97) / 50 for i in range(25_000)}
    assert Counter(itertools.chain(*plan_training(seconds, 2000.0, 10, 0, 0))) == Counter(list(seconds))


def test_utterances_of_equal_duration_are_planned() -> None:
    seconds = dict.fromkeys(durations(50), 2.0)
    assert sorted(map(len, plan(seconds)))[-1] == 30


def test_a_plan_depends_on_seed_and_epoch() -> None:
    seconds = durations(200)
    assert plan(seconds, epoch=3, seed=1) == plan(seconds, epoch=3, seed=1)
    others = [plan(seconds, epoch, seed) for epoch, seed in ((3, 1), (4, 1), (3, 2), (0, 0))]
    assert all(one != other for one, other in itertools.combinations(others, 2))
    assert {tuple(sorted(ids)) for ids in others[0]} != {tuple(sorted(ids)) for ids in others[1]}


def test_a_plan_does_not_depend_on_global_random_states() -> None:
    import random

    import torch

    seconds = durations(100)
    before = plan(seconds)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert plan(seconds) == before


def test_planning_leaves_the_global_random_states_alone() -> None:
    import random

    import torch

    states = random.getstate(), torch.get_rng_state()
    plan(durations(100))
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_buckets_lower_the_padding() -> None:
    seconds = durations(1000)
    total = sum(seconds.values())
    with_buckets, without = (
        sum(padded(ids, seconds) for ids in plan(seconds, buckets=buckets)) / total for buckets in (20, 1)
    )
    assert with_buckets < 1.25 < without


def test_short_and_long_batches_come_in_random_order() -> None:
    seconds = durations(1000)
    means = [np.mean([seconds[i] for i in ids]) for ids in plan(seconds)]
    thirds = [np.mean(part) for part in np.array_split(means, 3)]
    assert max(thirds) - min(thirds) < 4


def test_an_utterance_beyond_the_cap_is_refused_by_name_with_advice() -> None:
    seconds = {**durations(10), "endless": 61.5}
    for planner in (plan, lambda s: plan_evaluation(s, CAP)):
        with pytest.raises(
            InputError, match=r"1 utterance.* max_batch_seconds 60.0 .*endless \(61.50 s\).* 62 or more"
        ):
            planner(seconds)


def test_an_error_counts_what_it_does_not_name() -> None:
    with pytest.raises(InputError, match=r"^14 utterance.*u9 .* and 4 more"):
        plan({f"u{i}": 100.0 for i in range(14)})


def test_evaluation_batches_fall_in_duration_and_hold_every_utterance_once() -> None:
    seconds = durations(137)
    batches = plan_evaluation(seconds, CAP)
    order = [seconds[i] for i in itertools.chain(*batches)]
    assert order == sorted(seconds.values(), reverse=True)
    assert Counter(itertools.chain(*batches)) == Counter(list(seconds))
    assert max(padded(ids, seconds) for ids in batches) <= CAP


def test_evaluation_batches_do_not_depend_on_the_order_of_the_cuts() -> None:
    seconds = dict.fromkeys(durations(20), 3.0)
    assert plan_evaluation(dict(reversed(seconds.items())), CAP) == plan_evaluation(seconds, CAP)


@pytest.mark.parametrize(("batches", "processes"), [(12, 1), (12, 3), (13, 3), (14, 3), (1, 4), (3, 8)])
def test_processes_get_equally_many_batches_that_together_are_the_plan(batches: int, processes: int) -> None:
    whole = [[f"u{i}"] for i in range(batches)]
    shares = [share(whole, rank, processes) for rank in range(processes)]
    assert len({len(part) for part in shares}) == 1
    # Step by step, the processes' batches are the plan's, and after its end those from its beginning.
    order = [ids for step in zip(*shares, strict=True) for ids in step]
    assert order[:batches] == whole
    assert order[batches:] == [whole[i % batches] for i in range(len(order) - batches)]
    assert len(order) - batches < processes


def test_an_enumeration_of_eleven_names_ten() -> None:
    assert enumerate_some([str(i) for i in range(11)]).endswith("9 and 1 more")
    assert enumerate_some([str(i) for i in range(10)]).endswith("8, 9")
