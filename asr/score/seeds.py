"""How an error rate varies with the seed of training: mean, deviation and Student's interval over a model's runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class SeedVariation:
    """Error rates of several runs that differ in their seed alone.

    Args:
        mean: of the rates.
        standard_deviation: of the sample (divided by runs - 1); None for one run.
        lower, upper: ends of Student's interval of the mean; None for one run.
        level: of the interval.
        runs: how many.
    """

    mean: float
    standard_deviation: float | None
    lower: float | None
    upper: float | None
    level: float
    runs: int


@dataclass(frozen=True)
class SeedDifference:
    """Mean rate of a first model's runs less that of a second model's, with Welch's interval (1947).

    Args:
        difference: of the means.
        lower, upper: ends of the interval; None where either model has one run, or no run differs from its like.
        level: of the interval.
        degrees: of freedom, by Welch and Satterthwaite; None where there is no interval.
        p: two-sided p-value of "there is no difference"; None where there is no interval.
    """

    difference: float
    lower: float | None
    upper: float | None
    level: float
    degrees: float | None
    p: float | None


def variation(rates: Sequence[float], level: float = LEVEL) -> SeedVariation:
    """Mean and mean +- t s / sqrt(n) of n rates with sample deviation s, t being Student's quantile of n - 1 degrees.

    Rates of few runs are taken to be normally distributed: there is no other way to say something of three of them.

    Raises:
        ValueError: there is no rate.

    >>> found = variation([0.10, 0.11, 0.12])
    >>> round(found.standard_deviation, 6), round(found.lower, 4), round(found.upper, 4)
    (0.01, 0.0852, 0.1348)
    """
    if not rates:
        raise ValueError("there is no run to take the mean of")
    mean, number = float(np.mean(rates)), len(rates)
    if number == 1:
        return SeedVariation(mean, None, None, None, level, 1)
    deviation = float(np.std(rates, ddof=1))
    half = student_quantile((1 + level) / 2, number - 1) * deviation / math.sqrt(number)
    return SeedVariation(mean, deviation, mean - half, mean + half, level, number)


def seed_difference(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> SeedDifference:
    """Welch's test of two models' runs, whose deviations need not be equal.

    Raises:
        ValueError: a model has no rate.
    """
    left, right = variation(first, level), variation(second, level)
    difference = left.mean - right.mean
    squares = [
        0.0 if side.standard_deviation is None else side.standard_deviation**2 / side.runs for side in (left, right)
    ]
    error = math.sqrt(sum(squares))
    if min(left.runs, right.runs) < 2 or error == 0:
        return SeedDifference(difference, None, None, level, None, None)
    degrees = sum(squares) ** 2 / (squares[0] ** 2 / (left.runs - 1) + squares[1] ** 2 / (right.runs - 1))
    half = student_quantile((1 + level) / 2, degrees) * error
    p = 2 * student_tail(abs(difference) / error, degrees)
    return SeedDifference(difference, difference - half, difference + half, level, degrees, p)


def student_tail(t: float, degrees: float) -> float:
    """The probability that Student's t exceeds `t` >= 0.

    With t = sqrt(degrees) tan(a) the density is proportional to cos(a)^(degrees - 1), which is smooth on [0, pi/2] for
    one degree or more; Gauss and Legendre's rule integrates it up to where it matters.

    Raises:
        ValueError: there is less than one degree of freedom, or t is negative.

    >>> round(student_tail(1.0, 1), 12)  # Cauchy's distribution
    0.25
    """
    if degrees < 1 or t < 0:
        raise ValueError(f"expected one degree of freedom or more and t of at least 0, got {degrees} and {t}")
    nodes, weights = np.polynomial.legendre.leggauss(64)
    begin = math.atan(t / math.sqrt(degrees))
    # Beyond this angle the density is below exp(-60) of its largest value.
    end = min(math.pi / 2, begin + 11 / math.sqrt(max(1.0, degrees - 1)))
    places = (nodes + 1) / 2  # squared from the far end, where the density of 1 to 2 degrees has a kink
    angles = end - places**2 * (end - begin)
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi) / 2
    values = np.cos(angles) ** (degrees - 1) * places
    return float(math.exp(log_scale) * (weights @ values) * (end - begin))


def student_quantile(probability: float, degrees: float) -> float:
    """The t below which Student's t lies with a probability of at least 1/2.

    Raises:
        ValueError: the probability is not in [0.5, 1).

    >>> round(student_quantile(0.975, 2), 4), round(student_quantile(0.975, 1), 3)
    (4.3027, 12.706)
    """
    if not 0.5 <= probability < 1:
        raise ValueError(f"expected a probability of at least 0.5 and below 1, got {probability}")
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # on the angle, which is bounded
        middle = (low + high) / 2
        if student_tail(math.sqrt(degrees) * math.tan(middle), degrees) > 1 - probability:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)
