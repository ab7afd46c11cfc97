"""Provenance: the commit is git's own, and only that of the package's own checkout."""

import importlib.metadata
import json
import os
import subprocess

import pytest
import torch

from asr import provenance as provenance_module
from asr.provenance import commit, cpu_model, installed_version, provenance


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    run = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "file").write_text("one")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "Add a file")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout):
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_changed_tracked_file_makes_the_commit_dirty_and_an_untracked_one_does_not(checkout):
    (checkout / "results.txt").write_text("new")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")
    (checkout / "file").write_text("two")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_folder_inside_another_repository_has_no_commit(checkout):
    (checkout / "site-packages").mkdir()
    assert commit(checkout / "site-packages") is None


def test_the_environment_of_a_git_hook_does_not_change_the_commit(checkout, monkeypatch):
    expected = commit(checkout)
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))
    assert commit(checkout) == expected is not None


def test_no_repository_no_first_commit_and_no_git_give_no_commit(tmp_path, monkeypatch):
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) is None


def test_provenance_is_plain_data_and_names_what_is_installed():
    record = provenance()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"]["jiwer"] == importlib.metadata.version("jiwer")
    assert record["threads"] == torch.get_num_threads()
    assert record["cores"] >= 1


def test_a_missing_package_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance_module, "PACKAGES", ("no-such-distribution",))
    assert installed_version("no-such-distribution") is None
    assert provenance()["versions"]["no-such-distribution"] is None


def test_the_processor_is_named_also_where_cpuinfo_is_missing_or_silent(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU: fast\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU: fast"
    (tmp_path / "silent").write_text("processor\t: 0\n")
    assert cpu_model(tmp_path / "silent") == cpu_model(tmp_path / "missing") != ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", "A CPU, AMX"),
        ("fpu avx2 avx512f avx512_bf16", "A CPU, AVX512-BF16"),
        ("fpu avx2 avx512f", "A CPU, AVX512"),
        ("fpu avx2", "A CPU, AVX2"),
        ("fpu avx2x", "A CPU"),
    ],
)
def test_processors_of_one_name_are_told_apart_by_their_instructions(tmp_path, flags, said):
    (tmp_path / "cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n\nmodel name\t: Another\n")
    assert cpu_model(tmp_path / "cpuinfo") == said
