import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from white_noise import white_noise

from asr.data.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    AugmentationConfig,
    change_speed,
    mask_features,
    samples_at_speed,
    warp_frequencies,
)
from asr.data.features import FeatureConfig, LogMel
from asr.data.noise import coloured_noise, mix_noise
from asr.errors import InputError
from asr.randomness import generator

WriteCuts = Callable[..., Path]
PLAIN = {"speed_factors": (1.0,), "frequency_masks": 0, "time_masks": 0}


def power(samples: torch.Tensor) -> float:
    return float(samples.double().square().mean())


def snr(speech: torch.Tensor, noise: torch.Tensor) -> float:
    return 10 * math.log10(power(speech) / power(noise))


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.1, 1.5])
def test_speed_divides_duration_and_multiplies_frequency(factor: float) -> None:
    time = torch.arange(16000) / 16000
    faster = change_speed(torch.sin(2 * math.pi * 1000 * time), factor)
    assert len(faster) == samples_at_speed(16000, factor) == math.ceil(16000 / factor)
    windowed = faster * torch.hann_window(len(faster))
    spectrum = torch.fft.rfft(windowed, n=160000).abs()
    assert int(spectrum.argmax()) / 10 == pytest.approx(1000 * factor, abs=0.5)


def test_speed_keeps_the_power_of_a_tone() -> None:
    tone = torch.sin(2 * math.pi * 500 * torch.arange(16000) / 16000)
    for factor in (0.9, 1.1):
        assert power(change_speed(tone, factor)[200:-200]) == pytest.approx(power(tone), rel=2e-3)


def test_speed_1_changes_no_sample() -> None:
    samples = torch.from_numpy(white_noise(1000))
    assert torch.equal(change_speed(samples, 1.0), samples)


def test_what_would_be_above_half_the_sample_rate_does_not_fold_back() -> None:
    tone = torch.sin(2 * math.pi * 7900 * torch.arange(16000) / 16000)
    assert power(change_speed(tone, 1.5)) < 1e-3 * power(tone)


@pytest.mark.parametrize("wanted", [-5.0, 0.0, 3.3, 20.0])
def test_the_measured_snr_is_the_one_asked_for(wanted: float) -> None:
    speech, noise = (torch.from_numpy(white_noise(30000, seed, level)) for seed, level in ((1, 0.2), (2, 0.003)))
    mixed = mix_noise(speech.double(), noise.double(), wanted)
    assert snr(speech, mixed - speech) == pytest.approx(wanted, abs=1e-3)
    # What is added is the noise itself, scaled.
    assert torch.corrcoef(torch.stack([mixed - speech.double(), noise.double()]))[0, 1] == pytest.approx(1)


def test_silent_speech_stays_silent() -> None:
    assert not mix_noise(torch.zeros(100), torch.ones(100), 10.0).any()


def rows_and_columns(masked: torch.Tensor, fill: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Which frames and which bins are filled entirely."""
    filled = masked == fill
    return filled.all(dim=1), filled.all(dim=0)


def test_masks_are_contiguous_and_within_their_widest() -> None:
    config = AugmentationConfig(
        frequency_masks=1, frequency_mask_bins=20, time_masks=1, time_mask_frames=30, time_mask_fraction=1.0
    )
    features = 1 + torch.rand(200, 80)
    times, bins = [], []
    for seed in range(300):
        masked = mask_features(features, config, generator(seed), torch.full((80,), -7.0))
        rows, columns = rows_and_columns(masked, -7.0)
        for filled in (rows, columns):
            edges = torch.diff(filled.int(), prepend=torch.zeros(1, dtype=torch.int32)).eq(1).sum()
            assert edges <= 1
        outside = masked[~rows][:, ~columns]
        assert torch.equal(outside, features[~rows][:, ~columns])
        times.append(int(rows.sum()))
        bins.append(int(columns.sum()))
    # The widths are uniform on 0 ... widest: both ends occur in 300 draws, and the mean is near the middle.
    assert (min(times), max(times)) == (0, 30)
    assert (min(bins), max(bins)) == (0, 20)
    assert np.mean(times) == pytest.approx(15, abs=2)
    assert np.mean(bins) == pytest.approx(10, abs=1.5)


def test_every_frame_and_every_bin_is_masked_now_and_then() -> None:
    config = AugmentationConfig(frequency_masks=1, frequency_mask_bins=4, time_masks=1, time_mask_fraction=0.2)
    rows, columns = torch.zeros(20), torch.zeros(8)
    for seed in range(400):
        masked = mask_features(torch.ones(20, 8), config, generator(seed), torch.zeros(8))
        masked_rows, masked_columns = rows_and_columns(masked, 0.0)
        rows += masked_rows
        columns += masked_columns
    assert rows.min() > 0
    assert columns.min() > 0


def test_short_utterances_keep_most_of_their_frames() -> None:
    config = AugmentationConfig(frequency_masks=0, time_masks=2, time_mask_frames=100, time_mask_fraction=0.15)
    for seed in range(100):
        masked = mask_features(torch.ones(40, 4), config, generator(seed), torch.zeros(4))
        assert (masked == 0).all(dim=1).sum() <= 2 * 6
    only_frame = mask_features(torch.ones(1, 4), config, generator(0), torch.zeros(4))
    assert only_frame.eq(1).all()


def test_masks_leave_the_given_features_as_they_were() -> None:
    features = torch.ones(50, 80)
    mask_features(features, AugmentationConfig(), generator(3), torch.zeros(80))
    assert features.eq(1).all()


def tone_features(hertz: float, config: FeatureConfig) -> torch.Tensor:
    return LogMel(config).unnormalized(torch.sin(2 * math.pi * hertz * torch.arange(8000) / 16000))


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.07, 1.2])
@pytest.mark.parametrize("hertz", [400.0, 1000.0, 3000.0])
def test_a_warped_tone_is_heard_where_a_tone_of_that_frequency_is(factor: float, hertz: float) -> None:
    config = FeatureConfig(normalization="none")
    warped = warp_frequencies(tone_features(hertz, config), factor, config)
    there = tone_features(hertz * factor, config)
    assert abs(int(warped[10].argmax()) - int(there[10].argmax())) <= 1


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_the_upper_edge_stays_and_all_that_lies_below_it_is_kept_in_order(factor: float) -> None:
    config = FeatureConfig(max_frequency=5500.0)
    ramp = torch.arange(80.0).expand(3, 80)  # each bin holds its own number
    warped = warp_frequencies(ramp, factor, config)[0]
    assert (warped.diff() >= 0).all()
    assert float(warped[-1]) > 78
    # bin k then holds what bin j had, where centre_k = factor * centre_j
    centres = config.mel_centres()
    for k in (20, 40):
        assert np.interp(float(warped[k]), np.arange(80), centres) == pytest.approx(centres[k] / factor, rel=0.01)


def test_a_factor_of_one_changes_nothing() -> None:
    features = torch.randn(20, 80)
    torch.testing.assert_close(warp_frequencies(features, 1.0, FeatureConfig()), features)


def test_warps_span_their_range_as_functions_of_seed_epoch_and_utterance() -> None:
    config = FeatureConfig(normalization="none")
    augmentation = make(AugmentationConfig(**PLAIN, frequency_warp=0.2))
    tone = tone_features(2000.0, config)
    heard = [int(augmentation.warped(tone, epoch, "u")[10].argmax()) for epoch in range(100)]
    assert heard == [int(augmentation.warped(tone, epoch, "u")[10].argmax()) for epoch in range(100)]
    low, high = (int(tone_features(hertz, config)[10].argmax()) for hertz in (1600.0, 2400.0))
    assert low <= min(heard) <= low + 2
    assert high - 2 <= max(heard) <= high
    assert torch.equal(make(AugmentationConfig(**PLAIN)).warped(tone, 0, "u"), tone)


def make(config: AugmentationConfig, seed: int = 0) -> Augmentation:
    return Augmentation(config, seed, FeatureConfig())


def test_a_speed_does_not_depend_on_which_epochs_and_utterances_were_asked_before() -> None:
    asked = [(epoch, f"u{i}") for epoch in range(4) for i in range(30)]
    order = generator("order").permutation(2 * len(asked)) % len(asked)
    one = make(AugmentationConfig())
    for index in order:
        assert one.speed(*asked[index]) == make(AugmentationConfig()).speed(*asked[index])


def test_speeds_are_functions_of_seed_epoch_and_utterance_and_equally_frequent() -> None:
    augmentation = make(AugmentationConfig())
    drawn = [augmentation.speed(epoch, f"u{i}") for epoch in range(3) for i in range(500)]
    again = make(AugmentationConfig())
    assert [again.speed(epoch, f"u{i}") for epoch in range(3) for i in range(500)] == drawn
    assert [make(AugmentationConfig(), seed=1).speed(0, f"u{i}") for i in range(500)] != drawn[:500]
    assert drawn[:500] != drawn[500:1000]
    counts = np.array([drawn.count(factor) for factor in (0.9, 1.0, 1.1)])
    assert ((counts - 500) ** 2 / 500).sum() < 13.8  # 99.9 % quantile of 2 degrees of freedom


@pytest.fixture
def noisy(write_cuts: WriteCuts) -> dict[str, Any]:
    long, short = white_noise(48000, seed=5), white_noise(1000, seed=6)
    manifest = write_cuts({"long": long, "short": short}, name="noise")
    return {**PLAIN, "noise": (str(manifest),), "noise_probability": 1.0, "noise_snr": (10.0, 10.0)}


def test_noise_of_any_length_is_mixed_in_at_the_configured_snr(noisy: dict[str, Any]) -> None:
    augmentation = make(AugmentationConfig(**noisy))
    speech = torch.from_numpy(white_noise(16000, seed=1, amplitude=0.3))
    measured = [snr(speech, augmentation.waveform(speech, epoch, "u") - speech) for epoch in range(8)]
    np.testing.assert_allclose(measured, 10.0, atol=1e-3)


def test_snrs_span_their_range_and_noise_its_probability(noisy: dict[str, Any]) -> None:
    augmentation = make(AugmentationConfig(**{**noisy, "noise_snr": (0.0, 20.0), "noise_probability": 0.5}))
    speech = torch.from_numpy(white_noise(4000, seed=1))
    added = [augmentation.waveform(speech, epoch, "u") - speech for epoch in range(120)]
    measured = [snr(speech, noise) for noise in added if noise.any()]
    assert 40 <= len(measured) <= 80
    assert min(measured) < 3 < 17 < max(measured)
    assert min(measured) > -0.01
    assert max(measured) < 20.01


def test_different_stretches_of_a_noise_are_used(noisy: dict[str, Any]) -> None:
    augmentation = make(AugmentationConfig(**noisy))
    speech = torch.ones(2000)
    assert len({float((augmentation.waveform(speech, epoch, "u") - speech)[0]) for epoch in range(10)}) > 5


def octave(samples: torch.Tensor, high: float, rate: float = 16000) -> float:
    """The power between half of `high` and `high` Hz."""
    density = torch.fft.rfft(samples.double()).abs() ** 2
    bins = [round(edge / rate * len(samples)) for edge in (high / 2, high)]
    return float(density[bins[0] : bins[1]].sum())


def test_white_noise_has_equal_power_in_all_hertz_and_pink_noise_in_all_octaves() -> None:
    white = coloured_noise(1 << 18, generator("w"), 0.0)
    pink = coloured_noise(1 << 18, generator("p"), 1.0)
    assert octave(white, 2000) / octave(white, 4000) == pytest.approx(0.5, rel=0.05)
    assert octave(pink, 2000) / octave(pink, 4000) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("colour", "ratio"), [("white", 0.5), ("pink", 1.0)])
def test_noise_can_be_made(colour: str, ratio: float) -> None:
    augmentation = make(AugmentationConfig(**PLAIN, noise=(colour,), noise_probability=1.0, noise_snr=(10.0, 10.0)))
    speech = torch.from_numpy(white_noise(160_000, seed=1))
    added = augmentation.waveform(speech, 0, "u") - speech
    assert snr(speech, added) == pytest.approx(10, abs=1e-3)
    assert octave(added, 2000) / octave(added, 4000) == pytest.approx(ratio, rel=0.1)
    assert torch.equal(augmentation.waveform(speech, 0, "u") - speech, added)
    assert not torch.equal(augmentation.waveform(speech, 1, "u") - speech, added)


def test_each_source_of_noise_is_drawn_as_often_as_the_others(write_cuts: WriteCuts) -> None:
    manifest = write_cuts({name: white_noise(4000, amplitude=0.0) + 0.5 for name in "abc"}, name="noise")  # constant
    augmentation = make(AugmentationConfig(**PLAIN, noise=(str(manifest), "white"), noise_probability=1.0))
    speech = torch.from_numpy(white_noise(1000, seed=1))
    added = [augmentation.waveform(speech, epoch, "u") - speech for epoch in range(200)]
    constant = sum(float(noise.std()) < 1e-4 * float(noise.abs().mean()) for noise in added)
    assert 72 <= constant <= 128  # 4 standard deviations of a fair coin


def test_over_a_telephone_nothing_is_left_above_4_khz() -> None:
    speech = torch.from_numpy(white_noise(16000, seed=1))
    heard = [
        make(AugmentationConfig(**PLAIN, telephone_probability=0.5)).waveform(speech, epoch, "u")
        for epoch in range(100)
    ]
    narrow = [waveform for waveform in heard if not torch.equal(waveform, speech)]
    assert 30 <= len(narrow) <= 70
    for waveform in narrow:
        assert octave(waveform, 8000) < 0.02 * octave(speech, 8000)
        assert octave(waveform, 2000) == pytest.approx(octave(speech, 2000), rel=0.01)


def test_volume_changes_by_at_most_the_configured_decibels() -> None:
    augmentation = make(AugmentationConfig(**PLAIN, volume_decibels=6.0))
    speech = torch.from_numpy(white_noise(1000))
    gains = [snr(augmentation.waveform(speech, epoch, "u"), speech) for epoch in range(100)]
    assert min(gains) < -4
    assert max(gains) > 4
    assert max(map(abs, gains)) <= 6.001


def test_each_purpose_draws_for_itself(noisy: dict[str, Any]) -> None:
    """Switching one augmentation on does not change what another does."""
    alone = make(AugmentationConfig())
    both = make(
        AugmentationConfig(**{**noisy, "speed_factors": (0.9, 1.0, 1.1), "time_masks": 2, "frequency_masks": 2})
    )
    features, fill = torch.rand(50, 80), torch.zeros(80)
    for epoch in range(5):
        assert alone.speed(epoch, "u") == both.speed(epoch, "u")
        assert torch.equal(alone.features(features, epoch, "u", fill), both.features(features, epoch, "u", fill))


def test_no_augmentation_changes_nothing() -> None:
    augmentation = make(NO_AUGMENTATION)
    samples, features = torch.rand(500), torch.rand(10, 80)
    for epoch in range(3):
        assert augmentation.speed(epoch, "u") == 1.0
        assert torch.equal(augmentation.waveform(samples, epoch, "u"), samples)
        assert torch.equal(augmentation.features(features, epoch, "u", torch.zeros(80)), features)


def test_noise_that_is_silent_everywhere_is_an_error_that_names_it(write_cuts: WriteCuts) -> None:
    manifest = write_cuts({"nothing": np.zeros(8000, dtype=np.float32)}, name="noise")
    augmentation = make(AugmentationConfig(**PLAIN, noise=(str(manifest),), noise_probability=1.0))
    with pytest.raises(InputError, match=r"noise 'nothing' from .* is silence"):
        augmentation.waveform(torch.ones(100), 0, "u")


def test_noise_that_is_silent_in_places_is_no_error(write_cuts: WriteCuts) -> None:
    half = np.concatenate([np.zeros(40000, dtype=np.float32), white_noise(40000)])
    manifest = write_cuts({"half": half}, name="noise")
    augmentation = make(AugmentationConfig(**PLAIN, noise=(str(manifest),), noise_probability=1.0))
    assert all(augmentation.waveform(torch.ones(100), epoch, "u").ne(1).any() for epoch in range(20))


def test_a_missing_noise_manifest_is_named() -> None:
    with pytest.raises(InputError, match="no-noise.jsonl.gz"):
        make(AugmentationConfig(noise=("no-noise.jsonl.gz",)))


def test_noise_at_another_rate_is_refused_by_name(write_cuts: WriteCuts) -> None:
    manifest = write_cuts({"slow": white_noise(8000)}, name="noise", rate=8000)
    with pytest.raises(InputError, match="cuts.jsonl.gz are not at .* 16000 Hz, the first: 'slow' at 8000 Hz"):
        make(AugmentationConfig(noise=(str(manifest),)))


def test_a_noise_manifest_that_is_never_used_is_not_read() -> None:
    make(AugmentationConfig(noise=("no-noise.jsonl.gz",), noise_probability=0.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed_factors": (0.9, 0.333)}, "speed_factors must be hundredths from 0.5 to 2, got 0.333"),
        ({"speed_factors": (0.4,)}, "got 0.4"),
        ({"speed_factors": ()}, "at least one"),
        ({"speed_factors": (1.0, 1.0)}, "must be distinct"),
        ({"time_masks": -1}, "time_masks must not be negative, got -1"),
        ({"time_mask_fraction": 1.5}, "time_mask_fraction must be from 0 to 1, got 1.5"),
        ({"noise_probability": -0.1}, "noise_probability"),
        ({"telephone_probability": 2.0}, "telephone_probability must be from 0 to 1, got 2.0"),
        ({"noise_snr": (20.0, 5.0)}, r"noise_snr must be \[lowest, highest\], got \[20.0, 5.0\]"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationConfig(**options)
