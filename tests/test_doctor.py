"""The doctor finds what is broken, says what to do, and its exit code tells."""

import importlib.metadata
import json
import sys

import pytest
import soundfile
import torch

from asr import doctor
from asr.cli import main as asr_main
from asr.doctor import (
    Finding,
    check_compiler,
    check_devices,
    check_engines,
    check_requirements,
    check_shared_memory,
    check_torch_pair,
    examine,
    judge_version,
    main,
    pair_advice,
    round_trip,
)
from asr.grid.engines import ENGINES
from asr.grid.native.build import unavailable


def test_nothing_that_is_needed_is_broken_where_the_tests_run(capsys):
    assert asr_main(["doctor", "--json"]) == 0
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["torch"]["detail"].startswith(torch.__version__)
    assert findings["audio FLAC"]["state"] == findings["audio OGG Opus"]["state"] == "ok"
    assert findings["libsndfile"]["detail"].startswith(soundfile.__libsndfile_version__)
    assert f"{torch.get_num_threads()} threads" in findings["cpu"]["detail"]
    assert "jiwer " + importlib.metadata.version("jiwer") in findings["packages"]["detail"]


def test_a_broken_finding_is_printed_with_its_advice_and_the_exit_code_is_1(monkeypatch, capsys):
    findings = [Finding("a", "ok", "fine"), Finding("bee", "broken", "is bent", "straighten it")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok  a    fine"
    assert lines[1].startswith("!!  bee  is bent")
    assert lines[2].split() == ["->", "straighten", "it"]
    assert lines[-1] == "1 of 2 checks failed"


def test_what_is_optional_and_missing_does_not_change_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("gpu", "missing", "none")])
    assert main([]) == 0
    assert capsys.readouterr().out == "--  gpu  none\n\nall that is needed works\n"


def test_a_check_that_fails_is_a_finding_and_the_others_are_made(monkeypatch):
    monkeypatch.setattr(doctor, "check_engines", lambda: 1 / 0)
    findings = {finding.name: finding for finding in examine()}
    assert (findings["<lambda>"].state, findings["<lambda>"].detail) == (
        "broken",
        "ZeroDivisionError: division by zero",
    )
    assert findings["audio WAV"].state == "ok"


@pytest.mark.parametrize(
    ("version", "wanted", "state", "said"),
    [
        ("2.11.0", "torch==2.11.0", "ok", "2.11.0"),
        ("2.11.0+cpu", "torch==2.11.0", "ok", "2.11.0+cpu"),
        ("2.10.0", "torch==2.11.0", "broken", "2.10.0 is installed, and torch==2.11.0 is needed"),
        (None, "torch==2.11.0", "broken", "is not installed"),
    ],
)
def test_versions_are_judged_by_what_is_declared(version, wanted, state, said):
    finding = judge_version("torch", version, wanted)
    assert (finding.state, finding.detail) == (state, said)
    assert finding.advice == ("" if state == "ok" else "pip install 'torch==2.11.0'")


def test_a_malicious_upload_is_named_as_such():
    finding = judge_version("lightning", "2.6.3", "lightning>=2.6.6,<2.7")
    assert finding.state == "broken"
    assert "malicious" in finding.detail
    assert "change every password" in finding.advice


def test_a_missing_requirement_is_found_and_those_of_extras_are_not_asked_for(monkeypatch):
    declared = ["torch==2.11.0", "no-such-distribution>=1", 'ruff>=0.9; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    packages, bad = check_requirements()
    assert packages.detail.startswith("torch ")
    assert (bad.name, bad.detail) == ("no-such-distribution", "is not installed")


def test_a_project_that_is_not_installed_is_told_how_to_be(monkeypatch):
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-distribution")
    [finding] = check_requirements()
    assert (finding.state, finding.advice) == ("missing", "install the project: pip install -e .")


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (("2.11.0", "2.11.0"), None),
        (("2.11.0+cpu", "2.11.0"), None),
        (("2.11.0", None), None),
        (("2.11.0", "2.9.1"), "2.11.0 and 2.9.1 are no pair"),
        (("2.11.0+cpu", "2.11.0+cu130"), "builds differ: 2.11.0+cpu and 2.11.0+cu130"),
    ],
)
def test_torch_and_torchaudio_must_be_a_pair(pair, problem):
    finding = pair_advice(*pair)
    assert (finding and finding.detail) == problem
    assert finding is None or "torch==2.11.0 torchaudio==2.11.0, both from one index" in finding.advice


def test_a_torchaudio_that_cannot_be_imported_is_broken_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    torch_finding, finding = check_torch_pair()
    assert torch_finding.state == "ok"
    assert (finding.name, finding.state) == ("torchaudio", "broken")
    assert finding.detail.startswith("cannot be imported: ModuleNotFoundError")
    assert "same index" in finding.advice


def test_a_wrong_pair_is_the_cause_named_when_the_import_fails(monkeypatch):
    versions = {"torch": "2.11.0", "torchaudio": "2.9.0"}
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    assert [finding.name for finding in check_torch_pair()] == ["torch", "torchaudio", "torch and torchaudio"]
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    [finding] = check_torch_pair()
    assert finding.detail == "2.11.0 and 2.9.0 are no pair"


def test_gpus_are_reported_or_said_to_be_absent():
    gpu = [finding for finding in check_devices() if finding.name.startswith("gpu")]
    assert len(gpu) == max(1, torch.cuda.device_count())
    assert gpu[0].state == ("ok" if torch.cuda.is_available() else "missing")


def test_little_shared_memory_is_said_with_advice(tmp_path):
    assert check_shared_memory(tmp_path / "nowhere") == []
    assert check_shared_memory(tmp_path, least=0.0)[0].state == "ok"
    [finding] = check_shared_memory(tmp_path, least=float("inf"))
    assert (finding.state, "--shm-size" in finding.advice) == ("missing", True)


@pytest.mark.parametrize(("needed", "state"), [(True, "broken"), (False, "missing")])
def test_a_format_that_cannot_be_written_is_broken_only_if_needed(tmp_path, needed, state):
    finding = round_trip("FLAC", tmp_path, "flac", "NO_SUCH_SUBTYPE", needed)
    assert (finding.name, finding.state) == ("audio FLAC", state)
    assert "soundfile" in finding.advice


def test_audio_that_comes_back_as_something_else_is_found(tmp_path, monkeypatch):
    write = soundfile.write
    monkeypatch.setattr(soundfile, "write", lambda path, x, rate, subtype: write(path, x[::-1] ** 2, rate, subtype))
    finding = round_trip("WAV", tmp_path, "wav", "PCM_16", True)
    assert finding.state == "broken"
    assert "similarity" in finding.detail


def test_engines_are_listed_with_the_one_that_is_chosen():
    listed, _, chosen = check_engines()[0].detail.partition("; auto is ")
    assert listed.split(", ") == list(ENGINES)
    assert chosen in ENGINES


@pytest.mark.parametrize(("way", "said"), [("widened", "saves memory, no time"), ("fastest", "bf16-mixed")])
def test_what_bfloat16_brings_on_this_processor_is_said_where_the_kernel_is(way, said, monkeypatch):
    monkeypatch.setenv("ASR_GRID_PRODUCTS", way)
    _, *others = check_engines()
    assert len(others) == int(unavailable() is None)
    assert all(finding.name == "bfloat16, CPU" and said in finding.detail for finding in others)


def test_a_compiler_is_found_by_name_or_reported_as_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert check_compiler()[0].state == "missing"
    compiler = tmp_path / "my-c++"
    compiler.write_text("#!/bin/sh\necho my compiler 1.2\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", "my-c++")
    assert check_compiler()[0].detail == f"{compiler}: my compiler 1.2"
