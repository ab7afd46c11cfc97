"""`asr inspect`: pictures of the gates and memories of a Grid LSTM, and of what a model listens to."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from lhotse import MonoCut
from torch import Tensor

from asr.data.audio import read_audio
from asr.data.cuts import load_waveform, read_cuts
from asr.decode.outputs import corpus_root
from asr.decode.recognition import recognize
from asr.encoders import GridLSTMEncoder, MultidimensionalLSTMEncoder
from asr.errors import InputError
from asr.files import write_json
from asr.inspect.gates import Gates, grid_gates
from asr.inspect.pictures import DIMENSIONS, Heard, gates_figure, receptive_figure, write_figure
from asr.inspect.receptive import ReceptiveField, field_of_grid, field_of_model
from asr.model import MODEL_HELP, LoadedModel, load_model, model_path
from asr.transcribe import prepare_waveform

SHOWN_SECONDS = 1.0
"""Of a receptive field to both sides."""


def main(arguments: Sequence[str]) -> int:
    """`asr inspect`."""
    options = _parser().parse_args(arguments)
    loaded = load_model(options.model)
    folder = Path(options.output)
    name, waveform = _waveform(loaded, options)
    heard = Heard(
        loaded.features.unnormalized(waveform).numpy(),
        loaded.description.features,
        recognize(loaded, [waveform], [name])[0].words,
    )
    features = loaded.features(waveform)
    encoder = loaded.model.encoder
    written = []
    if isinstance(encoder, GridLSTMEncoder) and encoder.grid.options.cell == "lstm":
        written += _write_gates(folder, encoder, features, heard, name)
    else:
        print(f"gates: none are drawn, since {type(encoder).__name__} is no grid of LSTM cells with a memory an axis")
    fields = _fields(loaded, features)
    write_figure(receptive_figure(fields, heard.config, SHOWN_SECONDS), folder / "receptive_field.png")
    write_json(folder / "receptive_field.json", _numbers(fields, heard, name))
    for title, field in fields:
        print(f"{title}: {_reach(field, heard)}")
    print(f"wrote {', '.join([*written, 'receptive_field.png', 'receptive_field.json'])} to {folder}")
    return 0


def _waveform(loaded: LoadedModel, options: argparse.Namespace) -> tuple[str, Tensor]:
    """The name and samples (N,) of what is looked at."""
    rate = loaded.description.features.sample_rate
    if options.audio:
        samples, given = read_audio(options.audio)
        waveform, notes = prepare_waveform(torch.from_numpy(samples), given, rate)
        for note in notes:
            print(f"{options.audio}: {note}")
        return Path(options.audio).name, waveform
    if options.cuts:
        manifests = [Path(options.cuts)]
    else:
        root = corpus_root(options.root, loaded, options.model)
        manifests = [path for name in ("test", "dev", "train") for path in sorted(root.glob(f"{name}.jsonl*"))]
    cut = _find(manifests, options.utterance)
    return cut.id, torch.from_numpy(load_waveform(cut, rate))


def _find(manifests: Sequence[Path], utterance: str) -> MonoCut:
    for manifest in manifests:
        for cut in read_cuts(manifest, transcribed=False):
            if cut.id == utterance:
                return cut
    raise InputError(f"--utterance {utterance}: it is not in {', '.join(map(str, manifests)) or 'any manifest'}")


def _write_gates(folder: Path, encoder: GridLSTMEncoder, features: Tensor, heard: Heard, name: str) -> list[str]:
    """A picture for each layer and direction; returns their names."""
    lengths = torch.tensor([len(features)])
    with torch.no_grad():
        patches = encoder.embedding(encoder.patches(features[None], lengths))[0]
    found = grid_gates(encoder.grid, patches)[0]
    config, cut = heard.config, encoder.patches
    step = encoder.subsampling * config.hop_length / config.sample_rate
    mels = (cut.num_blocks - 1) * (cut.mel_stride or cut.patch_mels) + cut.patch_mels
    names = []
    for layer in range(encoder.grid.num_layers):
        for direction in encoder.grid.directions:
            shown = [one for one in found if (one.layer, one.direction) == (layer, direction)]
            file = f"gates_layer{layer + 1}_{'_'.join(_ways(direction))}.png"
            title = f"{name}: grid layer {layer + 1}, {' in time, '.join(_ways(direction))} in frequency"
            write_figure(gates_figure(heard, shown, title, step, mels), folder / file)
            names.append(file)
            for one in shown:
                print(f"layer {layer + 1}, {', '.join(_ways(direction))}: {_described(one)}")
    return names


def _ways(direction: tuple[bool, ...]) -> list[str]:
    time, frequency = direction
    return ["backward" if time else "forward", "downward" if frequency else "upward"]


def _described(gates: Gates) -> str:
    means = ", ".join(f"{gate} {getattr(gates, gate).mean():.2f}" for gate in ("input", "forget", "output"))
    largest = gates.memory.abs().max()
    return f"along {DIMENSIONS[gates.dimension]}: mean gates {means}; largest memory {largest:.1f}"


def _fields(loaded: LoadedModel, features: Tensor) -> list[tuple[str, ReceptiveField]]:
    """Receptive fields by what they are of."""
    encoder = loaded.model.encoder
    fields = [("log-probabilities of an output frame", field_of_model(loaded.model, features))]
    if isinstance(encoder, GridLSTMEncoder | MultidimensionalLSTMEncoder):
        blocks = encoder.patches.num_blocks
        middle = blocks // 2
        field = field_of_grid(encoder, features, middle)
        fields.append((f"a cell of the grid, frequency block {middle + 1} of {blocks}", field))
    return fields


def _reach(field: ReceptiveField, heard: Heard) -> str:
    hop = heard.config.hop_length / heard.config.sample_rate
    half, most = (f"{(field.within(share) + 0.5) * hop:.2f} s" for share in (0.5, 0.9))
    return f"half of the squared gradient lies within {half} to both sides, 90 % within {most}"


def _numbers(fields: Sequence[tuple[str, ReceptiveField]], heard: Heard, name: str) -> dict[str, object]:
    """The receptive fields as plain data, cut to the frames that places have."""
    hop = heard.config.hop_length / heard.config.sample_rate
    rows = []
    for title, field in fields:
        known = ~field.along_time.isnan()
        offsets = torch.arange(len(field.norms)) - field.reach
        rows.append(
            {
                "of": title,
                "places": field.places,
                "seconds": [round(offset * hop, 6) for offset in offsets[known].tolist()],
                "along_time": field.along_time[known].tolist(),
                "along_frequency": field.along_frequency.tolist(),
            }
        )
    return {"utterance": name, "fields": rows}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr inspect",
        description="Look inside a model while it hears one utterance. Of a Grid LSTM, the gates and memories over "
        "time and frequency beside the spectrogram, a picture for each layer and direction. Of any model, the "
        "receptive field: the size of the gradient of an output frame (and of a grid's cell) with respect to every "
        f"input value around it, the median over output frames; {SHOWN_SECONDS:g} s to both sides are drawn.",
    )
    parser.add_argument("model", type=model_path, help=MODEL_HELP)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--utterance", help="id of an utterance of the prepared corpus, or of --cuts")
    which.add_argument("--audio", help="an audio file")
    parser.add_argument("--root", help="prepared corpus; default: the one the run was trained on")
    parser.add_argument("--cuts", help="lhotse cuts (.jsonl, .jsonl.gz) that have the utterance")
    parser.add_argument("-o", "--output", required=True, help="folder for the pictures")
    return parser
