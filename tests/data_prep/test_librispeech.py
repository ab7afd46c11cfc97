"""Reading a folder in LibriSpeech's layout, and downloading parts into one."""

import argparse
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from asr.errors import InputError
from data_prep import librispeech
from data_prep.download import Archive
from data_prep.librispeech import ARCHIVES, OFFICIAL_UTTERANCES, read_folder


def _options(source: Path, parts, **others) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    librispeech.add_arguments(parser)
    options = parser.parse_args([str(source)])
    return argparse.Namespace(**{**vars(options), "parts": parts, **others})


def test_each_file_becomes_an_utterance_with_its_transcript_speaker_and_part(corpus):
    path = corpus.add("dev-b", "31", 7, "IT'S HERE")
    utterances, problems = read_folder(corpus.root, ["dev-b"])
    assert problems == []
    (utterance,) = utterances
    assert (utterance.id, utterance.audio, utterance.text) == ("31-1-0007", path, "IT'S HERE")
    assert (utterance.speaker, utterance.part, utterance.start, utterance.duration) == ("31", "dev-b", 0.0, None)


def test_parts_are_read_from_the_folder_or_the_one_that_holds_librispeech(corpus):
    inside, _ = read_folder(corpus.root, ["train-a", "dev-a"])
    above, _ = read_folder(corpus.root.parent, ["dev-a", "train-a"])
    assert inside == above
    assert [u.id for u in inside] == [u.id for u in sorted(inside, key=lambda u: (u.part, u.id))]
    assert len(inside) == 16


def test_audio_without_a_transcript_is_listed_without_text(corpus):
    path = corpus.add("dev-a", "21", 5)
    transcripts = path.parent / "21-1.trans.txt"
    transcripts.write_text("".join(line for line in transcripts.read_text().splitlines(True) if "0005" not in line))
    utterances, problems = read_folder(corpus.root, ["dev-a"])
    assert [u.id for u in utterances if u.text is None] == ["21-1-0005"]
    assert problems == []


def test_a_transcript_without_audio_is_a_problem_that_names_it(corpus):
    corpus.add("dev-a", "21", 5).unlink()
    utterances, (problem,) = read_folder(corpus.root, ["dev-a"])
    assert "21-1-0005" not in {u.id for u in utterances}
    assert (problem.subject, problem.kind, problem.refused) == ("21-1-0005", "missing-audio", True)


def test_a_transcript_given_twice_lists_the_utterance_twice(corpus):
    corpus.add("dev-a", "21", 0, "ANOTHER TEXT")
    utterances, _ = read_folder(corpus.root, ["dev-a"])
    assert [u.id for u in utterances].count("21-1-0000") == 2


def test_the_same_name_in_two_formats_is_listed_twice(corpus):
    path = corpus.root / "dev-a" / "21" / "1" / "21-1-0000"
    path.with_suffix(".opus").write_bytes(path.with_suffix(".flac").read_bytes())
    utterances, _ = read_folder(corpus.root, ["dev-a"])
    assert [u.audio.suffix for u in utterances if u.id == "21-1-0000"] == [".flac", ".opus"]


def test_a_line_that_is_not_utf8_is_named_by_file_and_line(corpus):
    transcripts = corpus.root / "dev-a" / "21" / "1" / "21-1.trans.txt"
    lines = transcripts.read_bytes().splitlines()
    transcripts.write_bytes(lines[0] + b"\n" + lines[1].split()[0] + b" CAF\xc9\n")
    utterances, (problem,) = read_folder(corpus.root, ["dev-a"])
    assert problem.kind == "unreadable-text"
    assert f"{transcripts}, line 2" in problem.detail
    assert [u.text for u in utterances if u.id == "21-1-0001"] == [None]


def test_an_empty_transcript_stays_one(corpus):
    corpus.add("dev-a", "21", 8, "")
    utterances, _ = read_folder(corpus.root, ["dev-a"])
    assert [u.text for u in utterances if u.id == "21-1-0008"] == [""]


def test_linked_speakers_are_read_like_others_and_once(corpus, tmp_path):
    plain, _ = read_folder(corpus.root, ["dev-a"])
    (corpus.root / "dev-a" / "21").rename(tmp_path / "elsewhere")
    (corpus.root / "dev-a" / "21").symlink_to(tmp_path / "elsewhere")
    (corpus.root / "dev-a" / "circle").symlink_to(corpus.root / "dev-a")
    assert read_folder(corpus.root, ["dev-a"]) == (plain, [])


def test_a_speaker_that_cannot_be_read_is_an_error_that_names_the_folder(corpus, monkeypatch):
    closed, scandir = corpus.root / "dev-a" / "21", os.scandir

    def refuse(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match=f"cannot read the folder {closed}: Permission denied"):
            read_folder(corpus.root, ["dev-a"])
    shutil.rmtree(closed)
    closed.symlink_to(corpus.root / "nowhere")
    with pytest.raises(InputError, match=f"{closed} is a link that leads nowhere"):
        read_folder(corpus.root, ["dev-a"])


def test_files_that_macos_lays_beside_others_are_left_out(corpus):
    plain = read_folder(corpus.root, ["dev-a"])
    for path in list((corpus.root / "dev-a" / "21" / "1").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert read_folder(corpus.root, ["dev-a"]) == plain


def test_transcripts_that_cannot_be_opened_are_named(corpus):
    transcripts = corpus.root / "dev-a" / "21" / "1" / "21-1.trans.txt"
    transcripts.unlink()
    transcripts.symlink_to(corpus.root / "nowhere")
    utterances, (problem,) = read_folder(corpus.root, ["dev-a"])
    assert (problem.subject, problem.kind, problem.refused) == (str(transcripts), "unreadable-text", True)
    assert [u.id for u in utterances if u.text is None] == ["21-1-0000", "21-1-0001"]


def test_a_part_unpacked_one_folder_too_deep_is_not_taken_for_one_speaker(corpus):
    (corpus.root / "dev-b").mkdir()
    (corpus.root / "dev-a").rename(corpus.root / "dev-b" / "dev-b")
    with pytest.raises(InputError, match=r"dev-b/dev-b/21/1 is 3 folders below the part .*a folder too deep\?"):
        read_folder(corpus.root, ["dev-b"])


def test_a_missing_part_is_named_with_those_there_and_where_to_get_it(corpus):
    with pytest.raises(InputError, match=r"no part 'dev-clean' \(parts there: dev-a, train-a\); --download fetches it"):
        read_folder(corpus.root, ["dev-clean"])
    with pytest.raises(InputError, match=r"no part 'mine' \(parts there: 1\)$"):
        read_folder(corpus.root / "dev-a" / "21", ["mine"])
    with pytest.raises(InputError, match="there is no folder .*nowhere"):
        read_folder(corpus.root / "nowhere", ["dev-clean"])


def test_a_part_without_audio_is_refused(corpus):
    (corpus.root / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no audio"):
        read_folder(corpus.root, ["empty"])


def test_a_piece_of_an_official_part_is_pointed_out_and_not_refused(corpus):
    corpus.add("dev-clean", "84", 0)
    _, (problem,) = read_folder(corpus.root, ["dev-clean"])
    assert (problem.subject, problem.kind, problem.refused) == ("dev-clean", "incomplete-part", False)
    assert "1 of the 2703" in problem.detail


def test_without_parts_those_there_are_listed(corpus):
    with pytest.raises(InputError, match=r"--train, --dev or --test; parts in .*: dev-a, train-a"):
        librispeech.read(_options(corpus.root, ()))


def test_every_part_has_a_sum_and_a_resource():
    assert set(OFFICIAL_UTTERANCES) == set(ARCHIVES)
    for name, (path, md5) in ARCHIVES.items():
        assert path in (f"12/{name}.tar.gz", f"31/{name}.tar.gz")
        assert len(bytes.fromhex(md5)) == 16
    assert len({md5 for _, md5 in ARCHIVES.values()}) == len(ARCHIVES)


@pytest.fixture
def published(corpus, server, monkeypatch, tmp_path):
    """dev-clean-2 as an archive on the local server, with its sum; the folder is gone."""
    path = corpus.add("dev-clean-2", "84", 0, "OVER THE LINE")
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as tar:
        tar.add(corpus.root / "dev-clean-2", "LibriSpeech/dev-clean-2")
    server.content = (tmp_path / "made.tar.gz").read_bytes()
    monkeypatch.setitem(ARCHIVES, "dev-clean-2", Archive("31/dev-clean-2.tar.gz", server.md5))
    return path.read_bytes()


def test_a_part_is_fetched_checked_unpacked_and_read(published, server, tmp_path):
    options = _options(tmp_path / "to", ["dev-clean-2"], download=True, base_url=f"{server.url}/resources/")
    (utterance,), _ = librispeech.read(options)
    assert server.requests[0][0] == "/resources/31/dev-clean-2.tar.gz"
    assert (utterance.id, utterance.text) == ("84-1-0000", "OVER THE LINE")
    assert utterance.audio == tmp_path / "to/LibriSpeech/dev-clean-2/84/1/84-1-0000.flac"
    assert utterance.audio.read_bytes() == published
    assert (tmp_path / "to" / "dev-clean-2.tar.gz").exists()
    librispeech.read(options)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["LibriSpeech", "libri"])
def test_a_part_is_fetched_to_the_parts_that_are_there(published, server, corpus, tmp_path, name):
    source = tmp_path / "corpora" / name
    shutil.copytree(corpus.root, source, ignore=shutil.ignore_patterns("dev-clean-2"))
    options = _options(source, ["train-a", "dev-clean-2"], download=True, base_url=server.url)
    utterances, _ = librispeech.read(options)
    assert {u.audio.relative_to(source).parts[0] for u in utterances} == {"train-a", "dev-clean-2"}
    assert not (source / "LibriSpeech").exists()
    assert len(read_folder(source, ["train-a"])[0]) == 12


def test_a_part_that_a_former_version_put_one_folder_too_deep_does_not_hide_the_others(corpus):
    (corpus.root / "LibriSpeech").mkdir()
    (corpus.root / "dev-a").rename(corpus.root / "LibriSpeech" / "dev-a")
    assert len(read_folder(corpus.root, ["train-a"])[0]) == 12


def test_an_empty_folder_that_is_called_librispeech_gets_the_parts_themselves(published, server, tmp_path):
    source = tmp_path / "to" / "LibriSpeech"
    librispeech.read(_options(source, ["dev-clean-2"], download=True, base_url=server.url))
    assert sorted(path.name for path in source.iterdir()) == ["dev-clean-2", "dev-clean-2.tar.gz"]


def test_a_download_goes_on_where_it_broke_off_although_other_parts_have_come(published, server, tmp_path, answer):
    options = _options(tmp_path / "to", ["dev-clean-2"], download=True, base_url=server.url)
    server.script = [answer(cut=100), answer(status=404)]
    with pytest.raises(InputError, match="404"):
        librispeech.read(options)
    (tmp_path / "to" / "LibriSpeech" / "train-clean-5").mkdir(parents=True)
    librispeech.read(options)
    assert server.requests[-1][1]["Range"] == "bytes=100-"
    assert (tmp_path / "to" / "LibriSpeech" / "dev-clean-2" / "84").is_dir()


def test_what_a_part_that_is_there_lacks_is_said(corpus, capsys):
    corpus.add("dev-clean-2", "84", 0)
    librispeech.read(_options(corpus.root, ["dev-clean-2", "dev-a"], download=True))
    lines = capsys.readouterr().err.splitlines()
    part = corpus.root / "dev-clean-2"
    assert lines[0] == (
        f"dev-clean-2: already in {corpus.root}, without 1088 of its 1089 utterances; "
        f"move {part} away to fetch all of them"
    )
    assert lines[1] == f"dev-a: already in {corpus.root}"


def test_archives_are_removed_on_request(published, server, tmp_path):
    options = _options(tmp_path / "to", ["dev-clean-2"], download=True, base_url=server.url, remove_archives=True)
    librispeech.read(options)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["LibriSpeech"]


def test_an_archive_laid_there_by_hand_is_checked_and_used(published, server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "dev-clean-2.tar.gz").write_bytes(server.content)
    librispeech.read(_options(tmp_path / "to", ["dev-clean-2"], download=True, base_url=server.url))
    assert server.requests == []


def test_a_part_that_cannot_be_downloaded_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"no part 'dev-dirty' of LibriSpeech \(known: train-clean-100"):
        librispeech.read(_options(tmp_path, ["dev-dirty"], download=True))


def test_real_parts_are_read_whole(corpora):
    folder = corpora / "LibriSpeech" / "train-clean-5"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    utterances, problems = read_folder(corpora, ["train-clean-5"])
    assert len(utterances) == OFFICIAL_UTTERANCES["train-clean-5"]
    assert len({u.speaker for u in utterances}) == 28
    assert problems == []
    assert all(u.text and u.id.startswith(f"{u.speaker}-") for u in utterances)
