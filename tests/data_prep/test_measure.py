"""Measurements of waveforms against signals whose properties are known by construction."""

import numpy as np
import pytest

from data_prep.measure import frame_levels, measure, upper_frequency

RATE = 16000


def noise(seconds: float, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    """White noise (N,) with the given standard deviation."""
    return (level * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def below(frequency: float, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    """The samples without everything from `frequency` (Hz) on, by an ideal filter."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / rate) >= frequency] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def test_the_level_of_a_sine_is_three_decibels_below_its_amplitude() -> None:
    sine = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    np.testing.assert_allclose(frame_levels(sine, RATE), 20 * np.log10(0.5 / np.sqrt(2)), atol=1e-4)


def test_the_last_shorter_frame_is_levelled_by_its_own_samples() -> None:
    levels = frame_levels(np.full(170, 0.1, np.float32), RATE)
    np.testing.assert_allclose(levels, [-20, -20], atol=1e-4)


def test_digital_silence_has_no_level_and_no_bandwidth() -> None:
    found = measure(np.zeros((1, RATE), np.float32), RATE)
    assert (found.level, found.peak, found.upper_frequency) == (-np.inf, 0.0, None)
    assert found.leading_silence == pytest.approx(1.0)


def test_silence_at_both_ends_is_measured_in_steps_of_ten_milliseconds() -> None:
    parts = [np.zeros(round(0.3 * RATE)), noise(0.5), np.zeros(round(0.7 * RATE))]
    found = measure(np.concatenate(parts)[None].astype(np.float32), RATE)
    assert found.leading_silence == pytest.approx(0.3)
    assert found.trailing_silence == pytest.approx(0.7)
    assert found.seconds == pytest.approx(1.5)


def test_a_pause_forty_decibels_below_the_loudest_counts_as_silence() -> None:
    parts = [noise(0.4, 0.1), noise(0.6, 0.1 * 10 ** (-50 / 20))]
    assert measure(np.concatenate(parts)[None], RATE).trailing_silence == pytest.approx(0.6, abs=0.011)
    parts[1] = noise(0.6, 0.1 * 10 ** (-30 / 20))
    assert measure(np.concatenate(parts)[None], RATE).trailing_silence == 0


def test_the_share_of_clipped_samples_is_exact() -> None:
    samples = noise(1.0, 0.01)
    samples[100:500:4] = 1.0
    samples[1000:1300:3] = -1.0
    assert measure(samples[None], RATE).clipped == pytest.approx(200 / RATE)
    assert measure(samples[None] * 0.99, RATE).clipped == 0


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.69, 0.9])
def test_the_upper_frequency_of_filtered_noise_is_the_filter_edge(rate: int, share: float) -> None:
    edge = share * rate / 2
    found = upper_frequency(below(edge, noise(2.0, rate=rate), rate), rate)
    assert found == pytest.approx(edge, abs=180)


def test_unfiltered_noise_reaches_half_the_rate() -> None:
    assert upper_frequency(noise(1.0), RATE) == RATE / 2


def test_offset_and_hum_do_not_hide_the_speech_band() -> None:
    samples = below(4000, noise(2.0, 0.01))
    hum = np.sin(2 * np.pi * 50 * np.arange(len(samples)) / RATE)
    assert upper_frequency(samples + 0.3 + 0.3 * hum, RATE) == pytest.approx(4000, abs=150)


def test_too_short_an_utterance_has_no_bandwidth() -> None:
    assert upper_frequency(noise(0.02), RATE) is None
    assert upper_frequency(np.zeros(RATE, np.float32), RATE) is None


def test_the_digest_is_of_samples_and_rate() -> None:
    samples = noise(0.2)[None]
    changed = samples.copy()
    changed[0, 7] += 1e-3
    digests = {
        measure(samples, RATE).digest,
        measure(samples, 8000).digest,
        measure(changed, RATE).digest,
        measure(np.concatenate([samples, samples]), RATE).digest,
    }
    assert len(digests) == 4
    assert measure(samples.copy(), RATE).digest == measure(samples, RATE).digest


def test_channels_are_averaged_for_levels_and_counted_apart_for_the_peak() -> None:
    one = noise(0.5)
    found = measure(np.stack([one, -one]), RATE)
    assert (found.channels, found.level) == (2, -np.inf)
    assert found.peak == pytest.approx(np.abs(one).max())
