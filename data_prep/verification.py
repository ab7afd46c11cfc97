"""Verification of a whole corpus in several processes, whose findings outlive an interruption."""

import contextlib
import functools
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from asr.errors import InputError
from data_prep import measure, verify
from data_prep.measure import Measurement
from data_prep.parallel import in_order
from data_prep.utterance import Problem, Utterance
from data_prep.verify import VerificationSettings, Verified, verify_utterance

Item = tuple[Utterance, str]
"""An utterance and its normalised text."""


class Findings:
    """Findings noted in a file, one a line, by what they depend on.

    That is: path, size and modification time of the audio, the stretch, both texts, the settings, and the source code
    of the rules. So what is taken from the file is what verifying anew would find.
    """

    def __init__(self, path: Path, settings: VerificationSettings) -> None:
        self._path = path
        self._rules = f"{settings} {inspect.getsource(verify)} {inspect.getsource(measure)}"
        self._known = dict(self._read())

    def _read(self) -> list[tuple[str, Verified]]:
        found = []
        with contextlib.suppress(OSError):
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # the last line of a killed process
                    found.append(_from_line(line))
        return found

    def key(self, utterance: Utterance, text: str) -> str | None:
        """The key of an utterance's finding; None if its file is not there."""
        try:
            state = utterance.audio.stat()
        except OSError:
            return None
        place = (str(utterance.audio.absolute()), state.st_size, state.st_mtime_ns)
        depends = (place, utterance.id, utterance.start, utterance.duration, utterance.text, text, self._rules)
        return hashlib.blake2b(repr(depends).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def get(self, key: str | None) -> Verified | None:
        """A finding, if it is known."""
        return None if key is None else self._known.get(key)

    def note(self, findings: Sequence[tuple[str | None, Verified]]) -> None:
        """Append findings to the file.

        Raises:
            InputError: the file cannot be written.
        """
        lines = [json.dumps({"key": key, **asdict(found)}) + "\n" for key, found in findings if key is not None]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error


def _from_line(line: str) -> tuple[str, Verified]:
    row = json.loads(line)
    measured = row["measurement"]
    return row["key"], Verified(
        row["id"],
        None if measured is None else Measurement(**measured),
        row["file_samples"],
        tuple(Problem(**problem) for problem in row["problems"]),
    )


def verify_all(items: Sequence[Item], settings: VerificationSettings, cache: Path, jobs: int) -> list[Verified]:
    """Verify utterances, in their order. What an interrupted run noted in the file `cache` is not done again.

    Raises:
        InputError: `cache` cannot be written, or a process was killed.
    """
    findings = Findings(cache, settings)
    findings.note([])  # before the work: can it be written?
    keys = [findings.key(*item) for item in items]
    verified = [findings.get(key) for key in keys]
    todo = [index for index, found in enumerate(verified) if found is None]
    fresh = in_order(functools.partial(_verify, settings=settings), [items[i] for i in todo], jobs, "verifying")
    batch: list[tuple[str | None, Verified]] = []
    with contextlib.closing(fresh):
        try:
            for index, found in zip(todo, fresh, strict=True):
                verified[index] = found
                batch.append((keys[index], found))
                if len(batch) == 100:
                    findings.note(batch)
                    batch = []
        finally:
            findings.note(batch)
    return [found for found in verified if found is not None]


def _verify(item: Item, settings: VerificationSettings) -> Verified:
    return verify_utterance(*item, settings)
