"""References are read from every documented form, and must be those of the hypotheses."""

import pytest
from tone_corpus import write_tone_corpus

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.files import read_jsonl
from asr.score.references import Reference, read_references, with_references


def test_kaldi_text_has_an_id_and_words_a_line(tmp_path):
    (tmp_path / "text").write_text("u1 ONE  TWO\nu2\nu3 ÉTÉ\n", encoding="utf-8")
    assert read_references(tmp_path / "text") == {
        "u1": Reference("ONE TWO"),
        "u2": Reference(""),
        "u3": Reference("ÉTÉ"),
    }


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n \n\t\n", "\r\n\r\n"])
def test_a_byte_order_mark_and_empty_lines_at_the_end_are_no_references(tmp_path, end):
    (tmp_path / "text").write_bytes(f"\ufeffu1 ONE\u2028TWO\nu2{end}".encode())
    assert read_references(tmp_path / "text") == {"u1": Reference("ONE TWO"), "u2": Reference("")}
    (tmp_path / "r.jsonl").write_bytes(f'\ufeff{{"id": "u1", "text": "ONE"}}{end}'.encode())
    assert read_references(tmp_path / "r.jsonl") == {"u1": Reference("ONE")}


@pytest.mark.parametrize("key", ["reference", "text"])
def test_json_lines_have_id_and_reference_or_text(tmp_path, key):
    (tmp_path / "r.jsonl").write_text(
        f'{{"id": "u1", "{key}": "ONE", "speaker": "anna"}}\n{{"id": "u2", "{key}": "TWO"}}\n'
    )
    assert read_references(tmp_path / "r.jsonl") == {"u1": Reference("ONE", "anna"), "u2": Reference("TWO")}


def test_lhotse_cuts_give_text_and_speaker(tmp_path):
    root = write_tone_corpus(tmp_path / "root", {"test": 3})
    expected = {
        cut["id"]: Reference(cut["supervisions"][0]["text"], cut["supervisions"][0]["speaker"])
        for cut in read_jsonl(root / "test.jsonl.gz")
    }
    assert read_references(root / "test.jsonl.gz") == expected


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("text", "u1 A\n\nu2 B\n", "text, line 2, is empty"),
        ("text", "u1 A\nu1 B\n", "text, line 2: utterance 'u1' occurs twice"),
        ("text", "", "text holds no references"),
        ("text", "\n\n", "text holds no references"),
        ("text", b"u1 \xff\xfe\n", "text is not UTF-8 text"),
        ("r.jsonl", '{"id": "a", "reference": "A"}\n{"id": "b"}\n', "row 2: expected a lhotse cut, or an object"),
        ("r.jsonl", '{"id": "a", "text": "A"}\n{"id": "a", "text": "B"}\n', "row 2: utterance 'a' occurs twice"),
        ("r.jsonl", '{"id": "a", "reference": "A"}\n{"id": "b", "text": "B"}\n', "object with id and reference"),
        (
            "r.jsonl",
            '{"id": "a", "text": "A", "speaker": 19}\n',
            r"row 1 \(a\): 'speaker' must be a string or null, got 19",
        ),
        ("r.jsonl", '{"id": 1, "text": "A"}\n', "row 1: expected"),
        ("r.jsonl", "[]\n", "row 1: expected"),
        ("r.jsonl", "", "r.jsonl holds no references"),
    ],
)
def test_a_file_that_holds_no_references_is_refused_by_line(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=named):
        read_references(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read .*none: No such file"):
        read_references(tmp_path / "none")


def test_references_replace_those_of_the_file_and_add_speakers():
    rows = [Hypothesis("a", "X", "OLD", "anna", 1.0), Hypothesis("b", "Y")]
    assert with_references(rows, {"b": Reference("TWO", "bo"), "a": Reference("ONE")}) == [
        Hypothesis("a", "X", "ONE", "anna", 1.0),
        Hypothesis("b", "Y", "TWO", "bo"),
    ]


def test_utterances_on_one_side_alone_are_named():
    rows = [Hypothesis("a", "X"), Hypothesis("b", "Y")]
    with pytest.raises(InputError, match="1 hypotheses have no reference: b"):
        with_references(rows, {"a": Reference("A")})
    with pytest.raises(InputError, match="2 of 4 utterances of the reference have no hypothesis: c, d"):
        with_references(rows, {name: Reference("") for name in "abcd"})
