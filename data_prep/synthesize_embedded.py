"""The embedded corpus: sentences of a small grammar, spoken by free synthesisers (not needed by users of the corpus).

    python -m data_prep.synthesize_embedded OUT

reads `grammar.txt` and `voices.tsv` in `data_prep/embedded` and writes the folder LibriSpeech of the same place: Opus
files, transcripts and SPEAKERS.TXT in that corpus's layout. It calls espeak-ng, flite, festival (voices kal_diphone,
ked_diphone and cmu_us_slt_arctic_hts) and opusenc.
"""

import argparse
import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from tqdm import tqdm

from asr.errors import InputError
from asr.files import atomic_writer, write_text
from asr.randomness import derive_seed

FOLDER = Path(__file__).parent / "embedded"
SAMPLE_RATE = 16000
SEED = 1
SHARES = {"train-embedded": 0.75, "dev-embedded": 0.85, "test-embedded": 1.0}
"""The cumulated shares of all sentences that belong to each part."""
FASTEST = 23.0
"""Characters a second; a sentence that a voice speaks faster is left out, since CTC needs a frame for each."""
BITRATE = 18
"""Of the Opus files, in kbit/s on average."""


def generator(*keys: int | str) -> np.random.Generator:
    """A generator that is a function of `keys` alone. Another kind than the rest of the package's would make another
    corpus, so this one stays as it was when the corpus was made."""
    return np.random.Generator(np.random.PCG64(derive_seed(*keys)))


@dataclass(frozen=True)
class Grammar:
    """Sentences with <slots>, and what each slot may be replaced by."""

    sentences: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Voice:
    """One speaker: a voice of a synthesiser with fixed settings; a row of `voices.tsv`.

    Args:
        speaker: LibriSpeech's number for the speaker.
        part: train-embedded, dev-embedded or test-embedded.
        utterances: how many sentences it speaks.
        sex: M or F.
        family: voices of one kind of synthesis; a family stands in one part only, or in several.
        synthesizer: espeak-ng, flite or festival.
        voice: its name there.
        rate: factor on the synthesiser's usual speed of speaking.
        pitch: espeak-ng: 0 to 99; festival's diphone voices: Hz; flite: Hz; 0 leaves it as it is.
        scale: the recording is played this much faster, which moves pitch and formants (a longer vocal tract below 1).
        level: of the speech, in dB relative to full scale (RMS).
    """

    speaker: str
    part: str
    utterances: int
    sex: str
    family: str
    synthesizer: str
    voice: str
    rate: float
    pitch: int
    scale: float
    level: float


def read_grammar(path: Path) -> Grammar:
    """Read `name: a | b` lines and sentences; `#` begins a comment.

    Raises:
        InputError: a sentence or an alternative names a class that is not there; the message gives the line.
    """
    sentences: list[str] = []
    classes: dict[str, tuple[str, ...]] = {}
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        name, colon, alternatives = line.partition(":")
        if colon:
            classes[name] = tuple(alternative.strip() for alternative in alternatives.split("|"))
        elif line:
            sentences.append(line)
    for number, line in enumerate(lines, start=1):
        for name in re.findall(r"<(\w*)>", line):
            if name not in classes:
                raise InputError(f"{path}, line {number}: there is no class <{name}>")
    return Grammar(tuple(sentences), classes)


class Composer:
    """Draws sentences so that patterns and words are used equally often: always one of the least used so far."""

    def __init__(self, grammar: Grammar, rng: np.random.Generator) -> None:
        self.grammar = grammar
        self.rng = rng
        self.uses: Counter[tuple[str, str]] = Counter()

    def _choose(self, name: str, options: Sequence[str]) -> str:
        least = min(self.uses[name, option] for option in options)
        option = str(self.rng.choice([option for option in options if self.uses[name, option] == least]))
        self.uses[name, option] += 1
        return option

    def compose(self) -> str:
        """A sentence in lower case without slots."""
        text = self._choose("", self.grammar.sentences)
        while slot := re.search(r"<(\w+)>", text):
            filling = self._choose(slot[1], self.grammar.classes[slot[1]])
            text = text[: slot.start()] + filling + text[slot.end() :]
        return text


def part_of(text: str) -> str:
    """The part in which a sentence may stand: a function of its text, so that no sentence stands in two.

    >>> part_of("turn right at the green desk")
    'train-embedded'
    """
    share = generator("embedded sentence", text).random()
    return next(part for part, upper in SHARES.items() if share < upper)


def compose_part(grammar: Grammar, part: str, size: int, repeats: int = 6) -> list[str]:
    """Draw `size` sentences of `part`, none more than `repeats` times (spoken by different voices).

    Raises:
        InputError: the grammar has too few sentences.
    """
    composer = Composer(grammar, generator("embedded sentences", part, SEED))
    counts: Counter[str] = Counter()
    drawn: list[str] = []
    for _ in range(100 * size):
        if len(drawn) == size:
            return drawn
        text = composer.compose()
        if part_of(text) == part and counts[text] < repeats:
            counts[text] += 1
            drawn.append(text)
    raise InputError(f"the grammar gives {len(drawn)} sentences for {part}, {size} are wanted")


def read_voices(path: Path) -> list[Voice]:
    """Read `voices.tsv`.

    Raises:
        InputError: a row lacks a column or holds something else than expected; the message gives the line.
    """
    voices = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), start=2):
            try:
                convert = {"utterances": int, "rate": float, "pitch": int, "scale": float, "level": float}
                voices.append(Voice(**{key: convert.get(key, str)(value) for key, value in row.items()}))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}, line {number}: {error}") from error
    return voices


def espeak_command(voice: Voice, text: str, wav: Path) -> list[str]:
    """The call of espeak-ng that speaks `text` (175 words a minute are its usual speed)."""
    speed = round(175 * voice.rate)
    return ["espeak-ng", "-v", voice.voice, "-s", str(speed), "-p", str(voice.pitch or 50), "-w", str(wav), "--", text]


def unknown_variants(voices: Sequence[Voice]) -> list[str]:
    """Variants that espeak-ng lacks: it would speak with its plain voice instead and say nothing."""
    listed = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True).stdout
    known = set(re.findall(r"!v/(\S+)", listed))
    wanted = {voice.voice.partition("+")[2] for voice in voices if voice.synthesizer == "espeak-ng"}
    return sorted(wanted - known - {""})


def flite_command(voice: Voice, text: str, wav: Path) -> list[str]:
    """The call of flite that speaks `text`."""
    settings = ["--setf", f"duration_stretch={1 / voice.rate:.4f}"]
    if voice.pitch:
        settings += ["--setf", f"int_f0_target_mean={voice.pitch}"]
    return ["flite", "-voice", voice.voice, *settings, "-t", text, "-o", str(wav)]


def festival_script(voice: Voice, texts: Sequence[str], wavs: Sequence[Path]) -> str:
    """The Scheme program with which festival speaks `texts` into `wavs`."""
    lines = [f"(voice_{voice.voice})", f"(Parameter.set 'Duration_Stretch {1.1 / voice.rate:.4f})"]
    if voice.pitch:
        mean = f"(target_f0_mean {voice.pitch}) (target_f0_std {voice.pitch * 0.14:.1f})"
        lines.append(f"(set! int_lr_params '({mean} (model_f0_mean 170) (model_f0_std 34)))")
    for text, wav in zip(texts, wavs, strict=True):
        lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{wav}" \'riff)')
    return "\n".join(lines) + "\n"


def speak(voice: Voice, texts: Sequence[str], folder: Path) -> list[Path]:
    """Speak `texts` into WAV files in `folder`, at the synthesiser's own rate and level."""
    wavs = [folder / f"{voice.speaker}-{number:04d}.wav" for number in range(len(texts))]
    if voice.synthesizer == "festival":
        script = folder / f"{voice.speaker}.scm"
        script.write_text(festival_script(voice, texts, wavs), encoding="utf-8")
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        return wavs
    command = {"espeak-ng": espeak_command, "flite": flite_command}[voice.synthesizer]
    for text, wav in zip(texts, wavs, strict=True):
        subprocess.run(command(voice, text, wav), check=True, capture_output=True)
    return wavs


def trim(samples: np.ndarray, edge: float = 0.1, threshold: float = 40.0) -> np.ndarray:
    """Cut or fill with silence so that `edge` seconds stand before and after the speech.

    Speech begins and ends with the first and last 10 ms whose energy is within `threshold` dB of the loudest 10 ms.
    """
    frame = SAMPLE_RATE // 100
    frames = np.pad(samples, (0, -len(samples) % frame)).reshape(-1, frame)
    energy = np.square(frames).mean(axis=1)
    speech = np.flatnonzero(energy > energy.max() * 10 ** (-threshold / 10))
    first, last = speech[0] * frame, (speech[-1] + 1) * frame
    margin = round(edge * SAMPLE_RATE)
    padded = np.pad(samples, margin + frame)[first + frame : last + frame + 2 * margin]
    ramp = np.linspace(0, 1, frame, dtype=padded.dtype)
    return padded * np.concatenate([ramp, np.ones(len(padded) - 2 * frame, padded.dtype), ramp[::-1]])


def finish(samples: np.ndarray, rate: int, scale: float, level: float) -> np.ndarray:
    """Bring speech (N,) to 16 kHz, trimmed, played `scale` times faster, at `level` dB RMS, peaks below -1 dB."""
    # A ratio of round numbers keeps the resampler's filter bank small.
    played = round(rate * scale / 200) * 200
    resampled = torchaudio.functional.resample(torch.from_numpy(samples), played, SAMPLE_RATE).numpy()
    trimmed = trim(resampled - resampled.mean())
    gain = 10 ** (level / 20) / np.sqrt(np.square(trimmed).mean())
    return trimmed * min(gain, 10 ** (-1 / 20) / np.abs(trimmed).max())


def encode(samples: np.ndarray, opus: Path, serial: int) -> None:
    """Write speech (N,) as an Opus file."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        soundfile.write(wav.name, samples, SAMPLE_RATE, subtype="PCM_16")
        command = ["opusenc", "--quiet", "--speech", "--bitrate", str(BITRATE), "--padding", "0"]
        command += ["--serial", str(serial), "--discard-comments", wav.name, "-"]
        packed = subprocess.run(command, check=True, capture_output=True).stdout
    with atomic_writer(opus) as file:
        file.write(packed)


def record(voice: Voice, texts: Sequence[str], corpus: Path) -> float:
    """Write the files of one speaker below `corpus`. Returns the seconds of speech."""
    chapter = f"{voice.speaker}-1"
    folder = corpus / voice.part / voice.speaker / "1"
    seconds, lines = 0.0, []
    with tempfile.TemporaryDirectory() as temporary:
        for number, wav in enumerate(speak(voice, texts, Path(temporary))):
            name = f"{chapter}-{number:04d}"
            samples, rate = soundfile.read(wav, dtype="float32")
            level = voice.level + generator("embedded level", name).uniform(-2, 2)
            samples = finish(samples, rate, voice.scale, level)
            if len(texts[number]) * SAMPLE_RATE > FASTEST * len(samples):
                continue
            encode(samples, folder / f"{name}.opus", serial=1)
            seconds += len(samples) / SAMPLE_RATE
            lines.append(f"{name} {texts[number].upper()}\n")
    write_text(folder / f"{chapter}.trans.txt", "".join(lines))
    return seconds


def speakers_table(voices: Sequence[Voice], seconds: Sequence[float]) -> str:
    """SPEAKERS.TXT as LibriSpeech has it; the name says which voice it is."""
    lines = [f";{'ID':<5}| SEX | {'SUBSET':<16} | MINUTES | NAME\n"]
    for voice, duration in zip(voices, seconds, strict=True):
        name = f"{voice.synthesizer} {voice.voice} (rate {voice.rate:g}, pitch {voice.pitch}, scale {voice.scale:g})"
        lines.append(f"{voice.speaker:<6}| {voice.sex}   | {voice.part:<16} | {duration / 60:<7.2f} | {name}\n")
    return "".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpus. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.synthesize_embedded", description=__doc__)
    parser.add_argument("out", type=Path, help="folder that gets LibriSpeech/; must not have one yet")
    parser.add_argument("--source", type=Path, default=FOLDER, help="folder of grammar.txt and voices.tsv")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    corpus = options.out / "LibriSpeech"
    missing = [tool for tool in ("espeak-ng", "flite", "festival", "opusenc") if shutil.which(tool) is None]
    if missing or corpus.exists():
        what = f"not installed: {', '.join(missing)}" if missing else f"{corpus} exists already"
        print(f"error: {what}", file=sys.stderr)
        return 1
    voices = read_voices(options.source / "voices.tsv")
    if unknown := unknown_variants(voices):
        print(f"error: espeak-ng has no variants {', '.join(unknown)}", file=sys.stderr)
        return 1
    grammar = read_grammar(options.source / "grammar.txt")
    sizes = Counter({part: sum(voice.utterances for voice in voices if voice.part == part) for part in SHARES})
    drawn = {part: compose_part(grammar, part, size) for part, size in sizes.items()}
    texts = [[drawn[voice.part].pop() for _ in range(voice.utterances)] for voice in voices]
    with ThreadPoolExecutor(options.jobs) as pool:
        recorded = pool.map(lambda pair: record(*pair, corpus), zip(voices, texts, strict=True))
        seconds = list(tqdm(recorded, total=len(voices), unit="speaker", disable=None))
    write_text(corpus / "SPEAKERS.TXT", speakers_table(voices, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
