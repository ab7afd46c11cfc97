"""Processes of a sweep: signals that are passed on, locks that live as long as the process."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sent_signals import signal_when_there

from asr.errors import InputError
from asr.sweep.runs import Interruption, Processes, RunPlace, locked

WAITS = "import time, pathlib, sys; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
STUBBORN = (
    "import signal, time, pathlib, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(7));"
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
)
HOLDS = """
import pathlib, sys
from asr.sweep.runs import Processes, RunPlace
with RunPlace(pathlib.Path(sys.argv[1]), "a").taken() as lock, Processes() as processes:
    processes.run([sys.executable, "-c", *sys.argv[2:]], pathlib.Path(sys.argv[1]) / "log", lock)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command_and_tells_its_number(
    tmp_path: Path, signum: int, code: int, request: pytest.FixtureRequest
) -> None:
    there, outer = tmp_path / "there", signal.signal(signum, signal.SIG_DFL)  # nohup ignores one
    former = signal.getsignal(signum)
    request.addfinalizer(lambda: signal.signal(signum, outer))
    signal_when_there(there, signum)
    began = time.monotonic()
    with pytest.raises(Interruption) as interruption, Processes() as processes:
        processes.run([sys.executable, "-c", WAITS, str(there)], tmp_path / "log")
    assert interruption.value.exit_code == code
    assert time.monotonic() - began < 50
    assert signal.getsignal(signum) == former


def test_the_command_ends_in_its_own_way_before_the_sweep_does(tmp_path: Path) -> None:
    there, log = tmp_path / "there", tmp_path / "log"
    signal_when_there(there, signal.SIGINT)
    program = STUBBORN.replace("sys.exit(7)", "(time.sleep(0.5), print('in order'), sys.exit(7))")
    with pytest.raises(Interruption), Processes() as processes:
        processes.run([sys.executable, "-c", program, str(there)], log)
    assert log.read_text() == "in order\n"


def test_ctrl_c_in_a_terminal_reaches_a_command_through_the_sweep_alone(tmp_path: Path) -> None:
    with Processes() as processes:
        processes.run([sys.executable, "-c", "import os; print(os.getpgid(0) == os.getpid())"], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "True\n"


def test_a_signal_between_two_commands_ends_the_sweep() -> None:
    with Processes(), pytest.raises(Interruption):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Processes() as processes:
            signal.raise_signal(signal.SIGHUP)
            assert processes.run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log") == 3
    finally:
        signal.signal(signal.SIGHUP, former)


def test_logs_are_added_to_and_a_missing_program_is_named(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    with Processes() as processes:
        for word in ("one", "two"):
            processes.run([sys.executable, "-c", f"print('{word}')"], log)
        with pytest.raises(InputError, match="cannot run no-such-launcher"):
            processes.run(["no-such-launcher", "x"], log)
    assert log.read_text() == "one\ntwo\n"


def test_a_command_holds_the_lock_of_its_run_after_the_sweep_was_killed(tmp_path: Path) -> None:
    place, there = RunPlace(tmp_path, "a"), tmp_path / "there"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path), WAITS, str(there)]) as sweep:
        while not there.exists():
            time.sleep(0.01)
        (orphan,) = children(sweep.pid)
        sweep.kill()
    with place.taken() as lock:
        assert lock is None
    os.kill(orphan, signal.SIGKILL)
    with locked(tmp_path / "locks" / "a.lock", wait=True) as lock:
        assert lock is not None


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    place = RunPlace(tmp_path, "a")
    for _ in range(2):
        with place.taken() as lock:
            assert lock is not None
            with open(tmp_path / "locks" / "a.lock") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_reason_of_a_failure_is_the_last_error_of_the_log(tmp_path: Path) -> None:
    place = RunPlace(tmp_path, "a")
    place.log.parent.mkdir()
    assert place.reason() == ""
    place.log.write_text("error: earlier\nepoch 1\nerror: utterance x\n[W] a store is gone\n\n")
    assert place.reason() == "error: utterance x"
    place.log.write_text("epoch 1\nKilled\n")
    assert place.reason() == "Killed"
