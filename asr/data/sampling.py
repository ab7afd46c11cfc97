"""Which utterances share a batch, in which order: planned for a whole epoch, before anything is read.

A plan is a list of batches of utterance ids, the same on every process; the processes take turns along it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from lhotse import MonoCut
from lhotse.dataset.sampling import DynamicBucketingSampler
from lhotse.dataset.sampling.base import TimeConstraint

from asr.errors import InputError
from asr.randomness import derive_seed, generator

Batch = TypeVar("Batch")

NAMED = 10
"""How many utterances an error names before it only counts."""


class PlannedBatch(NamedTuple):
    """The utterances of one batch, and the epoch whose augmentation they get (None: no augmentation)."""

    epoch: int | None
    ids: tuple[str, ...]


def plan_training(
    durations: Mapping[str, float], max_seconds: float, num_buckets: int, seed: int, epoch: int
) -> list[list[str]]:
    """Batches of utterances of similar duration, in random order, each utterance once.

    lhotse's DynamicBucketingSampler does the bucketing. The plan is a function of the arguments alone; the number of
    processes is not among them.

    Args:
        durations: utterance id -> seconds, as they will be in this epoch.
        max_seconds: cap of a batch, padding included: its longest duration times its number of utterances.
        num_buckets: duration classes of about equal total duration (fewer if there are fewer utterances).
        seed: of the run.
        epoch: counted from 0.

    Raises:
        InputError: an utterance alone exceeds the cap; the first ten are named.
    """
    check_durations(durations, max_seconds)
    rng = generator(seed, "plan", epoch)
    ids = list(durations)
    cuts = [MonoCut(id=ids[i], start=0.0, duration=durations[ids[i]], channel=0) for i in rng.permutation(len(ids))]
    num_buckets = min(num_buckets, len(cuts))
    sampler = DynamicBucketingSampler(
        cuts,  # a list, since lhotse warns of eager CutSets
        constraint=TimeConstraint(max_duration=max_seconds),
        num_buckets=num_buckets,
        duration_bins=None if num_buckets > 1 else [],
        shuffle=True,
        world_size=1,
        rank=0,
        seed=derive_seed(seed, "buckets", epoch),
        sync_buckets=True,  # lhotse 1.33 ends an epoch early without it: it may choose an empty bucket
    )
    batches, spare = [], {}
    for batch in sampler:
        planned = [cut.id for cut in batch]
        if max(durations[i] for i in planned) * len(planned) > max_seconds:
            # lhotse stops when one more of the longest would be too much: its last may be longer, and be too much.
            last = planned.pop()
            spare[last] = durations[last]
        batches.append(planned)
    batches += plan_evaluation(spare, max_seconds)
    # lhotse leaves the partly filled batches to the end; shuffled, an epoch's end is like its beginning.
    return [batches[i] for i in rng.permutation(len(batches))]


def plan_evaluation(durations: Mapping[str, float], max_seconds: float) -> list[list[str]]:
    """Batches of utterances by falling duration (ties by id), each filled up to the cap.

    >>> plan_evaluation({"a": 2.0, "b": 5.0, "c": 2.5, "d": 2.5}, max_seconds=5.0)
    [['b'], ['c', 'd'], ['a']]

    Raises:
        InputError: an utterance alone exceeds the cap; the first ten are named.
    """
    check_durations(durations, max_seconds)
    batches: list[list[str]] = []
    for utterance_id in sorted(durations, key=lambda i: (-durations[i], i)):
        if batches and durations[batches[-1][0]] * (len(batches[-1]) + 1) <= max_seconds:
            batches[-1].append(utterance_id)
        else:
            batches.append([utterance_id])
    return batches


class TrainingPlan:
    """The batches of all training epochs, planned when they are asked for.

    Args:
        durations: utterance id -> seconds, at its natural speed.
        speed: (epoch, utterance id) -> factor at which the utterance is played.
        max_seconds, num_buckets, seed: see `plan_training`.
    """

    def __init__(
        self,
        durations: Mapping[str, float],
        speed: Callable[[int, str], float],
        max_seconds: float,
        num_buckets: int,
        seed: int,
    ) -> None:
        self._durations = durations
        self._speed = speed
        self._max_seconds = max_seconds
        self._num_buckets = num_buckets
        self._seed = seed
        self._epochs: dict[int, list[list[str]]] = {}

    def seconds(self, epoch: int) -> dict[str, float]:
        """Utterance id -> seconds at the speed of this epoch."""
        return {i: duration / self._speed(epoch, i) for i, duration in self._durations.items()}

    def batches(self, epoch: int) -> list[list[str]]:
        """All batches of an epoch, for all processes, as utterance ids."""
        if epoch not in self._epochs:
            self._epochs = {0: self._epochs[0]} if 0 in self._epochs else {}  # the first is asked for its length
            seconds = self.seconds(epoch)
            self._epochs[epoch] = plan_training(seconds, self._max_seconds, self._num_buckets, self._seed, epoch)
        return self._epochs[epoch]

    def largest(self, epoch: int, n: int) -> list[list[str]]:
        """The `n` batches of an epoch that take most seconds, padding included, and the `n` that last longest."""
        seconds, batches = self.seconds(epoch), self.batches(epoch)
        longest = [max(seconds[i] for i in ids) for ids in batches]
        by_size = sorted(range(len(batches)), key=lambda b: -longest[b] * len(batches[b]))
        by_length = sorted(range(len(batches)), key=lambda b: -longest[b])
        return [batches[b] for b in dict.fromkeys([*by_size[:n], *by_length[:n]])]

    def inputs(self) -> dict[str, Any]:
        """What the plan is a function of, beside epoch and speeds; plain data, large ones as digests."""
        return {
            "utterances": f"{len(self._durations)} (digest {digest(list(self._durations.items()))})",
            "max_batch_seconds": self._max_seconds,
            "num_buckets": self._num_buckets,
            "seed": self._seed,
        }


def digest(value: Sequence[Any]) -> str:
    """A short digest of plain data."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def check_durations(durations: Mapping[str, float], max_seconds: float) -> None:
    """Refuse utterances that exceed the cap of a batch by themselves."""
    long = [f"{i} ({seconds:.2f} s)" for i, seconds in durations.items() if seconds > max_seconds]
    if long:
        longest = math.ceil(max(durations.values()))
        raise InputError(
            f"{len(long)} utterance(s) exceed max_batch_seconds {max_seconds} by themselves (durations at the slowest "
            f"speed they get): {enumerate_some(long)}; set max_batch_seconds to {longest} or more, or prepare the "
            "corpus with a maximum duration"
        )


def enumerate_some(names: Sequence[str]) -> str:
    """The first ten, and how many there are beyond.

    >>> enumerate_some(list("ab")), enumerate_some([str(i) for i in range(12)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def share(plan: Sequence[Batch], rank: int, world_size: int) -> list[Batch]:
    """The batches of one process: every `world_size`-th from `rank` on, equally many on each.

    Where the plan does not divide evenly, batches from its beginning are repeated at its end. So nothing is left
    out: in training up to `world_size` - 1 batches count twice in an epoch; in evaluation repeated utterances are to be
    recognised by their ids.

    >>> share(["first", "second", "third"], rank=1, world_size=2)
    ['second', 'first']
    """
    missing = -len(plan) % world_size
    padded = [*plan, *(plan[i % len(plan)] for i in range(missing))]
    return padded[rank::world_size]
