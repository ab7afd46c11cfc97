"""The splits of the real corpora share no speaker and no recording; shared sentences are counted.

What is compared comes from the files themselves: a FLAC file's header holds the MD5 sum of its samples.
"""

import gzip
import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from asr.cli import main as asr_main
from asr.lm.sentences import read_sentences, without_held_out
from asr.lm.storage import read_model
from asr.text import VERBATIM_1
from data_prep.cli import main

AN4_SPEAKERS = {"train": 66, "dev": 8, "test": 10}
DEV_SPEAKERS = Path(__file__).parents[2] / "configs" / "sweeps" / "librispeech_dev_speakers.txt"
UTTERANCES = DEV_SPEAKERS.with_name("librispeech_utterances.txt")
"""Those of the results on LibriSpeech."""


@pytest.fixture(scope="module")
def an4(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("an4") / "data"
    assert main(["an4", str(corpora / "an4"), str(root), "--jobs", "1"]) == 0
    return root


@pytest.fixture(scope="module")
def librispeech(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (corpora / "LibriSpeech" / "train-clean-5").is_dir():
        pytest.skip("no train-clean-5 of LibriSpeech in ASR_CORPORA")
    root = tmp_path_factory.mktemp("librispeech") / "data"
    options = ["--train", "train-clean-5", "train-clean-100", "--dev-speakers", f"@{DEV_SPEAKERS}"]
    assert main(["librispeech", str(corpora), str(root), *options, "--test", "dev-clean", "--jobs", "2"]) == 0
    return root


def rows(root: Path, split: str) -> list[dict]:
    with gzip.open(root / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def speakers(root: Path, split: str) -> set[str]:
    return {row["supervisions"][0]["speaker"] for row in rows(root, split)}


def sample_digests(root: Path, split: str) -> set[bytes]:
    """The MD5 sums of the decoded samples, as the files' headers have them (bytes 26 to 41 of a FLAC file)."""
    digests = set()
    for row in rows(root, split):
        with (root / row["recording"]["sources"][0]["source"]).open("rb") as file:
            header = file.read(42)
        assert header[:4] == b"fLaC"
        assert any(header[26:42]), "the file has no digest"
        digests.add(header[26:42])
    return digests


def texts(root: Path, split: str) -> list[str]:
    return [row["supervisions"][0]["text"] for row in rows(root, split)]


@pytest.mark.parametrize("corpus", ["an4", "librispeech"])
def test_splits_share_no_speaker_and_no_recording(corpus: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(corpus)
    for one, other in itertools.combinations(("train", "dev", "test"), 2):
        assert not speakers(root, one) & speakers(root, other)
        assert not sample_digests(root, one) & sample_digests(root, other)


@pytest.mark.parametrize("corpus", ["an4", "librispeech"])
def test_sentences_of_training_among_those_tested_are_counted_and_stated(
    corpus: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(corpus)
    report = (root / "verification.txt").read_text(encoding="utf-8")
    known = set(texts(root, "train"))
    for split in ("dev", "test"):
        shared = sum(text in known for text in texts(root, split))
        stated = re.search(rf"{split}: (\d+) of (\d+) utterances of {split} have a text that train has too", report)
        assert (int(stated[1]), int(stated[2])) == (shared, len(texts(root, split))) if shared else stated is None


def test_the_utterances_of_the_results_are_listed(librispeech: Path) -> None:
    _, *listed = UTTERANCES.read_text(encoding="utf-8").splitlines()
    assert sorted(listed) == sorted(row["id"] for split in ("train", "dev", "test") for row in rows(librispeech, split))


def test_an4_keeps_its_official_test_set_whole(an4: Path, corpora: Path) -> None:
    listed = (corpora / "an4" / "etc" / "an4_test.fileids").read_text(encoding="utf-8").split()
    assert {row["id"] for row in rows(an4, "test")} == {line.rsplit("/", 1)[-1] for line in listed}
    assert {split: len(speakers(an4, split)) for split in AN4_SPEAKERS} == AN4_SPEAKERS


def test_no_sentence_of_dev_or_test_is_left_in_a_language_model_and_what_is_left_out_is_stated(
    an4: Path, tmp_path: Path
) -> None:
    manifests = {split: an4 / f"{split}.jsonl.gz" for split in ("train", "dev", "test")}
    text, held_out = read_sentences(manifests["train"]), [manifests["dev"], manifests["test"]]
    kept, _ = without_held_out(text, held_out, VERBATIM_1)
    known = Counter(texts(an4, "train"))
    dev, test = set(texts(an4, "dev")), set(texts(an4, "test"))
    assert Counter(kept) == Counter({text: n for text, n in known.items() if text not in dev | test})

    model = tmp_path / "lm.npz"
    arguments = ["lm", "build", str(manifests["train"]), "-o", str(model), "--exclude", *map(str, held_out)]
    assert asr_main(arguments) == 0
    record = read_model(model).record
    counted_at = {"dev": dev, "test": test - dev}  # a sentence counts at the first file that has it
    assert record["excluded"] == [
        {
            "path": f"{split}.jsonl.gz",
            "transcripts": len(transcripts),
            "found": len(transcripts & known.keys()),
            "sentences": sum(known[text] for text in counted_at[split]),
            "sha256": hashlib.sha256("".join(f"{text}\n" for text in texts(an4, split)).encode()).hexdigest(),
        }
        for split, transcripts in (("dev", dev), ("test", test))
    ]
    assert all(entry["found"] for entry in record["excluded"]), "AN4's splits share sentences"
    assert record["sentences"] == len(kept) == sum(known.values()) - sum(e["sentences"] for e in record["excluded"])
