"""The utterances that a list of ids names: how a subset that somebody else drew is prepared again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.files import sha256_of
from data_prep.reading import read_utf8
from data_prep.utterance import Problem, Utterance


@dataclass(frozen=True)
class ListedIds:
    """Ids of utterances, and where they are from.

    Args:
        file: the name of the file, without its folder.
        sha256: of its bytes.
        ids: what it names.
    """

    file: str
    sha256: str
    ids: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "ListedIds":
        """Read a file with an id a line; empty lines and lines that begin with # count for nothing.

        Raises:
            InputError: the file cannot be read, is not UTF-8, or names nothing.
        """
        lines = [line.strip() for line in read_utf8(path).splitlines()]
        ids = frozenset(line for line in lines if line and not line.startswith("#"))
        if not ids:
            raise InputError(f"--ids: {path} names no utterance")
        return cls(path.name, sha256_of(path), ids)

    def keep(
        self, utterances: Sequence[Utterance], problems: Sequence[Problem], parts: Sequence[str] = ()
    ) -> tuple[list[Utterance], list[Problem]]:
        """The listed utterances, and the problems but those for which something else is refused.

        Raises:
            InputError: an id is neither an utterance's nor that of one that is refused, or none is of one of `parts`.
        """
        kept = [utterance for utterance in utterances if utterance.id in self.ids]
        wrong = [problem for problem in problems if not problem.refused or self.ids & _names(problem)]
        known = {utterance.id for utterance in kept}.union(*map(_names, wrong))
        if missing := sorted(self.ids - known):
            raise InputError(
                f"--ids: {len(missing)} of the {len(self.ids)} ids in {self.file} are not in the parts to prepare, "
                f"such as {missing[0]!r}"
            )
        if empty := sorted({u.part for u in utterances}.intersection(parts) - {u.part for u in kept}):
            raise InputError(f"--ids: no utterance of part {empty[0]!r} is in {self.file}; leave the part out")
        return kept, wrong


def _names(problem: Problem) -> set[str | None]:
    return {problem.subject, problem.utterance}
