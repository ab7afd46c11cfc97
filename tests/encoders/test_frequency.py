"""How a frame's blocks become one vector, and how shared weights tell blocks apart."""

import pytest
import torch

from asr.encoders import GridLSTMEncoder, MultidimensionalLSTMEncoder, TimeFrequencyLSTMEncoder
from asr.encoders.frequency import FrequencyEmbedding, FrequencyGather, scans_from_high
from asr.grid import GridLSTM


def test_gathering_without_projection_is_what_its_name_says() -> None:
    blocks = torch.randn(2, 5, 3, 4)
    assert FrequencyGather(3, 4, "concat")(blocks).equal(blocks.reshape(2, 5, 12))
    torch.testing.assert_close(FrequencyGather(3, 4, "mean")(blocks), blocks.sum(2) / 3)
    assert FrequencyGather(3, 4, "last")(blocks).equal(blocks[:, :, -1])
    ends = torch.cat([blocks[:, :, 2, :2], blocks[:, :, 0, 2:]], dim=-1)
    assert FrequencyGather(3, 4, "last", reversed_parts=(False, True))(blocks).equal(ends)


def test_projection_is_linear_with_layer_normalisation() -> None:
    gather, blocks = FrequencyGather(3, 4, "concat", projection_size=6), torch.randn(2, 5, 3, 4)
    projected = blocks.flatten(2) @ gather.projection.weight.T + gather.projection.bias
    expected = torch.nn.functional.layer_norm(projected, (6,))
    torch.testing.assert_close(gather(blocks), expected)
    assert gather.output_size == 6
    assert gather.multiply_adds(5) == 5 * 12 * 6


def test_the_last_block_of_each_scan_has_seen_all_others() -> None:
    """A change in any block reaches every feature of what "last" gathers: no scan's end was mistaken for its start."""
    grid = GridLSTM(2, 3, bidirectional=[False, True])
    gather = FrequencyGather(4, grid.output_size, "last", reversed_parts=scans_from_high(grid.directions, "concat"))
    blocks = torch.randn(1, 1, 4, 2)
    expected = gather(grid(blocks)[0])
    for block in range(4):
        changed = blocks.clone()
        changed[0, 0, block] += 1.0
        moved = (gather(grid(changed)[0]) - expected)[0, 0].view(2, 6).abs().sum(-1)
        assert (moved > 1e-6).all()


@pytest.mark.parametrize("kind", [GridLSTMEncoder, MultidimensionalLSTMEncoder, TimeFrequencyLSTMEncoder])
def test_with_an_embedding_equal_patches_of_different_blocks_can_be_told_apart(kind: type) -> None:
    options = {"bidirectional_frequency": False, "lstm_layers": 1, "lstm_hidden_size": 4, "projection_size": 4}
    encoder = kind(num_features=16, **options)
    assert not encoder.embedding.weight.any()
    patches = encoder.patches(torch.ones(1, 3, 16), torch.tensor([3]))
    assert encoder.embedding(patches).equal(patches)
    torch.nn.init.normal_(encoder.embedding.weight)
    embedded = encoder.embedding(patches)[0, 0]
    assert not embedded[0].equal(embedded[1])


def test_embedding_is_the_same_for_all_frames_and_utterances() -> None:
    embedding = FrequencyEmbedding(3, 2)
    torch.nn.init.normal_(embedding.weight)
    assert embedding(torch.zeros(4, 5, 3, 2)).equal(embedding.weight.expand(4, 5, 3, 2))


def test_the_last_block_of_summed_scans_is_refused() -> None:
    with pytest.raises(ValueError, match="gather 'last' needs merge 'concat' where bidirectional_frequency is true"):
        scans_from_high(((False, False), (False, True)), "sum")
