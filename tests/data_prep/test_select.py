"""Subsets: exact, nested, balanced, repeatable; over many random corpora."""

from collections import Counter

import numpy as np
import pytest

from asr.errors import InputError
from data_prep.select import Candidate, Criteria, held_out_speakers, round_robin, select

TRIALS = range(40)


def _corpus(trial: int) -> list[Candidate]:
    """1 to 9 speakers with 1 to 30 utterances each, of 1 to 20 seconds, in random order."""
    random = np.random.default_rng(trial)
    candidates = [
        Candidate(f"{speaker}-{n}", f"s{speaker}", float(random.uniform(1, 20)))
        for speaker in range(random.integers(1, 10))
        for n in range(random.integers(1, 31))
    ]
    return [candidates[i] for i in random.permutation(len(candidates))]


def _chosen(candidates, seed, **criteria):
    return set(select(candidates, Criteria(**criteria), seed).chosen)


@pytest.mark.parametrize("trial", TRIALS)
def test_a_smaller_subset_is_contained_in_a_larger_one(trial):
    candidates, random = _corpus(trial), np.random.default_rng([trial, 1])
    total = sum(c.duration for c in candidates) / 3600
    few, many = sorted(random.integers(1, len(candidates), 2, endpoint=True).tolist())
    assert _chosen(candidates, trial, utterances=few) <= _chosen(candidates, trial, utterances=many)
    short, long = sorted(random.uniform(0.05, 1, 2) * total)
    assert _chosen(candidates, trial, hours=short) <= _chosen(candidates, trial, hours=long)
    speakers = len({c.speaker for c in candidates})
    one, more = sorted(random.integers(1, speakers, 2, endpoint=True).tolist())
    assert _chosen(candidates, trial, speakers=one) <= _chosen(candidates, trial, speakers=more)
    low, high = sorted(random.integers(1, 30, 2).tolist())
    assert _chosen(candidates, trial, utterances_per_speaker=low) <= _chosen(
        candidates, trial, utterances_per_speaker=high
    )
    narrow = _chosen(candidates, trial, min_duration=6, max_duration=9)
    assert narrow <= _chosen(candidates, trial, min_duration=5, max_duration=15)


@pytest.mark.parametrize("trial", TRIALS)
def test_limits_stay_nested_when_combined_with_others(trial):
    candidates, random = _corpus(trial), np.random.default_rng([trial, 2])
    fixed = {"max_duration": 18.0, "utterances_per_speaker": 12, "speakers": 1}
    left = select(candidates, Criteria(**fixed), trial).chosen
    few, many = sorted(random.integers(1, len(left), 2, endpoint=True).tolist())
    assert _chosen(candidates, trial, utterances=few, **fixed) <= _chosen(candidates, trial, utterances=many, **fixed)


@pytest.mark.parametrize("trial", TRIALS)
def test_numbers_are_exact_and_hours_are_filled_to_the_next_utterance(trial):
    candidates, random = _corpus(trial), np.random.default_rng([trial, 3])
    number = int(random.integers(1, len(candidates), endpoint=True))
    assert len(_chosen(candidates, 0, utterances=number)) == number
    hours = float(random.uniform(0.1, 1)) * sum(c.duration for c in candidates) / 3600
    chosen = _chosen(candidates, 0, hours=hours)
    seconds = sum(c.duration for c in candidates if c.id in chosen)
    assert seconds <= hours * 3600 + 1e-5
    following = round_robin(candidates, 0)[len(chosen) :]
    assert not following or seconds + following[0].duration > hours * 3600


@pytest.mark.parametrize("trial", TRIALS)
def test_speakers_differ_by_at_most_one_utterance_unless_they_have_no_more(trial):
    candidates, random = _corpus(trial), np.random.default_rng([trial, 4])
    chosen = _chosen(candidates, trial, utterances=int(random.integers(1, len(candidates), endpoint=True)))
    taken = Counter({speaker: 0 for _, speaker, _ in candidates})
    taken.update(c.speaker for c in candidates if c.id in chosen)
    available = Counter(c.speaker for c in candidates)
    most = max(taken.values())
    assert all(count >= most - 1 or count == available[speaker] for speaker, count in taken.items())


@pytest.mark.parametrize("trial", TRIALS)
def test_the_choice_depends_on_seed_and_ids_and_not_on_the_order_of_listing(trial):
    candidates = _corpus(trial)
    number = max(1, len(candidates) // 2)
    assert _chosen(candidates, 5, utterances=number) == _chosen(sorted(candidates), 5, utterances=number)


def test_another_seed_chooses_otherwise():
    candidates = [Candidate(f"{n}", f"{n % 5}", 1.0) for n in range(100)]
    assert len({select(candidates, Criteria(utterances=20), seed).chosen for seed in range(5)}) == 5


@pytest.mark.parametrize("trial", TRIALS)
def test_everything_is_either_chosen_or_counted_by_reason(trial):
    candidates = [*_corpus(trial), Candidate("long", "s0", 1e3)]
    criteria = Criteria(hours=0.01, utterances_per_speaker=3, max_duration=15.0, min_duration=2.0, speakers=1)
    try:
        chosen, left_out = select(candidates, criteria, trial)
    except InputError:
        return  # less than asked for
    assert len(chosen) + sum(left_out.values()) == len(candidates)
    assert left_out["max_duration"] == sum(c.duration > 15 for c in candidates)
    assert left_out.get("min_duration", 0) == sum(c.duration < 2 for c in candidates)


def test_without_criteria_all_are_chosen():
    candidates = _corpus(0)
    assert select(candidates, Criteria(), 0) == (tuple(sorted(c.id for c in candidates)), {})


def test_utterances_per_speaker_and_speakers_are_kept():
    candidates = _corpus(3)
    chosen = _chosen(candidates, 0, speakers=2, utterances_per_speaker=2)
    taken = Counter(c.speaker for c in candidates if c.id in chosen)
    assert len(taken) == 2
    assert max(taken.values()) <= 2


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"utterances": 11}, "11 utterances was asked for, and 10 are left"),
        ({"hours": 1.0}, r"1 hours was asked for, and 0\.02 are left"),
        ({"speakers": 3}, "3 speakers was asked for, and 2 are left"),
        ({"utterances": 6, "max_duration": 5.0}, "6 utterances was asked for, and 5 are left"),
    ],
)
def test_asking_for_more_than_there_is_is_an_error_that_says_how_much_there_is(criteria, message):
    candidates = [Candidate(f"{n}", f"{n % 2}", 1.0 if n < 5 else 10.0) for n in range(10)]
    with pytest.raises(InputError, match=message):
        select(candidates, Criteria(**criteria), 0)


def test_all_hours_that_there_are_can_be_asked_for():
    candidates = [Candidate(f"{n}", "a", 0.1) for n in range(36000)]
    assert len(select(candidates, Criteria(hours=1.0), 0).chosen) == 36000


@pytest.mark.parametrize("name", ["hours", "utterances", "speakers", "utterances_per_speaker", "max_duration"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_that_are_not_positive_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} of a subset must be greater than 0, got {value}"):
        Criteria(**{name: value})


@pytest.mark.parametrize("range_", [{"min_duration": -1.0}, {"min_duration": 5.0, "max_duration": 4.0}])
def test_an_empty_range_of_durations_is_refused(range_):
    with pytest.raises(InputError, match="min_duration"):
        Criteria(**range_)


def test_a_subset_by_speakers_names_an_utterance_whose_speaker_is_unknown():
    with pytest.raises(InputError, match="'lost' is unknown"):
        select([Candidate("a", "1", 1.0), Candidate("lost", None, 1.0)], Criteria(speakers=1), 0)


def test_utterances_of_unknown_speakers_count_as_those_of_one():
    candidates = [Candidate(f"a{n}", "a", 1.0) for n in range(9)] + [Candidate(f"b{n}", None, 1.0) for n in range(9)]
    chosen = _chosen(candidates, 0, utterances=10)
    assert sum(identifier.startswith("b") for identifier in chosen) == 5


@pytest.mark.parametrize("seed", range(5))
def test_held_out_speakers_are_nested_seeded_and_differ_by_purpose(seed):
    speakers = [f"{n}" for n in range(40)]
    drawn = [set(held_out_speakers(speakers, n, seed, "dev")) for n in (3, 10, 39)]
    assert [len(some) for some in drawn] == [3, 10, 39]
    assert drawn[0] < drawn[1] < drawn[2]
    assert held_out_speakers(speakers[::-1], 10, seed, "dev") == tuple(sorted(drawn[1]))
    assert set(held_out_speakers(speakers, 10, seed, "test")) != drawn[1]


@pytest.mark.parametrize("number", [0, 3, 4])
def test_holding_out_none_or_all_speakers_is_refused(number):
    with pytest.raises(InputError, match=f"{number} dev speakers cannot be held out of 3"):
        held_out_speakers(["a", "b", "c", "c"], number, 0, "dev")
