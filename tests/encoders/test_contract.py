"""The one table of properties that every encoder has, for every kind of configuration."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from asr.encoders import (
    Encoder,
    GridLSTMEncoder,
    MultidimensionalLSTMEncoder,
    StackedRNNEncoder,
    TimeFrequencyLSTMEncoder,
)
from asr.grid.engines import OVERRIDE
from asr.grid.options import MultidimensionalOptions
from asr.grid.wavefront import hand_written
from asr.model import build_encoder
from asr.recognizer import divide_by_weight_decay

MELS, TOKENS = 20, 7
LENGTHS = torch.tensor([23, 40, 1, 9, 33])

GRID = {"hidden_size": 5, "num_layers": 2, "projection_size": 12, "lstm_layers": 1, "lstm_hidden_size": 6}
ONE_WAY = {"bidirectional_time": False, "lstm_bidirectional": False}
RNN = {"hidden_size": 7, "num_layers": 2}
FREQUENCY = {"frequency_hidden_size": 5, "projection_size": 12, "lstm_layers": 2, "lstm_hidden_size": 6}
CONFIGURATIONS: dict[str, tuple[type[Encoder], dict[str, Any]]] = {
    "grid": (GridLSTMEncoder, GRID),
    "grid, depth": (GridLSTMEncoder, {**GRID, "depth": "lstm", "forget_bias": 1.0}),
    "grid, depth last, gate inside, summed": (
        GridLSTMEncoder,
        {**GRID, "depth": "lstm", "priority": ["depth"], "output_gate": "inside", "merge": "sum"},
    ),
    "grid, overlapping patches, mean": (
        GridLSTMEncoder,
        {**GRID, "patch_frames": 4, "frame_stride": 2, "patch_mels": 6, "mel_stride": 5, "gather": "mean"},
    ),
    "grid, last block, no projection": (
        GridLSTMEncoder,
        {**GRID, "gather": "last", "projection_size": None, "frequency_embedding": False, "bidirectional_time": False},
    ),
    "grid, last block, summed": (
        GridLSTMEncoder,
        {**GRID, "gather": "last", "merge": "sum", "bidirectional_frequency": False},
    ),
    "grid, nothing above": (GridLSTMEncoder, {**GRID, "lstm_layers": 0, "layer_norm": False}),
    "grid, one way": (GridLSTMEncoder, {**GRID, **ONE_WAY}),
    "grid, one way, depth, nothing above": (
        GridLSTMEncoder,
        {**GRID, "depth": "lstm", "bidirectional_time": False, "lstm_layers": 0},
    ),
    "grid of GRUs, tied": (GridLSTMEncoder, {**GRID, "cell": "gru", "depth": "gru", "tied": True}),
    "grid of RNNs, relu between": (GridLSTMEncoder, {**GRID, **ONE_WAY, "cell": "rnn", "depth": "relu"}),
    "grid, one way, every option of its cells": (
        GridLSTMEncoder,
        {**GRID, **ONE_WAY, "peepholes": True, "coupled": True, "cell_clip": 1.0, "recurrent_dropout": 0.2, "bands": 3},
    ),
    "grid, shared, time last": (
        GridLSTMEncoder,
        {**GRID, "depth": "lstm", "merge": "sum", "shared": True, "priority": ["depth", "time"]},
    ),
    "multidimensional": (MultidimensionalLSTMEncoder, GRID),
    "multidimensional, bands": (MultidimensionalLSTMEncoder, {**GRID, "bands": 2}),
    "multidimensional, sum, last block": (MultidimensionalLSTMEncoder, {**GRID, "cell": "sum", "gather": "last"}),
    "multidimensional, one way, every option of its cells": (
        MultidimensionalLSTMEncoder,
        {
            **GRID,
            **ONE_WAY,
            "peepholes": True,
            "cell_clip": 1.0,
            "output_gate": "inside",
            "recurrent_dropout": 0.2,
            "bands": 2,
        },
    ),
    "multidimensional, one way": (MultidimensionalLSTMEncoder, {**GRID, **ONE_WAY, "gather": "mean"}),
    "time-frequency": (TimeFrequencyLSTMEncoder, FREQUENCY),
    "time-frequency, one way, last block": (
        TimeFrequencyLSTMEncoder,
        {**FREQUENCY, "lstm_bidirectional": False, "gather": "last", "frequency_layers": 2},
    ),
    "time-frequency, low to high": (
        TimeFrequencyLSTMEncoder,
        {**FREQUENCY, "bidirectional_frequency": False, "projection_size": None, "mel_stride": None},
    ),
    "blstm": (StackedRNNEncoder, RNN),
    "lstm": (StackedRNNEncoder, {**RNN, "bidirectional": False}),
    "bgru": (StackedRNNEncoder, {**RNN, "cell": "gru", "layer_norm": False}),
    "gru, overlapping stacks": (
        StackedRNNEncoder,
        {**RNN, "cell": "gru", "bidirectional": False, "stacked_frames": 5, "frame_stride": 2},
    ),
    "brnn": (StackedRNNEncoder, {**RNN, "cell": "rnn", "stacked_frames": 1}),
    "rnn": (StackedRNNEncoder, {**RNN, "cell": "rnn", "bidirectional": False}),
    "blstm over convolutions": (StackedRNNEncoder, {**RNN, "convolution_channels": [3, 4], "stacked_frames": 1}),
    "lstm over a convolution and stacks": (
        StackedRNNEncoder,
        {**RNN, "bidirectional": False, "convolution_channels": [3], "stacked_frames": 2},
    ),
}
every_encoder = pytest.mark.parametrize("name", CONFIGURATIONS)


def make(name: str) -> Encoder:
    """An encoder as after some training: no bias, normalisation or embedding is at its initial zero or one."""
    kind, options = CONFIGURATIONS[name]
    encoder = kind(num_features=MELS, **options).eval()
    with torch.no_grad():
        for key, parameter in encoder.named_parameters():
            if "bias" in key or "norm" in key or "embedding" in key:
                parameter += 0.3 * torch.rand_like(parameter)
    return encoder


def make_batch(filling: float = 0.0) -> Tensor:
    """Features (B, T, M) for LENGTHS, always the same but for the padding."""
    features = torch.randn(len(LENGTHS), 40, MELS, generator=torch.Generator().manual_seed(5))
    for utterance, length in enumerate(LENGTHS.tolist()):
        features[utterance, length:] = filling
    return features


def log_probs(encoder: Encoder, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What a CTC head makes of the encoder's frames."""
    head = nn.Linear(encoder.output_size, TOKENS)
    generator = torch.Generator().manual_seed(6)
    bound = encoder.output_size**-0.5
    head.weight.data.uniform_(-bound, bound, generator=generator)
    head.bias.data.uniform_(-bound, bound, generator=generator)
    frames, lengths = encoder(features, lengths)
    return head(frames).log_softmax(-1), lengths


@every_encoder
def test_an_utterance_alone_and_in_a_padded_batch_gives_the_same_log_probs(name: str) -> None:
    encoder, features = make(name), make_batch()
    batched, lengths = log_probs(encoder, features, LENGTHS)
    for utterance, length in enumerate(LENGTHS.tolist()):
        alone, (frames,) = log_probs(encoder, features[utterance : utterance + 1, :length], torch.tensor([length]))
        assert frames == lengths[utterance] == alone.shape[1]
        torch.testing.assert_close(batched[utterance, :frames], alone[0], rtol=0, atol=1e-5)


@every_encoder
def test_the_content_and_the_amount_of_padding_change_nothing(name: str) -> None:
    encoder = make(name)
    expected, lengths = encoder(make_batch(), LENGTHS)
    assert encoder(make_batch(math.nan), LENGTHS)[0].equal(expected)
    wider = torch.nn.functional.pad(make_batch(), (0, 0, 0, 25), value=math.inf)
    frames, wider_lengths = encoder(wider, LENGTHS)
    assert wider_lengths.equal(lengths)
    torch.testing.assert_close(frames[:, : expected.shape[1]], expected, rtol=0, atol=1e-5)
    assert not frames[:, expected.shape[1] :].any()


@every_encoder
def test_padding_gets_no_gradient(name: str) -> None:
    features = make_batch(2.0).requires_grad_()
    make(name).train()(features, LENGTHS)[0].square().sum().backward()
    for utterance, length in enumerate(LENGTHS.tolist()):
        assert not features.grad[utterance, length:].any()
        assert features.grad[utterance, :length].any()


@every_encoder
def test_frames_beyond_the_output_lengths_are_zero_and_no_others(name: str) -> None:
    for mode in (True, False):
        frames, lengths = make(name).train(mode)(make_batch(), LENGTHS)
        for utterance, length in enumerate(lengths.tolist()):
            assert not frames[utterance, length:].any()
            assert frames[utterance, :length].any(dim=-1).all()


@every_encoder
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    encoder, features, order = make(name), make_batch(), torch.tensor([3, 0, 4, 2, 1])
    frames, lengths = encoder(features, LENGTHS)
    permuted, permuted_lengths = encoder(features[order], LENGTHS[order])
    assert permuted_lengths.equal(lengths[order])
    torch.testing.assert_close(permuted, frames[order], rtol=0, atol=1e-5)


@every_encoder
def test_nan_in_one_utterance_reaches_no_other(name: str) -> None:
    encoder, features = make(name), make_batch()
    expected, lengths = encoder(features, LENGTHS)
    features[1, 3] = math.nan
    frames, _ = encoder(features, LENGTHS)
    others = [0, 2, 3, 4]
    assert frames[1, : lengths[1]].isnan().any()
    assert frames[others].equal(expected[others])


@every_encoder
def test_output_lengths_are_those_of_forward_for_every_length(name: str) -> None:
    encoder = make(name)
    lengths = torch.arange(1, 31)
    frames, found = encoder(torch.randn(30, 30, MELS), lengths)
    assert found.dtype == torch.int64
    assert found.equal(encoder.output_lengths(lengths))
    assert found.equal(-(-lengths // encoder.subsampling))
    assert frames.shape == (30, int(found.max()), encoder.output_size)
    assert encoder.output_lengths(lengths.view(5, 6)).shape == (5, 6)


@every_encoder
def test_a_batch_without_padding_is_the_same_with_lengths_of_any_integer_type(name: str) -> None:
    encoder, features = make(name), torch.randn(2, 12, MELS)
    expected = encoder(features, torch.tensor([12, 12]))[0]
    assert encoder(features, torch.tensor([12, 12], dtype=torch.int32))[0].equal(expected)


@every_encoder
def test_every_parameter_gets_a_gradient(name: str) -> None:
    encoder = make(name).train()
    frames, _ = encoder(make_batch(math.nan), LENGTHS)
    (frames * torch.randn_like(frames)).sum().backward()
    without = [key for key, parameter in encoder.named_parameters() if not parameter.grad.isfinite().all()]
    without += [key for key, parameter in encoder.named_parameters() if not parameter.grad.any()]
    assert not without


@every_encoder
def test_streamable_means_that_the_future_beyond_a_bound_changes_nothing(name: str) -> None:
    encoder, features = make(name), torch.randn(1, 60, MELS)
    changed = features.clone()
    changed[:, 40:] += 1.0
    length = torch.tensor([60])
    before = encoder(features, length)[0], encoder(changed, length)[0]
    early = (40 - 8) // encoder.subsampling  # a frame reads less than 8 input frames ahead
    same = (before[0] - before[1])[0, :early].abs().amax(-1) < 1e-7
    assert same.all() if encoder.streamable else not same[-1]
    assert not before[0][0, -1].equal(before[1][0, -1])


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN is available for Intel GPUs")
@every_encoder
def test_multiply_adds_are_what_pytorch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "wavefront")  # whose products PyTorch sees
    encoder = make(name)
    kind, options = CONFIGURATIONS[name]
    counting = kind(MELS, **{**options, "bands": 1}).eval() if "bands" in options else encoder  # they cost no products
    counted = {}
    for frames in (1, 23):
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter, torch.no_grad():
            counting(torch.randn(1, frames, MELS), torch.tensor([frames]))
        counted[frames] = counter.get_total_flops() // 2
        grid = getattr(counting, "grid", None)
        if grid and (
            grid.options == MultidimensionalOptions(2, grid.options.hidden_size, grid.options.cell)
            if kind is MultidimensionalLSTMEncoder
            else hand_written(grid.options)
        ):  # which has the bias of its recurrence as one more column
            bias = sum(layer.bias.numel() for layer in grid.layers)
            bias = bias * 2 // 3 if CONFIGURATIONS[name][1].get("depth") == "lstm" else bias
            cells = encoder.patches.num_blocks * int(encoder.output_lengths(torch.tensor(frames)))
            counted[frames] -= cells * bias
    assert {frames: encoder.multiply_adds(frames) for frames in counted} == counted


@every_encoder
def test_it_is_rebuilt_from_plain_data_and_its_weights(name: str) -> None:
    encoder = make(name)
    description = json.loads(json.dumps(encoder.describe()))
    assert description["init_args"] == encoder.describe()["init_args"]
    rebuilt = build_encoder(**description).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    features = make_batch()
    assert rebuilt(features, LENGTHS)[0].equal(encoder(features, LENGTHS)[0])
    for attribute in ("num_features", "output_size", "subsampling", "streamable"):
        assert getattr(rebuilt, attribute) == getattr(encoder, attribute)


@every_encoder
def test_it_is_deterministic_and_a_copy_is_the_same(name: str) -> None:
    encoder, features = make(name).train(), make_batch()
    outputs = []
    for module in (encoder, encoder, copy.deepcopy(encoder)):
        torch.manual_seed(3)
        module.zero_grad()
        frames, _ = module(features, LENGTHS)
        frames.square().sum().backward()
        outputs.append([frames, *(p.grad.clone() for p in module.parameters())])
    for other in outputs[1:]:
        assert all(a.equal(b) for a, b in zip(outputs[0], other, strict=True))


@every_encoder
def test_dropout_acts_in_training_only(name: str) -> None:
    encoder, features = make(name), make_batch()
    assert encoder(features, LENGTHS)[0].equal(encoder(features, LENGTHS)[0])
    encoder.train()
    assert not encoder(features, LENGTHS)[0].equal(encoder(features, LENGTHS)[0])


@every_encoder
def test_it_computes_in_float64_and_close_to_it_in_float32(name: str) -> None:
    encoder, features = make(name), make_batch()
    single, _ = log_probs(encoder, features, LENGTHS)
    encoder.double()
    frames, _ = encoder(features.double(), LENGTHS)
    assert frames.dtype == torch.float64
    torch.testing.assert_close(encoder.float()(features, LENGTHS)[0], frames.float(), rtol=0, atol=1e-4)
    assert single.dtype == torch.float32


@every_encoder
def test_bfloat16_autocast_trains_and_stays_close(name: str) -> None:
    encoder, features = make(name), make_batch()
    expected, _ = log_probs(encoder, features, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = log_probs(encoder, features, LENGTHS)
    found.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in encoder.parameters())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.15)


@every_encoder
def test_weight_decay_is_for_the_matrices_of_all_encoders_alike(name: str) -> None:
    encoder = make(name)
    decayed, others = divide_by_weight_decay(encoder)
    assert len(decayed) + len(others) == len(list(encoder.parameters()))
    names = {id(parameter): key.rpartition(".")[2] for key, parameter in encoder.named_parameters()}
    matrices = {"weight", "weight_ih", "weight_hh", "weight_ih_l0", "weight_hh_l0", "projection"}
    assert {names[id(parameter)] for parameter in decayed} <= matrices
    vectors = {"bias", "bias_hh", "bias_ih_l0", "bias_hh_l0", "peephole"}
    assert {names[id(parameter)] for parameter in others if parameter.ndim > 1} <= vectors
