import contextlib
from pathlib import Path

import pytest

from asr.errors import InputError
from asr.files import write_text
from asr.training.run_folder import RunFolder


def test_a_second_run_moves_the_first_aside_and_destroys_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for content in ("first", "second"):
        with folder.claimed(new=True):
            assert not (folder.path / "config.yaml").exists()
            folder.write_config(content)
    with folder.claimed(new=True):
        pass
    assert (folder.path / "earlier" / "1" / "config.yaml").read_text() == "first"
    assert (folder.path / "earlier" / "2" / "config.yaml").read_text() == "second"


def test_a_resumed_run_stays_where_it_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claimed(new=True):
        folder.write_config("first")
    with folder.claimed(new=False):
        assert (folder.path / "config.yaml").read_text() == "first"


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("run/checkpoints/last.ckpt", True),
        ("run/copy.ckpt", True),
        ("link/checkpoints/last.ckpt", True),
        ("run/earlier/1/checkpoints/last.ckpt", False),
        ("other/checkpoints/last.ckpt", False),
        ("run/../other/checkpoints/last.ckpt", False),
        ("nowhere/last.ckpt", False),
    ],
)
def test_a_folder_holds_what_lies_in_it_and_is_not_of_an_earlier_run(tmp_path: Path, path: str, held: bool) -> None:
    for folder in ("run/checkpoints", "run/earlier/1/checkpoints", "other/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert RunFolder(tmp_path / "run").holds(tmp_path / path) is held
    assert not RunFolder(tmp_path / "new").holds(tmp_path / path)


def content(folder: RunFolder) -> dict[str, str]:
    files = [path for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder.path)): path.read_text() for path in files}


@pytest.mark.parametrize("failure", [InputError("bad option"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("runs", [0, 1, 2])
def test_a_start_that_fails_leaves_the_folder_as_it_was(tmp_path: Path, runs: int, failure: BaseException) -> None:
    folder = RunFolder(tmp_path / "run")
    for number in range(runs):
        with folder.claimed(new=True):
            folder.write_config(str(number))
            write_text(folder.path / "checkpoints" / "last.ckpt", str(number))
    before = content(folder)
    with contextlib.suppress(type(failure)), folder.claimed(new=True):
        folder.write_config("failed")
        write_text(folder.path / "logs" / "events", "failed")
        raise failure
    assert content(folder) == before
    assert (folder.path / "earlier").exists() == (runs > 1)


def test_a_run_that_had_begun_stays_however_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for number in range(2):
        with contextlib.suppress(InputError), folder.claimed(new=True):
            folder.write_config(str(number))
            folder.begin()
            raise InputError("the loss is not finite")
    assert content(folder) == {"config.yaml": "1", "earlier/1/config.yaml": "0"}


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claimed(new=True):
        folder.write_config("first")
        with pytest.raises(InputError, match="another training is under way"), RunFolder(folder.path).claimed(new=True):
            pass
        assert (folder.path / "config.yaml").read_text() == "first"


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with (
        pytest.raises(InputError, match=r"--run .*run: cannot use this folder"),
        RunFolder(tmp_path / "run").claimed(True),
    ):
        pass
