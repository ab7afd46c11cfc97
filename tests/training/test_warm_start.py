import pytest
import torch

from asr.data.features import FeatureConfig, LogMel
from asr.data.tokens import CharacterTokenizer
from asr.encoders import StackedRNNEncoder
from asr.errors import InputError
from asr.model import CTCModel, LoadedModel, ModelDescription
from asr.training.warm_start import warm_start


def make_source(characters: str, hidden_size: int = 8) -> LoadedModel:
    tokenizer = CharacterTokenizer(characters)
    encoder = StackedRNNEncoder(num_features=20, hidden_size=hidden_size, num_layers=1)
    config = FeatureConfig(num_mels=20, normalization="none")
    description = ModelDescription(encoder.describe(), config, None, tokenizer.to_dict(), "verbatim/1")
    model = CTCModel(encoder, len(tokenizer.tokens))
    return LoadedModel(model, description, tokenizer, LogMel(config), {"source": "runs/source"})


def test_everything_is_taken_over_for_the_same_model_and_tokens() -> None:
    source, target = make_source("AB"), make_source("AB")
    report = warm_start(target.model, target.tokenizer.tokens, source)
    for name, weight in target.model.state_dict().items():
        assert torch.equal(weight, source.model.state_dict()[name])
    assert set(report.loaded) == set(target.model.state_dict())
    assert report.fresh == report.unused == ()


def test_rows_of_the_head_follow_their_tokens_to_another_token_set() -> None:
    source, target = make_source("AB"), make_source("BCD")
    before = target.model.head.weight.clone()
    report = warm_start(target.model, target.tokenizer.tokens, source)
    assert report.tokens == ("<blank>", "B")
    assert torch.equal(target.model.head.weight[1], source.model.head.weight[2])
    assert torch.equal(target.model.head.bias[0], source.model.head.bias[0])
    assert torch.equal(target.model.head.weight[2:], before[2:])
    assert report.fresh == ("head.weight (rows of 2 of 4 tokens)", "head.bias (rows of 2 of 4 tokens)")


def test_parameters_of_another_shape_are_listed_with_both_shapes() -> None:
    source, target = make_source("AB", hidden_size=8), make_source("AB", hidden_size=9)
    source.model.encoder.extra = torch.nn.Parameter(torch.zeros(3))
    report = warm_start(target.model, target.tokenizer.tokens, source)
    assert any("shape" in line and "source" in line for line in report.fresh)
    assert "encoder.extra" in report.unused
    assert "not loaded" in str(report)
    assert "encoder.extra" in str(report)


def test_a_head_of_another_width_is_left_alone_whole() -> None:
    source, target = make_source("AB", hidden_size=8), make_source("BCD", hidden_size=9)
    before = target.model.head.bias.clone()
    with pytest.raises(InputError, match="none of its parameters fits"):
        warm_start(target.model, target.tokenizer.tokens, source)
    assert torch.equal(target.model.head.bias, before)


def test_a_source_of_which_nothing_fits_is_refused() -> None:
    source, target = make_source("AB"), make_source("AB")
    for name in list(dict(source.model.named_children())):
        delattr(source.model, name)
    source.model.other = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="runs/source: none of its parameters"):
        warm_start(target.model, target.tokenizer.tokens, source)
