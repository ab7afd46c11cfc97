"""The folder of a run: one process trains in it at a time, and an earlier run in it is moved aside, never destroyed."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from asr.errors import InputError
from asr.files import write_text

EARLIER = "earlier"
LOCK = ".lock"


class RunFolder:
    """A folder with config.yaml, checkpoints/, run.json, metrics.csv, scores.json; made when it is claimed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def claimed(self, new: bool) -> Iterator[None]:
        """Hold the folder for this training; for a new run, move what an earlier one left into `earlier/N`.

        Only the first process of a training does either.

        Raises:
            InputError: another training holds the folder, or it cannot be made.
        """
        if rank_zero_only.rank != 0:
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / LOCK, "w")  # noqa: SIM115 - held until the training ends
        except OSError as error:
            raise InputError(f"--run {self.path}: cannot use this folder ({error.strerror})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"--run {self.path}: another training is under way in this folder") from error
            if new:
                self._move_aside()
            yield

    def _move_aside(self) -> None:
        left = sorted(p for p in self.path.iterdir() if p.name not in (EARLIER, LOCK))
        if not left:
            return
        earlier = self.path / EARLIER
        taken = [int(p.name) for p in earlier.iterdir() if p.name.isdigit()] if earlier.is_dir() else []
        target = earlier / str(max(taken, default=0) + 1)
        target.mkdir(parents=True)
        for path in left:
            path.rename(target / path.name)
        rank_zero_info(f"{self.path} held a run: moved to {target}")

    def write_config(self, text: str) -> None:
        """Keep the whole configuration as config.yaml."""
        write_text(self.path / "config.yaml", text)
