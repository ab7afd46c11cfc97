import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lhotse import CutSet
from tone_corpus import tone_cut, write_tone_corpus
from torch import Tensor
from white_noise import white_noise

from asr.data.corpus import TOLERANCE, PreparedCorpus, Stretch, Stretches, check_disjoint, find_infeasible
from asr.data.cuts import read_cuts
from asr.data.features import FeatureConfig, FeatureStatistics
from asr.data.tokens import CharacterTokenizer
from asr.errors import InputError
from asr.files import read_jsonl, write_json, write_jsonl


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tone_corpus(tmp_path / "root", {"train": 6, "dev": 3, "test": 2})


def test_tokens_and_normaliser_are_read(root: Path) -> None:
    corpus = PreparedCorpus(root)
    assert corpus.tokenizer.tokens == ("<blank>", " ", "A", "B", "C")
    assert corpus.token_data == CharacterTokenizer(" ABC").to_dict()
    assert corpus.normalizer == "verbatim/1"


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    corpus = PreparedCorpus(tmp_path / "nowhere")
    for question in ("tokenizer", "normalizer", "token_data"):
        with pytest.raises(InputError, match="data.root .*nowhere' is not a folder; prepare a corpus"):
            getattr(corpus, question)
    with pytest.raises(InputError, match="is not a folder"):
        corpus.manifest("train")


@pytest.mark.parametrize(
    ("name", "content", "question", "message"),
    [
        ("tokens.json", {"kind": "words"}, "tokenizer", "tokens.json: not a token set"),
        ("tokens.json", {"kind": "words"}, "token_data", "tokens.json: not a token set: kind 'words'"),
        ("tokens.json", ["A"], "token_data", "tokens.json: .*expected an object with 'kind' and 'tokens', found list"),
        ("tokens.json", ["A"], "tokenizer", "tokens.json: .*expected an object with 'kind' and 'tokens', found list"),
        ("normalization.json", {"name": 3, "version": 1}, "normalizer", "normalization.json: needs the keys"),
        ("normalization.json", {"name": "english"}, "normalizer", "normalization.json: needs the keys"),
        ("normalization.json", ["english", 1], "normalizer", "normalization.json: needs the keys"),
    ],
)
def test_a_file_of_another_form_is_named(root: Path, name: str, content: Any, question: str, message: str) -> None:
    write_json(root / name, content)
    with pytest.raises(InputError, match=message):
        getattr(PreparedCorpus(root), question)


def test_statistics_count_only_for_the_features_they_are_of(root: Path) -> None:
    corpus, features = PreparedCorpus(root), FeatureConfig(num_mels=3)
    assert corpus.statistics(features) is None
    data = {"features": features.spectrum(), "mean": [1.0, 2.0, 3.0], "std": [1.0] * 3, "frames": 9}
    write_json(root / "feature_stats.json", data)
    assert corpus.statistics(features) == FeatureStatistics((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), 9)
    assert corpus.statistics(FeatureConfig(num_mels=3, normalization="utterance")) is not None
    assert corpus.statistics(FeatureConfig(num_mels=3, hop_length=80)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([1, 2], "expected an object with 'features', 'mean', 'std' and 'frames', found list"),
        ({"features": 3}, "expected an object with 'features', .* found the keys"),
        ({"mean": None}, "'mean' must be 3 numbers, one for each mel bin, found None"),
        ({"mean": 3}, "'mean' must be 3 numbers, .*found 3"),
        ({"mean": [1.0, 2.0]}, r"'mean' must be 3 numbers, .*found \[1.0, 2.0\]"),
        ({"mean": [1.0, 2.0, "x"]}, "'mean' must be 3 numbers"),
        ({"std": [1.0, 2.0, -1.0]}, "'std' must be 3 numbers, not negative, one for each mel bin"),
        ({"std": [1.0, 2.0, True]}, "'std' must be 3 numbers"),
        ({"std": [[1.0], 2.0, 3.0]}, "'std' must be 3 numbers"),
        ({"frames": 0}, "'frames' must be how many were counted, at least 1, found 0"),
        ({"frames": "9"}, "'frames' must be how many were counted, at least 1, found '9'"),
        ({"frames": 9.5}, "'frames' must be"),
    ],
)
def test_statistics_of_another_form_are_refused_with_their_file(root: Path, changes: Any, message: str) -> None:
    features = FeatureConfig(num_mels=3)
    data = {"features": features.spectrum(), "mean": [1.0, 2.0, 3.0], "std": [1.0] * 3, "frames": 9}
    write_json(root / "feature_stats.json", {**data, **changes} if isinstance(changes, dict) else changes)
    with pytest.raises(InputError, match=f"feature_stats.json: {message}"):
        PreparedCorpus(root).statistics(features)


def test_a_split_that_does_not_exist_is_answered_with_those_that_do(root: Path) -> None:
    with pytest.raises(InputError, match=r"trian.jsonl.gz: no such manifest; splits of .*: dev, test, train"):
        PreparedCorpus(root).manifest("trian")
    assert not PreparedCorpus(root).has("trian")
    assert PreparedCorpus(root).has("dev")


def test_a_split_may_be_the_path_of_a_manifest(root: Path, tmp_path: Path) -> None:
    other = write_tone_corpus(tmp_path / "other", {"extra": 4})
    cuts = PreparedCorpus(root).read(["train", str(other / "extra.jsonl.gz")])
    assert [cut.id[:5] for cut in cuts] == ["train"] * 6 + ["extra"] * 4


def test_splits_that_share_an_utterance_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    with pytest.raises(InputError, match=r"6 utterance.* both train and .*same id or same audio.: train-000"):
        PreparedCorpus(root).read(["train", str(tmp_path / "copy" / "train.jsonl.gz")])


def test_the_same_audio_under_another_id_is_found(root: Path) -> None:
    rows = list(read_jsonl(root / "train.jsonl.gz"))
    write_jsonl(root / "renamed.jsonl.gz", [{**row, "id": f"new-{row['id']}"} for row in rows[:2]])
    corpus = PreparedCorpus(root)
    with pytest.raises(InputError, match=r"2 utterance.* train and renamed .*: new-train-000, new-train-001"):
        check_disjoint("train", corpus.read(["train"]), "renamed", corpus.read(["renamed"]))
    check_disjoint("train", corpus.read(["train"]), "dev", corpus.read(["dev"]))


def write_stretches(manifest: Path, *stretches: tuple[str, float, float]) -> CutSet:
    """Cuts (id, start, end) of a recording of ten seconds, `talk.flac` beside the manifest."""
    rows = []
    for utterance_id, start, end in stretches:
        row = tone_cut(utterance_id, "x", 0, "AB", 160000)
        row["recording"].update(duration=10.0, num_samples=160000)
        row["recording"]["sources"][0]["source"] = "talk.flac"
        rows.append({**row, "start": start, "duration": end - start})
    write_jsonl(manifest, rows)
    return read_cuts(manifest)


def test_overlapping_stretches_of_a_recording_are_refused_and_adjacent_ones_are_not(tmp_path: Path) -> None:
    train = write_stretches(tmp_path / "train.jsonl", ("a", 0.0, 3.0), ("b", 1.0, 2.0), ("c", 5.0, 6.004))
    others = {"in": (0.5, 0.9), "over": (2.5, 4.0), "around": (4.0, 8.0), "same": (5.0, 6.004)}
    test = write_stretches(
        tmp_path / "test.jsonl",
        *((name, start, end) for name, (start, end) in others.items()),
        *(("between", 3.0, 5.0), ("rounded", 6.0, 7.0), ("after", 9.0, 10.0)),
    )
    with pytest.raises(InputError, match=r"^4 utterance.* both train and test .*: in, over, around, same$"):
        check_disjoint("train", train, "test", test)
    check_disjoint("train", train, "dev", write_stretches(tmp_path / "dev.jsonl", ("x", 3.0, 5.0), ("y", 6.0, 7.0)))


def test_a_channel_of_its_own_is_other_audio(tmp_path: Path) -> None:
    train = write_stretches(tmp_path / "train.jsonl", ("left", 0.0, 3.0))
    test = write_stretches(tmp_path / "test.jsonl", ("right", 0.0, 3.0))
    for cut in test:
        cut.channel = 1
        cut.recording.sources[0].channels = [0, 1]
    check_disjoint("train", train, "test", test)


def test_the_same_file_by_another_path_is_the_same_audio(tmp_path: Path) -> None:
    train = write_stretches(tmp_path / "one" / "train.jsonl", ("a", 0.0, 3.0))
    (tmp_path / "one" / "talk.flac").touch()
    (tmp_path / "linked").symlink_to("one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "talk.flac").symlink_to("../one/talk.flac")
    for folder in ("one/../one", "linked", "two"):
        test = write_stretches(tmp_path / folder / "test.jsonl", ("x", 1.0, 4.0))
        with pytest.raises(InputError, match=r"^1 utterance.* both train and test .*: x$"):
            check_disjoint("train", train, "test", test)


def test_the_overlap_that_is_found_agrees_with_a_comparison_of_all_pairs() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        rows = zip(random.integers(3, size=40), random.uniform(0, 10, 40), random.uniform(0.1, 2, 40), strict=True)
        stretches = [
            Stretch(talk, start, start + length, str(index)) for index, (talk, start, length) in enumerate(rows)
        ]
        known = Stretches(stretches[:20])
        for one in stretches[20:]:
            expected = [
                other
                for other in stretches[:20]
                if other.recording == one.recording
                and min(one.end, other.end) - max(one.start, other.start) > TOLERANCE
            ]
            found = known.overlapping(one)
            assert (found in expected) if expected else (found is None)


def test_texts_outside_the_token_set_are_counted_and_named(root: Path) -> None:
    rows = list(read_jsonl(root / "train.jsonl.gz"))
    for row in rows[1:3]:
        row["supervisions"][0]["text"] = "ABBÉ"
    write_jsonl(root / "train.jsonl.gz", rows)
    with pytest.raises(
        InputError, match=r"2 utterance\(s\) of train .*tokens.json: train-001, train-002; the first: .*'É'"
    ):
        PreparedCorpus(root).read(["train"])


def halve(lengths: Tensor) -> Tensor:
    return lengths // 2


@pytest.mark.parametrize(
    ("text", "samples", "speed", "fits"),
    [
        ("AB", 400 + 3 * 160, 1.0, True),  # 4 frames, 2 after halving, 2 needed
        ("AB", 400 + 2 * 160, 1.0, False),
        ("AA", 400 + 5 * 160, 1.0, True),  # a blank between equal tokens
        ("AA", 400 + 4 * 160, 1.0, False),
        ("AB", 400 + 3 * 160, 1.1, False),  # shorter when played faster
        ("", 400 + 160, 1.0, True),
        ("", 400, 1.0, False),  # no output frame at all
    ],
)
def test_feasibility_is_that_of_ctc(
    write_cuts: Callable[..., Path], text: str, samples: int, speed: float, fits: bool
) -> None:
    cuts = read_cuts(write_cuts({"u": white_noise(samples)}, text=text))
    found = find_infeasible(cuts, CharacterTokenizer("AB"), FeatureConfig(), halve, speed)
    assert (found == {}) is fits
    if text == "AA" and not fits:
        assert found == {"u": "2 frames for 2 characters, 3 needed"}


def test_output_lengths_are_asked_once_for_all(write_cuts: Callable[..., Path]) -> None:
    cuts = read_cuts(write_cuts({f"u{i}": white_noise(8000) for i in range(4)}))
    asked = []

    def output_lengths(lengths: Tensor) -> Tensor:
        asked.append(lengths)
        return lengths

    find_infeasible(cuts, CharacterTokenizer("AB"), FeatureConfig(), output_lengths)
    assert len(asked) == 1
    assert torch.equal(asked[0], torch.full((4,), FeatureConfig().num_frames(8000)))
