"""TensorBoard's event files in a run folder."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from asr.errors import InputError


class EventLog(TensorBoardLogger):
    """Writes event files into `folder`, and no hparams.yaml beside them: config.yaml has the options.

    Raises:
        InputError: events cannot be written, for a full disk, say; the message names the folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name=None, version="")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self._writing():
            super().log_metrics(metrics, step)

    def log_figure(self, tag: str, figure: Figure, step: int) -> None:
        """Add a picture."""
        with self._writing():
            self.experiment.add_figure(tag, figure, step)

    def save(self) -> None:
        if self._experiment is not None:
            with self._writing():
                self._experiment.flush()

    def finalize(self, status: str) -> None:
        # A training that fails has its own error to tell, which shall not be covered by another one here.
        with contextlib.suppress(InputError) if status == "failed" else contextlib.nullcontext(), self._writing():
            super().finalize(status)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__  # Lightning takes all for a wrong value
            if not isinstance(cause, OSError):
                raise
            reason = cause.strerror or cause
            raise InputError(f"cannot write TensorBoard's events in {self.log_dir}: {reason}") from error


class QuietWriters:
    """A `threading.excepthook` that does not print what `EventLog` will say: OSErrors of TensorBoard's threads.

    Args:
        former: the hook for everything else.
    """

    def __init__(self, former: Callable[[threading.ExceptHookArgs], None]) -> None:
        self.former = former

    def __call__(self, arguments: threading.ExceptHookArgs) -> None:
        if not (isinstance(arguments.thread, _AsyncWriterThread) and issubclass(arguments.exc_type, OSError)):
            self.former(arguments)
