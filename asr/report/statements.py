"""What a comparison shows, in words: whether differences are any, and what its intervals do and do not cover."""

from collections.abc import Sequence

from asr.report.evidence import Evidence, Pair, Rates
from asr.score.matched_pairs import FEW_SEGMENTS
from asr.score.uncertainty import FEW_BLOCKS


def statements(evidence: Evidence) -> list[str]:
    """A sentence for each model with several runs, and one for each pair."""
    means = [_over_seeds(rates, evidence) for rates in evidence.systems if len(rates.runs) > 1]
    return means + [statement(pair, evidence) for pair in evidence.pairs]


def statement(pair: Pair, evidence: Evidence) -> str:
    """Who makes fewer errors, by how much, how sure that is, and the verdict."""
    first, second, sign = pair.first, pair.second, -1
    if pair.words.difference > 0:
        first, second, sign = second, first, 1
    difference = 100 * abs(pair.words.difference)
    claim = f"{first} makes {difference:.2f} points fewer errors than {second}"
    if pair.words.difference == 0:
        claim = f"{first} and {second} make equally many errors"
    claim += f" ({'; '.join(_grounds(pair, evidence, sign))})"
    if pair.verdict == "difference":
        return f"{claim}: a difference."
    if pair.verdict == "none":
        return f"No difference can be told: {claim}."
    rejecting = [test for test, p in pair.corrected.items() if p < 1 - evidence.settings.level]
    return f"No difference can be told, for the tests disagree (only {_listed(rejecting)} sees one): {claim}."


def _grounds(pair: Pair, evidence: Evidence, sign: int) -> list[str]:
    """Intervals and p-values; `sign` turns the difference so that positive is fewer errors."""
    level = f"{100 * evidence.settings.level:g} %"
    grounds = [_span(pair.words.lower, pair.words.upper, sign, level)]
    if pair.seeds:
        grounds[0] = f"over {evidence.blocks[1]} {grounds[0]}"
    grounds.append(_p("bootstrap p", pair.corrected.get("bootstrap")))
    if pair.mapsswe:
        grounds.append(_p("MAPSSWE p", pair.corrected.get("MAPSSWE")))
        if 0 < pair.mapsswe.segments < FEW_SEGMENTS:
            grounds[-1] += f" from {pair.mapsswe.segments} segments only"
    if pair.seeds:
        grounds.append(f"over seeds {_span(pair.seeds.lower, pair.seeds.upper, sign, level)}")
        grounds.append(_p("Welch p", pair.corrected.get("seeds")))
    return grounds


def _span(lower: float | None, upper: float | None, sign: int, level: str) -> str:
    """An interval of a difference, in points.

    >>> _span(-0.032, -0.010, -1, "95 %"), _span(-0.004, 0.01, 1, "95 %")
    ('95 % 1.00 to 3.20', '95 % 0.40 more to 1.00 fewer')
    """
    if lower is None or upper is None:
        return "no interval"
    ends = sorted((100 * sign * lower, 100 * sign * upper))
    if ends[0] >= 0:
        return f"{level} {ends[0]:.2f} to {ends[1]:.2f}"
    return f"{level} {-ends[0]:.2f} more to {abs(ends[1]):.2f} {'fewer' if ends[1] >= 0 else 'more'}"


def _p(name: str, p: float | None) -> str:
    """A p-value in words.

    >>> _p("p", 0.00001), _p("p", 0.0421), _p("p", None)
    ('p < 0.0001', 'p = 0.0421', 'no p')
    """
    if p is None:
        return f"no {name}"
    return f"{name} < 0.0001" if p < 0.0001 else f"{name} = {p:.4f}"


def _over_seeds(rates: Rates, evidence: Evidence) -> str:
    level, seeds = f"{100 * evidence.settings.level:g} %", rates.word_seeds
    found = f"{rates.name}: {100 * seeds.mean:.2f} % on average over {seeds.runs} seeds ({', '.join(rates.runs)})"
    if seeds.standard_deviation is not None and seeds.lower is not None and seeds.upper is not None:
        found += (
            f", standard deviation {100 * seeds.standard_deviation:.2f} points; {level} interval over seeds "
            f"{100 * seeds.lower:.2f} to {100 * seeds.upper:.2f} %"
        )
    if rates.words.lower is not None and rates.words.upper is not None:
        ends = f"{100 * rates.words.lower:.2f} to {100 * rates.words.upper:.2f} %"
        found += f"; of these runs over {evidence.blocks[1]} {ends}"
    return f"{found}."


def explanations(evidence: Evidence) -> list[str]:
    """How intervals and verdicts were made, and what they do not cover."""
    lines = [f"No interval: {reason}." for reason in evidence.missing]
    if not evidence.runs:
        return lines
    lines.append(_of_intervals(evidence))
    if evidence.pairs:
        alpha = f"{100 * (1 - evidence.settings.level):g} %"
        lines.append(f"A difference is stated where every test given rejects that there is none at {alpha}.")
        if len(evidence.pairs) > 1:
            lines.append(
                f"The p-values are corrected for {len(evidence.pairs)} comparisons (Holm), the intervals are not."
            )
    single = [rates.name for rates in evidence.systems if len(rates.runs) == 1]
    if single and evidence.pairs:
        lines.append(f"What another seed would give is in no interval of {_listed(single)}: one run each.")
    return lines


def _of_intervals(evidence: Evidence) -> str:
    number, kind = evidence.blocks
    settings = evidence.settings
    if number < 2:
        return "There are no intervals: one utterance does not say what another one would give."
    found = f"Intervals: percentile bootstrap over {number:,} {kind}, {settings.draws:,} draws, seed {settings.seed}"
    if evidence.blocks_reason:
        found += f"; over utterances and not speakers, for {evidence.blocks_reason}"
    if number < FEW_BLOCKS:
        found += f". {number} {kind} are few: such intervals are too narrow"
    if any(len(rates.runs) > 1 for rates in evidence.systems):
        found += ". The interval in the row of a mean is Student's, over its runs"
    return f"{found}."


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
