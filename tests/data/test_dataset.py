import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from white_noise import white_noise

from asr.data.augmentation import NO_AUGMENTATION, Augmentation, AugmentationConfig
from asr.data.cuts import audio_file, load_waveform, read_cuts
from asr.data.dataset import SpeechDataset
from asr.data.features import FeatureConfig, LogMel
from asr.data.sampling import PlannedBatch
from asr.data.tokens import CharacterTokenizer
from asr.errors import InputError

LOG_MEL = LogMel(FeatureConfig(num_mels=20, normalization="utterance"))
TOKENS = CharacterTokenizer("AB")


def augmented(cuts: CutSet, config: AugmentationConfig, log_mel: LogMel = LOG_MEL) -> SpeechDataset:
    return SpeechDataset(cuts, log_mel, TOKENS, Augmentation(config, seed=0, features=log_mel.config))


def test_a_batch_is_the_features_and_tokens_of_its_utterances(speech_cuts: CutSet) -> None:
    batch = SpeechDataset(speech_cuts, LOG_MEL, TOKENS)[PlannedBatch(None, ("u3", "u0"))]
    assert batch.utterance_ids == ("u3", "u0")
    assert batch.texts == ("AB", "AB")
    assert batch.tokens.tolist() == [[1, 2], [1, 2]]
    assert batch.seconds == (1.0, 0.5)
    for row, index in enumerate((3, 0)):
        expected = LOG_MEL(torch.from_numpy(load_waveform(speech_cuts[index], 16000)))
        assert batch.feature_lengths[row] == len(expected)
        assert torch.equal(batch.features[row, : len(expected)], expected)


def test_features_do_not_depend_on_the_rest_of_the_batch(speech_cuts: CutSet) -> None:
    dataset = augmented(speech_cuts, AugmentationConfig())
    together = dataset[PlannedBatch(4, ("u1", "u2", "u0"))]
    alone = dataset[PlannedBatch(4, ("u2",))]
    assert torch.equal(alone.features[0], together.features[1, : alone.feature_lengths[0]])


def test_without_an_epoch_nothing_is_augmented(speech_cuts: CutSet) -> None:
    plan = PlannedBatch(None, ("u0", "u1"))
    plain = SpeechDataset(speech_cuts, LOG_MEL, TOKENS)[plan]
    batch = augmented(speech_cuts, AugmentationConfig(volume_decibels=6.0))[plan]
    assert torch.equal(batch.features, plain.features)
    assert batch.seconds == plain.seconds


@pytest.mark.parametrize("normalization", ["utterance", "none"])
def test_frequencies_are_warped_before_normalisation(speech_cuts: CutSet, normalization: str) -> None:
    log_mel = LogMel(FeatureConfig(num_mels=20, normalization=normalization))
    config = AugmentationConfig(speed_factors=(1.0,), frequency_masks=0, time_masks=0, frequency_warp=0.3)
    batch = augmented(speech_cuts, config, log_mel)[PlannedBatch(2, ("u1",))]
    plain = log_mel.unnormalized(torch.from_numpy(load_waveform(speech_cuts[1], 16000)))
    warped = Augmentation(config, seed=0, features=log_mel.config).warped(plain, 2, "u1")
    torch.testing.assert_close(batch.features[0], log_mel.normalize(warped))
    assert not torch.allclose(batch.features[0], log_mel.normalize(plain), atol=0.1)


def test_epochs_augment_differently_and_each_the_same_every_time(speech_cuts: CutSet) -> None:
    config = AugmentationConfig()
    first, second = augmented(speech_cuts, config), augmented(speech_cuts, config)
    batches = [first[PlannedBatch(epoch, ("u1",))] for epoch in range(4)]
    torch.manual_seed(99)
    for epoch in (3, 0, 2, 1):
        assert torch.equal(second[PlannedBatch(epoch, ("u1",))].features, batches[epoch].features)
    assert not any(
        a.features.shape == b.features.shape and torch.equal(a.features, b.features)
        for i, a in enumerate(batches)
        for b in batches[:i]
    )


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_frames_and_seconds(speech_cuts: CutSet, factor: float) -> None:
    config = AugmentationConfig(speed_factors=(factor,), frequency_masks=0, time_masks=0)
    batch = augmented(speech_cuts, config)[PlannedBatch(0, ("u1",))]
    assert batch.seconds == (1.5 / factor,)
    assert batch.feature_lengths.tolist() == [LOG_MEL.config.num_frames(math.ceil(24000 / factor))]


def test_masks_are_zero_the_mean_of_normalised_features(speech_cuts: CutSet) -> None:
    config = AugmentationConfig(speed_factors=(1.0,), frequency_masks=1, frequency_mask_bins=10, time_masks=0)
    plain = SpeechDataset(speech_cuts, LOG_MEL)[PlannedBatch(None, ("u1",))].features
    changed = torch.zeros_like(plain, dtype=torch.bool)
    for epoch in range(10):
        masked = augmented(speech_cuts, config)[PlannedBatch(epoch, ("u1",))].features
        assert masked[masked != plain].eq(0).all()
        changed |= masked != plain
    assert changed.any()


def test_without_normalisation_masks_are_the_utterance_s_own_mean(speech_cuts: CutSet) -> None:
    config = AugmentationConfig(speed_factors=(1.0,), frequency_masks=0, time_masks=3, time_mask_fraction=0.5)
    log_mel = LogMel(FeatureConfig(num_mels=20, normalization="none"))
    plain = SpeechDataset(speech_cuts, log_mel)[PlannedBatch(None, ("u1",))].features[0]
    masked = augmented(speech_cuts, config, log_mel)[PlannedBatch(1, ("u1",))].features[0]
    rows = (masked != plain).any(dim=1)
    assert rows.any()
    assert torch.equal(masked[rows], plain.mean(dim=0).expand(int(rows.sum()), -1))


def test_features_carry_no_gradient(speech_cuts: CutSet) -> None:
    batch = augmented(speech_cuts, AugmentationConfig())[PlannedBatch(0, ("u0",))]
    assert not batch.features.requires_grad


def test_without_a_tokenizer_targets_are_empty_and_texts_stay(speech_cuts: CutSet) -> None:
    batch = SpeechDataset(speech_cuts, LOG_MEL)[PlannedBatch(None, ("u0", "u1"))]
    assert batch.tokens.shape == (2, 0)
    assert batch.texts == ("AB", "AB")


def test_a_text_outside_the_token_set_names_its_utterance(speech_cuts: CutSet) -> None:
    dataset = SpeechDataset(speech_cuts, LOG_MEL, CharacterTokenizer("A"))
    with pytest.raises(InputError, match=r"utterance 'u2': characters \['B'\]"):
        dataset[PlannedBatch(None, ("u2",))]


def test_a_file_that_vanishes_names_its_utterance(speech_cuts: CutSet) -> None:
    dataset = augmented(speech_cuts, NO_AUGMENTATION)
    audio_file(speech_cuts[1]).unlink()
    assert dataset[PlannedBatch(0, ("u0",))].utterance_ids == ("u0",)
    with pytest.raises(InputError, match="utterance 'u1': .*u1.flac: no such audio file"):
        dataset[PlannedBatch(0, ("u0", "u1"))]


def test_audio_at_another_rate_than_the_features_is_refused_by_name(write_cuts: Callable[..., Path]) -> None:
    cuts = read_cuts(write_cuts({"slow": white_noise(8000)}, rate=8000))
    with pytest.raises(InputError, match="utterance 'slow': .*8000 Hz"):
        SpeechDataset(cuts, LOG_MEL)[PlannedBatch(None, ("slow",))]


def test_it_knows_its_size(speech_cuts: CutSet) -> None:
    assert len(SpeechDataset(speech_cuts, LOG_MEL)) == 5
