"""Transcription of files and samples at any rate, with a recogniser that reads the tone language by construction."""

import io
import json
import os
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from tone_corpus import tone_waveform
from tone_reader import export_tone_reader, tone_reader

import asr
from asr.data.audio import Waveform
from asr.errors import InputError
from asr.transcribe import MAXIMUM_RESAMPLING_DENOMINATOR, Transcriber, main, prepare_waveform


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_tone_reader(tmp_path_factory.mktemp("model"))


@pytest.fixture
def transcriber():
    return Transcriber(tone_reader())


def write(path, text, rate=16000, channels=1, **options):
    samples = tone_waveform(text, rate)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate, **options)
    return path


def test_three_lines_of_python_turn_a_file_into_text(model, tmp_path):
    write(tmp_path / "a.flac", "AB C")
    recognizer = asr.load(model)
    result = recognizer.transcribe(tmp_path / "a.flac")
    assert result.text == "AB C"
    assert result.seconds == pytest.approx(len(tone_waveform("AB C")) / 16000)
    assert [word.text for word in result.words] == ["AB", "C"]
    assert "".join(token.text for token in result.tokens) == "AB C"
    assert result.notes == ()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 22051, 44100, 48000, 15999])
def test_audio_at_any_rate_is_resampled_and_said(transcriber, rate):
    result = transcriber.transcribe(tone_waveform("CAB A", rate), sample_rate=rate)
    assert result.text == "CAB A"
    assert f"resampled from {rate} to 16000 Hz" in result.notes[0]
    assert ("nothing above" in result.notes[0]) == (rate < 16000)


@pytest.mark.parametrize("rate", [8000, 22051, 44100])
def test_a_resampled_tone_has_its_frequency_and_duration(rate):
    time = np.arange(rate) / rate
    tone = torch.tensor(np.sin(2 * np.pi * 1000 * time), dtype=torch.float32)
    waveform, _ = prepare_waveform(tone[None], rate, 16000)
    assert abs(len(waveform) - 16000) <= 1
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform)))
    assert int(spectrum.abs().argmax()) == 1000
    inner = waveform[1000:15000]
    expected = torch.sin(2 * torch.pi * 1000 * torch.arange(len(waveform)) / 16000)[1000:15000]
    torch.testing.assert_close(inner, expected, atol=0.02, rtol=0)


def test_the_ratio_of_an_odd_rate_is_off_by_less_than_a_tenth_of_a_millisecond_a_second():
    for rate in [22051, 15999, 44099, 11027, 96001]:
        ratio = Fraction(16000, rate).limit_denominator(MAXIMUM_RESAMPLING_DENOMINATOR)
        assert abs(float(ratio) * rate / 16000 - 1) < 1e-4


@pytest.mark.parametrize("target", [8000, 16000])
def test_the_ratio_of_any_rate_is_off_by_less_than_six_hundredths_of_a_percent(target):
    for rate in [*range(1000, 1_000_001, 997), 176089, 895491, 911496, 943506]:
        ratio = Fraction(target, rate).limit_denominator(MAXIMUM_RESAMPLING_DENOMINATOR)
        assert abs(float(ratio) * rate / target - 1) < 6e-4


def test_samples_that_fit_are_not_copied():
    samples = torch.zeros(1, 1600)
    assert prepare_waveform(samples, 16000, 16000)[0].data_ptr() == samples.data_ptr()


def test_channels_are_mixed_down_and_said(transcriber):
    silent, voiced = np.zeros_like(tone_waveform("AB")), 2 * tone_waveform("AB")
    result = transcriber.transcribe((np.stack([silent, voiced]), 16000))
    assert (result.text, result.notes) == ("AB", ("2 channels mixed down to one",))


@pytest.mark.parametrize(("peak", "noted"), [(32767, ["samples reach 32767, full scale is 1"]), (2, []), (1, [])])
def test_floats_of_another_scale_are_said_and_overshoot_is_not(peak, noted):
    samples = peak * torch.sin(torch.arange(1600) * torch.pi / 4)[None]  # every second sample of it is 0, 1 or -1
    assert list(prepare_waveform(samples, 16000, 16000)[1]) == noted
    assert list(prepare_waveform(-samples.abs(), 16000, 16000)[1]) == noted


def test_the_scale_of_a_file_is_noted_by_the_command(model, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", 1000 * tone_waveform("A"), 16000, subtype="FLOAT")
    main([str(tmp_path / "a.wav"), "-m", str(model)])
    assert capsys.readouterr().err == f"{tmp_path / 'a.wav'}: samples reach 300, full scale is 1\n"


@pytest.mark.parametrize(
    ("weights", "share"),
    [([1, -1], "0"), ([1, -0.9], "1"), ([1, -0.6], None), ([1, 0], None), ([1, 0, 0, 0, 0, 0, 0, 0], None)],
)
def test_channels_that_cancel_each_other_are_said(weights, share):
    samples = torch.tensor(weights)[:, None] * torch.from_numpy(tone_waveform("AB"))
    notes = prepare_waveform(samples, 16000, 16000)[1]
    cancelled = [f"the channels cancel each other: their sum has {share} % of the loudest one's power"] if share else []
    assert list(notes) == [*cancelled, f"{len(weights)} channels mixed down to one"]


@pytest.mark.parametrize("channels", [1, 2])
def test_nothing_is_said_against_silence(channels):
    notes = prepare_waveform(torch.zeros(channels, 1600), 16000, 16000)[1]
    assert notes == (("2 channels mixed down to one",) if channels == 2 else ())


@pytest.mark.parametrize(
    "audio",
    [
        (tone_waveform("BA"), 16000),
        (torch.from_numpy(tone_waveform("BA")), 16000),
        (torch.from_numpy(tone_waveform("BA")).double()[None], 16000),
        (np.round(tone_waveform("BA") * 32767).astype(np.int16), 16000),
        (np.round(tone_waveform("BA") * (2**31 - 1)).astype(np.int32), 16000),
        Waveform(tone_waveform("BA")[None], 16000),
    ],
)
def test_samples_of_every_kind_are_understood(transcriber, audio):
    assert transcriber.transcribe(audio).text == "BA"


@pytest.mark.parametrize(
    ("audio", "sample_rate", "named"),
    [
        (np.zeros(100), None, "samples need their sample rate"),
        ((np.zeros(100), 16000), 8000, r"a pair \(samples, sample_rate\), or samples with"),
        ((np.zeros(100), 16000, 1), None, r"a pair \(samples, sample_rate\), or samples with"),
        (np.zeros(100), 0, "sample_rate must be a positive whole number of Hz, got 0"),
        (np.zeros(100), 16000.5, "positive whole number of Hz, got 16000.5"),
        (np.zeros(100), 999, "sample rate of 999 Hz is outside 1000 to 1000000"),
        (np.zeros(0), 16000, r"not be empty, got \(1, 0\)"),
        (np.zeros((1, 2, 3)), 16000, r"shape \(N,\) or \(channels, N\).* got \(1, 2, 3\)"),
        (np.zeros((100, 2)), 16000, r"\(100, 2\) look transposed"),
        (np.array([0.0, np.nan, np.inf]), 16000, "2 of 3 samples are not finite"),
        (np.zeros(100, dtype=np.uint8), 16000, "signed integers, got uint8"),
        (["a", "b"], 16000, "signed integers, got <U1"),
    ],
)
def test_samples_that_cannot_be_audio_are_refused(transcriber, audio, sample_rate, named):
    with pytest.raises(InputError, match=named):
        transcriber.transcribe(audio, sample_rate)


def test_a_device_that_is_not_there_is_refused(model):
    with pytest.raises(InputError, match="device 'nonsense' cannot be used"):
        Transcriber.load(model, device="nonsense")


def test_one_file_prints_its_text_alone(model, tmp_path, capsys):
    assert main([str(write(tmp_path / "a.wav", "A B")), "--model", str(model)]) == 0
    assert capsys.readouterr() == ("A B\n", "")


def test_several_files_print_a_line_each_and_what_was_done_goes_to_stderr(model, tmp_path, capsys):
    one = write(tmp_path / "one.flac", "ABC")
    two = write(tmp_path / "two.ogg", "C A", 48000, 2, format="OGG", subtype="OPUS")
    assert main([str(one), str(two), "-m", str(model)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{one}\tABC\n{two}\tC A\n"
    assert output.err == f"{two}: 2 channels mixed down to one\n{two}: resampled from 48000 to 16000 Hz\n"


def test_files_that_fail_are_named_the_others_transcribed_and_the_exit_code_is_1(model, tmp_path, capsys):
    empty, text, missing = tmp_path / "empty.wav", tmp_path / "text.flac", tmp_path / "missing.wav"
    empty.write_bytes(b"")
    text.write_text("this is no audio")
    good = write(tmp_path / "good.wav", "BC")
    files = [str(path) for path in (empty, good, text, missing)]
    assert main([*files, "--model", str(model)]) == 1
    output = capsys.readouterr()
    assert output.out == f"{good}\tBC\n"
    lines = output.err.splitlines()
    assert len(lines) == 4
    for line, path, reason in zip(lines, [empty, text, missing], ["zero bytes", "decoded", "no such"], strict=False):
        assert line.startswith(f"error: {path}: ")
        assert reason in line
    assert lines[-1] == "3 of 4 files could not be transcribed"


@pytest.mark.parametrize(("promised", "failed"), [(0, 0), (2**35, 1)])
def test_a_flac_without_its_length_is_transcribed_and_one_with_a_wrong_one_named(
    model, tmp_path, capsys, promised, failed
):
    odd, good = write(tmp_path / "odd.flac", "CAB"), write(tmp_path / "good.flac", "BC")
    content = bytearray(odd.read_bytes())
    content[21:26] = ((content[21] & 0xF0) << 32 | promised).to_bytes(5, "big")  # RFC 9639, section 8.2
    odd.write_bytes(content)
    assert main([str(odd), str(good), "-m", str(model)]) == failed
    output = capsys.readouterr()
    assert output.out == ("" if failed else f"{odd}\tCAB\n") + f"{good}\tBC\n"
    assert (f"error: {odd}: truncated, " in output.err) == bool(failed)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_that_stdout_cannot_say_are_escaped_and_nothing_is_lost(model, tmp_path, monkeypatch, encoding):
    bytes_name, letters = tmp_path / os.fsdecode(b"caf\xe9.wav"), tmp_path / "\u043a\u00e9.wav"
    for path, text in [(bytes_name, "AB"), (letters, "C")]:
        write(tmp_path / "a.wav", text).rename(path)
    files = [str(bytes_name), str(letters), str(tmp_path / os.fsdecode(b"gone\xff.wav"))]
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    assert main([*files, "-m", str(model), "--json"]) == 1
    rows = [json.loads(line) for line in printed.getvalue().decode(encoding).splitlines()]
    assert [(row["path"], row.get("text")) for row in rows] == list(zip(files, ["AB", "C", None], strict=True))
    printed.truncate(printed.seek(0))
    assert main([*files, "-m", str(model)]) == 1
    lines = printed.getvalue().decode(encoding).splitlines()
    escaped = [name.encode(encoding, "backslashreplace").decode(encoding) for name in files[:2]]
    assert lines == [f"{escaped[0]}\tAB", f"{escaped[1]}\tC"]
    assert escaped[0] == f"{tmp_path}/caf\\udce9.wav"


def test_json_has_text_times_and_failures_one_object_a_file(model, tmp_path, capsys):
    good = write(tmp_path / "good.wav", "AB C", 8000)
    assert main([str(good), "-m", str(model), "--json", str(tmp_path / "gone.wav")]) == 1  # options where one likes
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["path"], first["text"], first["seconds"]) == (str(good), "AB C", 0.54)
    assert [word["text"] for word in first["words"]] == ["AB", "C"]
    assert all(0 <= w["start"] < w["end"] <= first["seconds"] and 0 < w["confidence"] <= 1 for w in first["words"])
    assert "resampled from 8000" in first["notes"][0]
    assert second == {"path": str(tmp_path / "gone.wav"), "error": f"{tmp_path / 'gone.wav'}: no such audio file"}


def test_a_negative_number_of_texts_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="--nbest must be a number of at least 0, got -3"):
        main([str(tmp_path / "a.wav"), "-m", str(model), "--json", "--decoder", "beam", "--nbest", "-3"])


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(InputError, match="no model at"):
        main([str(tmp_path / "a.wav"), "--model", str(tmp_path / "nothing")])
