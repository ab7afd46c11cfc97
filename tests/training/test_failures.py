"""What a process of several says when the first one, which told why, is gone."""

import pytest

from asr.training.failures import ENDED, SharedFailure


@pytest.mark.parametrize(
    ("lingers", "reason", "told"),
    [
        (True, ENDED, True),  # the first process wrote to the same place
        (False, ENDED, False),  # torchrun: its words are somewhere else
        (True, "utterance 'a': it is gone", False),
        (True, None, False),
    ],
)
def test_nothing_is_added_to_what_the_first_process_said(lingers: bool, reason: str | None, told: bool) -> None:
    failure = SharedFailure()
    failure._lingers, failure.reason = lingers, reason
    assert failure.told is told
