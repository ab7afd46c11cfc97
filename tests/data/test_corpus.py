import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tone_corpus import write_tone_corpus
from torch import Tensor
from white_noise import white_noise

from asr.data.corpus import PreparedCorpus, check_disjoint, find_infeasible
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
