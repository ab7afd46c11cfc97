"""Verification of a corpus: the same findings with any number of processes, and after an interruption."""

import json
import os
from collections.abc import Sequence

import pytest

from asr.errors import InputError
from asr.text import normalizer
from data_prep import verification
from data_prep.librispeech import read_folder
from data_prep.verification import Item, verify_all
from data_prep.verify import VerificationSettings, verify_utterance

SETTINGS = VerificationSettings(characters=normalizer("english").characters)


@pytest.fixture
def items(corpus) -> Sequence[Item]:
    """Sixteen good utterances, and three bad ones."""
    corpus.add("train-a", "15", 0).write_bytes(b"")
    corpus.add("train-a", "15", 1).write_text("no audio")
    corpus.add("train-a", "15", 2, "ΑΒΓ")
    utterances, _ = read_folder(corpus.root, ["train-a", "dev-a"])
    return [(utterance, normalizer("english")(utterance.text)) for utterance in utterances]


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Ids of the utterances that are verified in this process, in order."""
    seen: list[str] = []

    def counted(utterance, text, settings):
        seen.append(utterance.id)
        return verify_utterance(utterance, text, settings)

    monkeypatch.setattr(verification, "verify_utterance", counted)
    return seen


def test_findings_are_those_of_each_utterance_alone_with_any_number_of_processes(items, tmp_path):
    expected = [verify_utterance(*item, SETTINGS) for item in items]
    assert verify_all(items, SETTINGS, tmp_path / "one", 1) == expected
    assert verify_all(items, SETTINGS, tmp_path / "three", 3) == expected
    assert [found.id for found in expected if found.refused] == ["15-1-0000", "15-1-0001", "15-1-0002"]


def test_what_was_verified_is_taken_from_the_notes_and_equal(items, tmp_path, calls):
    first = verify_all(items, SETTINGS, tmp_path / "notes", 1)
    assert len(calls) == len(items)
    assert verify_all(items, SETTINGS, tmp_path / "notes", 1) == first
    assert len(calls) == len(items)


def test_an_interrupted_verification_goes_on_where_it_stopped(items, tmp_path, calls, monkeypatch):
    counted = verification.verify_utterance

    def interrupted(utterance, text, settings):
        if utterance.id == "14-1-0001":
            raise KeyboardInterrupt
        return counted(utterance, text, settings)

    with monkeypatch.context() as patch:
        patch.setattr(verification, "verify_utterance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            verify_all(items, SETTINGS, tmp_path / "notes", 1)
    done = list(calls)
    assert len(done) == [utterance.id for utterance, _ in items].index("14-1-0001")
    found = verify_all(items, SETTINGS, tmp_path / "notes", 1)
    assert calls == [utterance.id for utterance, _ in items]
    assert found == [verify_utterance(*item, SETTINGS) for item in items]


@pytest.mark.parametrize("what", ["content", "time", "text", "settings", "rules"])
def test_what_changed_is_verified_again(items, tmp_path, calls, what, monkeypatch):
    verify_all(items, SETTINGS, tmp_path / "notes", 1)
    calls.clear()
    settings, again = SETTINGS, list(items)
    utterance, text = again[3]
    if what == "content":
        state = utterance.audio.stat()
        utterance.audio.write_bytes(utterance.audio.read_bytes()[:-100])
        os.utime(utterance.audio, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif what == "time":
        os.utime(utterance.audio, ns=(0, 0))
    elif what == "text":
        again[3] = utterance, text + " MORE"
    elif what == "settings":
        settings = VerificationSettings(characters=SETTINGS.characters, long_seconds=1.0)
    else:
        monkeypatch.setattr(verification.inspect, "getsource", lambda module: f"another {module}")
    found = verify_all(again, settings, tmp_path / "notes", 1)
    assert calls == ([utterance.id] if what in ("content", "time", "text") else [u.id for u, _ in again])
    assert found == [verify_utterance(*item, settings) for item in again]


def test_a_damaged_note_is_ignored(items, tmp_path, calls):
    notes = tmp_path / "notes"
    first = verify_all(items, SETTINGS, notes, 1)
    lines = notes.read_text().splitlines()
    notes.write_text("\n".join([*lines[:5], '{"key": "x"}', "[1, 2]", "null", lines[5][: len(lines[5]) // 2]]))
    calls.clear()
    assert verify_all(items, SETTINGS, notes, 1) == first
    assert len(calls) == len(items) - 5


def test_a_file_that_is_not_there_is_never_noted(items, tmp_path):
    items[0][0].audio.unlink()
    found = verify_all(items, SETTINGS, tmp_path / "notes", 1)
    assert [problem.kind for problem in found[0].problems] == ["missing-audio"]
    noted = [json.loads(line)["id"] for line in (tmp_path / "notes").read_text().splitlines()]
    assert noted == [utterance.id for utterance, _ in items[1:]]


def test_notes_that_cannot_be_written_are_an_error_before_any_work(items, tmp_path, calls):
    (tmp_path / "notes").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*notes: Is a directory"):
        verify_all(items, SETTINGS, tmp_path / "notes", 1)
    assert calls == []
