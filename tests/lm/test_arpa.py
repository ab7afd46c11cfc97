"""ARPA files of any tool are read; what cannot be read is named with file and line."""

import gzip
import math
import random

import numpy as np
import pytest
from backoff_models import arpa_text, random_entries, write_arpa_text

from asr.errors import InputError
from asr.lm.arpa import read_arpa, write_arpa

TINY = """made by hand

\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0\t<unk>\t-0.5
-99\t<s>\t-0.25
-0.7\t</s>
-0.9\tYES\t-0.125

\\2-grams:
-0.1\t<s> YES
-0.2\tYES </s>

\\end\\
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def tens(log_probs):
    return [round(value / math.log(10), 5) for value in log_probs]


def walk(model, words):
    """log10 of all probabilities of a sentence."""
    state, found = np.array([model.start]), []
    for word in [*words, "</s>"]:
        log_prob, state = model.score(state, np.array([model.index(word)]))
        found.append(log_prob[0])
    return tens(found)


def test_probabilities_and_weights_are_those_of_the_file(tmp_path):
    model = read_arpa(write(tmp_path / "lm.arpa", TINY))
    assert walk(model, ["YES"]) == [-0.1, -0.2]
    assert walk(model, ["NO"]) == [-0.25 - 1.0, -0.5 - 0.7]
    assert walk(model, ["YES", "YES"]) == [-0.1, -0.125 - 0.9, -0.2]
    assert model.counts == (4, 2)
    assert model.order == 2


def test_spaces_gzip_and_carriage_returns_change_nothing(tmp_path):
    expected = walk(read_arpa(write(tmp_path / "lm.arpa", TINY)), ["YES", "NO"])
    spaced = TINY.replace("\t", "  ").replace("ngram 1=4", "ngram  1 = 4").replace("\n", "\r\n")
    with gzip.open(tmp_path / "lm.arpa.gz", "wt", encoding="utf-8", newline="") as file:
        file.write(spaced)
    assert walk(read_arpa(tmp_path / "lm.arpa.gz"), ["YES", "NO"]) == expected


@pytest.mark.parametrize("before", ["-1.0\t<unk>", "-0.9\tYES", "-0.2\tYES"], ids=["first", "inner", "last"])
def test_blank_lines_change_nothing(tmp_path, before):
    model = read_arpa(write(tmp_path / "lm.arpa", TINY.replace(before, f"\n \t\r\n{before}")))
    assert walk(model, ["YES"]) == [-0.1, -0.2]
    assert model.counts == (4, 2)


def test_a_byte_order_mark_changes_nothing(tmp_path):
    text = TINY.removeprefix("made by hand\n\n")
    marked = write(tmp_path / "marked.arpa", f"\ufeff{text}")
    assert walk(read_arpa(marked), ["YES", "NO"]) == walk(read_arpa(write(tmp_path / "lm.arpa", text)), ["YES", "NO"])


def test_a_model_without_unk_gives_unknown_words_next_to_nothing(tmp_path):
    text = TINY.replace("ngram 1=4", "ngram 1=3").replace("-1.0\t<unk>\t-0.5\n", "")
    model = read_arpa(write(tmp_path / "lm.arpa", text))
    assert walk(model, ["NO"]) == [-0.25 - 100, -0.7]


def test_upper_case_unk_is_unk(tmp_path):
    model = read_arpa(write(tmp_path / "lm.arpa", TINY.replace("<unk>", "<UNK>")))
    assert model.words[model.unknown] == "<UNK>"
    assert walk(model, ["NO"]) == [-0.25 - 1.0, -0.5 - 0.7]


def test_minus_infinity_is_never(tmp_path):
    model = read_arpa(write(tmp_path / "lm.arpa", TINY.replace("-99", "-inf")))
    assert walk(model, ["<s>"])[0] < -99


def test_a_probability_of_one_may_be_rounded_up(tmp_path):
    assert walk(read_arpa(write(tmp_path / "lm.arpa", TINY.replace("-0.2\tYES", "1e-7\tYES"))), ["YES"]) == [-0.1, 0.0]


def test_reading_in_chunks_changes_nothing(tmp_path, monkeypatch):
    path = write_arpa_text(tmp_path / "lm.arpa", random_entries(3, 5, 50, seed=1))
    whole = read_arpa(path)
    monkeypatch.setattr("asr.lm.arpa.LINES", 7)
    chunked = read_arpa(path)
    np.testing.assert_array_equal(chunked.trie.keys, whole.trie.keys)
    np.testing.assert_array_equal(chunked.trie.log_prob, whole.trie.log_prob)
    write_arpa(tmp_path / "chunks.arpa", whole)
    monkeypatch.undo()
    write_arpa(tmp_path / "whole.arpa", whole)
    assert (tmp_path / "chunks.arpa").read_bytes() == (tmp_path / "whole.arpa").read_bytes()


def test_the_order_of_lines_changes_nothing(tmp_path):
    entries = random_entries(3, 5, 50, seed=2)
    shuffled = list(entries.items())
    random.Random(0).shuffle(shuffled)
    one, other = (
        read_arpa(write_arpa_text(tmp_path / f"{n}.arpa", dict(items)))
        for n, items in enumerate((entries.items(), shuffled))
    )
    for sentence in (["W0", "W1", "W2"], ["W4", "W4", "<unk>", "W3", "W0"]):
        assert walk(one, sentence) == walk(other, sentence)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_what_is_written_is_read_back(tmp_path, name):
    model = read_arpa(write_arpa_text(tmp_path / "made.arpa", random_entries(4, 8, 80, seed=3)))
    write_arpa(tmp_path / name, model)
    again = read_arpa(tmp_path / name)
    assert again.words == model.words
    np.testing.assert_array_equal(again.trie.keys, model.trie.keys)
    np.testing.assert_allclose(again.trie.log_prob, model.trie.log_prob, rtol=1e-6)
    np.testing.assert_allclose(again.trie.backoff, model.trie.backoff, rtol=1e-6)


def test_equal_models_give_equal_bytes_at_any_time(tmp_path, monkeypatch):
    model = read_arpa(write(tmp_path / "lm.arpa", TINY))
    write_arpa(tmp_path / "one.arpa.gz", model)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_arpa(tmp_path / "other.arpa.gz", model)
    assert (tmp_path / "one.arpa.gz").read_bytes() == (tmp_path / "other.arpa.gz").read_bytes()


def test_every_n_gram_is_written_once(tmp_path):
    entries = random_entries(3, 5, 50, seed=5)
    write_arpa(tmp_path / "out.arpa", read_arpa(write_arpa_text(tmp_path / "in.arpa", entries)))
    written = (tmp_path / "out.arpa").read_text().splitlines()
    expected = arpa_text(entries).splitlines()
    assert sorted(line.split("\t")[1] for line in written if "\t" in line) == sorted(map(" ".join, entries))
    assert [line for line in written if line.startswith(("ngram", "\\"))] == [
        line for line in expected if line.startswith(("ngram", "\\"))
    ]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("\\data\\", "\\date\\", "no line \\data\\"),
        ("ngram 1=4", "ngram 1=four", "line 4: expected `ngram 1=COUNT`, found 'ngram 1=four'"),
        ("ngram 2=2", "ngram 3=2", "line 5: expected `ngram 2=COUNT`"),
        ("\\1-grams:", "\\2-grams:", "line 7: expected counts and then \\1-grams:"),
        ("ngram 1=4", "ngram 1=5", "line 13: the 1-grams end here; \\data\\ says there are more"),
        ("ngram 1=4", "ngram 1=3", "line 11: expected \\2-grams:, found '-0.9"),
        ("ngram 2=2", "ngram 2=3", "line 17: the 2-grams end here"),
        ("ngram 2=2", "ngram 2=1", "line 15: expected \\end\\ after 1 2-grams, found"),
        ("-0.2\tYES", "-O.2\tYES", "line 15: '-O.2' is not a logarithm"),
        ("-0.2\tYES", "nan\tYES", "line 15: 'nan' is not a logarithm"),
        ("-0.2\tYES", "0.2\tYES", "line 15: '0.2' is no log10 of a probability, which is at most 0"),
        ("-0.9\tYES", "1e-5\tYES", "line 11: '1e-5' is no log10 of a probability"),
        ("-0.125", "much", "line 11: 'much' is not a logarithm"),
        ("-0.1\t<s> YES", "-0.1\t<s> NO", "line 14: 'NO' is not among the 1-grams"),
        ("-0.1\t<s> YES", "-0.1\t<s>", "line 14: expected log10 P and 2 word(s)"),
        ("-0.1\t<s> YES", "-0.1\t<s> YES -1 -1", "line 14: expected log10 P and 2 word(s)"),
        ("-0.9\tYES", "\n \n-0.9\t<s>", "line 13: the word '<s>' occurs twice"),
        ("-0.9\tYES", "-0.9\t<s>", "line 11: the word '<s>' occurs twice"),
        ("<s> YES", "YES </s>", "the n-gram 'YES </s>' occurs twice"),
        ("</s>", "END", "no </s> among the 1-grams"),
        ("\\end\\\n", "", "ends after line 16, before \\end\\"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, old, new, named):
    assert old in TINY
    path = write(tmp_path / "wrong.arpa", TINY.replace(old, new))
    with pytest.raises(InputError) as error:
        read_arpa(path)
    assert named in str(error.value)
    assert str(path) in str(error.value)


def test_files_that_are_missing_truncated_or_not_packed_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot read .*none.arpa: No such file"):
        read_arpa(tmp_path / "none.arpa")
    (tmp_path / "plain.arpa.gz").write_text(TINY)
    with pytest.raises(InputError, match="cannot read .*plain.arpa.gz"):
        read_arpa(tmp_path / "plain.arpa.gz")
    packed = gzip.compress(TINY.encode())
    (tmp_path / "packed.arpa").write_bytes(packed)
    with pytest.raises(InputError, match=r"packed.arpa begins as gzipped files do: is it one\? Name it packed.arpa.gz"):
        read_arpa(tmp_path / "packed.arpa")
    (tmp_path / "cut.arpa.gz").write_bytes(packed[:-20])
    with pytest.raises(InputError, match="cannot read .*cut.arpa.gz"):
        read_arpa(tmp_path / "cut.arpa.gz")
    (tmp_path / "odd.arpa.gz").write_bytes(packed[:20] + bytes([255 - packed[20]]) + packed[21:])
    with pytest.raises(InputError, match="cannot read .*odd.arpa.gz"):
        read_arpa(tmp_path / "odd.arpa.gz")
