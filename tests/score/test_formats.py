"""TRN, STM and CTM as sclite wants them, escapes included."""

import string
from dataclasses import replace

import pytest

from asr.decode.hypotheses import Hypothesis
from asr.score.foreign import read_texts
from asr.score.formats import ESCAPED, EVENLY, duration, escape, format_ctm, format_stm, format_trn

ROWS = [
    Hypothesis("anna-2", "A HAT", "THE CAT", "anna", 1.0),
    Hypothesis("anna-1", "", "UM", "anna", 0.5),
    Hypothesis("bo-1", "ALONE", "", None, 2.0),
]


def test_trn_is_words_and_the_id_in_parentheses_in_the_order_given():
    assert format_trn({"b-1": "A  CAT", "a-1": ""}) == "A CAT (b-1)\n(a-1)\n"


def test_stm_is_a_segment_an_utterance_sorted_by_file():
    assert format_stm(ROWS).splitlines() == [
        "anna-1 1 anna 0.000 0.500 UM",
        "anna-2 1 anna 0.000 1.000 THE CAT",
        "bo-1 1 unknown 0.000 2.000",
    ]


def test_ctm_has_known_times_and_spreads_the_others_evenly_and_says_so():
    rows = [*ROWS[:2], replace(ROWS[2], times=((0.25, 0.75),))]
    assert format_ctm(rows).splitlines() == [
        f";; {EVENLY}",
        "anna-2 1 0.000 0.500 A",
        "anna-2 1 0.500 0.500 HAT",
        "bo-1 1 0.250 0.500 ALONE",
    ]


def test_ctm_with_all_times_known_says_nothing_of_even_ones():
    rows = [ROWS[1], replace(ROWS[2], times=((0.25, 0.75),))]
    assert format_ctm(rows) == "bo-1 1 0.250 0.500 ALONE\n"


def test_ctm_has_confidences_if_those_of_all_words_are_known():
    rows = [replace(ROWS[0], confidences=(0.5, 0.25)), ROWS[1], ROWS[2]]
    assert all(len(line.split()) == 5 for line in format_ctm(rows).splitlines()[1:])
    rows[2] = replace(rows[2], confidences=(1.0,))
    assert [line.split()[5] for line in format_ctm(rows).splitlines()[1:]] == ["0.5000", "0.2500", "1.0000"]


def test_files_are_sorted_by_bytes_and_not_by_the_alphabet():
    names = [line.split()[0] for line in format_stm([Hypothesis(name, "", "A") for name in "éaZb"]).splitlines()]
    assert names == ["Z", "a", "b", "é"]


def test_files_are_sorted_by_the_bytes_that_stand_in_them_escapes_included():
    rows = [Hypothesis(name, "A", "A") for name in ("a'b", "a(b", "a$b")]
    for lines in (format_stm(rows).splitlines(), format_ctm(rows).splitlines()):
        names = [line.split()[0] for line in lines if not line.startswith(";;")]
        assert names == ["a$b", "a%28b", "a'b"]


def test_an_unknown_duration_is_a_second_for_each_word_of_the_longer_text():
    assert [duration(Hypothesis("u", "A B C", "A")), duration(Hypothesis("u", "", "A B"))] == [3.0, 2.0]
    assert duration(Hypothesis("u", "", "")) == 1.0


@pytest.mark.parametrize("character", string.punctuation)
def test_different_words_are_escaped_to_different_words(character):
    words = ["a", "ab", character, f"a{character}", f"{character}a", f"a{character}b", f"%{ord(character):02X}"]
    assert len({escape(word) for word in words}) == len(words)


def test_no_escaped_word_has_a_sign_of_sclite():
    assert not set(escape(string.punctuation + " \t\u3000")) & set("()*/;<>@\\{} \t\u3000")
    assert escape("it's-50#!?") == "it's-50#!?"


@pytest.mark.parametrize("word", ["IGNORE_TIME_SEGMENT_IN_SCORING", "ignore_time_segment_in_scoring"])
def test_the_word_that_would_take_a_segment_out_of_scoring_is_written_otherwise(word):
    row = Hypothesis("u", "", word, "s", 1.0)
    text = format_stm([row]).splitlines()[-1].split()[-1]
    assert text.lower() == "%49gnore_time_segment_in_scoring" if word[0] == "I" else text.startswith("%69")


def test_escapes_are_told_in_the_first_line_only_where_there_are_any():
    assert format_trn({"u-1": "A (B)"}).splitlines() == [ESCAPED, "A %28B%29 (u-1)"]
    assert format_trn({"u (1)": "A"}).splitlines() == [ESCAPED, "A (u%20%281%29)"]
    assert format_ctm([Hypothesis("u", "50%", seconds=1.0)]).startswith(ESCAPED)
    assert format_stm([Hypothesis("u", "", "A", "Anna B")]).splitlines() == [ESCAPED, "u 1 Anna%20B 0.000 1.000 A"]


def test_what_is_written_is_what_is_read_again(tmp_path):
    texts = {"a (1)": "{ A / B } @ (c) 50% %28 x;y \\ *", "b-2": "IGNORE_TIME_SEGMENT_IN_SCORING É", "c;3": "PLAIN"}
    (tmp_path / "h.trn").write_text(format_trn({**texts, "empty": ""}))
    assert read_texts(tmp_path / "h.trn") == {**texts, "empty": ""}
    (tmp_path / "h.ctm").write_text(format_ctm([Hypothesis(name, text) for name, text in texts.items()]))
    assert read_texts(tmp_path / "h.ctm") == texts
