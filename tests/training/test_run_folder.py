from pathlib import Path

import pytest

from asr.errors import InputError
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
