"""RESULTS.md says what the records beside it say."""

from pathlib import Path

import pytest

from asr.cli import main


def test_the_tables_of_the_results_are_those_that_their_commands_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    assert main(["results", "write", "RESULTS.md", "--check"]) == 0
