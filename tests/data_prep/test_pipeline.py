"""From a corpus to a prepared folder: what is refused is named, the rest is prepared, and always in the same bytes."""

import gzip
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.cuts import read_cuts
from asr.data.features import FeatureConfig
from asr.data.tokens import tokenizer_from_dict
from asr.errors import InputError
from asr.text import normalizer
from data_prep.librispeech import read_folder
from data_prep.pipeline import Outcome, Preparation, prepare
from data_prep.select import Criteria
from data_prep.splits import SplitPlan
from data_prep.utterance import Problem, Utterance

from .conftest import Corpus, speech_like

PLAN = SplitPlan({"train": ("train-a",), "dev": ("dev-a",)})
FILES = [
    "dev.jsonl.gz",
    "feature_stats.json",
    "normalization.json",
    "selection.json",
    "tokens.json",
    "train.jsonl.gz",
    "verification.json",
    "verification.txt",
]


def _prepare(corpus: Corpus, output: Path, plan: SplitPlan = PLAN, step: int = 1, **others) -> Outcome:
    """Prepare all parts, listed in their order or (step -1) in reverse."""
    utterances, problems = read_folder(corpus.root, sorted(p.name for p in corpus.root.iterdir()))
    options = {"corpus": "librispeech", "normalizer": normalizer("english"), **others}
    return prepare(utterances[::step], problems[::step], Preparation(plan=plan, **options), output)


def _json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def _ids(output: Path, split: str) -> list[str]:
    return [
        json.loads(line)["id"] for line in gzip.decompress((output / f"{split}.jsonl.gz").read_bytes()).splitlines()
    ]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_good_corpus_is_prepared_whole(corpus, tmp_path):
    corpus.add("train-a", "14", 3, "it’s  Zoë's 3rd, voice")
    outcome = _prepare(corpus, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert not outcome.refused
    cuts = {cut.id: cut for cut in read_cuts(tmp_path / "out" / "train.jsonl.gz")}
    assert len(cuts) == 13
    assert list(cuts) == sorted(cuts)
    assert cuts["14-1-0003"].supervisions[0].text == "IT'S ZOE'S THIRD VOICE"
    assert tokenizer_from_dict(_json(tmp_path / "out" / "tokens.json")).tokens[1:] == tuple(
        " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )
    changes = _json(tmp_path / "out" / "normalization.json")
    assert (changes["identifier"], changes["texts"], changes["changed"]) == ("english/1", 17, 1)
    assert [sample["id"] for sample in changes["samples"]] == ["14-1-0003"]
    frames = sum(FeatureConfig().num_frames(round(cut.duration * 16000)) for cut in cuts.values())
    assert _json(tmp_path / "out" / "feature_stats.json")["frames"] == frames


def _spoil(corpus: Corpus) -> dict[str, str]:
    """Add one of each kind of bad input to train; returns id -> the kind expected in the report."""
    part, speaker = "train-a", "19"

    def add(number: int, text: str | None = None) -> Path:
        return corpus.add(part, speaker, number, text)

    path = add(0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    add(1).write_bytes(b"")
    add(2).write_text("a text named .flac")
    path, samples = add(3).with_suffix(".wav"), speech_like(2.0, "nan")
    path.with_suffix(".flac").unlink()
    samples[100] = math.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    soundfile.write(add(4), speech_like(2.0, "8k", sample_rate=8000), 8000)
    soundfile.write(add(5), np.stack([speech_like(2.0, side) for side in ("left", "right")], axis=1), 16000)
    corpus.add(part, "18", 6)
    (corpus.root / part / "18" / "1" / "18-1.trans.txt").unlink()
    add(7).unlink()
    add(8, "FIRST")
    add(8, "SECOND")
    add(9, "")
    add(10, "?!")
    add(11, "ΑΒΓ")
    add(12, "MANY MORE LETTERS THAN FIT INTO TWO SECONDS " * 3)
    soundfile.write(add(13), np.zeros(32000), 16000)
    kinds = {
        0: "truncated|undecodable",
        1: "empty-file",
        2: "undecodable",
        3: "non-finite",
        4: "sample-rate",
        5: "channels",
        7: "missing-audio",
        8: "duplicate-id",
        9: "empty-text",
        10: "empty-text",
        11: "unknown-characters",
        12: "infeasible",
        13: "silent",
    }
    return {**{f"{speaker}-1-{number:04d}": kind for number, kind in kinds.items()}, "18-1-0006": "missing-text"}


def test_every_bad_input_is_named_with_its_reason_and_file_and_the_rest_is_prepared(corpus, tmp_path):
    good = {f"{speaker}-1-{number:04d}" for speaker in ("11", "12", "13", "14") for number in range(3)}
    expected = _spoil(corpus)
    outcome = _prepare(corpus, tmp_path / "out", jobs=2)
    assert set(_ids(tmp_path / "out", "train")) == good
    refused = {problem.subject: problem for problem in outcome.problems if problem.refused}
    assert set(refused) == set(expected)
    for identifier, kinds in expected.items():
        assert refused[identifier].kind in kinds.split("|"), refused[identifier]
    report = _json(tmp_path / "out" / "verification.json")
    named = {found["subject"] for group in report["problems"] if group["refused"] for found in group["found"]}
    assert named == set(expected)
    text = (tmp_path / "out" / "verification.txt").read_text()
    for identifier, problem in refused.items():
        assert f"{identifier}: {problem.detail}" in text
        assert str(corpus.root / "train-a") in problem.detail
    assert outcome.refused["duplicate-id"] == 2  # utterances, not ids
    record = _json(tmp_path / "out" / "selection.json")["splits"]["train"]
    assert (
        record["utterances"] + record["refused"] == len({*good, *expected} - {"19-1-0007"}) + 1
    )  # 0008 is there twice


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"criteria": {"train": Criteria(utterances=7)}, "tokens": "bpe", "vocabulary_size": 24},
        {"normalizer": normalizer("lower"), "plan": SplitPlan({"train": ("train-a", "dev-a")}, {"dev": 2})},
    ],
    ids=["plain", "subset-bpe", "held-out-lower"],
)
def test_the_bytes_do_not_depend_on_the_number_of_processes_or_the_order_of_listing(corpus, tmp_path, options):
    _spoil(corpus)
    _prepare(corpus, tmp_path / "a", jobs=1, **options)
    _prepare(corpus, tmp_path / "b", jobs=3, step=-1, **options)
    first, second = _bytes(tmp_path / "a"), _bytes(tmp_path / "b")
    assert sorted(first) == FILES
    assert first == second


def test_preparing_again_in_the_same_folder_changes_nothing(corpus, tmp_path):
    _prepare(corpus, tmp_path / "out")
    before = _bytes(tmp_path / "out")
    _prepare(corpus, tmp_path / "out")
    assert _bytes(tmp_path / "out") == before


def test_a_split_that_is_no_longer_made_is_removed_and_said(corpus, tmp_path):
    _prepare(corpus, tmp_path / "out")
    outcome = _prepare(corpus, tmp_path / "out", SplitPlan({"train": ("train-a",)}))
    assert outcome.removed == ["dev.jsonl.gz"]
    assert not (tmp_path / "out" / "dev.jsonl.gz").exists()


def test_subsets_are_as_asked_nested_and_written_down(corpus, tmp_path):
    for count in (4, 8):
        _prepare(corpus, tmp_path / str(count), criteria={"train": Criteria(utterances=count)})
    assert set(_ids(tmp_path / "4", "train")) < set(_ids(tmp_path / "8", "train"))
    assert len(_ids(tmp_path / "8", "dev")) == 4
    record = _json(tmp_path / "4" / "selection.json")
    train = record["splits"]["train"]
    assert (record["seed"], train["criteria"]["utterances"], train["utterances"]) == (0, 4, 4)
    assert train["left_out"] == {"utterances": 8}
    assert {speaker: some["utterances"] for speaker, some in train["speakers"].items()} == dict.fromkeys(
        ("11", "12", "13", "14"), 1
    )
    hours = sum(cut.duration for cut in read_cuts(tmp_path / "4" / "train.jsonl.gz")) / 3600
    assert train["hours"] == pytest.approx(hours, abs=1e-4)


def test_as_many_utterances_are_chosen_as_asked_for_although_some_are_refused(corpus, tmp_path):
    _spoil(corpus)
    _prepare(corpus, tmp_path / "out", criteria={"train": Criteria(utterances=12)})
    assert len(_ids(tmp_path / "out", "train")) == 12


def test_asking_for_too_much_names_the_split_and_leaves_a_report_but_no_manifest(corpus, tmp_path):
    with pytest.raises(InputError, match="^train: a subset of 13 utterances was asked for, and 12 are left"):
        _prepare(corpus, tmp_path / "out", criteria={"train": Criteria(utterances=13)})
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        ".verified.jsonl",
        "verification.json",
        "verification.txt",
    }


def test_a_split_of_which_nothing_is_left_is_an_error_that_says_where_the_reasons_are(corpus, tmp_path):
    for path in (corpus.root / "dev-a").rglob("*.flac"):
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"nothing is left of dev: all of its 4 .* \(empty-file 4\); .*verification\.txt says why"
    ):
        _prepare(corpus, tmp_path / "out")
    assert "21-1-0000: " in (tmp_path / "out" / "verification.txt").read_text()
    assert not list((tmp_path / "out").glob("*.jsonl.gz"))


def test_a_subset_of_which_nothing_is_left_says_by_which_criterion(corpus, tmp_path):
    with pytest.raises(InputError, match=r"nothing is left of train: all of its 12 .* \(max_duration 12\)"):
        _prepare(corpus, tmp_path / "out", criteria={"train": Criteria(max_duration=0.2)})


def test_held_out_speakers_are_not_in_train_and_are_written_down(corpus, tmp_path):
    plan = SplitPlan({"train": ("train-a",), "test": ("dev-a",)}, {"dev": 1}, seed=3)
    _prepare(corpus, tmp_path / "out", plan)
    record = _json(tmp_path / "out" / "selection.json")
    dev, train = record["splits"]["dev"], record["splits"]["train"]
    assert (dev["speakers_asked_for"], len(dev["speakers"]), len(train["speakers"])) == (1, 1, 3)
    assert not set(dev["speakers"]) & set(train["speakers"])
    assert {identifier[:2] for identifier in _ids(tmp_path / "out", "dev")} == set(dev["speakers"])


def test_parts_of_no_split_are_counted(corpus, tmp_path):
    _prepare(corpus, tmp_path / "out", SplitPlan({"train": ("train-a",)}))
    assert _json(tmp_path / "out" / "selection.json")["unused_parts"] == {"dev-a": 4}


def test_equal_audio_in_two_splits_leaves_train_and_not_the_test_set(corpus, tmp_path):
    original = corpus.root / "dev-a" / "21" / "1" / "21-1-0000.flac"
    samples, rate = soundfile.read(original)
    copy = corpus.add("train-a", "14", 7)
    soundfile.write(copy.with_suffix(".wav"), samples, rate)
    copy.unlink()
    outcome = _prepare(corpus, tmp_path / "out")
    assert "21-1-0000" in _ids(tmp_path / "out", "dev")
    assert "14-1-0007" not in _ids(tmp_path / "out", "train")
    assert outcome.refused == {"audio-in-two-splits": 1}


def _talk(folder: Path, *stretches: tuple[str, str, float, float], path: str = "talk.flac") -> list[Utterance]:
    """Stretches (id, part, start, end) of a recording of twenty seconds."""
    soundfile.write(folder / "talk.flac", speech_like(20.0, "talk"), 16000)
    return [
        Utterance(identifier, folder / path, "THE GRID READS", f"speaker of {part}", part, start, end - start)
        for identifier, part, start, end in stretches
    ]


def _prepare_utterances(utterances: list[Utterance], output: Path, problems: Sequence[Problem] = ()) -> Outcome:
    plan = SplitPlan({part: (part,) for part in ("train", "dev", "test")})
    return prepare(utterances, problems, Preparation("table", plan, normalizer("english")), output)


def test_stretches_of_a_recording_that_overlap_in_two_splits_leave_the_earlier_one(tmp_path):
    utterances = _talk(
        tmp_path,
        *(("test-a", "test", 0.0, 4.0), ("test-b", "test", 0.5, 1.5), ("dev-in-test", "dev", 3.5, 6.0)),
        *(("train-in-test", "train", 2.0, 3.0), ("train-around", "train", 8.5, 11.5), ("dev-b", "dev", 9.0, 11.0)),
        *(("train-after", "train", 4.0, 6.0), ("train-rounded", "train", 10.995, 12.0)),
    )
    outcome = _prepare_utterances(utterances, tmp_path / "out")
    assert {p.subject: p.kind for p in outcome.problems if p.refused} == dict.fromkeys(
        ("dev-in-test", "train-in-test", "train-around"), "audio-in-two-splits"
    )
    assert _ids(tmp_path / "out", "test") == ["test-a", "test-b"]
    assert _ids(tmp_path / "out", "dev") == ["dev-b"]
    assert _ids(tmp_path / "out", "train") == ["train-after", "train-rounded"]  # what dev lost, train may have
    detail = f"{tmp_path / 'talk.flac'}: its 2.00 s to 3.00 s overlap 'test-a' of test (0.00 s to 4.00 s)"
    assert f"train-in-test: {detail}" in (tmp_path / "out" / "verification.txt").read_text()


def test_a_recording_that_is_reached_by_links_is_the_same(tmp_path):
    (tmp_path / "linked").symlink_to(".")
    (tmp_path / "other.flac").symlink_to("talk.flac")
    utterances = [
        *_talk(tmp_path, ("test", "test", 0.0, 4.0), ("dev", "dev", 15.0, 16.0), ("train", "train", 9.0, 12.0)),
        *_talk(tmp_path, ("by-folder", "train", 1.0, 3.0), path="linked/talk.flac"),
        *_talk(tmp_path, ("by-file", "train", 2.0, 6.0), path="other.flac"),
    ]
    outcome = _prepare_utterances(utterances, tmp_path / "out")
    assert {p.subject for p in outcome.problems if p.refused} == {"by-folder", "by-file"}


def test_overlapping_stretches_within_a_split_are_named_once_and_kept(tmp_path):
    utterances = _talk(
        tmp_path,
        *(("test", "test", 0.0, 1.0), ("dev", "dev", 2.0, 3.0), ("long", "train", 4.0, 9.0)),
        *(("inside", "train", 5.0, 6.0), ("late", "train", 8.25, 10.0), ("copy", "train", 8.25, 10.0)),
        *(("after", "train", 10.0, 11.0), ("listed", "train", 10.5, 12.0)),
    )
    known = Problem("listed", "overlap", "begins 0.50 s before 'after' ends", refused=False)
    outcome = _prepare_utterances(utterances, tmp_path / "out", [known])
    assert not outcome.refused
    assert len(_ids(tmp_path / "out", "train")) == 6
    found = {p.subject: p.detail for p in outcome.problems if p.kind == "overlap"}
    assert set(found) == {"inside", "copy", "listed"}  # of equal stretches, the first in the order of their ids
    assert found["copy"] == f"{tmp_path / 'talk.flac'}: begins 0.75 s before 'long' ends"
    assert [p.subject for p in outcome.problems if p.kind == "duplicate-audio"] == ["late"]
    assert sum(p.kind == "overlap" for p in outcome.problems) == 3


def test_texts_that_train_has_too_are_counted_and_kept(corpus, tmp_path):
    corpus.add("train-a", "11", 5, "YES")
    for number in (5, 6):
        corpus.add("dev-a", "21", number, "Yes.")
    outcome = _prepare(corpus, tmp_path / "out")
    (problem,) = (problem for problem in outcome.problems if problem.kind == "texts-in-train")
    assert "2 of 6 utterances of dev" in problem.detail
    assert "1 distinct, such as 'YES'" in problem.detail
    assert len(_ids(tmp_path / "out", "dev")) == 6


def test_a_normaliser_without_a_fixed_set_takes_the_characters_of_the_chosen_train_utterances(corpus, tmp_path):
    corpus.add("train-a", "11", 5, "Ärger im Grid")
    corpus.add("dev-a", "21", 5, "Straße im Grid")
    outcome = _prepare(corpus, tmp_path / "out", normalizer=normalizer("lower"))
    tokens = tokenizer_from_dict(_json(tmp_path / "out" / "tokens.json")).tokens[1:]
    texts = [cut.supervisions[0].text for cut in read_cuts(tmp_path / "out" / "train.jsonl.gz")]
    assert tokens == tuple(sorted(set("".join(texts))))
    assert "ä" in tokens
    assert {p.subject: p.kind for p in outcome.problems if p.refused} == {"21-1-0005": "unknown-characters"}
    assert "21-1-0005" not in _ids(tmp_path / "out", "dev")
    assert "21-1-0005" in (tmp_path / "out" / "verification.txt").read_text()


def test_byte_pair_tokens_are_trained_on_train_and_checked_by_their_own_number(corpus, tmp_path):
    # 1.5 s are 50 output frames of 30 ms: too few for 59 characters, enough for byte pairs of whole words.
    corpus.add("train-a", "11", 5, "SPECTRUM SPECTRUM SPECTRUM VOICES VOICES VOICES SINCE SINCE", seconds=1.5)
    by_character = _prepare(corpus, tmp_path / "characters", plan=SplitPlan({"train": ("train-a",)}))
    assert by_character.refused == {"infeasible": 1}
    outcome = _prepare(
        corpus, tmp_path / "bpe", tokens="bpe", vocabulary_size=60, plan=SplitPlan({"train": ("train-a",)})
    )
    assert not outcome.refused
    tokenizer = tokenizer_from_dict(_json(tmp_path / "bpe" / "tokens.json"))
    assert len(tokenizer.tokens) == 60
    for cut in read_cuts(tmp_path / "bpe" / "train.jsonl.gz"):
        assert tokenizer.decode(tokenizer.encode(cut.supervisions[0].text)) == cut.supervisions[0].text


def test_byte_pair_tokens_that_do_not_fit_the_frames_are_refused(corpus, tmp_path):
    corpus.add("train-a", "11", 5, "SINCE VOICES " * 4, seconds=0.5)
    outcome = _prepare(corpus, tmp_path / "out", tokens="bpe", vocabulary_size=24, subsampling=8)
    assert {p.subject: p.kind for p in outcome.problems if p.refused}["11-1-0005"] == "infeasible"


@pytest.mark.parametrize(
    "options",
    [
        {"normalizer": normalizer("lower"), "criteria": {"train": Criteria(utterances=12)}},
        {"tokens": "bpe", "vocabulary_size": 24},
        {},
    ],
    ids=["trained-characters", "bpe", "characters"],
)
def test_every_kind_of_tokens_is_checked_at_the_fastest_speed(corpus, tmp_path, options):
    # 0.66 s are 64 feature frames, 16 output frames; at speed 1.3 they are 49 and 13. (Byte pairs: nearly letters.)
    corpus.add("train-a", "10", 5, "VPWCLNGOUDRMHS", seconds=0.66)
    slow = _prepare(corpus, tmp_path / "slow", subsampling=4, **options)
    assert "infeasible" not in slow.refused
    outcome = _prepare(corpus, tmp_path / "out", subsampling=4, fastest_speed=1.3, **options)
    assert {p.subject: p.kind for p in outcome.problems if p.refused} == {"10-1-0005": "infeasible"}
    assert len(_ids(tmp_path / "out", "train")) == 12


def test_tokens_of_another_preparation_can_be_used_without_a_train_split(corpus, tmp_path):
    _prepare(corpus, tmp_path / "first", tokens="bpe", vocabulary_size=40)
    corpus.add("dev-a", "21", 5, "QUIZ")  # no Q, Z in the texts the tokens were trained on
    plan = SplitPlan({"test": ("dev-a",)})
    outcome = _prepare(corpus, tmp_path / "second", plan, tokens=str(tmp_path / "first" / "tokens.json"))
    assert _json(tmp_path / "second" / "tokens.json") == _json(tmp_path / "first" / "tokens.json")
    assert not (tmp_path / "second" / "feature_stats.json").exists()
    assert {p.subject: p.kind for p in outcome.problems if p.refused} == {"21-1-0005": "unknown-characters"}


def test_without_train_a_token_set_that_needs_it_is_not_written(corpus, tmp_path):
    _prepare(corpus, tmp_path / "out", SplitPlan({"test": ("dev-a",)}), normalizer=normalizer("lower"))
    absent = {"train.jsonl.gz", "dev.jsonl.gz", "tokens.json", "feature_stats.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "test.jsonl.gz"} - absent


def test_an_interrupted_preparation_leaves_no_manifest_and_is_repeated_with_the_same_result(
    corpus, tmp_path, monkeypatch
):
    _prepare(corpus, tmp_path / "whole")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.manifest.feature_statistics", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _prepare(corpus, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.gz"))
    assert (tmp_path / "out" / ".verified.jsonl").exists()
    _prepare(corpus, tmp_path / "out")
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "whole")


def test_a_file_in_the_place_of_the_output_folder_is_named(corpus, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot make the output folder .*out: File exists"):
        _prepare(corpus, tmp_path / "out")


def test_a_full_disk_while_writing_is_named_and_keeps_the_former_preparation(corpus, tmp_path):
    _prepare(corpus, tmp_path / "out")
    before = _bytes(tmp_path / "out")
    for number in range(40):
        corpus.add("train-a", "15", number, seconds=1.0)
    program = """
import resource, signal, sys
from data_prep import cli, manifest
statistics = manifest.feature_statistics

def then_the_disk_is_full(*arguments):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    return statistics(*arguments)

manifest.feature_statistics = then_the_disk_is_full
sys.exit(cli.main(sys.argv[1:]))
"""
    options = ["--train", "train-a", "--dev", "dev-a", "--jobs", "1"]
    command = [sys.executable, "-c", program, "librispeech", str(corpus.root), str(tmp_path / "out"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^error: cannot write .*out/.*(gz|json): File too large$", done.stderr, re.MULTILINE)
    after = _bytes(tmp_path / "out")
    untouched = [name for name in FILES if not name.startswith("verification")]
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert not [name for name in after if "part" in name or "preparing" in name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criteria": {"dave": Criteria(hours=1)}}, "a subset of 'dave' was asked for, and there is no such split"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"vocabulary_size": 0}, "vocabulary_size must be at least 1, got 0"),
        ({"fastest_speed": 0.5}, "the fastest speed must be from 1 to 2, got 0.5"),
        ({"fastest_speed": math.nan}, "the fastest speed must be from 1 to 2, got nan"),
        ({"subsampling": 0}, "subsampling must be at least 1, got 0"),
        ({"tokens": "nowhere/tokens.json"}, "cannot read nowhere/tokens.json"),
        ({"tokens": "bpe", "vocabulary_size": 10**5}, "cannot train 100000 byte-pair tokens on 12 texts"),
    ],
)
def test_settings_that_cannot_be_used_are_named(corpus, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        _prepare(corpus, tmp_path / "out", **options)
