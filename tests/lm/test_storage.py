"""Compact files hold the same model as ARPA, and say what is wrong with them."""

import numpy as np
import pytest
from backoff_models import random_entries, write_arpa_text

from asr.errors import InputError
from asr.lm.arpa import read_arpa
from asr.lm.storage import read_model, write_model


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_compact_file_is_read_back_to_the_bit(tmp_path, order):
    model = read_arpa(write_arpa_text(tmp_path / "in.arpa", random_entries(order, 300, 500, seed=order)))
    model.record["made"] = "by hand: é"
    write_model(tmp_path / "lm.npz", model)
    again = read_model(tmp_path / "lm.npz")
    assert (again.words, again.counts, again.record) == (model.words, model.counts, model.record)
    for name, array in model.trie._asdict().items():
        np.testing.assert_array_equal(getattr(again.trie, name), array)
    write_model(tmp_path / "again.npz", again)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "lm.npz").read_bytes()


def test_the_record_goes_into_arpa_too(tmp_path):
    model = read_arpa(write_arpa_text(tmp_path / "in.arpa", random_entries(2, 5, 9, seed=0)))
    model.record["made"] = "by hand: é"
    write_model(tmp_path / "lm.arpa", model)
    assert read_model(tmp_path / "lm.arpa").record == {"made": "by hand: é"}


def stored_with(path, **changes):
    model = read_arpa(write_arpa_text(path.parent / "in.arpa", random_entries(2, 5, 9, seed=0)))
    write_model(path, model)
    with np.load(path) as stored:
        parts = {**stored, **changes}
    np.savez(path, **{name: part for name, part in parts.items() if part is not None})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": np.array([99])}, "written by a newer version"),
        ({"words": None}, "is no language model"),
        ({"last": np.zeros(3)}, "its parts differ in length"),
        ({"children": np.zeros(3, dtype=np.int64)}, "its parts differ in length"),
        ({"record": np.frombuffer(b"{", dtype=np.uint8)}, "is no language model"),
        ({"record": np.frombuffer(b"[1]", dtype=np.uint8)}, r"its record is \[1\], and no object"),
        ({"counts": np.array([[5, 9]])}, r"its part 'counts' has the shape \(1, 2\), and not one dimension"),
        ({"children": np.full(6, 1.5)}, "is no language model"),
    ],
    ids=str,
)
def test_a_wrong_compact_file_is_named(tmp_path, changes, named):
    stored_with(tmp_path / "lm.npz", **changes)
    with pytest.raises(InputError, match=named) as error:
        read_model(tmp_path / "lm.npz")
    assert "lm.npz" in str(error.value)


def test_other_files_are_no_compact_models(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty.npz").write_bytes(b"")
    stored_with(tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("text.npz", "empty.npz", "cut.npz", "array.npz", "none.npz"):
        with pytest.raises(InputError, match=name):
            read_model(tmp_path / name)
