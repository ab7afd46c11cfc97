"""Intervals of error rates, and whether two systems differ: all that `asr compare` says beside the rates themselves."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from asr.report.rescored import Rescored
from asr.report.systems import System
from asr.score.errors import ErrorCounts
from asr.score.matched_pairs import FEW_SEGMENTS, ErrorPositions, MatchedPairs, matched_pairs
from asr.score.scores import UtteranceScore, name_some
from asr.score.seeds import SeedDifference, SeedVariation, seed_difference, variation
from asr.score.uncertainty import DRAWS, LEVEL, Blocks, Interval, PairedDifference, Resampling, blocks_of, holm

MANY_SYSTEMS = 5
"""Above this number each system is compared with the first one only, unless all pairs are asked for."""

TESTS = ("bootstrap", "MAPSSWE", "seeds")
Verdict = Literal["difference", "none", "disagreement"]


@dataclass(frozen=True)
class Settings:
    """How intervals and tests are made.

    Args:
        draws: of the bootstrap.
        seed: of the draws.
        level: of intervals; differences are stated at `alpha`.
        blocks: what is drawn as a whole: "speakers" where all are known (the default), or always "utterances".
        pairs: "all", "first" (each system with the first one), or "auto": all of up to `MANY_SYSTEMS` systems.
    """

    draws: int = DRAWS
    seed: int = 0
    level: float = LEVEL
    blocks: Literal["speakers", "utterances"] = "speakers"
    pairs: Literal["auto", "all", "first"] = "auto"

    @property
    def alpha(self) -> float:
        """1 - level, rounded so that a p-value of 0.05 is not below the alpha of 95 %."""
        return round(1 - self.level, 12)


@dataclass(frozen=True)
class Rates:
    """WER and CER of a system, which are means over its runs.

    Args:
        name: of the system.
        runs: names of its runs.
        words, characters: rates with their bootstrap intervals, of these very runs on other utterances.
        word_seeds, character_seeds: variation over the runs; of several seeds they say what another one would give.
    """

    name: str
    runs: tuple[str, ...]
    words: Interval
    characters: Interval
    word_seeds: SeedVariation
    character_seeds: SeedVariation


@dataclass(frozen=True)
class Pair:
    """Two systems on the same utterances.

    Args:
        first, second: their names.
        words, characters: differences of the rates, first less second, with bootstrap intervals.
        mapsswe: of two single runs.
        seeds: of two models with several runs each.
        tally: of two single runs, the utterances with fewer errors by the first, with fewer by the second, and all.
        corrected: name of each test of the WER -> p-value, corrected for the number of pairs.
        abstaining: tests that have no vote, since so little data cannot make them reject, or not reliably.
        verdict: "difference" if all tests with a vote reject "there is none", "none" if no test does, else
            "disagreement".
    """

    first: str
    second: str
    words: PairedDifference
    characters: PairedDifference
    mapsswe: MatchedPairs | None
    seeds: SeedDifference | None
    tally: tuple[int, int, int] | None = None
    corrected: Mapping[str, float] = field(default_factory=dict)
    abstaining: tuple[str, ...] = ()
    verdict: Verdict = "none"

    @property
    def p_values(self) -> dict[str, float | None]:
        """Of each test of the WER, not corrected; None where the test is not made or says nothing."""
        return {
            "bootstrap": self.words.p,
            "MAPSSWE": self.mapsswe.p if self.mapsswe else None,
            "seeds": self.seeds.p if self.seeds else None,
        }

    @property
    def votes(self) -> dict[str, float]:
        """The corrected p-values of the tests that have a vote."""
        return {test: p for test, p in self.corrected.items() if test not in self.abstaining}


@dataclass(frozen=True)
class Evidence:
    """All intervals and pairs.

    Args:
        settings: how they were made.
        blocks: number of blocks, and "speakers" or "utterances".
        equal_blocks: as how many of equal size they count, by their words.
        blocks_reason: why they are utterances where speakers were wanted; else "".
        runs: every run that has intervals, by itself.
        systems: models with several runs, in the place of which their mean is compared, and single runs.
        pairs: differences.
        missing: what has no interval, and why.
    """

    settings: Settings
    blocks: tuple[int, str]
    equal_blocks: float
    blocks_reason: str
    runs: tuple[Rates, ...]
    systems: tuple[Rates, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]


def weigh(rescored: Sequence[Rescored], systems: Sequence[System], settings: Settings | None = None) -> Evidence:
    """Intervals of all runs and systems, and tests of all pairs of systems, on the same draws.

    Args:
        rescored: runs that were scored on the same utterances and references.
        systems: what is compared; their runs are among the former ones.
        settings: by default 10,000 draws and 95 %.
    """
    settings = settings or Settings()
    scores = {one.run.path: one.scores for one in rescored if one.scores is not None}
    missing = [f"{one.run.name}: {one.reason}" for one in rescored if one.scores is None]
    if scores and not next(iter(scores.values())).words.length:
        scores, missing = {}, [*missing, "the references have no words"]
    whole = [system for system in systems if all(run.path in scores for run in system.runs)]
    missing += [
        f"the mean of {system.name}: not all of its runs have hypotheses"
        for system in systems
        if system not in whole
        if len(system.runs) > 1
    ]
    alone = [System(one.run.name, (one.run,)) for one in rescored if one.run.path in scores]
    if not scores:
        return Evidence(settings, (0, settings.blocks), 0.0, "", (), (), (), tuple(missing))
    utterances = {path: sorted(found.utterances, key=lambda one: one.id) for path, found in scores.items()}
    blocks, reason = _blocks(list(utterances.values()), settings.blocks)
    measured = _Measured.of(utterances, [*alone, *whole], blocks, settings)
    rates = [measured.rates(index) for index in range(len(measured.systems))]
    pairs = [measured.pair(len(alone) + i, len(alone) + j) for i, j in _pairs(len(whole), settings.pairs)]
    return Evidence(
        settings,
        (blocks.number, blocks.kind),
        measured.words.equal_blocks,
        reason,
        tuple(rates[: len(alone)]),
        tuple(rates[len(alone) :]),
        tuple(judged(pairs, settings.alpha)),
        tuple(missing),
    )


def _pairs(number: int, which: str) -> list[tuple[int, int]]:
    if which == "all" or (which == "auto" and number <= MANY_SYSTEMS):
        return list(itertools.combinations(range(number), 2))
    return [(0, other) for other in range(1, number)]


def _blocks(runs: Sequence[Sequence[UtteranceScore]], wanted: str) -> tuple[Blocks, str]:
    """What is drawn, and why it is utterances where speakers were wanted; a speaker may be known to some runs only."""
    named = [sorted({one.speaker for one in same if one.speaker}) for same in zip(*runs, strict=True)]
    if wanted == "utterances":
        return blocks_of([None] * len(named)), ""
    unlike = [(of_run[0].id, names) for *of_run, names in zip(*runs, named, strict=True) if len(names) > 1]
    if unlike:
        first, names = unlike[0]
        said = f"the runs name different speakers of {len(unlike)} ({first}: {name_some(names, 3)})"
        return blocks_of([None] * len(named)), said
    blocks = blocks_of([names[0] if names else None for names in named])
    if blocks.kind == "speakers":
        return blocks, ""
    unknown = named.count([])
    return blocks, f"the speaker of {unknown} is not known" if unknown else "there is one speaker only"


@dataclass(frozen=True)
class _Measured:
    """All systems with all their draws: single runs first, then what is compared.

    Args:
        systems: in the order of `words` and `characters`.
        word_rates, character_rates: of each run, by its path.
        places: of the errors of each run, by its path.
        errors: of each run, by its path, the word errors of each utterance.
    """

    systems: tuple[System, ...]
    words: Resampling
    characters: Resampling
    word_rates: Mapping[Path, float]
    character_rates: Mapping[Path, float]
    places: Mapping[Path, ErrorPositions]
    errors: Mapping[Path, Sequence[int]]
    level: float

    @classmethod
    def of(
        cls,
        utterances: Mapping[Path, Sequence[UtteranceScore]],
        systems: Sequence[System],
        blocks: Blocks,
        settings: Settings,
    ) -> "_Measured":
        """Draw once for words and once, the same, for characters."""
        paths = list(utterances)
        groups = [[paths.index(run.path) for run in system.runs] for system in systems]
        words, characters = (
            _resampled(utterances.values(), kind, blocks, settings) for kind in ("words", "characters")
        )
        return cls(
            tuple(systems),
            words.means(groups),
            characters.means(groups),
            {path: float(rate) for path, rate in zip(paths, words.rates, strict=True)},
            {path: float(rate) for path, rate in zip(paths, characters.rates, strict=True)},
            {path: ErrorPositions.of([one.alignment for one in of_run]) for path, of_run in utterances.items()},
            {path: [one.words.errors for one in of_run] for path, of_run in utterances.items()},
            settings.level,
        )

    def rates(self, index: int) -> Rates:
        runs = self.systems[index].runs
        return Rates(
            self.systems[index].name,
            tuple(run.name for run in runs),
            self.words.interval(index, self.level),
            self.characters.interval(index, self.level),
            variation([self.word_rates[run.path] for run in runs], self.level),
            variation([self.character_rates[run.path] for run in runs], self.level),
        )

    def pair(self, first: int, second: int) -> Pair:
        """Both systems, not yet judged: a verdict needs the p-values of all pairs."""
        left, right = (self.systems[index] for index in (first, second))
        of_runs, seeds, tally = None, None, None
        if len(left.runs) == len(right.runs) == 1:
            errors = list(zip(*(self.errors[system.runs[0].path] for system in (left, right)), strict=True))
            tally = sum(a < b for a, b in errors), sum(a > b for a, b in errors), len(errors)
            of_runs = matched_pairs(self.places[left.runs[0].path], self.places[right.runs[0].path])
        elif min(len(left.runs), len(right.runs)) > 1:
            rates = [[self.word_rates[run.path] for run in system.runs] for system in (left, right)]
            seeds = seed_difference(rates[0], rates[1], self.level)
        return Pair(
            left.name,
            right.name,
            self.words.difference(first, second, self.level),
            self.characters.difference(first, second, self.level),
            of_runs,
            seeds,
            tally,
        )


def _resampled(
    utterances: Iterable[Sequence[UtteranceScore]], kind: str, blocks: Blocks, settings: Settings
) -> Resampling:
    """Draws of all runs, of their words or their characters."""
    counts: list[list[ErrorCounts]] = [[getattr(one, kind) for one in of_run] for of_run in utterances]
    errors = [[one.errors for one in of_run] for of_run in counts]
    return Resampling.of(errors, [one.length for one in counts[0]], blocks, settings.draws, settings.seed)


def judged(pairs: Sequence[Pair], alpha: float) -> list[Pair]:
    """Correct the p-values of each test for the number of pairs, and let the tests of a pair vote."""
    corrected: list[dict[str, float]] = [{} for _ in pairs]
    for test in TESTS:
        known = [(index, p) for index, pair in enumerate(pairs) if (p := pair.p_values[test]) is not None]
        for (index, _), p in zip(known, holm([p for _, p in known]), strict=True):
            corrected[index][test] = p
    found = [
        replace(pair, corrected=p, abstaining=_abstaining(pair, len(pairs), alpha))
        for pair, p in zip(pairs, corrected, strict=True)
    ]
    return [replace(pair, verdict=_verdict(pair, alpha)) for pair in found]


def _abstaining(pair: Pair, number: int, alpha: float) -> tuple[str, ...]:
    """Tests without a vote in one of `number` pairs.

    The bootstrap has none where its smallest p is not below alpha, so that few blocks would veto any difference, and
    its interval is on one side of 0; an interval that contains 0, too narrow as few blocks make it, is a vote against.
    MAPSSWE, whose statistic is normal for many segments only, is not trusted with few where it would decide alone.
    """
    words = pair.words
    can_reject = words.least_p is not None and number * words.least_p < alpha
    contains_0 = words.lower is not None and words.upper is not None and words.lower <= 0 <= words.upper
    if can_reject or contains_0:
        return ()
    few = pair.mapsswe is not None and pair.mapsswe.segments < FEW_SEGMENTS
    return ("bootstrap", "MAPSSWE") if few else ("bootstrap",)


def _verdict(pair: Pair, alpha: float) -> Verdict:
    rejected = [p < alpha for p in pair.votes.values()]
    return "none" if not any(rejected) else "difference" if all(rejected) else "disagreement"
