"""Tables and folders of any corpus, with every malformed row named by its line."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.errors import InputError
from data_prep import table
from data_prep.table import Layout, read_folder, read_table
from data_prep.utterance import Problem, Utterance


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def details(problems: list[Problem]) -> list[str]:
    assert all(p.refused and p.kind == "bad-row" for p in problems)
    return [f"{p.subject}: {p.detail}" for p in problems]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", 'audio,text,speaker,split\na/1.wav,"Yes, ""sir""",ann,train\nb/2.flac,No,bob,test\n'),
        ("c.tsv", 'audio\ttext\tspeaker\tsplit\r\na/1.wav\tYes, "sir"\tann\ttrain\r\nb/2.flac\tNo\tbob\ttest\r\n'),
        (
            "c.jsonl",
            '{"audio": "a/1.wav", "text": "Yes, \\"sir\\"", "speaker": "ann", "split": "train"}\n\n'
            '{"text": "No", "audio": "b/2.flac", "split": "test", "speaker": "bob"}\n',
        ),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with byte order mark"])
def test_the_same_table_in_every_format_gives_the_same_utterances(
    tmp_path: Path, name: str, content: str, mark: bytes
) -> None:
    utterances, problems = read_table(write(tmp_path / name, mark + content.encode()))
    assert problems == []
    assert utterances == [
        Utterance("a-1", tmp_path / "a/1.wav", 'Yes, "sir"', "ann", "train"),
        Utterance("b-2", tmp_path / "b/2.flac", "No", "bob", "test"),
    ]


def test_other_column_names_are_known_or_can_be_given(tmp_path: Path) -> None:
    rows = "client_id,path,sentence,age\n7,x.mp3,Good day,30\n"
    assert read_table(write(tmp_path / "cv.csv", rows))[0][0].speaker == "7"
    rows = "Datei;,Satz,Wer\nx.wav,Guten Tag,7\n".replace(";", "")
    columns = {"audio": "Datei", "text": "Satz", "speaker": "Wer"}
    (utterance,), _ = read_table(write(tmp_path / "de.csv", rows), Layout(columns))
    assert (utterance.audio, utterance.text, utterance.speaker) == (tmp_path / "x.wav", "Guten Tag", "7")


def test_segments_have_ids_of_their_own_and_whole_files_ignore_a_duration(tmp_path: Path) -> None:
    rows = "audio,text,start,duration\nt.wav,one,0,1.5\nt.wav,two,1.5,2\nt.wav,three,3.5,\nw.wav,four,,9\n"
    utterances, problems = read_table(write(tmp_path / "c.csv", rows))
    assert problems == []
    assert [(u.id, u.start, u.duration) for u in utterances] == [
        ("t-0000000", 0.0, 1.5),
        ("t-0001500", 1.5, 2.0),
        ("t-0003500", 3.5, None),
        ("w", 0.0, None),
    ]
    manifest = '{"audio_filepath": "/data/a.wav", "duration": 3.21, "text": "nemo"}\n'
    (utterance,), _ = read_table(write(tmp_path / "n.jsonl", manifest))
    assert (utterance.id, utterance.audio, utterance.duration) == ("data-a", Path("/data/a.wav"), None)


def test_audio_paths_can_start_at_another_folder_and_tell_the_speaker(tmp_path: Path) -> None:
    layout = Layout(audio_root=Path("/clips"), speaker_pattern=r"^([a-z]+)/", part="train")
    rows = "id,audio,text\nu1,ann/1.wav,yes\nu2,1.wav,no\n"
    utterances, _ = read_table(write(tmp_path / "c.csv", rows), layout)
    assert [(u.id, str(u.audio), u.speaker, u.part) for u in utterances] == [
        ("u1", "/clips/ann/1.wav", "ann", "train"),
        ("u2", "/clips/1.wav", None, "train"),
    ]


def test_a_missing_transcript_is_told_from_an_empty_one(tmp_path: Path) -> None:
    rows = '{"audio": "a.wav", "text": null}\n{"audio": "b.wav", "text": ""}\n{"audio": "c.wav", "text": 42}\n'
    utterances, _ = read_table(write(tmp_path / "c.jsonl", rows))
    assert [u.text for u in utterances] == [None, "", "42"]


def test_nan_is_an_empty_cell_as_pandas_writes_it_and_infinity_is_none(tmp_path: Path) -> None:
    rows = '{"audio": "a.wav", "text": NaN, "speaker": NaN, "start": NaN}\n{"audio": "b.wav", "text": Infinity}\n'
    path = write(tmp_path / "c.jsonl", rows)
    utterances, problems = read_table(path)
    assert utterances == [Utterance("a", tmp_path / "a.wav", None, None, "all")]
    assert details(problems) == [f"{path}, line 2: 'text' must be text or a finite number, got inf"]


def test_every_malformed_row_of_a_csv_is_named_by_the_line_it_begins_in(tmp_path: Path) -> None:
    rows = [
        "audio,text,start,duration",
        "ok.wav,fine,,",
        "short.wav",
        'two.wav,"a text\nover two lines",,',
        ",no audio,,",
        "",
        "late.wav,x,soon,",
        "early.wav,x,-1,",
        "empty.wav,x,0,0",
        "endless.wav,x,0,inf",
        "wide.wav,x,,,,",
    ]
    path = write(tmp_path / "c.csv", "\n".join(rows))
    utterances, problems = read_table(path)
    assert [u.text for u in utterances] == ["fine", "a text\nover two lines"]
    assert details(problems) == [
        f"{path}, line 3: 1 cells, and the header has 4",
        f"{path}, line 6: no audio path in 'audio'",
        f"{path}, line 8: 'start' must be a number of seconds, got 'soon'",
        f"{path}, line 9: 'start' must be at least 0 seconds and finite, got '-1'",
        f"{path}, line 10: 'duration' must be at least 0.001 seconds and finite, got '0'",
        f"{path}, line 11: 'duration' must be at least 0.001 seconds and finite, got 'inf'",
        f"{path}, line 12: 6 cells, and the header has 4",
    ]


def test_every_malformed_line_of_json_lines_is_named(tmp_path: Path) -> None:
    lines = ['{"audio": "a.wav", "text": "x"}', "{", '["a.wav"]', '{"audio": "b.wav"}', '{"audio": ["b"], "text": ""}']
    lines += ['{"audio": true, "text": ""}', '{"audio": null, "text": ""}']
    utterances, problems = read_table(write(tmp_path / "c.jsonl", "\n".join(lines)))
    assert [u.id for u in utterances] == ["a"]
    assert [p.subject for p in problems] == [f"{tmp_path}/c.jsonl, line {n}" for n in range(2, 8)]
    for reason, detail in zip(
        ("not JSON", "but list", "no column for the text", "got ['b']", "got True", "no audio path"),
        details(problems),
        strict=True,
    ):
        assert reason in detail


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("c.csv", "", "has no rows"),
        ("c.csv", "audio,text\n", "has no rows"),
        (
            "c.csv",
            "audio,words\n",
            r"line 1: no column for the text \(text, .*\), but 'audio', 'words'; .*--text-column",
        ),
        ("c.csv", "audio,text,text\n", "line 1: the column 'text' occurs twice"),
        (
            "c.csv",
            "audio,path,text\n",
            "line 1: the columns audio, path may all be the audio: name one, --audio-column",
        ),
        ("c.csv", 'audio,text\na.wav,"never closed\n', r"the row that begins in line 2 cannot be read"),
        ("c.jsonl", "{}\n", "line 1: no column for the audio"),
        ("c.tsv", b"audio\ttext\na.wav\tgr\xfcn\n", r"c\.tsv, line 2, is not UTF-8 \(byte 0xFC\)"),
        ("c.tsv", "audio\ttext\n".encode("utf-16"), "is UTF-16"),
        ("c.xlsx", b"PK", r"c\.xlsx is not a table known here \(\.csv, \.tsv, \.jsonl\)"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_with_its_reason(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read_table(write(tmp_path / name, content))


def test_a_missing_table_and_a_missing_given_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.csv"):
        read_table(tmp_path / "gone.csv")
    path = write(tmp_path / "c.csv", "audio,text\na.wav,x\n")
    with pytest.raises(InputError, match="no column 'words', but 'audio', 'text'; name it, --text-column"):
        read_table(path, Layout({"text": "words"}))


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(", "no regular expression"), ("a", "it has 0"), ("(a)(b)", "it has 2")]
)
def test_a_speaker_pattern_needs_one_group(pattern: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"--speaker-pattern.*{reason}"):
        Layout(speaker_pattern=pattern)


# ---- folders


def audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(1600, 0.1), 16000)
    return path


def test_transcripts_lie_beside_their_audio_in_three_forms(tmp_path: Path) -> None:
    for name in ("ann/1.wav", "ann/2.flac", "bob/3.wav", "bob/4.wav", "bob/5.wav"):
        audio(tmp_path / name)
    write(tmp_path / "ann/1.txt", "\ufeffYes.\n")
    write(tmp_path / "ann/2.lab", "No")
    write(tmp_path / "bob/b.trans.txt", "3 MAY BE\n\n4 OF COURSE\n")
    write(tmp_path / "README.txt", "about")
    write(tmp_path / ".hidden/x.txt", "hidden")
    utterances, problems = read_folder(tmp_path, Layout(speaker_pattern="([^/]+)/[^/]+$"))
    assert problems == []
    assert [(u.id, u.text, u.speaker, u.part) for u in utterances] == [
        ("ann-1", "Yes.\n", "ann", "all"),
        ("ann-2", "No", "ann", "all"),
        ("bob-3", "MAY BE", "bob", "all"),
        ("bob-4", "OF COURSE", "bob", "all"),
        ("bob-5", None, "bob", "all"),
    ]


def test_folders_called_train_dev_and_test_are_parts(tmp_path: Path) -> None:
    for name in ("train/a/1.wav", "dev/2.wav", "extra/3.wav", "4.wav"):
        audio(tmp_path / name)
    assert {u.id: u.part for u in read_folder(tmp_path)[0]} == {
        "train-a-1": "train",
        "dev-2": "dev",
        "extra-3": "extra",
        "4": "all",
    }


def test_transcripts_without_audio_or_that_disagree_or_cannot_be_read_are_named(tmp_path: Path) -> None:
    audio(tmp_path / "a/1.wav")
    audio(tmp_path / "a/2.wav")
    write(tmp_path / "a/1.txt", "one")
    write(tmp_path / "a/1.lab", "uno")
    write(tmp_path / "a/2.txt", b"zw\xf6lf")
    write(tmp_path / "a/lost.txt", "nobody says this")
    utterances, problems = read_folder(tmp_path)
    assert [u.text for u in utterances] == ["uno", None]
    assert sorted((p.subject, p.kind, p.refused) for p in problems) == [
        ("a-1", "unreadable-text", True),
        ("a-2", "unreadable-text", True),
        ("a-lost", "missing-audio", True),
    ]
    assert any("line 1, is not UTF-8 (byte 0xF6)" in p.detail for p in problems)


def test_linked_folders_are_read_once_even_in_a_circle(tmp_path: Path) -> None:
    audio(tmp_path / "corpus/a/1.wav")
    audio(tmp_path / "elsewhere/2.wav")
    (tmp_path / "corpus/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus/a/circle").symlink_to(tmp_path / "corpus")
    assert [u.id for u in read_folder(tmp_path / "corpus")[0]] == ["a-1", "linked-2"]


def test_folders_that_cannot_be_read_are_errors_that_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio(tmp_path / "ann/1.wav")
    audio(tmp_path / "bob/2.wav")
    scandir = os.scandir

    def refuse(path: Path | str) -> object:
        if Path(path) == tmp_path / "bob":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match=f"cannot read the folder {tmp_path}/bob: Permission denied"):
            read_folder(tmp_path)
    (tmp_path / "eve").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"{tmp_path}/eve is a link that leads nowhere"):
        read_folder(tmp_path)


def test_an_output_folder_within_the_corpus_is_not_read_as_part_of_it(tmp_path: Path) -> None:
    audio(tmp_path / "1.wav")
    audio(tmp_path / "out/audio/1-copy.flac")
    write(tmp_path / "out/verification.txt", "a report")
    utterances, problems = read_folder(tmp_path, skip=tmp_path / "elsewhere" / ".." / "out")
    assert ([u.id for u in utterances], problems) == (["1"], [])


def test_a_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    with pytest.raises(InputError, match="holds no audio"):
        read_folder(tmp_path)


# ---- command line


def options(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    table.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_command_line_options_reach_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", json.dumps({"f": "ann/1.wav", "t": "yes", "d": 1, "s": 2.5, "w": "dev"}))
    given = ("--audio-column", "f", "--text-column", "t", "--start-column", "s", "--duration-column", "d")
    (utterance,), _ = table.read(
        options(path, *given, "--split-column", "w", "--audio-root", "/r", "--speaker-pattern", "(.*)/")
    )
    assert utterance == Utterance("ann-1-0002500", Path("/r/ann/1.wav"), "yes", "ann", "dev", start=2.5, duration=1.0)


def test_table_options_for_a_folder_are_refused(tmp_path: Path) -> None:
    audio(tmp_path / "1.wav")
    assert len(table.read(options(tmp_path))[0]) == 1
    for option in ("--text-column", "--audio-root"):
        with pytest.raises(InputError, match=f"{option} is for tables"):
            table.read(options(tmp_path, option, "x"))
