import re
import subprocess
import sys
import threading
from pathlib import Path

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.training.event_log import EventLog, QuietWriters

FULL = """
import resource, sys, threading, time

from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from asr.errors import InputError
from asr.training.event_log import EventLog, QuietWriters

threading.excepthook = QuietWriters(threading.excepthook)
log = EventLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # no file can grow beyond it, as on a full disk
try:
    for step in range(1000):
        log.log_metrics({"loss": 0.5}, step)
    log.save()
except InputError as error:
    print(error)
while any(isinstance(thread, _AsyncWriterThread) for thread in threading.enumerate()):
    time.sleep(0.01)
log.finalize("failed")  # says nothing more: the error above is on its way
"""
"""In a process of its own: the limit is one of all its files."""


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


def test_events_that_cannot_be_written_are_told_once_with_their_folder(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert re.fullmatch(rf"cannot write TensorBoard's events in {tmp_path}/?: File too large\n", done.stdout)
    assert "Traceback" not in done.stderr


def test_errors_of_other_threads_are_printed_as_before() -> None:
    printed: list[threading.ExceptHookArgs] = []
    arguments = threading.ExceptHookArgs((OSError, OSError("full"), None, threading.Thread()))
    QuietWriters(printed.append)(arguments)
    assert printed == [arguments]
