"""Hypotheses of other systems, as they write them."""

import pytest

from asr.errors import InputError
from asr.score.foreign import read_texts

EXPECTED = {"anna-1": "the cat", "anna-2": "sat", "bo-1": "on a mat"}
FILES = {
    "h.trn": ";; by another system\nthe  cat (anna-1)\n\nsat (anna-2)\non a mat(bo-1)\r\n",
    "h.ctm": ";;\nanna-1 A 0.1 0.2 the 0.9\nanna-1 A 0.3 0.2 cat 0.8\nanna-2 1 0 1 sat\n"
    "bo-1 1 0 0.1 on\nbo-1 1 0.1 0.1 a\nbo-1 1 0.1 0.1 mat\n",
    "h.jsonl": '{"id": "anna-1", "hypothesis": "the  cat", "text": "a reference"}\n'
    '{"id": "anna-2", "hypothesis": "sat"}\n{"id": "bo-1", "hypothesis": "on a mat", "pred_text": "other"}\n',
    "text": "anna-1 the cat\nanna-2 sat\nbo-1 on a mat\n",
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_texts(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name].encode())
    assert read_texts(tmp_path / name) == EXPECTED


def test_the_format_can_be_named_where_the_ending_does_not_tell_it(tmp_path):
    (tmp_path / "h.out").write_text(FILES["h.trn"])
    with pytest.raises(InputError, match="h.out: the name does not tell its format: give --format"):
        read_texts(tmp_path / "h.out")
    assert read_texts(tmp_path / "h.out", "trn") == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("h.trn", "(u1)\n", {"u1": ""}),
        ("h.trn", "(um) yes (u1)\n", {"u1": "(um) yes"}),
        ("h.trn", "50%25 (u1)\n", {"u1": "50%25"}),  # no comment says that this is an escape
        ("h.ctm", "", {}),
        ("h.ctm", "u1 1 0.5 0 a\nu1 1 0.5 0 b 0\n", {"u1": "a b"}),  # words of no duration
        ("h.ctm", "u1 1 0 1 (uh)\nu1 1 1 1 <sil>\n", {"u1": "(uh) <sil>"}),
        ("h.txt", "u1\n;; is-an-id-here\n", {"u1": "", ";;": "is-an-id-here"}),
        ("h.jsonl", '{"id": "u1", "text": ""}\n', {"u1": ""}),
        ("h.trn", "\ufeffa\u2028b c (u1)\n", {"u1": "a b c"}),
    ],
)
def test_edges(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_texts(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.trn", "a (u1)\nb\n", "line 2: expected `WORD WORD ... \\(ID\\)`, got 'b'"),
        ("h.trn", "a (u(1))\n", "line 1: expected"),
        ("h.trn", "a { b / c } (u1)\n", "line 1 \\(u1\\): '{' stands for alternatives"),
        ("h.trn", "a @ (u1)\n", "'@' stands for alternatives or for no word"),
        ("h.trn", "a (u1)\nb (u2)\nc (u1)\nd (u2)\n", "2 utterances occur more than once: u1, u2"),
        ("h.trn", ";; nothing\n", "holds no hypotheses"),
        ("h.ctm", "u1 1 0.0 0.1\n", "line 1: expected `FILE CHANNEL START DURATION WORD"),
        ("h.ctm", "u1 1 * * <ALT_BEGIN>\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 -1 a\n", "line 1: expected"),
        ("h.ctm", "u1 1 -0.1 1 a\n", "line 1: expected .* of at least 0, got 'u1 1 -0.1 1 a'"),
        ("h.ctm", "u1 1 nan 1 a\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 1 a\nu1 1 inf 1 a\n", "line 2: expected"),
        ("h.ctm", "u1 1 0 nan a\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 1 a high\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 1 a nan\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 1 a 0.5 0.5\n", "line 1: expected"),
        ("h.ctm", "u1 1 0 1 a\nu1 1 1 1 @\n", "line 2 \\(u1\\): '@' stands for alternatives or for no word"),
        ("h.ctm", "u1 1 0.5 0.1 a\nu1 1 0.4 0.1 b\n", "line 2: the times of u1 go back, from 0.5 s to 0.4 s"),
        ("h.ctm", "u1 1 0 1 a\nu1 2 1 1 b\n", "u1 has words on the channels 1 and 2"),
        ("h.ctm", "u1 1 0 1 a\nu2 1 0 1 b\nu1 1 0 1 a\n", "1 utterances occur more than once: u1"),
        ("text", "u1 a\nu1 b\n", "1 utterances occur more than once: u1"),
        ("text", "\n", "holds no hypotheses"),
        ("h.jsonl", '{"id": "u1"}\n', "row 1: expected an object with id and one of hypothesis, pred_text, text"),
        ("h.jsonl", '{"id": "u1", "hypothesis": null, "text": "a"}\n', "row 1: expected"),
        (
            "h.jsonl",  # the second one's text is its reference
            '{"id": "u1", "pred_text": "a", "text": "a b"}\n{"id": "u2", "text": "a b"}\n',
            "row 2: expected an object with id and pred_text, as others have it, both strings",
        ),
        ("h.jsonl", "[1]\n", "row 1: expected"),
        ("h.jsonl", '{"id": 1, "text": "a"}\n', "row 1: expected"),
    ],
)
def test_what_is_not_of_the_format_is_refused_by_file_line_and_utterance(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_texts(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_texts(tmp_path / "no.trn")
    (tmp_path / "h.trn").write_bytes(b"\xff (u1)\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_texts(tmp_path / "h.trn")
