"""Means over seeds against Student's distribution as mpmath integrates it, and against Welch's closed forms."""

import math

import mpmath
import pytest

from asr.score.seeds import SeedDifference, seed_difference, student_quantile, student_tail, variation


def exact_tail(t, degrees):
    """Student's tail by the incomplete beta function."""
    return float(mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True) / 2)


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3.7, 9, 40, 1000, 1e6])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 2.5, 12.0])
def test_students_tail_is_the_incomplete_beta_function(t, degrees):
    assert student_tail(t, degrees) == pytest.approx(exact_tail(t, degrees), rel=1e-7, abs=1e-20)


def test_quantiles_of_one_and_two_degrees_are_their_closed_forms():
    for probability in (0.5, 0.9, 0.975, 0.9995):
        x = 2 * probability - 1
        assert student_quantile(probability, 1) == pytest.approx(math.tan(math.pi * x / 2), abs=1e-9)
        assert student_quantile(probability, 2) == pytest.approx(x * math.sqrt(2 / (1 - x * x)), abs=1e-9)


def test_the_interval_over_seeds_is_mean_and_t_deviations():
    found = variation([0.0679, 0.0687, 0.0889])
    mean = (0.0679 + 0.0687 + 0.0889) / 3
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in (0.0679, 0.0687, 0.0889)) / 2)
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * deviation / math.sqrt(3)
    assert (found.mean, found.standard_deviation, found.runs) == (pytest.approx(mean), pytest.approx(deviation), 3)
    assert (found.lower, found.upper) == pytest.approx((mean - half, mean + half))


def test_one_run_has_a_mean_and_no_deviation():
    found = variation([0.1])
    assert (found.mean, found.standard_deviation, found.lower, found.upper, found.runs) == (0.1, None, None, None, 1)


def test_with_equal_deviations_welch_is_students_test_of_two_samples():
    first, second = [0.10, 0.12, 0.14], [0.13, 0.15, 0.17]
    found = seed_difference(first, second)
    error = math.sqrt(2 * 0.02**2 / 3)
    assert found.degrees == pytest.approx(4)
    assert found.p == pytest.approx(2 * exact_tail(0.03 / error, 4))
    half = student_quantile(0.975, 4) * error
    assert (found.difference, found.lower, found.upper) == pytest.approx((-0.03, -0.03 - half, -0.03 + half))


def test_where_one_model_does_not_vary_its_mean_counts_as_known():
    found = seed_difference([0.1, 0.1, 0.1], [0.2, 0.22])
    assert found.degrees == pytest.approx(1)
    assert found.p == pytest.approx(2 * exact_tail(0.11 / 0.01, 1))


@pytest.mark.parametrize(("first", "second"), [([0.1], [0.2, 0.3]), ([0.1, 0.2], [0.3]), ([0.1, 0.1], [0.3, 0.3])])
def test_a_single_run_or_no_variation_tells_nothing_of_seeds(first, second):
    found = seed_difference(first, second)
    assert found == SeedDifference(found.difference, None, None, 0.95, None, None)


def test_the_interval_ends_at_zero_where_p_is_one_minus_the_level():
    first, second = [0.10, 0.12, 0.15], [0.11, 0.16, 0.19, 0.14]
    level = 1 - seed_difference(first, second).p
    assert seed_difference(first, second, level).upper == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("t", "degrees"), [(-0.1, 3), (1, 0.5)])
def test_what_is_no_tail_is_refused(t, degrees):
    with pytest.raises(ValueError, match="expected one degree"):
        student_tail(t, degrees)


def test_no_run_and_no_quantile_are_refused():
    with pytest.raises(ValueError, match="no run"):
        variation([])
    with pytest.raises(ValueError, match="probability"):
        student_quantile(0.3, 4)
