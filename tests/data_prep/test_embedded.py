"""The embedded corpus keeps what its README promises, and unpacks into what LibriSpeech's reader reads."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.errors import InputError
from asr.files import read_jsonl
from data_prep.cli import main
from data_prep.embedded import CORPUS, DEFAULT_SPLITS, unpack
from data_prep.synthesize_embedded import part_of

PARTS = tuple(part for parts in DEFAULT_SPLITS.values() for part in parts)


def transcripts(part: str) -> dict[str, str]:
    files = (CORPUS / part).rglob("*.trans.txt")
    return dict(line.split(" ", 1) for file in files for line in file.read_text().splitlines())


@pytest.fixture(scope="module")
def voices() -> list[dict[str, str]]:
    with (CORPUS.parent / "voices.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_it_has_600_utterances_100_words_and_at_most_8_megabytes() -> None:
    texts = [text for part in PARTS for text in transcripts(part).values()]
    assert len(texts) >= 600
    assert len({word for text in texts for word in text.split()}) >= 100
    assert sum(file.stat().st_size for file in CORPUS.parent.rglob("*") if file.is_file()) <= 8e6


def test_no_sentence_stands_in_two_parts_and_every_word_is_trained() -> None:
    train, dev, test = (set(transcripts(part).values()) for part in PARTS)
    assert not (train & dev)
    assert not (train & test)
    assert not (dev & test)
    words = Counter(word for text in transcripts("train-embedded").values() for word in text.split())
    assert min(words[word] for text in dev | test for word in text.split()) >= 10


def test_the_script_gives_every_sentence_to_the_part_where_it_stands() -> None:
    for part in PARTS:
        assert {part_of(text.lower()) for text in transcripts(part).values()} == {part}


def test_voices_differ_between_parts_and_a_family_is_heard_in_test_alone(voices: list[dict[str, str]]) -> None:
    assert len({voice["synthesizer"] for voice in voices}) >= 2
    assert len(voices) >= 20
    families = {part: {voice["family"] for voice in voices if voice["part"] == part} for part in PARTS}
    assert families["test-embedded"] - families["train-embedded"] - families["dev-embedded"] == {"klatt"}
    kinds = {part: {(v["synthesizer"], v["voice"]) for v in voices if v["part"] == part} for part in PARTS}
    assert not kinds["test-embedded"] & (kinds["train-embedded"] | kinds["dev-embedded"])


def test_every_speaker_of_the_table_has_a_folder_and_the_reverse(voices: list[dict[str, str]]) -> None:
    folders = {(folder.parent.name, folder.name) for part in PARTS for folder in (CORPUS / part).iterdir()}
    assert folders == {(voice["part"], voice["speaker"]) for voice in voices}


def test_every_transcript_has_its_audio_and_the_reverse() -> None:
    for part in PARTS:
        assert {file.stem for file in (CORPUS / part).rglob("*.opus")} == set(transcripts(part))


def test_it_is_prepared_without_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--utterances", "12", "--utterances", "dev=4", "--utterances", "test=4", "--jobs", "2"]
    assert main(["embedded", str(tmp_path), *options]) == 0
    assert "refused: nothing" in capsys.readouterr().out
    cuts = list(read_jsonl(tmp_path / "test.jsonl.gz"))
    texts = transcripts("test-embedded")
    for cut in cuts:
        assert cut["supervisions"][0]["text"] == texts[cut["id"]]
        source = tmp_path / cut["recording"]["sources"][0]["source"]
        assert soundfile.info(source).subtype == "PCM_16"
        assert soundfile.info(source).samplerate == 16000


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A corpus of two files."""
    folder = tmp_path / "small" / "dev-embedded" / "9401" / "1"
    folder.mkdir(parents=True)
    for opus in sorted((CORPUS / "dev-embedded" / "9401").rglob("*.opus"))[:2]:
        shutil.copy(opus, folder)
    return tmp_path / "small"


def test_what_was_unpacked_is_left_alone_and_what_has_lost_a_file_is_made_anew(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    first, second = sorted(unpack(small, target, jobs=1).rglob("*.flac"))
    content, time = second.read_bytes(), first.stat().st_mtime_ns
    unpack(small, target, jobs=1)
    assert first.stat().st_mtime_ns == time
    second.unlink()
    unpack(small, target, jobs=2)
    assert second.read_bytes() == content


def test_a_corpus_that_changed_is_unpacked_anew(small: Path, tmp_path: Path) -> None:
    target = unpack(small, tmp_path / "out", jobs=1)
    next(small.rglob("*.opus")).unlink()
    assert len(list(unpack(small, target, jobs=1).rglob("*.flac"))) == 1


def test_a_damaged_file_is_named_and_nothing_half_done_is_left(small: Path, tmp_path: Path) -> None:
    broken = next(small.rglob("*.opus"))
    broken.write_bytes(b"not audio")
    with pytest.raises(InputError, match=broken.name):
        unpack(small, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_folders_place_is_named(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out"):
        unpack(small, tmp_path / "out" / "audio", jobs=1)


def test_a_file_at_another_rate_is_refused(small: Path, tmp_path: Path) -> None:
    wrong = next(small.rglob("*.opus"))
    soundfile.write(wrong, np.zeros(4800), 48000, format="OGG", subtype="OPUS")
    with pytest.raises(InputError, match="48000 Hz and 1 channels, expected 16000 Hz and one"):
        unpack(small, tmp_path / "out", jobs=1)


def test_flac_holds_what_the_opus_file_decodes_to(small: Path, tmp_path: Path) -> None:
    target = unpack(small, tmp_path / "out", jobs=1)
    for opus in small.rglob("*.opus"):
        packed, rate = soundfile.read(opus)
        samples, flac_rate = soundfile.read((target / opus.relative_to(small)).with_suffix(".flac"))
        assert rate == flac_rate
        assert abs(packed - samples).max() <= 2**-15
