"""Sentences come from every documented form; what is wrong is named with file and line."""

import gzip
import hashlib

import pytest

from asr.errors import InputError
from asr.files import write_jsonl
from asr.lm.sentences import joined, read_sentences, split, without_held_out
from asr.text import normalizer


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("text.txt", b"A\nB \xff\n", "text.txt, line 2, is not UTF-8"),
        ("text.txt.gz", b"A\n", "cannot read .*text.txt.gz"),
        ("text.txt.gz", gzip.compress(b"A\n" * 999)[:-9], "cannot read .*text.txt.gz"),
        ("text.txt", gzip.compress(b"A\n"), "text.txt begins as gzipped files do: is it one[?] Name it text.txt.gz"),
        ("rows.jsonl", b'{"id": "a"}\n', "rows.jsonl, row 1: expected a cut with transcripts"),
        ("rows.jsonl", b'{"text": "A"}\n[1]\n', "rows.jsonl, row 2: expected a cut with transcripts"),
        ("rows.jsonl", b'{"supervisions": [{"text": "A"}, {"id": "b"}]}\n', "rows.jsonl, row 1: expected a cut"),
        ("rows.jsonl", b'{"text": "A"}\n{"te', "rows.jsonl, line 2, is not valid JSON"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=named):
        read_sentences(tmp_path / name)


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_a_byte_order_mark_is_no_part_of_the_first_sentence(tmp_path, name):
    content = "A B\nC\n".encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert [sentence.split() for sentence in read_sentences(tmp_path / name)] == [["A", "B"], ["C"]]


def test_empty_lines_and_transcripts_are_no_sentences(tmp_path):
    (tmp_path / "text").write_text("\nA B\n \n  C\n")
    assert [sentence.split() for sentence in read_sentences(tmp_path / "text")] == [["A", "B"], ["C"]]
    write_jsonl(tmp_path / "cuts.jsonl", [{"supervisions": []}, {"supervisions": [{"text": ""}, {"text": "A"}]}])
    assert read_sentences(tmp_path / "cuts.jsonl") == ["A"]


@pytest.mark.parametrize("unit", ["word", "character"])
def test_units_join_to_the_sentence(unit):
    assert joined(split("  IT'S  A | <s>", unit), unit) == "IT'S A | <s>"


def test_held_out_sentences_are_equal_without_case_and_punctuation(tmp_path):
    (tmp_path / "held").write_text("It's 5!\nnot there\nIT’S FIVE.\n")
    sentences = ["IT'S FIVE", "ITS FIVE", "IT'S FIVE", "FIVE"]
    kept, (exclusion,) = without_held_out(sentences, [tmp_path / "held"], normalizer("english/1"))
    assert kept == ["ITS FIVE", "FIVE"]
    digest = hashlib.sha256((tmp_path / "held").read_bytes()).hexdigest()
    assert exclusion[1:] == (2, 1, 2, digest)  # two different transcripts, one found, two sentences left out


def test_a_held_out_transcript_without_a_letter_is_equal_to_none(tmp_path):
    (tmp_path / "held").write_text("...\nA\n")
    kept, (exclusion,) = without_held_out(["?", "A", "!"], [tmp_path / "held"], normalizer("verbatim/1"))
    assert kept == ["?", "!"]
    assert (exclusion.transcripts, exclusion.found, exclusion.sentences) == (1, 1, 1)
