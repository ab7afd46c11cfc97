"""Patches against their definition by slicing."""

import math

import pytest
import torch

from asr.encoders.patches import Patches

SHAPES = [(3, 8, None, None), (4, 6, 2, 5), (1, 1, None, None), (5, 20, 3, None), (2, 7, 1, 3), (60, 20, 60, 20)]


@pytest.mark.parametrize(("patch_frames", "patch_mels", "frame_stride", "mel_stride"), SHAPES)
def test_patches_are_slices_of_the_features_with_zeros_beyond_the_end(
    patch_frames: int, patch_mels: int, frame_stride: int | None, mel_stride: int | None
) -> None:
    patches = Patches(20, patch_frames, patch_mels, frame_stride, mel_stride)
    features, lengths = torch.randn(2, 13, 20), torch.tensor([13, 6])
    padded = torch.zeros(2, 100, 100)
    padded[0, :13, :20], padded[1, :6, :20] = features[0], features[1, :6]
    frame_stride, mel_stride = frame_stride or patch_frames, mel_stride or patch_mels
    found = patches(features, lengths)
    assert found.shape == (2, math.ceil(13 / frame_stride), patches.num_blocks, patch_frames * patch_mels)
    for t in range(found.shape[1]):
        for f in range(found.shape[2]):
            time, mel = t * frame_stride, f * mel_stride
            expected = padded[:, time : time + patch_frames, mel : mel + patch_mels].flatten(1)
            assert found[:, t, f].equal(expected)


@pytest.mark.parametrize("num_features", range(1, 24))
def test_blocks_cover_every_mel_bin_and_none_is_empty(num_features: int) -> None:
    for size in range(1, num_features + 1):
        for stride in range(1, size + 1):
            blocks = Patches(num_features, 1, size, 1, stride).num_blocks
            assert (blocks - 1) * stride + size >= num_features
            assert blocks == 1 or (blocks - 2) * stride + size < num_features


def test_output_lengths_of_numbers_and_tensors_agree() -> None:
    patches = Patches(20, 4, 20, 3)
    lengths = torch.arange(1, 20)
    assert patches.output_lengths(lengths).tolist() == [patches.output_lengths(n) for n in range(1, 20)]
    assert patches.output_lengths(lengths).tolist() == [math.ceil(n / 3) for n in range(1, 20)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features must be an integer of at least 1, got 0"),
        ({"patch_frames": 0}, "patch_frames must be an integer of at least 1, got 0"),
        ({"patch_mels": 21}, "patch_mels must be at most num_features, 20, got 21"),
        ({"patch_frames": 3, "frame_stride": 4}, "frame_stride must be at most patch_frames, 3, .* got 4"),
        ({"patch_mels": 5, "mel_stride": 6}, "mel_stride must be at most patch_mels, 5, .* got 6"),
        ({"mel_stride": 0}, "mel_stride must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_sizes_are_refused_with_value_and_limit(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Patches(**{"num_features": 20, **options})
