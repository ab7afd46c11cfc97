"""The folder of a run: one process trains in it at a time, and an earlier run in it is moved aside, never destroyed."""

import contextlib
import fcntl
import os
import shutil
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
        self._begun = False

    def begin(self) -> None:
        """Note that training has begun: from here on the folder belongs to this run, however it ends."""
        self._begun = True

    def holds(self, path: Path) -> bool:
        """Whether a file belongs to the run that has the folder now: it lies there, and not in an earlier run."""
        return _lies_in(path, self.path) and not _lies_in(path, self.path / EARLIER)

    @contextlib.contextmanager
    def claimed(self, new: bool) -> Iterator[None]:
        """Hold the folder for this training; for a new run, move what an earlier one left into `earlier/N`.

        A new run that fails before `begin` leaves the folder as it was. Only the first process of a training does
        any of this.

        Raises:
            InputError: another training holds the folder, or it cannot be made or written.
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
            target = self._move_aside() if new else None
            try:
                yield
            except BaseException:
                if new and not self._begun:
                    self._put_back(target)
                raise

    def _content(self) -> list[Path]:
        """What belongs to the run that has the folder now."""
        return sorted(p for p in self.path.iterdir() if p.name not in (EARLIER, LOCK))

    def _move_aside(self) -> Path | None:
        """Move an earlier run into `earlier/N`, which is returned; None if there is none."""
        left = self._content()
        if not left:
            return None
        earlier = self.path / EARLIER
        taken = [int(p.name) for p in earlier.iterdir() if p.name.isdigit()] if earlier.is_dir() else []
        target = earlier / str(max(taken, default=0) + 1)
        try:
            target.mkdir(parents=True)
            for path in left:
                path.rename(target / path.name)
        except OSError as error:
            raise InputError(f"--run {self.path}: cannot move the run there to {target} ({error.strerror})") from error
        rank_zero_info(f"{self.path} held a run: moved to {target}")
        return target

    def _put_back(self, target: Path | None) -> None:
        """Remove what a start left that came to nothing, and give the earlier run its place again."""
        for path in self._content():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if target is None:
            return
        for path in target.iterdir():
            path.rename(self.path / path.name)
        target.rmdir()
        with contextlib.suppress(OSError):  # others are in it
            target.parent.rmdir()
        rank_zero_info(f"training did not begin: the run that was moved to {target} is back in {self.path}")

    def write_config(self, text: str) -> None:
        """Keep the whole configuration as config.yaml."""
        write_text(self.path / "config.yaml", text)


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a path leads through a folder, by whatever name; a link in the folder is of it, whatever it points to."""
    parents = Path(os.path.abspath(path)).parents
    return folder.is_dir() and any(parent.exists() and parent.samefile(folder) for parent in parents)
