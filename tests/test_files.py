"""Files are whole or absent: on exceptions, on a full disk, and when the process is killed."""

import errno
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from asr.errors import InputError
from asr.files import atomic_writer, read_json, read_jsonl, write_json, write_jsonl, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_appears_under_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"
    with atomic_writer(path) as file:
        file.write(b"first half, ")
        file.flush()
        assert not path.exists()
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert names(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("error", [ValueError("bad row"), KeyboardInterrupt(), InputError("bad input")])
def test_an_exception_in_the_block_leaves_the_former_content_and_passes_through(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "result.txt"
    write_text(path, "former")

    def write() -> None:
        with atomic_writer(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert path.read_text() == "former"
    assert names(tmp_path) == ["result.txt"]


def test_a_file_that_cannot_be_read_meanwhile_is_not_taken_for_the_one_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"):
        write_jsonl(tmp_path / "rows.jsonl", (path.read_text() for path in [tmp_path / "source"]))
    assert names(tmp_path) == []


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "rows.jsonl.gz", (1 // number for number in (2, 1, 0)))
    assert names(tmp_path) == []


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=rf"cannot write {tmp_path}/taken/deep/x\.json: .*(directory|exists)"):
        write_json(tmp_path / "taken" / "deep" / "x.json", {})
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*x\.json: Is a directory"):
        write_json(tmp_path / "x.json", {})
    assert names(tmp_path) == ["x.json"]


def test_files_get_the_permissions_of_ordinary_ones(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_full_disk_is_an_error_that_names_the_path_and_keeps_the_former_content(tmp_path: Path) -> None:
    for name in ("cuts.jsonl", "cuts.jsonl.gz"):
        write_jsonl(tmp_path / name, [{"former": True}])
    code = """
        import random, resource, sys
        from asr.errors import InputError
        from asr.files import write_jsonl
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        random.seed(0)
        for path in sys.argv[1:]:
            try:
                write_jsonl(path, ({"id": random.random()} for _ in range(10_000)))
            except InputError as error:
                print(error)
    """
    done = run(code, tmp_path / "cuts.jsonl", tmp_path / "cuts.jsonl.gz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"cannot write {tmp_path / 'cuts.jsonl'}: {os.strerror(errno.EFBIG)}",
        f"cannot write {tmp_path / 'cuts.jsonl.gz'}: {os.strerror(errno.EFBIG)}",
    ]
    for name in ("cuts.jsonl", "cuts.jsonl.gz"):
        assert list(read_jsonl(tmp_path / name)) == [{"former": True}]
    assert names(tmp_path) == ["cuts.jsonl", "cuts.jsonl.gz"]


def test_no_space_left_when_the_content_reaches_the_disk_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "x.txt", "former")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.txt: No space left on device"):
        write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "former"
    assert names(tmp_path) == ["x.txt"]


def test_a_killed_process_leaves_the_former_content(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "former")
    code = """
        import os, signal, sys
        from asr.files import atomic_writer
        with atomic_writer(sys.argv[1]) as file:
            file.write(b"half of the n")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(code, tmp_path / "x.txt").returncode == -signal.SIGKILL
    assert (tmp_path / "x.txt").read_text() == "former"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_and_equal_rows_give_equal_bytes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": "ä", "n": 1.5}, [1, None], "text"]
    write_jsonl(tmp_path / "a" / name, rows)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_jsonl(tmp_path / "b" / f"other-{name}", rows)
    assert list(read_jsonl(tmp_path / "a" / name)) == rows
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / f"other-{name}").read_bytes()


def test_gzipped_rows_are_read_by_gzip_and_json(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl.gz", [{"a": 1}, {"b": "é"}])
    lines = gzip.decompress((tmp_path / "rows.jsonl.gz").read_bytes()).decode("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1}, {"b": "é"}]


def test_json_comes_back_and_ends_with_a_newline(tmp_path: Path) -> None:
    value = {"wer": 0.125, "name": "é", "list": [1, None, True]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_never_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": value})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "x.jsonl", [value])
    assert names(tmp_path) == []


def test_blank_lines_are_passed_over_and_a_bad_line_is_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"b": \n')
    rows = read_jsonl(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(InputError, match=r"rows\.jsonl, line 3, is not valid JSON"):
        next(rows)


def test_a_line_that_is_not_utf8_is_named_by_number(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n{"b": "\xff"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: content[:30],
        lambda content: content[:-8] + b"\0" * 8,
        lambda content: content[:10] + b"\xff" + content[11:],
        lambda _: b"no",
    ],
    ids=["truncated", "cut in the header", "wrong checksum", "no such kind of block", "not gzip"],
)
def test_a_damaged_gzip_file_is_an_error_that_names_it(tmp_path: Path, damage) -> None:
    path = tmp_path / "rows.jsonl.gz"
    write_jsonl(path, [{"id": index} for index in range(1000)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"cannot read .*rows\.jsonl\.gz(?: after line \d+)?: "):
        list(read_jsonl(path))


def test_missing_files_and_folders_in_their_place_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"cannot read .*gone\.jsonl: No such file"):
        list(read_jsonl(tmp_path / "gone.jsonl"))
    with pytest.raises(InputError, match="Is a directory"):
        read_json(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")
