"""The character language model: what it computes, what it scores, and that it comes back as it was written."""

import itertools
import math

import pytest
import torch

from asr.errors import InputError
from asr.lm.neural import (
    CharacterLanguageModel,
    bits_per_character,
    load_language_model,
    pieces,
    save_language_model,
)

ALPHABET = "\n 'ABC"
NETS = [("lstm", False), ("grid", False), ("grid", True)]
SENTENCES = ["", "A", "AB CAB", "BC'A B", "CCC"]


def make(architecture="grid", tied=False, layers=3, engine="wavefront"):
    torch.manual_seed(0)
    return CharacterLanguageModel(ALPHABET, architecture, layers, 7, tied, 5, engine)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("length", [1, 5, 32])
def test_a_uniform_model_takes_log2_v_bits_a_character(length):
    model = make()
    torch.nn.init.zeros_(model.output.weight)
    torch.nn.init.zeros_(model.output.bias)
    bits = bits_per_character(model, torch.randint(6, (41,)), streams=4, length=length)
    torch.testing.assert_close(bits, torch.full((4,), math.log2(6), dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("architecture", "tied"), NETS)
def test_the_score_of_a_sentence_is_the_sum_of_its_characters_log_probs_one_by_one(architecture, tied):
    model = make(architecture, tied)
    for sentence, score in zip(SENTENCES, model.score(SENTENCES), strict=True):
        total, state = 0.0, None
        text = model.encode("\n" + sentence + "\n")
        with torch.no_grad():
            for given, expected in itertools.pairwise(text):
                scores, state = model(given.view(1, 1), state)
                total += float(scores[0, 0].log_softmax(-1)[expected])
        assert score == pytest.approx(total, rel=1e-5)


def test_the_probabilities_of_all_sentences_and_longer_beginnings_sum_to_one():
    model = make()
    ends = sum(math.exp(score) for score in model.score(["", *ALPHABET[1:]]))
    with torch.no_grad():
        first = model(model.encode("\n").view(1, 1))[0][0, 0].softmax(-1)
        pairs = model(torch.stack([model.encode("\n" + c) for c in ALPHABET[1:]]))[0][:, 1].softmax(-1)
    longer = float((first[1:] * (1 - pairs[:, 0])).sum())
    assert ends + longer == pytest.approx(1, rel=1e-5)


def test_a_score_does_not_depend_on_the_sentences_beside_it():
    model = make()
    alone = [model.score([sentence])[0] for sentence in SENTENCES]
    assert model.score(SENTENCES) == pytest.approx(alone, rel=1e-5)
    many = [sentence for sentence in reversed(SENTENCES) for _ in range(40)]
    assert model.score(many) == pytest.approx([score for score in reversed(alone) for _ in range(40)], rel=1e-5)


@pytest.mark.parametrize(("architecture", "tied"), NETS)
def test_bits_of_one_stream_are_those_of_its_text_whatever_the_length_of_the_pieces(architecture, tied):
    model = make(architecture, tied)
    codes = model.encode("\nAB CAB\nBC\n")
    with torch.no_grad():
        log_probs = model(codes[None, :-1])[0].log_softmax(-1)[0]
    expected = -log_probs[torch.arange(len(codes) - 1), codes[1:]].double().mean() / math.log(2)
    for length in (1, 3, 100):
        torch.testing.assert_close(bits_per_character(model, codes, 1, length)[0], expected, rtol=1e-5, atol=0)


def test_the_pieces_of_a_stream_follow_each_other_and_what_is_expected_is_the_next_character():
    codes = torch.arange(50)
    given, expected = (torch.cat(parts, dim=1) for parts in zip(*pieces(codes, 3, 5), strict=True))
    assert given.flatten().tolist() == list(range(48))
    assert expected.flatten().tolist() == list(range(1, 49))


def test_layers_of_a_tied_grid_have_the_parameters_of_one():
    assert parameters(make("grid", tied=True, layers=4)) == parameters(make("grid", layers=1))
    assert parameters(make("grid", layers=2)) > parameters(make("grid", layers=1))


def test_the_stacked_lstm_is_that_of_torch():
    model = make("lstm")
    reference = torch.nn.LSTM(5, 7, 3, batch_first=True)
    for number, layer in enumerate(model.recurrent.layers):
        for name, weight in (("weight_ih", layer.weight_ih), ("weight_hh", layer.weight_hh), ("bias_ih", layer.bias)):
            getattr(reference, f"{name}_l{number}").data = weight[0].detach()
        getattr(reference, f"bias_hh_l{number}").data.zero_()
    characters = torch.randint(6, (4, 11))
    expected = model.output(reference(model.embedding(characters))[0])
    torch.testing.assert_close(model(characters)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("architecture", "tied"), NETS)
def test_a_model_comes_back_from_its_files_with_its_scores_and_metadata(tmp_path, architecture, tied):
    model = make(architecture, tied)
    save_language_model(model, tmp_path / "lm", {"seed": 3})
    loaded, metadata = load_language_model(tmp_path / "lm", engine="wavefront")
    assert (loaded.describe(), metadata, loaded.training) == (model.describe(), {"seed": 3}, False)
    assert loaded.score(SENTENCES) == model.score(SENTENCES)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="lm.json"):
        load_language_model(tmp_path)
    save_language_model(make(), tmp_path, {})
    described = (tmp_path / "lm.json").read_text()
    (tmp_path / "lm.json").write_text(described.replace('"size": 7', '"size": 8'))
    with pytest.raises(InputError, match="cannot use the weights .*lm.safetensors"):
        load_language_model(tmp_path)
    (tmp_path / "lm.json").write_text(described.replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="format 2; this version reads up to 1"):
        load_language_model(tmp_path)
    for wrong in ("[]", '{"format": "x"}', "{}", '{"format": 1, "description": {"word": 1}}'):
        (tmp_path / "lm.json").write_text(wrong)
        with pytest.raises(InputError, match="describes no language model"):
            load_language_model(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("AB", "grid"), "the line break: got 'AB'"),
        (("\nAA", "grid"), "each character once"),
        (("\nA", "gru"), "architecture must be 'lstm' or 'grid', got 'gru'"),
        (("\nA", "lstm", 3, 8, True), "only the layers of a grid can be tied"),
        (("\nA", "grid", 0), "num_layers"),
    ],
)
def test_options_that_make_no_model_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CharacterLanguageModel(*arguments)


def test_characters_that_the_model_does_not_know_are_named_with_what_is_around():
    with pytest.raises(InputError, match="'Z' in .*CAB Z.* is not a character"):
        make().score(["A", "CAB ZA"])
    with pytest.raises(InputError, match="no line break"):
        make().score(["A\nB"])


def test_a_text_that_is_too_short_for_the_streams_is_refused():
    with pytest.raises(InputError, match="4 characters are too few for 4 streams"):
        bits_per_character(make(), torch.zeros(4, dtype=torch.int64), streams=4)
