"""hypotheses.jsonl: what is written is read, and what is wrong is named by file and row."""

import json

import pytest

from asr.decode.hypotheses import Hypothesis, read_hypotheses, write_hypotheses
from asr.errors import InputError
from asr.files import write_jsonl

ROWS = [
    Hypothesis("b", "ZWEI", "DREI", "anna", 1.5),
    Hypothesis("a", "", "", None, None),
    Hypothesis("c", "größer", None, "bo", 2),
]


def test_what_is_written_is_read_back_sorted_by_id(tmp_path):
    write_hypotheses(tmp_path / "h.jsonl", ROWS)
    assert read_hypotheses(tmp_path / "h.jsonl") == sorted(ROWS, key=lambda row: row.id)


def test_the_order_of_rows_does_not_change_the_bytes(tmp_path):
    write_hypotheses(tmp_path / "h.jsonl", ROWS)
    write_hypotheses(tmp_path / "g.jsonl", ROWS[::-1])
    assert (tmp_path / "h.jsonl").read_bytes() == (tmp_path / "g.jsonl").read_bytes()


def test_a_row_has_the_documented_keys_in_their_order(tmp_path):
    write_hypotheses(tmp_path / "h.jsonl", ROWS[:1])
    row = json.loads((tmp_path / "h.jsonl").read_text())
    assert list(row.items()) == [
        ("id", "b"),
        ("speaker", "anna"),
        ("seconds", 1.5),
        ("reference", "DREI"),
        ("hypothesis", "ZWEI"),
    ]


def test_times_of_words_are_kept_where_they_are_known(tmp_path):
    rows = [
        Hypothesis("a", "X Y", times=((0.0, 0.5), (0.5, 0.75))),
        Hypothesis("b", "Z"),
        Hypothesis("c", "", times=()),
    ]
    write_hypotheses(tmp_path / "h.jsonl", rows)
    assert read_hypotheses(tmp_path / "h.jsonl") == rows


def test_rows_of_another_system_need_an_id_and_a_hypothesis_alone(tmp_path):
    (tmp_path / "h.jsonl").write_text('{"id": "a", "hypothesis": "X", "score": 3}\n')
    assert read_hypotheses(tmp_path / "h.jsonl") == [Hypothesis("a", "X")]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"id": "a", "hypothesis": "X"}\n{"id": "a", "hypothesis": "Y"}\n', r"row 2: utterance 'a' occurs twice"),
        ('{"hypothesis": "X"}\n', r"row 1: 'id' must be a string, got None"),
        ('{"id": "a"}\n', r"row 1: 'hypothesis' must be a string, got None"),
        (
            '{"id": "a", "hypothesis": "X", "reference": 3}\n',
            r"row 1 \(a\): 'reference' must be a string or null, got 3",
        ),
        ('{"id": "a", "hypothesis": "X", "seconds": -1}\n', r"row 1 \(a\): 'seconds' must be a number .* got -1"),
        ('{"id": "a", "hypothesis": "X", "seconds": true}\n', r"row 1 \(a\): 'seconds' must be a number .* got True"),
        ('{"id": "a", "hypothesis": "X", "seconds": NaN}\n', r"row 1 \(a\): 'seconds' must be a number .* got nan"),
        ('{"id": "a", "hypothesis": "X", "times": [[0]]}\n', r"row 1 \(a\): 'times' must be 1 pairs .* got \[\[0\]\]"),
        ('{"id": "a", "hypothesis": "X Y", "times": [[0, 1]]}\n', r"'times' must be 2 pairs"),
        ('{"id": "a", "hypothesis": "X Y", "times": [[1, 2], [0, 1]]}\n', r"that do not go back"),
        ('{"id": "a", "hypothesis": "X", "times": [[2, 1]]}\n', r"that do not go back"),
        ('{"id": "a", "hypothesis": "X", "times": [[-1, 1]]}\n', r"that do not go back"),
        ('{"id": "a", "hypothesis": "X", "times": 3}\n', r"'times' must be 1 pairs"),
        ("[1]\n", r"row 1: expected an object with id and hypothesis, got \[1\]"),
        ('{"id": "a", \n', r"line 1, is not valid JSON"),
        ("", r"h\.jsonl holds no hypotheses"),
    ],
)
def test_a_bad_row_is_refused_by_file_and_row(tmp_path, content, named):
    (tmp_path / "h.jsonl").write_text(content)
    with pytest.raises(InputError, match=named) as error:
        read_hypotheses(tmp_path / "h.jsonl")
    assert str(tmp_path / "h.jsonl") in str(error.value)


def test_confidences_come_back_and_are_left_out_where_no_row_has_them(tmp_path):
    rows = [Hypothesis("a", "ONE TWO", "ONE", "s", 1.0, (0.5, 1.0)), Hypothesis("b", "", "X", None, None, ())]
    write_hypotheses(tmp_path / "with.jsonl", rows)
    assert read_hypotheses(tmp_path / "with.jsonl") == rows
    write_hypotheses(tmp_path / "without.jsonl", [Hypothesis("a", "ONE", "ONE")])
    assert "confidences" not in (tmp_path / "without.jsonl").read_text()


@pytest.mark.parametrize("confidences", ["high", [0.5], [0.5, 1.5], [0.5, None], [0.5, True], {"ONE": 1}])
def test_confidences_that_are_none_are_refused(tmp_path, confidences):
    write_jsonl(tmp_path / "rows.jsonl", [{"id": "a", "hypothesis": "ONE TWO", "confidences": confidences}])
    with pytest.raises(InputError, match=r"row 1 \(a\): 'confidences' must be 2 numbers between 0 and 1"):
        read_hypotheses(tmp_path / "rows.jsonl")
