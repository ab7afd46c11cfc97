"""Recurrent layers in both directions against torch's own, on packed sequences."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.encoders.recurrent import RecurrentStack
from asr.encoders.sequences import reverse, zero_padding

LENGTHS = torch.tensor([4, 7, 1])


@pytest.mark.parametrize(("cell", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_stack_equals_torchs_bidirectional_layers_on_packed_sequences(cell: str, kind: type[nn.RNNBase]) -> None:
    stack = RecurrentStack(3, 5, 2, cell, bidirectional=True, layer_norm=False)
    packed = kind(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    for layer in range(2):
        for direction, suffix in ((stack.forwards[layer], ""), (stack.backwards[layer], "_reverse")):
            for name, parameter in direction.named_parameters():
                packed.get_parameter(name.replace("_l0", f"_l{layer}") + suffix).data = parameter.data
    frames = torch.randn(3, 7, 3)
    expected = packed(pack_padded_sequence(frames, LENGTHS, batch_first=True, enforce_sorted=False))[0]
    expected, _ = pad_packed_sequence(expected, batch_first=True)
    torch.testing.assert_close(stack(zero_padding(frames, LENGTHS), LENGTHS), expected, rtol=0, atol=1e-6)


def test_no_layers_pass_frames_unchanged() -> None:
    stack, frames = RecurrentStack(3, 5, 0), torch.randn(1, 4, 3)
    assert stack(frames, torch.tensor([4])).equal(frames)
    assert stack.output_size == 3
    assert stack.multiply_adds(4) == 0


def test_layer_norm_is_applied_after_each_layer() -> None:
    output = RecurrentStack(3, 6, 2, bidirectional=True)(torch.randn(2, 5, 3), torch.tensor([5, 5]))
    torch.testing.assert_close(output.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.var(-1, correction=0), torch.ones(2, 5), rtol=0, atol=1e-2)


def test_reverse_is_its_own_inverse_and_its_own_gradient() -> None:
    frames = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    once = reverse(frames, LENGTHS)
    for utterance, length in enumerate(LENGTHS.tolist()):
        assert once[utterance, :length].equal(frames[utterance, :length].flip(0))
        assert once[utterance, length:].equal(frames[utterance, length:])
    assert reverse(once, LENGTHS).equal(frames)
    assert torch.autograd.gradcheck(lambda x: reverse(x, LENGTHS), frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "sru"}, "cell must be one of 'rnn', 'gru', 'lstm', got 'sru'"),
        ({"hidden_size": 0}, "hidden_size must be an integer of at least 1, got 0"),
        ({"num_layers": -1}, "num_layers must be an integer of at least 0, got -1"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, got -0.1"),
    ],
)
def test_wrong_options_are_refused_with_value_and_limit(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecurrentStack(**{"input_size": 3, "hidden_size": 5, "num_layers": 1, **options})
