"""Bootstrap intervals against closed forms and against all resamples of tiny corpora."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from asr.score.uncertainty import Resampling, blocks_of, equal_number, holm, interval, paired, resampled_sums

DRAWS = 40_000


def all_resamples(errors, lengths):
    """Rates of all n^n resamples of n blocks, sorted: the exact bootstrap distribution."""
    errors, lengths = np.asarray(errors, float), np.asarray(lengths, float)
    chosen = np.array(list(itertools.product(range(len(errors)), repeat=len(errors))))
    return np.sort(errors[chosen].sum(1) / lengths[chosen].sum(1))


def share_at_most(values, value):
    """The share of values up to a value, without quarrels about rounding."""
    return (np.asarray(values) <= value + 1e-12).mean()


def test_the_interval_is_that_of_all_resamples_of_a_tiny_corpus():
    errors, lengths = [3, 0, 1, 7, 2], [10, 4, 9, 12, 5]
    exact = all_resamples(errors, lengths)
    found = interval(errors, lengths, draws=DRAWS, level=0.8)
    assert found.rate == 13 / 40
    # Not the values but their probabilities are compared: the distribution has jumps.
    assert share_at_most(exact, found.lower) == pytest.approx(0.1, abs=0.02)
    assert share_at_most(exact, found.upper) == pytest.approx(0.9, abs=0.02)
    drawn = Resampling.of([errors], lengths, draws=DRAWS).drawn[0]
    for value in exact[:: len(exact) // 20]:
        error = math.sqrt(0.25 / DRAWS)
        assert share_at_most(drawn, value) == pytest.approx(share_at_most(exact, value), abs=5 * error)


def test_with_utterances_of_one_length_the_deviation_is_that_of_a_mean():
    errors = np.random.default_rng(1).integers(0, 6, 200)
    found = Resampling.of([errors], np.full(200, 20), draws=DRAWS)
    closed = errors.std() / math.sqrt(200) / 20  # resampling is drawing from the sample itself: divided by n
    assert found.drawn[0].std() == pytest.approx(closed, rel=0.02)
    z = NormalDist().inv_cdf(0.975)
    bounds = found.interval(0)
    assert (bounds.lower, bounds.upper) == pytest.approx(
        (errors.mean() / 20 - z * closed, errors.mean() / 20 + z * closed), rel=0.02
    )


def test_the_deviation_of_a_ratio_is_the_delta_methods_for_many_utterances():
    random = np.random.default_rng(2)
    lengths = random.integers(2, 40, 1500)
    errors = random.binomial(lengths, 0.2)
    rate = errors.sum() / lengths.sum()
    delta = math.sqrt(((errors - rate * lengths) ** 2).sum()) / lengths.sum()
    assert Resampling.of([errors], lengths, draws=10_000).drawn[0].std() == pytest.approx(delta, rel=0.03)


def test_speakers_are_drawn_as_a_whole():
    errors, lengths, speakers = [3, 1, 0, 7, 2, 2], [10, 9, 4, 12, 5, 8], ["a", "b", "a", "c", "c", "b"]
    exact = all_resamples([3, 3, 9], [14, 17, 17])
    drawn = Resampling.of([errors], lengths, speakers, draws=DRAWS).drawn[0]
    assert np.unique(drawn.round(12)).tolist() == np.unique(exact.round(12)).tolist()
    for value in np.unique(exact):
        assert share_at_most(drawn, value) == pytest.approx(share_at_most(exact, value), abs=0.013)


def test_an_interval_over_speakers_is_wider_where_their_utterances_are_alike():
    random = np.random.default_rng(3)
    speakers = np.repeat(np.arange(30), 10)
    errors = random.binomial(20, np.repeat(random.uniform(0.05, 0.6, 30), 10))
    by_utterance, by_speaker = (interval(errors, np.full(300, 20), blocks) for blocks in (None, speakers))
    assert by_speaker.upper - by_speaker.lower > 2 * (by_utterance.upper - by_utterance.lower)
    assert (by_speaker.blocks, by_utterance.blocks) == (30, 300)


def test_a_95_percent_interval_covers_the_true_rate_about_95_times_in_100():
    random = np.random.default_rng(4)
    covered = 0
    for trial in range(300):
        errors = random.binomial(15, 0.2, 150)
        found = interval(errors, np.full(150, 15), draws=400, seed=trial)
        covered += found.lower <= 0.2 <= found.upper
    assert 270 <= covered <= 297  # 285 expected, of a deviation of 3.8, less what 400 draws lose


def test_a_pair_sees_the_same_draws():
    errors, lengths = np.array([3, 0, 1, 7, 2]), np.array([10, 4, 9, 12, 5])
    found = paired(errors, errors + lengths, lengths, draws=500)  # one error more in every word: nothing varies
    assert (found.difference, found.lower, found.upper) == pytest.approx((-1, -1, -1))
    assert (found.probability, found.p) == (1.0, 2 / 2**5)


def test_p_is_not_below_the_chance_that_all_blocks_agree_nor_below_what_the_draws_can_tell():
    ones = {number: paired(np.zeros(number), np.ones(number), np.ones(number), draws=500).p for number in (2, 4, 6, 40)}
    assert ones == {2: 0.5, 4: 0.125, 6: 0.03125, 40: pytest.approx(2 / 501)}


def test_unequal_blocks_count_as_fewer_equal_ones():
    """All agree in every draw, and yet p stays at the chance that so many equal ones agree."""
    for lengths, equal in (([10] * 6, 6), ([10] * 6 + [0] * 4, 6), ([50, 50, 50, 1, 1, 1], 4), ([9, 1, 1, 1], 2)):
        assert equal_number(np.array(lengths, dtype=float)) == pytest.approx(
            sum(lengths) ** 2 / np.dot(lengths, lengths)
        )
        found = paired(np.zeros(len(lengths)), np.minimum(lengths, 1), lengths)
        assert (found.equal_blocks, found.p, found.least_p) == (equal, 2.0 ** (1 - equal), 2.0 ** (1 - equal))


def test_the_least_p_is_that_of_two_systems_that_differ_in_every_block_alike():
    for number, draws in ((2, 500), (6, 500), (40, 500), (6, 100)):
        found = paired(np.zeros(number), np.ones(number), np.ones(number), draws=draws)
        assert found.least_p == found.p
    assert paired([3, 1], [5, 0], [10, 3], blocks=["a", "a"]).least_p is None


def test_the_probability_and_p_of_a_pair_are_those_of_all_resamples():
    first, second, lengths = np.array([3, 0, 1, 7, 2]), np.array([2, 2, 2, 7, 3]), np.array([10, 4, 9, 12, 5])
    exact = all_resamples(first - second, lengths)
    below, tied = (exact < -1e-12).mean(), (abs(exact) <= 1e-12).mean()
    found = paired(first, second, lengths, draws=DRAWS)
    assert found.probability == pytest.approx(below + tied / 2, abs=0.013)
    assert found.p == pytest.approx(2 * min(below + tied, 1 - below), abs=0.025)
    assert share_at_most(exact, found.lower) == pytest.approx(0.025, abs=0.01)
    assert share_at_most(exact, found.upper) == pytest.approx(0.975, abs=0.01)


def test_two_systems_swapped_have_the_difference_with_the_other_sign():
    random = np.random.default_rng(5)
    lengths = random.integers(2, 30, 80)
    left, right = random.binomial(lengths, 0.2), random.binomial(lengths, 0.25)
    one, other = paired(left, right, lengths), paired(right, left, lengths)
    assert (one.lower, one.upper, one.p) == pytest.approx((-other.upper, -other.lower, other.p))
    assert one.probability == pytest.approx(1 - other.probability)


def test_equal_systems_do_not_differ():
    found = paired([1, 2, 0], [1, 2, 0], [4, 5, 6], draws=200)
    assert (found.difference, found.lower, found.upper, found.probability, found.p) == (0, 0, 0, 0.5, 1.0)


def test_p_is_uniform_where_there_is_no_difference():
    random = np.random.default_rng(6)
    small = sum(
        paired(random.binomial(15, 0.2, 120), random.binomial(15, 0.2, 120), np.full(120, 15), draws=300, seed=n).p
        < 0.1
        for n in range(300)
    )
    assert 12 <= small <= 50  # 30 expected, of a deviation of 5


def test_draws_are_a_function_of_the_seed():
    errors, lengths = np.arange(30), np.full(30, 40)
    assert interval(errors, lengths, draws=100, seed=3) == interval(errors, lengths, draws=100, seed=3)
    assert interval(errors, lengths, draws=100, seed=3) != interval(errors, lengths, draws=100, seed=4)


def test_drawing_in_parts_draws_every_block_equally_often(monkeypatch):
    monkeypatch.setattr("asr.score.uncertainty.CHUNK", 70)  # ten draws of seven blocks at a time
    sums = resampled_sums(np.eye(7), 4003, 0)
    assert sums.shape == (4003, 7)
    assert (sums.sum(axis=1) == 7).all()
    np.testing.assert_allclose(sums.mean(axis=0), 1, atol=5 * math.sqrt(6 / 7 / 4003))
    np.testing.assert_allclose(sums.var(axis=0), 6 / 7, rtol=0.15)


def test_empty_references_count_with_their_insertions_and_undefined_draws_are_counted():
    found = interval([2, 1], [0, 4], draws=4000)
    assert found.rate == 3 / 4
    assert found.draws == pytest.approx(3000, abs=150)  # a quarter of all draws takes the empty one twice
    assert (found.lower, found.upper) == (0.25, 0.75)


def test_one_block_has_no_interval():
    found = interval([3], [10])
    assert (found.rate, found.lower, found.upper, found.blocks) == (0.3, None, None, 1)
    assert paired([3, 1], [5, 0], [10, 3], blocks=["a", "a"]).p is None


@pytest.mark.parametrize(
    ("errors", "lengths", "settings"),
    [
        ([], [], {}),
        ([1], [0], {}),
        ([1, 2], [3], {}),
        ([1, -2], [3, 4], {}),
        ([1, math.nan], [3, 4], {}),
        ([1, 2], [3, 4], {"draws": 0}),
        ([1, 2], [3, 4], {"level": 1.0}),
        ([1, 2], [3, 4], {"blocks": ["a"]}),
    ],
)
def test_what_is_no_sample_is_refused(errors, lengths, settings):
    with pytest.raises(ValueError):  # noqa: PT011
        interval(errors, lengths, **settings)


def test_blocks_are_speakers_where_all_are_known_and_utterances_otherwise():
    assert blocks_of(["a", "b", "a"])[1:] == (2, "speakers")
    assert blocks_of(["a", None, "b"])[1:] == (3, "utterances")
    assert blocks_of(["a", "a", "a"])[1:] == (3, "utterances")
    assert blocks_of(["b", "a", "b"]).assignment.tolist() == [0, 1, 0]


def test_the_mean_of_two_systems_is_the_system_with_their_mean_errors():
    first, second, lengths = np.array([3, 0, 1, 7, 2]), np.array([2, 2, 2, 7, 3]), [10, 4, 9, 12, 5]
    found = Resampling.of([first, second], lengths, draws=50).means([[0, 1], [1]])
    expected = Resampling.of([(first + second) / 2, second], lengths, draws=50)
    np.testing.assert_allclose(found.rates, expected.rates)
    np.testing.assert_allclose(found.drawn, expected.drawn)


def test_holm_rejects_in_steps_as_its_definition_says():
    p_values = [0.01, 0.2, 0.011, 0.012, 0.9]
    for level in (0.001, 0.03, 0.05, 0.06, 0.5, 0.95):
        rejected = set()
        for place, index in enumerate(np.argsort(p_values)):  # the smallest against level / m, the next / (m - 1) ...
            if p_values[index] > level / (len(p_values) - place):
                break
            rejected.add(int(index))
        assert {index for index, p in enumerate(holm(p_values)) if p <= level} == rejected
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


def test_draws_of_references_of_a_single_word_are_defined():
    found = interval([1, 0], [1, 0], draws=4000)
    assert found.draws == pytest.approx(3000, abs=150)  # all but the quarter that takes the empty reference twice
    assert interval([1, 0, 0], [1, 1, 1], draws=200).draws == 200
