import os
import signal
from pathlib import Path

import pytest

from asr.training.checkpoints import Interrupted, RunCheckpoints, SignalFlag


def test_the_first_signal_is_remembered_and_the_second_ends_at_once() -> None:
    flag, heard = SignalFlag(), []
    flag.install(heard.append)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.received == signal.SIGTERM
        assert heard == [signal.SIGTERM]
        with pytest.raises(SystemExit) as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.value.code == 128 + signal.SIGINT
    finally:
        flag.restore()


def test_restoring_gives_the_former_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    flag = SignalFlag()
    flag.install(lambda signum: None)
    assert signal.getsignal(signal.SIGINT) != before[0]
    flag.restore()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_forked_worker_ignores_ctrl_c_and_obeys_sigterm() -> None:
    flag = SignalFlag()
    flag.install(lambda signum: None)
    try:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
        assert flag.received == 0
    finally:
        flag.restore()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_tells_the_signal(signum: signal.Signals, code: int) -> None:
    interruption = Interrupted(signum, Path("last.ckpt"))
    assert interruption.exit_code == code
    assert signum.name in str(interruption)


def test_the_best_value_is_the_lowest_and_nan_never_is() -> None:
    checkpoints = RunCheckpoints(Path("unused"))
    assert not checkpoints._improves(float("nan"))
    assert checkpoints._improves(0.5)
    checkpoints.load_state_dict({"best": 0.5, "best_epoch": 3})
    assert not checkpoints._improves(0.5)
    assert checkpoints._improves(0.4)
    assert checkpoints.state_dict() == {"best": 0.5, "best_epoch": 3}
