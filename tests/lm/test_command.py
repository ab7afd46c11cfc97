"""`asr lm` from text to figures, as a user runs it."""

import gzip
import json
import math
import re

import pytest
from tone_corpus import write_tone_corpus

from asr.cli import main
from asr.files import read_jsonl, write_jsonl
from asr.lm.arpa import read_arpa
from asr.lm.storage import read_model, write_model

TEXT = "THE CAT SAT\nTHE DOG SAT\nTHE CAT RAN\nA DOG RAN\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def run(*arguments):
    assert main(["lm", *map(str, arguments)]) == 0


def entries(path):
    return [line for line in path.read_text().splitlines() if "\t" in line]


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.npz"])
def test_the_same_text_gives_the_same_bytes_and_a_readable_model(tmp_path, text, name):
    run("build", text, "-o", tmp_path / name)
    first = (tmp_path / name).read_bytes()
    run("build", text, "-o", tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    model = read_model(tmp_path / name)
    assert model.words == ("<unk>", "<s>", "</s>", "A", "CAT", "DOG", "RAN", "SAT", "THE")
    assert model.record["sentences"] == 4
    assert model.record["words"] == 12


def test_text_gzipped_text_and_manifests_are_the_same_text(tmp_path, text):
    lines = TEXT.splitlines()
    with gzip.open(tmp_path / "text.txt.gz", "wt") as file:
        file.write("\n\n".join(lines))
    write_jsonl(tmp_path / "rows.jsonl", [{"id": str(n), "reference": line} for n, line in enumerate(lines)])
    cuts = [{"id": str(n), "supervisions": [{"text": line}]} for n, line in enumerate(lines)]
    write_jsonl(tmp_path / "cuts.jsonl.gz", cuts)
    run("build", text, "-o", tmp_path / "expected.arpa")
    for source in ("text.txt.gz", "rows.jsonl", "cuts.jsonl.gz"):
        run("build", tmp_path / source, "-o", tmp_path / "lm.arpa")
        assert entries(tmp_path / "lm.arpa") == entries(tmp_path / "expected.arpa")


def test_where_the_audio_lies_makes_no_other_model(tmp_path):
    lines = TEXT.splitlines()
    for folder in ("here", "there"):
        cuts = [{"id": f"{folder}/{line}.flac", "supervisions": [{"text": line}]} for line in lines]
        write_jsonl(tmp_path / folder / "train.jsonl.gz", cuts[1:])
        write_jsonl(tmp_path / folder / "dev.jsonl.gz", cuts[:1])
        held_out = ("--exclude", tmp_path / folder / "dev.jsonl.gz")
        run("build", tmp_path / folder / "train.jsonl.gz", "-o", tmp_path / folder / "lm.npz", *held_out)
    assert (tmp_path / "here/lm.npz").read_bytes() == (tmp_path / "there/lm.npz").read_bytes()


def test_a_prepared_manifest_is_text_with_all_its_transcripts(tmp_path):
    root = write_tone_corpus(tmp_path / "root", {"train": 9})
    texts = [cut["supervisions"][0]["text"] for cut in read_jsonl(root / "train.jsonl.gz")]
    run("build", root / "train.jsonl.gz", "-o", tmp_path / "lm.npz", "--unit", "character", "--order", "4")
    model = read_model(tmp_path / "lm.npz")
    assert set(model.words[3:]) == {"<space>" if c == " " else c for text in texts for c in text}
    assert (model.unit, model.order, model.record["sentences"]) == ("character", 4, 9)
    assert model.record["words"] == sum(map(len, texts))


@pytest.mark.parametrize("name", ["lm.npz", "lm.arpa"])
def test_a_model_of_characters_is_one_without_a_space_too(tmp_path, name, capsys):
    (tmp_path / "words.txt").write_text("yes\nno\nstop\ngo\nyes\n")
    run("build", tmp_path / "words.txt", "--unit", "character", "-o", tmp_path / name)
    assert read_model(tmp_path / name).unit == "character"
    run("score", tmp_path / name, tmp_path / "words.txt")
    assert "5 sentences, 14 characters, 0 unknown" in capsys.readouterr().out


def test_held_out_sentences_are_left_out_and_counted(tmp_path, text, capsys):
    (tmp_path / "held.txt").write_text("the dog sat!\nThe Cat,  ran\nNOT THERE\n")
    write_jsonl(tmp_path / "more.jsonl", [{"text": "A DOG RAN"}, {"text": "THE DOG SAT"}])
    run("build", text, "-o", tmp_path / "lm.arpa", "--exclude", tmp_path / "held.txt", tmp_path / "more.jsonl")
    said = capsys.readouterr().out
    assert "left out 2 sentences that are in held.txt (2 of its 3 different transcripts were found)" in said
    assert "left out 1 sentences that are in more.jsonl (2 of its 2 different transcripts were found)" in said
    (tmp_path / "rest.txt").write_text("THE CAT SAT\n")
    run("build", tmp_path / "rest.txt", "-o", tmp_path / "expected.arpa")
    assert entries(tmp_path / "lm.arpa") == entries(tmp_path / "expected.arpa")


def test_nothing_is_left_out_unasked(tmp_path, text, capsys):
    run("build", text, text, "-o", tmp_path / "lm.arpa", "--prune", "0")
    assert "from 8 sentences, 24 words, of text.txt, text.txt" in capsys.readouterr().out


def test_the_normaliser_is_applied_to_the_text(tmp_path):
    (tmp_path / "raw.txt").write_text("It’s 5 o’clock.\n")
    run("build", tmp_path / "raw.txt", "-o", tmp_path / "lm.arpa", "--normalizer", "english/1")
    assert read_arpa(tmp_path / "lm.arpa").words[3:] == ("FIVE", "IT'S", "O'CLOCK")


@pytest.mark.parametrize(
    ("name", "content", "known"),
    [
        ("characters.txt", "a\nC\n't\n", ("'", "<space>", "A", "C", "T")),
        ("words.txt", "cat K AE T\n", ("<space>", "A", "C", "T")),
        ("cuts.jsonl", '{"text": "a cat"}\n{"text": "at"}\n', ("<space>", "A", "C", "T")),
        ("apostrophe.txt", "'\n<space>\n<unk>\n", ("'", "<space>")),
    ],
)
def test_the_vocabulary_of_a_model_of_characters_is_of_characters(tmp_path, text, name, content, known):
    (tmp_path / name).write_text(content)
    options = ["--unit", "character", "--vocabulary", tmp_path / name, "--normalizer", "english/1"]
    run("build", text, "-o", tmp_path / "lm.npz", *options)
    assert read_model(tmp_path / "lm.npz").words[3:] == known


def test_the_words_of_a_list_are_normalised_as_the_text_is(tmp_path, text):
    (tmp_path / "list.txt").write_text("the\ncat k ae t\n<s>\n25\n")
    options = ["--vocabulary", tmp_path / "list.txt", "--normalizer", "english/1"]
    run("build", text, "-o", tmp_path / "lm.npz", *options)
    assert read_model(tmp_path / "lm.npz").words[3:] == ("CAT", "FIVE", "THE", "TWENTY")


def test_a_vocabulary_that_knows_next_to_nothing_of_the_text_is_said(tmp_path, text, capsys):
    (tmp_path / "lower.txt").write_text("the\ncat\ndog\nsat\nran\na\n")
    run("build", text, "-o", tmp_path / "lm.npz", "--vocabulary", tmp_path / "lower.txt")
    said = capsys.readouterr()
    assert "of these, 12 words are unknown (100.00%)" in said.out
    assert f"12 of 12 words of the text (100.00%) are not in {tmp_path / 'lower.txt'}: are they in" in said.err
    (tmp_path / "some.txt").write_text("THE\nCAT\n")
    run("build", text, "-o", tmp_path / "lm.npz", "--vocabulary", tmp_path / "some.txt")
    said = capsys.readouterr()
    assert "of these, 7 words are unknown (58.33%)" in said.out
    assert said.err == ""


def test_perplexity_of_a_uniform_model_is_its_number_of_words(tmp_path, capsys):
    log_prob = -math.log10(4)
    unigrams = "".join(f"{log_prob:.7f}\t{word}\n" for word in ("<unk>", "</s>", "A", "B"))
    (tmp_path / "lm.arpa").write_text(f"\\data\\\nngram 1=5\n\n\\1-grams:\n-99\t<s>\n{unigrams}\n\\end\\\n")
    (tmp_path / "text.txt").write_text("A B C\nB\n")
    run("score", tmp_path / "lm.arpa", tmp_path / "text.txt", "-o", tmp_path / "scores.json")
    figures = json.loads((tmp_path / "scores.json").read_text())["texts"][str(tmp_path / "text.txt")]
    assert (figures["sentences"], figures["words"], figures["unknown"], figures["unknown_rate"]) == (2, 4, 1, 0.25)
    assert figures["perplexity"] == pytest.approx(4)
    assert figures["perplexity_known"] == pytest.approx(4)
    assert figures["log_prob"] == pytest.approx(-6 * math.log(4))  # four words, two ends
    assert "4 words, 1 unknown (25.00%); perplexity 4.00" in capsys.readouterr().out


def test_unknown_words_count_in_one_perplexity_and_not_in_the_other(tmp_path):
    lines = "-0.5\t<unk>\n-99\t<s>\n-1\t</s>\n-0.25\tA\n"
    (tmp_path / "lm.arpa").write_text(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{lines}\n\\end\\\n")
    (tmp_path / "text.txt").write_text("A X\n")
    run("score", tmp_path / "lm.arpa", tmp_path / "text.txt", "-o", tmp_path / "s.json")
    figures = json.loads((tmp_path / "s.json").read_text())["texts"][str(tmp_path / "text.txt")]
    assert figures["perplexity"] == pytest.approx(10 ** ((0.25 + 0.5 + 1) / 3))
    assert figures["perplexity_known"] == pytest.approx(10 ** ((0.25 + 1) / 2))


def test_bits_per_character_count_spaces_and_ends(tmp_path):
    lines = "".join(f"{math.log10(0.25):.7f}\t{unit}\n" for unit in ("</s>", "A", "<space>", "<unk>"))
    (tmp_path / "lm.arpa").write_text(f"\\data\\\nngram 1=5\n\n\\1-grams:\n-99\t<s>\n{lines}\n\\end\\\n")
    (tmp_path / "text.txt").write_text("A A\nAA\n")
    run("score", tmp_path / "lm.arpa", tmp_path / "text.txt", "-o", tmp_path / "s.json")
    figures = json.loads((tmp_path / "s.json").read_text())["texts"][str(tmp_path / "text.txt")]
    assert figures["characters"] == 5
    assert figures["bits_per_character"] == pytest.approx(2)


def test_info_says_what_a_model_is_and_was_made_of(tmp_path, text, capsys):
    run("build", text, "-o", tmp_path / "lm.npz", "--prune", "0", "0", "1", "--threshold", "1e-9")
    built = capsys.readouterr().out
    run("info", tmp_path / "lm.npz")
    said = capsys.readouterr().out
    assert re.search(r"word model of order 3: 9 1-grams, \d+ 2-grams, \d+ 3-grams", said)
    assert "from 4 sentences, 12 words, of text.txt" in said
    assert "pruned: cut-offs [0, 0, 1], threshold 1e-09" in said
    assert "(fallback" in said
    assert said.splitlines()[:-1] == built.splitlines()[:-1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"texts": None}, "TypeError"), ({"discounts": [{}]}, "KeyError.'amounts'"), ({"excluded": 5}, "TypeError")],
)
def test_a_record_that_is_not_whole_is_named(tmp_path, text, changes, named, capsys):
    run("build", text, "-o", tmp_path / "lm.npz")
    model = read_model(tmp_path / "lm.npz")
    model.record.update(changes)
    write_model(tmp_path / "lm.npz", model)
    assert main(["lm", "info", str(tmp_path / "lm.npz")]) == 1
    assert re.search(rf"lm.npz has a record that `asr lm build` does not write: {named}", capsys.readouterr().err)


def test_text_without_a_sentence_is_named(tmp_path, text, capsys):
    run("build", text, "-o", tmp_path / "lm.arpa")
    for content in ("", " \n\n"):
        (tmp_path / "empty.txt").write_text(content)
        empty = str(tmp_path / "empty.txt")
        assert main(["lm", "score", str(tmp_path / "lm.arpa"), text, empty]) == 1
        assert "empty.txt holds no sentence" in capsys.readouterr().err
        assert main(["lm", "build", empty, "-o", str(tmp_path / "other.arpa")]) == 1
        assert "there is no sentence in " in capsys.readouterr().err


def test_text_in_the_other_case_than_the_model_is_said(tmp_path, text, capsys):
    run("build", text, "-o", tmp_path / "lm.arpa")
    (tmp_path / "lower.txt").write_text(TEXT.lower())
    (tmp_path / "strange.txt").write_text("le chat noir\n")
    capsys.readouterr()
    run("score", tmp_path / "lm.arpa", tmp_path / "lower.txt")
    assert "lower.txt and " in (said := capsys.readouterr().err)
    assert "lm.arpa are in different case" in said
    run("score", tmp_path / "lm.arpa", tmp_path / "strange.txt", text)
    assert capsys.readouterr().err == ""


def test_wrong_use_is_told_in_a_line(tmp_path, text, capsys):
    for wrong, named in (([], "VERB"), (["bild"], "'bild'"), (["build", text], "-o")):
        with pytest.raises(SystemExit) as stop:
            main(["lm", *wrong])
        assert stop.value.code == 2
        assert named in capsys.readouterr().err
    assert main(["lm", "build", text, "-o", str(tmp_path / "lm.bin")]) == 1
    assert "is written to *.arpa, *.arpa.gz or *.npz" in capsys.readouterr().err
    assert main(["lm", "build", text, "-o", str(tmp_path / "lm.arpa"), "--exclude", text]) == 1
    assert "4 sentences read, all of them left out" in capsys.readouterr().err
    assert main(["lm", "score", str(tmp_path / "none.arpa"), text]) == 1
    assert "none.arpa: No such file" in capsys.readouterr().err
