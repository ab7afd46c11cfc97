"""One run of a sweep in a process of its own: locked, resumed where it was stopped, tested."""

import contextlib
import csv
import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from asr.errors import InputError
from asr.files import read_json
from asr.report.runs import read_runs

POLL = 1.0
"""Seconds between two looks at a training."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run of a sweep keeps what.

    Args:
        folder: of the sweep.
        name: of the run.
    """

    folder: Path
    name: str

    @property
    def run(self) -> Path:
        """The run folder, as `asr fit` makes it."""
        return self.folder / self.name

    @property
    def config(self) -> Path:
        """Its configuration, complete."""
        return self.folder / "configs" / f"{self.name}.yaml"

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def begun(self) -> bool:
        """Whether training has begun in it."""
        return (self.run / "run.json").is_file()

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.begun and read_json(self.run / "run.json").get("finished") is True

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return (self.run / "checkpoints" / "last.ckpt").is_file()

    @property
    def state(self) -> str:
        """For tables."""
        return "finished" if self.finished else "interrupted" if self.begun else "to do"

    def tested(self, split: str) -> bool:
        """Whether there are scores of its present weights."""
        try:
            read_runs([self.run], split)
        except InputError:
            return False
        return True

    def history(self) -> list[dict[str, str]]:
        """The rows of its metrics.csv, an epoch each."""
        file = self.run / "metrics.csv"
        if not file.is_file():
            return []
        return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))

    def best(self) -> tuple[float, float] | None:
        """WER and CER on dev of its best epoch; None if it was never validated."""
        rates = [(float(row["val_wer"]), float(row["val_cer"])) for row in self.history() if row.get("val_wer")]
        return min(rates, default=None)

    @property
    def training_seconds(self) -> float:
        """Of its training, validations included."""
        return float(read_json(self.run / "run.json")["training_seconds"])

    def reason(self) -> str:
        """The last line of the log that says something."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        said = [line.strip() for line in lines if line.strip()]
        return next((line for line in reversed(said) if line.startswith("error:")), said[-1] if said else "")

    @contextlib.contextmanager
    def taken(self) -> Iterator[IO[str] | None]:
        """Hold the run for this sweep; None where another one holds it. Processes that inherit the file hold it too."""
        with locked(self.folder / "locks" / f"{self.name}.lock", wait=False) as lock:
            yield lock


@contextlib.contextmanager
def locked(path: Path, wait: bool) -> Iterator[IO[str] | None]:
    """Hold a lock file; None where another process holds it and it is not waited for.

    Raises:
        InputError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield None
            return
        yield lock


class Interruption(Exception):
    """A signal came, and was passed on to the process that ran. `exit_code` is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}; the same command continues")
        self.exit_code = 128 + signum


class Processes:
    """Runs commands one after the other, and passes on the signals that end them.

    A command gets a process group of its own, so that Ctrl-C reaches it once, from here; `asr fit` writes a checkpoint
    then. Signals that are ignored when a sweep begins (nohup) stay so.
    """

    def __init__(self) -> None:
        self._received = 0
        self._starting = False
        self._process: subprocess.Popen[bytes] | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Processes":
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._former[signum] = signal.signal(signum, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, handler)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        process = self._process
        if process is None and self._starting:
            return  # it will be passed on
        if process is None:
            raise Interruption(signum)
        self._send(process, signum)

    @staticmethod
    def _send(process: "subprocess.Popen[bytes]", signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)

    def run(
        self, command: Sequence[str], log: Path, lock: IO[str] | None = None, look: Callable[[], None] | None = None
    ) -> int:
        """Run a command to its end and return its exit code.

        Args:
            command: program and arguments.
            log: its output is added to this file.
            lock: stays held while the process lives, even if this one is killed.
            look: called now and then.

        Raises:
            Interruption: a signal came; the process has ended.
            InputError: there is no such program, or the log cannot be written.
        """
        process = self._started(command, log, lock)
        try:
            if self._received:
                self._send(process, self._received)
            code = self._wait(process, look)
        finally:
            self._process = None
        if self._received:
            raise Interruption(self._received)
        return code

    def _started(self, command: Sequence[str], log: Path, lock: IO[str] | None) -> "subprocess.Popen[bytes]":
        self._starting = True
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "ab") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    pass_fds=[] if lock is None else [lock.fileno()],
                )
            return self._process
        except OSError as error:
            raise InputError(f"cannot run {command[0]}: {error.strerror} ({error.filename})") from error
        finally:
            self._starting = False

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], look: Callable[[], None] | None) -> int:
        while True:
            try:
                return process.wait(timeout=POLL)
            except subprocess.TimeoutExpired:
                if look is not None:
                    look()


def asr_command(launcher: Sequence[str], *arguments: str) -> list[str]:
    """A command line of `asr`, by this Python."""
    return [*launcher, sys.executable, "-m", "asr.cli", *arguments]
