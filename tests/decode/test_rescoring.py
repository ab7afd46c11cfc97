"""Rescoring N-best lists: hand-made lists, where it is known what has to be chosen."""

import json

import numpy as np
import pytest
import torch

from asr.decode.hypotheses import Hypothesis, read_hypotheses
from asr.decode.rescoring import NBest, Weights, choose, error_counts, halves, language_scores, main, read_nbest, tune
from asr.errors import InputError
from asr.lm.neural import CharacterLanguageModel, save_language_model


def nbest(texts, scores, reference=None, name="a"):
    return NBest(Hypothesis(name, texts[0], reference), tuple(texts), np.array(scores))


LIST = nbest(["A", "B B", "C"], [-1.0, -2.0, -1.0], reference="B B")
LANGUAGE = np.array([-5.0, -3.0, -4.0])


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        (Weights(0, 0), 0),  # -1, -2, -1: the first of equal ones
        (Weights(0.4, 0), 2),  # -3, -3.2, -2.6
        (Weights(1, 0), 1),  # -6, -5, -5: the first of equal ones
        (Weights(2, 0), 1),  # -11, -8, -9
        (Weights(0, 1.5), 1),  # 0.5, 1, 0.5
        (Weights(0, -1.5), 0),
    ],
)
def test_the_text_with_the_highest_sum_is_chosen(weights, chosen):
    assert choose(LIST, LANGUAGE, weights) == chosen


def test_tuning_finds_the_smallest_weights_with_the_fewest_errors():
    # The right text, "B B", is reached from a weight of 1 on without a bonus, and from a bonus of 2 without a weight.
    assert tune([LIST], [LANGUAGE]) == Weights(0.0, 2.0)
    fooled = nbest(["B", "B B"], [-1.0, -1.5], reference="B", name="b")  # and this one is lost there
    weights = tune([LIST, fooled], [LANGUAGE, np.array([-1.0, -9.0])])
    assert choose(LIST, LANGUAGE, weights) == 1
    assert choose(fooled, np.array([-1.0, -9.0]), weights) == 0


def test_errors_are_counted_before_and_after_and_of_the_best_text():
    lists = [LIST, nbest(["C C", "C"], [0.0, -1.0], reference="C D", name="b")]
    counts = error_counts(lists, [2, 1])
    assert {name: (each.errors, each.length) for name, each in counts.items()} == {
        "before": (3, 4),
        "after": (3, 4),
        "best in list": (1, 4),
    }


def test_a_language_model_scores_every_text_of_every_list():
    torch.manual_seed(0)
    model = CharacterLanguageModel("\n ABC", "grid", 1, 4, embedding=3, engine="wavefront")
    lists = [LIST, nbest(["C", "A"], [0.0, 0.0])]
    scores = language_scores(lists, model)
    assert scores[0].tolist() == pytest.approx(model.score(["A", "B B", "C"]), rel=1e-5)
    assert scores[1].tolist() == pytest.approx(model.score(["C", "A"]), rel=1e-5)


def write_lists(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(name, texts, reference=None, **more):
    entries = [{"text": text, "total": total, "acoustic": -total} for text, total in texts]
    return {"id": name, "reference": reference, "nbest": entries, **more}


@pytest.fixture
def model_folder(tmp_path):
    """A model that gives every character but B little."""
    model = CharacterLanguageModel("\n AB", "grid", 1, 4, embedding=3, engine="wavefront")
    torch.nn.init.zeros_(model.output.weight)
    model.output.bias.data = torch.tensor([0.0, 0.0, -5.0, 0.0])
    save_language_model(model, tmp_path / "lm", {})
    return str(tmp_path / "lm")


def test_the_command_writes_what_it_chose_and_says_what_it_brought(tmp_path, model_folder, capsys):
    lists = write_lists(tmp_path / "nbest.jsonl", [row("u", [("A", -1), ("B", -1.5)], "B", speaker="s", seconds=2.0)])
    assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--weight", "0.5"]) == 0
    assert read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl") == [Hypothesis("u", "B", "B", "s", 2.0)]
    printed = capsys.readouterr().out
    assert "chosen for 1 of 1 utterances" in printed
    assert "WER of all, 1 utterances: before 100.00 % (1/1), after 0.00 % (0/1), best in list 0.00 % (0/1)" in printed
    assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--weight", "0"]) == 0
    assert read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl")[0].hypothesis == "A"
    assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--weight", "0", "--base", "acoustic"]) == 0
    assert read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl")[0].hypothesis == "B"


def test_neither_greedy_hypotheses_nor_those_of_other_lists_are_replaced(tmp_path, model_folder, capsys):
    (tmp_path / "hypotheses.jsonl").write_text("greedy")
    names = ("nbest.jsonl", "nbest-beam.jsonl", "nbest-dev-beam.jsonl", "lists.jsonl")
    for name in names:
        lists = write_lists(tmp_path / name, [row(name, [("A", -1)])])
        assert main([lists, "--lm", model_folder, "-o", str(tmp_path)]) == 0
    assert "hypotheses-lists-rescored.jsonl and rescoring-lists.json" in capsys.readouterr().out
    assert (tmp_path / "hypotheses.jsonl").read_text() == "greedy"
    for name, suffix in zip(names, ("", "-beam", "-dev-beam", "-lists"), strict=True):
        assert read_hypotheses(tmp_path / f"hypotheses{suffix}-rescored.jsonl")[0].id == name
        assert json.loads((tmp_path / f"rescoring{suffix}.json").read_text())["nbest"] == str(tmp_path / name)


def test_texts_behind_the_first_n_are_not_looked_at(tmp_path, model_folder):
    lists = write_lists(tmp_path / "nbest.jsonl", [row("u", [("A", -1), ("A A", -1.1), ("B", -1.2)], "B")])
    for limit, chosen in (("2", "A"), ("3", "B")):
        assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--texts", limit]) == 0
        assert read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl")[0].hypothesis == chosen
    with pytest.raises(InputError, match="--texts must be at least 1, got 0"):
        main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--texts", "0"])


def test_weights_are_chosen_on_other_lists(tmp_path, model_folder, capsys):
    lists = write_lists(tmp_path / "nbest.jsonl", [row("u", [("A", -1), ("B", -1.4)])])
    other = write_lists(tmp_path / "other.jsonl", [row("v", [("A", -1), ("B", -1.9)], "B")])
    assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--tune", other]) == 0
    record = json.loads((tmp_path / "out" / "rescoring.json").read_text())
    assert record["weights"] == [{"weight": 0.2, "bonus": 0.0}]  # of 5 nats, more than 0.9
    assert (record["lm"], record["tuned_on"]) == (model_folder, other)
    assert read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl")[0].hypothesis == "B"
    assert "WER" not in capsys.readouterr().out


def test_weights_are_not_chosen_on_what_is_rescored(tmp_path, model_folder):
    lists = write_lists(tmp_path / "nbest.jsonl", [row(name, [("A", -1)], "A") for name in "uvw"])
    other = write_lists(tmp_path / "other.jsonl", [row(name, [("A", -1)], "A") for name in "xwv"])
    with pytest.raises(InputError, match=r"2 utterances of .*other.jsonl are in .*nbest.jsonl too, .*: w, v"):
        main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--tune", other])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--weight", "nan"], "--weight must be a number of at least 0, got nan"),
        (["--weight", "-0.1"], "--weight must be a number of at least 0, got -0.1"),
        (["--weight", "inf"], "--weight must be a number of at least 0, got inf"),
        (["--bonus", "nan"], "--bonus must be a number, got nan"),
        (["--halves", "--weight", "0.5"], "--halves chooses both the weight and the bonus: leave out --weight"),
        (["--tune", "{lists}", "--bonus", "0"], "--tune chooses both the weight and the bonus: leave out --bonus"),
        (["--lm", "{ngrams}"], "3gram.npz is an n-gram model: a folder of `asr lm train` is wanted"),
        (["--lm", "{lists}"], "nbest.jsonl is a file: a folder of `asr lm train` is wanted"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, model_folder, options, named):
    rows = [row(name, [("A", -1)], "A", speaker=name) for name in "uv"]
    lists = write_lists(tmp_path / "nbest.jsonl", rows)
    (tmp_path / "3gram.npz").write_bytes(b"PK")
    given = [option.format(lists=lists, ngrams=tmp_path / "3gram.npz") for option in options]
    with pytest.raises(InputError, match=named):
        main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), *given])
    assert not (tmp_path / "out").exists()


def test_halves_share_no_speaker_and_are_of_about_as_many_utterances():
    speakers = ["s"] * 5 + ["t"] * 4 + ["u"] * 3 + ["v"]
    lists = [nbest(["A"], [0.0], name=str(number)) for number in range(len(speakers))]
    lists = [
        each._replace(utterance=Hypothesis(each.utterance.id, "A", speaker=speaker))
        for each, speaker in zip(lists, speakers, strict=True)
    ]
    assert halves(lists) == [0] * 5 + [1] * 4 + [1] * 3 + [0]
    with pytest.raises(InputError, match="one speaker, s, and no second half"):
        halves(lists[:5])
    with pytest.raises(InputError, match="'a' has no speaker"):
        halves([LIST])


def test_each_half_is_chosen_with_the_weights_of_the_other(tmp_path, model_folder, capsys):
    rows = [
        row("u", [("A", -1), ("B", -1.4)], "B", speaker="s"),  # needs a weight of 0.1
        row("v", [("A", -1), ("B", -2.4)], "B", speaker="t"),  # needs 0.3
    ]
    lists = write_lists(tmp_path / "nbest.jsonl", rows)
    assert main([lists, "--lm", model_folder, "-o", str(tmp_path / "out"), "--halves"]) == 0
    record = json.loads((tmp_path / "out" / "rescoring.json").read_text())
    assert [weights["weight"] for weights in record["weights"]] == [0.3, 0.1]
    assert [each.hypothesis for each in read_hypotheses(tmp_path / "out" / "hypotheses-rescored.jsonl")] == ["B", "A"]
    printed = capsys.readouterr().out
    assert "WER of half 1, 1 utterances: before 100.00 % (1/1), after 0.00 % (0/1)" in printed
    assert "WER of half 2, 1 utterances: before 100.00 % (1/1), after 100.00 % (1/1)" in printed


def test_what_is_no_n_best_list_is_named_by_file_and_row(tmp_path):
    good = row("u", [("A", -1)])
    wrong = [{"id": "v"}, {"id": "v", "nbest": []}, {"nbest": good["nbest"]}, [], {"id": "v", "nbest": [{"text": "A"}]}]
    for bad in wrong:
        path = write_lists(tmp_path / "nbest.jsonl", [good, bad])
        with pytest.raises(InputError, match=r"nbest.jsonl, row 2: expected an object with id and nbest"):
            read_nbest(path)
    with pytest.raises(InputError, match="no N-best lists"):
        read_nbest(write_lists(tmp_path / "nbest.jsonl", []))
    with pytest.raises(InputError, match="'u' has no reference"):
        tune(read_nbest(write_lists(tmp_path / "nbest.jsonl", [good])), [np.zeros(1)])


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"nbest": [{"text": "A", "total": None}]}, r"\(v\): 'total' must be a finite number, got None"),
        ({"nbest": [{"text": "A", "total": -1}, {"text": "B", "total": float("nan")}]}, "a finite number, got nan"),
        ({"nbest": [{"text": "A", "total": float("-inf")}]}, "a finite number, got -inf"),
        ({"nbest": [{"text": "A", "total": "-1"}]}, "a finite number, got '-1'"),
        ({"nbest": [{"text": "A", "total": True}]}, "a finite number, got True"),
        ({"nbest": [{"text": "A", "total": 10**400}]}, "a finite number, got 10"),
        ({"id": 5}, "'id' must be a string, got 5"),
        ({"reference": 5}, "'reference' must be a string or null, got 5"),
        ({"speaker": ["s"]}, r"'speaker' must be a string or null, got \['s'\]"),
        ({"seconds": "2"}, "'seconds' must be a number of at least 0 or null, got '2'"),
        ({"id": "u"}, "utterance 'u' occurs twice"),
    ],
)
def test_what_no_search_writes_is_named_by_file_and_row(tmp_path, more, named):
    path = write_lists(tmp_path / "nbest.jsonl", [row("u", [("A", -1)]), {**row("v", [("A", -1)]), **more}])
    with pytest.raises(InputError, match=rf"nbest.jsonl, row 2.*{named}"):
        read_nbest(path)
