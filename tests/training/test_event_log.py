import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from asr.errors import InputError
from asr.training.event_log import EventLog, QuietWriters


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow beyond a few kilobytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_logged_is_in_the_event_file_and_nothing_else_is_written(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
    log.log_metrics({"loss": 0.5}, step=3)
    log.log_figure("dev/one", Figure(), 2)
    log.save()
    log.finalize("success")
    [file] = tmp_path.iterdir()
    events = EventAccumulator(str(file))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]
    assert [event.step for event in events.Images("dev/one")] == [2]


def test_events_that_cannot_be_written_are_told_once_with_their_folder(
    tmp_path: Path, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", QuietWriters(threading.excepthook))
    log = EventLog(str(tmp_path))

    def fill() -> None:
        for step in range(1000):
            log.log_metrics({"loss": 0.5}, step)
        log.save()

    with pytest.raises(InputError, match=rf"cannot write TensorBoard's events in {tmp_path}/?: File too large"):
        fill()
    while any(isinstance(thread, _AsyncWriterThread) for thread in threading.enumerate()):
        time.sleep(0.01)
    log.finalize("failed")  # says nothing more: the error above is on its way


def test_errors_of_other_threads_are_printed_as_before() -> None:
    printed: list[threading.ExceptHookArgs] = []
    arguments = threading.ExceptHookArgs((OSError, OSError("full"), None, threading.Thread()))
    QuietWriters(printed.append)(arguments)
    assert printed == [arguments]
