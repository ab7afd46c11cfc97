"""The picture of docs/schedule.md shows each cell at the step that the definition allows."""

import runpy
from functools import cache
from pathlib import Path

import pytest

DRAWING = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "schedule.py"))
TIME, FREQUENCY = DRAWING["TIME"], DRAWING["FREQUENCY"]


@pytest.mark.parametrize("lengths", [(TIME, FREQUENCY), (5, 4), (3, 2)])
@pytest.mark.parametrize("backward", [(False, False), (True, False), (False, True), (True, True)])
def test_each_real_cell_is_shown_one_step_after_the_cells_that_it_waits_for(lengths, backward):
    @cache
    def step(t, f):
        """The longest chain of cells before this one within the utterance."""
        before = [(t + (1 if backward[0] else -1), f), (t, f + (1 if backward[1] else -1))]
        waits_for = [cell for cell in before if all(0 <= x < length for x, length in zip(cell, lengths, strict=True))]
        return max((1 + step(*cell) for cell in waits_for), default=0)

    shown = DRAWING["steps_of"](lengths, backward)
    assert {cell: shown[cell] for cell in shown if cell[0] < lengths[0] and cell[1] < lengths[1]} == {
        (t, f): step(t, f) for t in range(lengths[0]) for f in range(lengths[1])
    }


def test_every_panel_is_drawn_with_all_cells():
    panels = DRAWING["figure"]().axes
    assert [sum(patch.get_width() == 0.84 for patch in ax.patches) for ax in panels] == [TIME * FREQUENCY] * 4
