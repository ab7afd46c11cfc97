"""What a comparison shows, in words: whether differences are any, and what its intervals do and do not cover."""

from asr.report.circumstances import listed
from asr.report.evidence import Evidence, Pair, Rates
from asr.score.matched_pairs import FEW_SEGMENTS
from asr.score.uncertainty import FEW_BLOCKS

NAMES = {"bootstrap": "the bootstrap", "MAPSSWE": "MAPSSWE", "seeds": "Welch's test"}
"""Tests in a sentence."""


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
        alone = f", by {listed([NAMES[test] for test in pair.votes])} alone" if pair.abstaining else ""
        return f"{claim}: a difference{alone}."
    if not pair.votes:
        return f"No difference can be told, for there is too little to test: {claim}."
    if pair.verdict == "none":
        return f"No difference can be told: {claim}."
    rejecting = [NAMES[test] for test, p in pair.votes.items() if p < evidence.settings.alpha]
    return f"No difference can be told, for the tests disagree (only {listed(rejecting)} sees one): {claim}."


def _grounds(pair: Pair, evidence: Evidence, sign: int) -> list[str]:
    """Intervals and p-values; `sign` turns the difference so that positive is fewer errors."""
    level = f"{100 * evidence.settings.level:g} %"
    grounds = [_span(pair.words.lower, pair.words.upper, sign, level)]
    if pair.seeds:
        grounds[0] = f"over {evidence.blocks[1]} {grounds[0]}"
    grounds.append(_p("bootstrap p", pair.corrected.get("bootstrap")) + _without_vote(pair, "bootstrap"))
    if pair.mapsswe:
        few = 0 < pair.mapsswe.segments < FEW_SEGMENTS
        only = f" from {pair.mapsswe.segments} segments only" if few else ""
        grounds.append(_p("MAPSSWE p", pair.corrected.get("MAPSSWE")) + only + _without_vote(pair, "MAPSSWE"))
    if pair.seeds:
        grounds.append(f"over seeds {_span(pair.seeds.lower, pair.seeds.upper, sign, level)}")
        grounds.append(_p("Welch p", pair.corrected.get("seeds")))
    if pair.tally:
        fewer, more, utterances = pair.tally if sign < 0 else (pair.tally[1], pair.tally[0], pair.tally[2])
        grounds.append(f"fewer in {fewer:,} of {utterances:,} utterances, more in {more:,}")
    return grounds


def _without_vote(pair: Pair, test: str) -> str:
    return ", without a vote" if test in pair.abstaining and test in pair.corrected else ""


def _span(lower: float | None, upper: float | None, sign: int, level: str) -> str:
    """An interval of a difference, in points.

    >>> _span(-0.032, -0.010, -1, "95 %"), _span(-0.004, 0.01, 1, "95 %"), _span(0.0, 0.0, -1, "95 %")
    ('95 % 1.00 to 3.20', '95 % 0.40 more to 1.00 fewer', '95 % 0.00 to 0.00')
    """
    if lower is None or upper is None:
        return "no interval"
    ends = sorted((100 * sign * lower + 0.0, 100 * sign * upper + 0.0))  # 0.0 makes no difference but to -0.0
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
            f"{100 * max(0.0, seeds.lower):.2f} to {100 * seeds.upper:.2f} %"
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
    faultless = [rates.name for rates in evidence.runs if rates.words.rate == 0 and rates.words.lower is not None]
    if faultless:
        lines.append(
            f"The interval of {listed(faultless)} says nothing: there is no error to draw, and other utterances may "
            "have some."
        )
    if evidence.pairs:
        alpha = f"{100 * evidence.settings.alpha:g} %"
        lines.append(f"A difference is stated where every test with a vote rejects that there is none at {alpha}.")
        lines += _of_abstaining(evidence)
        if len(evidence.pairs) > 1:
            lines.append(
                f"The p-values are corrected for {len(evidence.pairs)} comparisons (Holm), the intervals are not."
            )
    single = [rates.name for rates in evidence.systems if len(rates.runs) == 1]
    if single and evidence.pairs:
        lines.append(f"What another seed would give is in no interval of {listed(single)}: one run each.")
        if len(single) < len(evidence.systems):
            lines.append(f"Verdicts on {listed(single)} beside the mean of several seeds know nothing of other seeds.")
    return lines


def _of_abstaining(evidence: Evidence) -> list[str]:
    """Why tests have no vote."""
    lines, number, kind = [], len(evidence.pairs), evidence.blocks[1]
    least = evidence.pairs[0].words.least_p  # the same for all: they see the same draws
    if least is not None and any("bootstrap" in pair.abstaining for pair in evidence.pairs):
        few_blocks = least == 2.0 ** (1 - evidence.pairs[0].words.equal_blocks)
        what = _blocks(evidence) if few_blocks else f"{evidence.pairs[0].words.draws:,} draws"
        corrected = f" ({number * least:.4g} corrected for {number} comparisons)" if number > 1 else ""
        other = f"; --blocks utterances draws utterances in the place of {kind}" if kind == "speakers" else ""
        hint = other if few_blocks else "; --draws takes more"
        lines.append(
            f"Where its interval is on one side of 0 the bootstrap has no vote: {what} cannot give a p below "
            f"{least:.4g}{corrected}{hint}."
        )
        alone = [pair for pair in evidence.pairs if pair.verdict == "difference" and "bootstrap" in pair.abstaining]
        if alone and few_blocks and kind == "speakers":
            lines.append("A difference without the bootstrap's vote is one on these speakers; others may show none.")
    few = [pair for pair in evidence.pairs if "MAPSSWE" in pair.abstaining and pair.mapsswe and pair.mapsswe.segments]
    if few:
        named = ", ".join(f"{pair.first} and {pair.second}" for pair in few)
        lines.append(
            f"MAPSSWE, which takes its statistic to be normal, has no vote by itself with fewer than {FEW_SEGMENTS} "
            f"segments: {named}."
        )
    return lines


def _blocks(evidence: Evidence) -> str:
    """Their number, and as how many they count where that is noticeably less."""
    number, kind = evidence.blocks
    if evidence.equal_blocks > 0.8 * number:
        return f"{number:,} {kind}"
    return f"{number:,} {kind} of such unequal size that they count as {evidence.equal_blocks:.1f}"


def _of_intervals(evidence: Evidence) -> str:
    number, kind = evidence.blocks
    settings = evidence.settings
    if number < 2:
        return "There are no intervals: one utterance does not say what another one would give."
    found = f"Intervals: percentile bootstrap over {number:,} {kind}, {settings.draws:,} draws, seed {settings.seed}"
    if evidence.blocks_reason:
        found += f"; over utterances and not speakers, for {evidence.blocks_reason}"
    if round(evidence.equal_blocks) < FEW_BLOCKS:
        found += f". {_blocks(evidence)} are few: such intervals are too narrow"
    if any(len(rates.runs) > 1 for rates in evidence.systems):
        found += ". The interval in the row of a mean is Student's, over its runs"
    return f"{found}."
