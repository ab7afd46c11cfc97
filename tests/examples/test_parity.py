"""The parity example: its task, the size of its nets, and that they learn."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "examples" / "parity.py"
PARITY = runpy.run_path(str(FILE))


def test_the_target_is_the_parity_of_the_ones():
    bits, parity = PARITY["strings"](200, 5)
    assert set(bits.unique().tolist()) == {-1.0, 1.0}
    assert parity.tolist() == [row.count(1.0) % 2 for row in bits.tolist()]


@pytest.mark.parametrize("bits", [2, 16, 40])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_feed_forward_nets_are_as_wide_as_makes_their_parameters_nearest_to_the_grid(name, bits):
    count = PARITY["count"]
    wanted = count(PARITY["build"]("grid", bits))
    width = PARITY["build"](name, bits).middle.in_features
    sizes = {w: count(PARITY["FeedForward"](bits, w, torch.relu)) for w in range(width - 2, width + 3)}
    assert min(sizes, key=lambda w: abs(sizes[w] - wanted)) == width


def test_layers_of_all_nets_share_their_weights():
    sizes = {name: PARITY["count"](PARITY["build"](name, 4)) for name in PARITY["SCALES"]}
    PARITY["build"].__globals__["LAYERS"] += 2
    try:
        assert sizes == {name: PARITY["count"](PARITY["build"](name, 4)) for name in PARITY["SCALES"]}
    finally:
        PARITY["build"].__globals__["LAYERS"] -= 2


def test_all_nets_learn_four_bits_and_a_plot_is_drawn(tmp_path, monkeypatch, capsys):
    plot = tmp_path / "parity.png"
    monkeypatch.setattr(sys, "argv", [str(FILE), "--bits", "4", "2", "--minutes", "1", "--plot", str(plot)])
    runpy.run_path(str(FILE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[1:7]] == [[k, net] for k in "24" for net in PARITY["SCALES"]]
    assert printed[7:] == [f"{name}: the largest k learnt is 4" for name in PARITY["SCALES"]]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_net_without_time_has_learnt_nothing_and_is_not_tried_at_more_bits(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(FILE), "--bits", "8", "9", "--minutes", "0"])
    runpy.run_path(str(FILE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[1:4]] == [["8", net] for net in PARITY["SCALES"]]
    assert printed[4:] == [f"{name}: the largest k learnt is 0" for name in PARITY["SCALES"]]
