"""Errors by group and by word, against counts by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.report.compare import compared
from asr.report.html.records import Gathered, Utterance, gather
from asr.report.html.words import (
    MOST_RATIOS,
    Breakdown,
    breakdowns_of,
    by_family,
    by_length,
    by_snr,
    by_speaker,
    confusions,
)
from asr.report.runs import read_runs
from asr.score.errors import ErrorCounts

ONE = [
    Hypothesis("u1", "A B C", "A B C", "ann", 1.0),
    Hypothesis("u2", "A X", "A B", "ann", 2.0),
    Hypothesis("u3", "B B B", "B", "bob", 30.0),
]
OTHER = [
    Hypothesis("u1", "A X C", "A B C", "ann", 1.0),
    Hypothesis("u2", "A X", "A B", "ann", 2.0),
    Hypothesis("u3", "", "B", "bob", 30.0),
]


def two(folder: Path, one: list[Hypothesis] = ONE, other: list[Hypothesis] = OTHER) -> Gathered:
    runs = [write_scored_run(folder / "one", one), write_scored_run(folder / "other", other)]
    return gather(compared(read_runs(runs)))


def shown(breakdown: Breakdown | None) -> list[tuple[str, int, int, tuple[ErrorCounts | None, ...]]]:
    assert breakdown is not None
    return [(group.name, group.utterances, group.words, group.counts) for group in breakdown.groups]


def test_speakers_are_counted_apart_the_worst_first(tmp_path: Path) -> None:
    assert shown(by_speaker(two(tmp_path))) == [
        ("bob", 1, 1, (ErrorCounts(1, 0, 0, 2), ErrorCounts(0, 0, 1, 0))),
        ("ann", 2, 5, (ErrorCounts(4, 1, 0, 0), ErrorCounts(3, 2, 0, 0))),
    ]


def test_families_are_those_of_the_table_and_others(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    assert by_family(gathered) is None
    found = shown(by_family(replace(gathered, families={"ann": "human", "zoe": "alien"})))
    assert [(name, utterances) for name, utterances, *_ in found] == [("others", 1), ("human", 2)]
    assert [by.by for by in breakdowns_of(gathered)] == ["speaker", "seconds"]


def test_lengths_are_durations_with_their_upper_ends_included(tmp_path: Path) -> None:
    found = by_length(two(tmp_path))
    assert found is not None
    assert found.by == "seconds"
    assert [(name, utterances) for name, utterances, *_ in shown(found)] == [("up to 2 s", 2), ("over 24 s", 1)]


def test_without_all_durations_lengths_are_words(tmp_path: Path) -> None:
    one = [Hypothesis(row.id, row.hypothesis, row.reference, row.speaker) for row in ONE]
    other = [Hypothesis(row.id, row.hypothesis, row.reference, row.speaker) for row in OTHER]
    found = by_length(two(tmp_path, one, other))
    assert found is not None
    assert found.by == "words"
    assert [(name, utterances) for name, utterances, *_ in shown(found)] == [("0–2 words", 2), ("3–5 words", 1)]


def test_groups_together_are_the_whole_test_set(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    for breakdown in (by_speaker(gathered), by_length(gathered)):
        assert breakdown is not None
        for index, run in enumerate(gathered.runs):
            counts = sum((group.counts[index] or ErrorCounts() for group in breakdown.groups), ErrorCounts())
            assert (counts.errors, counts.length) == (run.scores["errors"], run.scores["words"])


def with_ratios(gathered: Gathered, ratios: list[float | None]) -> Gathered:
    utterances = tuple(
        Utterance(one.id, one.reference, one.speaker, one.seconds, ratio)
        for one, ratio in zip(gathered.utterances, ratios, strict=True)
    )
    return replace(gathered, utterances=utterances)


def test_ratios_are_groups_in_ascending_order_with_unmixed_speech_last(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    assert by_snr(gathered) is None
    names = [name for name, *_ in shown(by_snr(with_ratios(gathered, [20.0, None, 5.0])))]
    assert names == ["5 dB", "20 dB", "not mixed"]
    names = [name for name, *_ in shown(by_snr(with_ratios(gathered, [-2.5, 0.0, 10.0])))]
    assert names == ["-2.5 dB", "0 dB", "10 dB"]


def test_many_ratios_are_grouped_by_five_decibels(tmp_path: Path) -> None:
    number = MOST_RATIOS + 1
    rows = [Hypothesis(f"u{i}", "A", "A") for i in range(number)]
    gathered = two(tmp_path, rows, rows)
    names = [name for name, *_ in shown(by_snr(with_ratios(gathered, [1.5 * i - 3 for i in range(number)])))]
    assert names == ["-5–0 dB", "0–5 dB", "5–10 dB"]


def test_a_run_without_hypotheses_has_no_counts(tmp_path: Path) -> None:
    two(tmp_path)
    (tmp_path / "other" / "hypotheses.jsonl").unlink()
    gathered = gather(compared(read_runs([tmp_path / "one", tmp_path / "other"])))
    assert [counts[1] for *_, counts in shown(by_speaker(gathered))] == [None, None]
    assert all(one.counts[1] is None for one in confusions(gathered))


def test_confusions_count_every_error_of_every_run_once(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    found = [(*one.edit, one.counts) for one in confusions(gathered)]
    assert found[0] == ("substitution", "B", "X", (1, 2))
    assert set(found[1:]) == {("insertion", "", "B", (2, 0)), ("deletion", "B", "", (0, 1))}
    for index, run in enumerate(gathered.runs):
        assert sum(one.counts[index] or 0 for one in confusions(gathered)) == run.scores["errors"]


@pytest.mark.parametrize("seconds", [0.0, 2.0, 2.0001, 24.0, 1e6])
def test_every_duration_has_a_group(tmp_path: Path, seconds: float) -> None:
    rows = [Hypothesis("u", "A", "A", None, seconds)]
    assert len(shown(by_length(two(tmp_path, rows, rows)))) == 1
