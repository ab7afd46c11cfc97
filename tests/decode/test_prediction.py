"""Decoding of cuts: every utterance once, whatever the batches, workers and processes."""

import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from tone_corpus import write_tone_corpus
from tone_reader import export_tone_reader, tone_reader

from asr.data.cuts import read_cuts
from asr.decode import prediction
from asr.decode.hypotheses import read_hypotheses
from asr.decode.prediction import Resources, Timing, decode_cuts
from asr.errors import InputError

TESTS = Path(__file__).parents[1]
ON_CPU = {"accelerator": "cpu", "workers": 0}
TWO_PROCESSES = ["--accelerator=cpu", "--devices=2", "--batch-seconds=0.1", "--workers=0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tone_corpus(tmp_path_factory.mktemp("corpus") / "root", {"test": 7})


@pytest.fixture
def cuts(root):
    return list(read_cuts(root / "test.jsonl.gz"))


@pytest.mark.parametrize("resources", [{}, {"batch_seconds": 0.1}, {"batch_seconds": 2.0, "workers": 2}])
def test_every_utterance_is_decoded_once_in_order_whatever_the_batches(cuts, resources):
    rows, timing = decode_cuts(tone_reader(), cuts, Resources(**{**ON_CPU, **resources}))
    assert [row.id for row in rows] == [cut.id for cut in cuts]
    assert [row.hypothesis for row in rows] == [row.reference for row in rows] == [c.supervisions[0].text for c in cuts]
    assert [row.speaker for row in rows] == [cut.supervisions[0].speaker for cut in cuts]
    assert timing.audio_seconds == pytest.approx(sum(row.seconds for row in rows))
    assert timing.seconds > 0
    assert (timing.processes, timing.threads, timing.device) == (1, torch.get_num_threads(), "cpu")


def test_the_real_time_factor_is_processing_time_over_duration():
    assert Timing(2.0, 8.0, 1, 1, "cpu").real_time_factor == pytest.approx(0.25)


def test_cuts_without_transcripts_give_hypotheses_without_references(cuts):
    for cut in cuts:
        cut.supervisions = []
    rows, _ = decode_cuts(tone_reader(), cuts[:2], Resources(**ON_CPU))
    assert [(row.reference, row.speaker) for row in rows] == [(None, None)] * 2
    assert all(row.hypothesis for row in rows)


def test_each_word_has_the_time_at_which_it_is_said(cuts):
    rows, _ = decode_cuts(tone_reader(), cuts, Resources(**ON_CPU))
    for row in rows:
        assert len(row.times) == len(row.hypothesis.split())
        letters = [(match.start(), match.end()) for match in re.finditer(r"\S+", row.hypothesis)]
        for (first, last), (start, end) in zip(letters, row.times, strict=True):
            # a tone lasts 0.12 s, after 0.03 s of silence, and is quiet at both ends
            assert 0.03 + 0.12 * first <= start < end <= 0.03 + 0.12 * last + 0.02
            assert end - start > 0.12 * (last - first) - 0.08


@pytest.mark.parametrize("workers", [0, 1])
def test_audio_that_cannot_be_used_stops_with_utterance_and_file(tmp_path, workers):
    root = write_tone_corpus(tmp_path / "root", {"test": 3})
    broken = root / "audio" / "test-001.flac"
    broken.write_bytes(broken.read_bytes()[:200])
    cuts = list(read_cuts(root / "test.jsonl.gz"))
    with pytest.raises(InputError, match="utterance 'test-001': .*test-001.flac") as error:
        decode_cuts(tone_reader(), cuts, Resources(accelerator="cpu", workers=workers))
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"devices": 0}, "--devices must be a number of at least 1, got 0"),
        ({"num_nodes": -1}, "--num-nodes must be a number of at least 1, got -1"),
        ({"workers": -1}, "--workers must be a number of at least 0, got -1"),
        ({"batch_seconds": 0.0}, "--batch-seconds must be positive, got 0.0"),
        ({"batch_seconds": float("nan")}, "--batch-seconds must be positive, got nan"),
    ],
)
def test_impossible_resources_are_refused_by_option(options, named):
    with pytest.raises(InputError, match=named):
        Resources(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(cuts):
    with pytest.raises(InputError, match="--accelerator gpu with --devices 1 cannot be used"):
        decode_cuts(tone_reader(), cuts, Resources(accelerator="gpu"))


def run_asr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, from which Lightning starts further ones."""
    script = folder / "run_asr.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys

            sys.path.insert(0, {str(TESTS)!r})
            import tone_reader  # an encoder of a model that is loaded must have been imported
            from asr.cli import main

            sys.exit(main())
            """
        )
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


def test_two_processes_decode_each_utterance_once_and_write_what_one_writes(root, tmp_path):
    model = export_tone_reader(tmp_path / "model")
    # seven utterances in seven batches: the two shares are of unequal size
    run = run_asr(tmp_path, "test", str(model), "--root", str(root), "-o", "two", *TWO_PROCESSES)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("WER") == 1
    rows, _ = decode_cuts(tone_reader(), list(read_cuts(root / "test.jsonl.gz")), Resources(**ON_CPU))
    assert read_hypotheses(tmp_path / "two" / "hypotheses.jsonl") == rows
    assert "2 process(es)" in run.stdout


def test_broken_audio_in_one_of_two_processes_ends_both_with_exit_code_1(tmp_path):
    root = write_tone_corpus(tmp_path / "root", {"test": 4})
    (root / "audio" / "test-003.flac").write_bytes(b"")
    model = export_tone_reader(tmp_path / "model")
    run = run_asr(tmp_path, "predict", str(model), "--root", str(root), "-o", "out", *TWO_PROCESSES)
    assert run.returncode == 1
    assert "utterance 'test-003'" in run.stderr
    assert not (tmp_path / "out").exists()


def test_an_interrupt_stays_one(cuts, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "finite_log_probs", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            decode_cuts(tone_reader(), cuts, Resources(**ON_CPU))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on


def test_sigterm_ends_decoding_with_143(cuts, monkeypatch):
    recognized = prediction.finite_log_probs

    def terminated(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return recognized(*arguments)

    monkeypatch.setattr(prediction, "finite_log_probs", terminated)
    with pytest.raises(SystemExit) as stop:
        decode_cuts(tone_reader(), cuts, Resources(**ON_CPU))
    assert stop.value.code == 143


def test_a_worker_without_shared_memory_is_told(cuts, monkeypatch):
    load = prediction.load_waveform

    def load_where_memory_is_full(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # of the worker; counts for shared memory too
        return load(*arguments)

    monkeypatch.setattr(prediction, "load_waveform", load_where_memory_is_full)
    with pytest.raises(InputError, match="cannot hand over .* shared memory .*--shm-size"):
        decode_cuts(tone_reader(), cuts, Resources(accelerator="cpu", workers=1))


def test_a_worker_that_dies_is_told(cuts, monkeypatch):
    monkeypatch.setattr(prediction, "load_waveform", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match="a data worker died: DataLoader worker"):
        decode_cuts(tone_reader(), cuts, Resources(accelerator="cpu", workers=1))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_decoding_also_while_a_worker_hangs(root, tmp_path, signum, code):
    model = export_tone_reader(tmp_path / "model")
    script = tmp_path / "hanging.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, time

            sys.path.insert(0, {str(TESTS)!r})
            import tone_reader
            from asr.cli import main
            from asr.decode import prediction

            def hang(*arguments):
                print("hanging", flush=True)
                time.sleep(1000)

            prediction.load_waveform = hang
            sys.exit(main())
            """
        )
    )
    command = [sys.executable, str(script), "test", str(model), "--root", str(root), "-o", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--accelerator", "cpu"], env=environment, **pipes) as process:
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signum)
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in error
