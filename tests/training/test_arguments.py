from pathlib import Path

import pytest
import yaml

from asr.cli import main
from asr.errors import InputError
from asr.training.arguments import with_merged_files


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("data: {root: corpus, num_workers: 1}\n")
    path = tmp_path / "a=b.yaml"
    path.write_text("base: base.yaml\ndata: {num_workers: 2}\n")
    return path


@pytest.mark.parametrize("form", ["-c FILE", "-cFILE", "-c=FILE", "--config FILE", "--config=FILE"])
def test_a_file_comes_with_its_bases_however_it_is_given(experiment: Path, form: str) -> None:
    given = [part.replace("FILE", str(experiment)) for part in form.split()]
    *before, file, after = with_merged_files(["--seed", "1", *given, "--run=x"])
    assert (before, after) == (["--seed", "1"], "--run=x")
    flag, _, text = file.partition("=")
    assert flag == "--config"
    assert yaml.safe_load(text) == {"data": {"root": "corpus", "num_workers": 2}}


def test_each_of_two_files_stays_in_its_place(experiment: Path) -> None:
    first, seed, second = with_merged_files(["-c", str(experiment), "--seed=1", f"-c{experiment}"])
    assert (first, seed) == (second, "--seed=1")


@pytest.mark.parametrize("flag", ["-c", "--config"])
def test_a_flag_without_its_file_is_named(flag: str) -> None:
    with pytest.raises(InputError, match=f"{flag} needs a file"):
        with_merged_files(["--seed", "1", flag])


def test_a_shortened_flag_is_refused_instead_of_losing_the_base(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--conf", str(experiment), "--print_config"])
    assert stop.value.code == 2
    assert "--conf" in capsys.readouterr().err
