"""The utterances that are shown are those that the reasons say."""

from pathlib import Path

import pytest
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.report.compare import compared
from asr.report.html.choice import LONGEST, choose, chosen
from asr.report.html.records import Gathered, gather
from asr.report.runs import read_runs

WORDS = "A B C D"
HEARD = {
    "differ": ("X X X X", "A B C D"),
    "worst": ("X X X X", "X X X X"),
    "typical": ("A B X X", "A B X D"),
    "right": ("A B C D", "A B C D"),
    "also-right": ("A B C D", "A B C D"),
}


def gathered_from(folder: Path, seconds: dict[str, float | None], systems: int = 2) -> Gathered:
    runs = []
    for index in range(systems):
        rows = [Hypothesis(name, heard[index], WORDS, None, seconds.get(name, 1.0)) for name, heard in HEARD.items()]
        runs.append(write_scored_run(folder / f"run{index}", rows))
    return gather(compared(read_runs(runs)))


def test_one_of_each_kind_is_chosen_with_its_reason(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, {})
    assert [(choice.utterance.id, choice.reason.split(":")[0]) for choice in choose(gathered, 3)] == [
        ("differ", "one of those on which the models differ most"),
        ("worst", "one of those with the most errors"),
        ("typical", "a typical one"),
    ]


def test_a_single_system_differs_from_none(tmp_path: Path) -> None:
    names = [choice.utterance.id for choice in choose(gathered_from(tmp_path, {}, 1), 2)]
    assert names == ["differ", "typical"]


def test_as_many_are_chosen_as_there_are_and_none_twice(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, {})
    assert sorted(choice.utterance.id for choice in choose(gathered, 99)) == sorted(HEARD)
    assert choose(gathered, 0) == []


def test_long_utterances_are_chosen_only_where_there_are_no_others(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path / "a", {"differ": LONGEST + 1, "worst": None})
    assert "differ" not in {choice.utterance.id for choice in choose(gathered, 99)}
    assert "worst" in {choice.utterance.id for choice in choose(gathered, 99)}
    gathered = gathered_from(tmp_path / "b", dict.fromkeys(HEARD, LONGEST + 1))
    assert len(choose(gathered, 3)) == 3


def test_what_was_asked_for_comes_in_its_order_once(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, {})
    found = chosen(gathered, ["right", "differ", "right"])
    assert [choice.utterance.id for choice in found] == ["right", "differ"]
    with pytest.raises(InputError, match="--utterances: nowhere, nothing not among the 5 utterances"):
        chosen(gathered, ["nowhere", "right", "nothing"])
