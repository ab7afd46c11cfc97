"""Dividing a corpus: by parts, by held-out speakers, with nothing in two splits."""

from pathlib import Path

import pytest

from asr.errors import InputError
from data_prep.splits import SplitPlan, assign, parse_speakers
from data_prep.utterance import Utterance


def _utterances(part: str, speakers: str, count: int = 2) -> list[Utterance]:
    return [
        Utterance(f"{part}-{speaker}{n}", Path(f"{part}/{speaker}{n}.flac"), "A", speaker, part)
        for speaker in speakers
        for n in range(count)
    ]


def _speakers(utterances):
    return {utterance.speaker for utterance in utterances}


CORPUS = [*_utterances("clean", "abcdef"), *_utterances("other", "gh"), *_utterances("dev", "xy")]


def test_parts_are_combined_into_splits_and_the_rest_is_left_out():
    splits = assign(CORPUS, SplitPlan({"train": ("clean", "other"), "test": ("dev",)}))
    assert list(splits) == ["train", "test"]
    assert _speakers(splits["train"]) == set("abcdefgh")
    assert splits["test"] == CORPUS[-4:]
    assert assign(CORPUS, SplitPlan({"train": ("other",)})) == {"train": CORPUS[12:16]}


def test_train_comes_first_and_what_is_tested_on_last():
    plan = SplitPlan({"test-x": ("dev",), "train": ("clean",), "a": ("other",)}, {"test": 1, "dev": 1})
    assert list(assign(CORPUS, plan)) == ["train", "dev", "test-x", "a", "test"]


def test_named_speakers_leave_train_for_their_split():
    splits = assign(CORPUS, SplitPlan({"train": ("clean",)}, {"dev": ("a", "c"), "test": ("b",)}))
    assert [_speakers(splits[split]) for split in ("train", "dev", "test")] == [set("def"), set("ac"), set("b")]


def test_named_speakers_leave_train_for_a_split_that_has_parts_too_and_its_other_speakers_are_left_out():
    corpus = [*_utterances("more", "ax"), *CORPUS]
    splits = assign(corpus, SplitPlan({"train": ("clean",), "dev": ("more", "other")}, {"dev": ("a", "g")}))
    assert _speakers(splits["train"]) == set("bcdef")
    assert splits["dev"] == [u for u in corpus if u.speaker in set("ag")]


def test_speakers_of_a_split_may_be_chosen_without_train():
    assert assign(CORPUS, SplitPlan({"test": ("clean",)}, {"test": ("c",)}))["test"] == CORPUS[4:6]
    assert len(_speakers(assign(CORPUS, SplitPlan({"test": ("clean",)}, {"test": 3}))["test"])) == 3


def test_speakers_that_a_split_shares_with_train_do_not_matter_if_they_are_not_chosen():
    corpus = [*CORPUS, *_utterances("more", "ax")]
    parts = {"train": ("clean",), "dev": ("more",)}
    assert _speakers(assign(corpus, SplitPlan(parts, {"dev": ("x",)}))["dev"]) == {"x"}


def test_drawn_speakers_are_disjoint_and_depend_on_the_seed():
    plans = [SplitPlan({"train": ("clean",)}, {"dev": 2, "test": 2}, seed) for seed in range(8)]
    drawn = [assign(CORPUS, plan) for plan in plans]
    for splits in drawn:
        assert [len(_speakers(splits[split])) for split in ("train", "dev", "test")] == [2, 2, 2]
        assert sum(len(some) for some in splits.values()) == 12
    assert len({frozenset(_speakers(splits["dev"])) for splits in drawn}) > 1
    assert assign(CORPUS[::-1], plans[0])["dev"] == drawn[0]["dev"][::-1]


def test_the_draw_for_one_split_does_not_change_with_another_corpus_part():
    alone = assign(CORPUS[:12], SplitPlan({"train": ("clean",)}, {"dev": 2}))
    beside = assign(CORPUS, SplitPlan({"train": ("clean",), "test": ("dev",)}, {"dev": 2}))
    assert alone["dev"] == beside["dev"]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"dev": ("a", "nobody", "z")}, "--dev-speakers: train: no speaker 'nobody', 'z'"),
        ({"dev": ("g", "h")}, "--dev-speakers leaves no speaker to train on"),
        ({"test": 2}, "2 test speakers cannot be held out of 2"),
    ],
)
def test_speakers_that_cannot_be_held_out_are_named(held_out, message):
    part = "clean" if "nobody" in held_out.get("dev", ()) else "other"
    with pytest.raises(InputError, match=message):
        assign(CORPUS, SplitPlan({"train": (part,)}, held_out))


def test_speakers_are_not_held_out_where_one_is_unknown():
    nameless = Utterance("lost", Path("lost.flac"), "A", None, "clean")
    with pytest.raises(InputError, match="--dev-speakers needs every speaker, and that of 'lost' is unknown"):
        assign([*CORPUS, nameless], SplitPlan({"train": ("clean",)}, {"dev": 1}))


def test_a_part_that_is_not_there_is_named_with_those_there():
    with pytest.raises(InputError, match=r"no part 'dirty' \(parts: clean, dev, other\)"):
        assign(CORPUS, SplitPlan({"train": ("dirty",)}))


def test_an_id_in_two_splits_is_an_error_that_names_both_files():
    twin = Utterance("clean-a0", Path("elsewhere.flac"), "B", "q", "dev")
    with pytest.raises(InputError, match=r"'clean-a0' is in two splits: train \(clean/a0.flac\) and dev \(elsewhere"):
        assign([*CORPUS, twin], SplitPlan({"train": ("clean",), "dev": ("dev",)}))


def test_a_speaker_in_two_splits_is_an_error_unless_allowed():
    corpus = [*CORPUS, *(u for u in _utterances("more", "ax"))]
    parts = {"train": ("clean",), "dev": ("more",)}
    with pytest.raises(InputError, match=r"train and dev share 1 speakers \(a\).*--allow-shared-speakers"):
        assign(corpus, SplitPlan(parts))
    assert _speakers(assign(corpus, SplitPlan(parts, shared_speakers=True))["dev"]) == {"a", "x"}


def test_unknown_speakers_are_not_taken_for_the_same():
    corpus = [Utterance(part, Path(part), "A", None, part) for part in ("train", "dev")]
    assert len(assign(corpus, SplitPlan({"train": ("train",), "dev": ("dev",)}))["dev"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"train": ("a",), "dev": ("a",)},), "part 'a' is given to two splits, train and dev"),
        (({"test": ("a",)}, {"dev": 3}), "dev speakers are held out of train, and train has no part"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SplitPlan(*arguments)


def test_speakers_are_read_from_a_file(tmp_path):
    (tmp_path / "speakers.txt").write_text("26\n19\n\n27\n")
    assert parse_speakers(f"@{tmp_path / 'speakers.txt'}") == ("19", "26", "27")


@pytest.mark.parametrize("lines", ["19\n26\n", "19\r\n26\r\n"])
def test_a_file_of_speakers_may_begin_with_a_byte_order_mark_and_must_be_utf8(tmp_path, lines):
    (tmp_path / "speakers.txt").write_bytes(lines.encode("utf-8-sig"))
    assert parse_speakers(f"@{tmp_path / 'speakers.txt'}") == ("19", "26")
    (tmp_path / "speakers.txt").write_bytes(lines.encode("utf-16"))
    with pytest.raises(InputError, match=r"speakers\.txt, line 1, is UTF-16, and must be UTF-8"):
        parse_speakers(f"@{tmp_path / 'speakers.txt'}")


def test_a_file_of_speakers_that_is_missing_or_empty_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot read .*none"):
        parse_speakers(f"@{tmp_path / 'none'}")
    with pytest.raises(InputError, match="no speaker is named by ' , '"):
        parse_speakers(" , ")
