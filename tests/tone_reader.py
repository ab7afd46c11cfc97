"""A recogniser of the tone language (tone_corpus.py) by construction: it needs no training and makes no errors."""

from pathlib import Path

import torch
from torch import Tensor

from asr.data.features import FeatureConfig, LogMel
from asr.data.tokens import CharacterTokenizer
from asr.encoders.contract import Encoder
from asr.files import write_json
from asr.model import CTCModel, LoadedModel, ModelDescription, export_model

BINS = {"A": (13, 16), "B": (23, 27), "C": (38, 41)}
"""Mel bins of the three tones, of 80 up to 8 kHz."""
LOUD = 2.0
"""A tone's log-power, but for its ends."""
QUIET_FRAMES = 7
"""Feature frames (10 ms) of quiet that make a space; between tones there are at most four."""
TOKENS = " ABC"


class ToneReader(Encoder):
    """Log-mel features, not normalised -> logits of blank, space, A, B, C, for every second frame."""

    def __init__(self, num_features: int = 80, sharpness: float = 8.0) -> None:
        super().__init__()
        self.num_features = num_features
        self.output_size = 1 + len(TOKENS)
        self.subsampling = 2
        self.streamable = True
        self.sharpness = sharpness

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        levels = torch.stack([features[..., low:high].amax(dim=-1) for low, high in BINS.values()], dim=-1)
        loudness = levels.amax(dim=-1).masked_fill(~inside, torch.inf)
        margin = QUIET_FRAMES // 2
        around = torch.nn.functional.pad(loudness, (margin, margin), value=torch.inf)
        space = around.unfold(1, QUIET_FRAMES, 1).amax(dim=-1) < LOUD
        blank = (loudness < LOUD) & ~space
        tones = torch.nn.functional.one_hot(levels.argmax(dim=-1), 3).bool() & ~(blank | space)[..., None]
        chosen = torch.cat([blank[..., None], space[..., None], tones], dim=-1) & inside[..., None]
        return self.sharpness * chosen[:, ::2].float(), self.output_lengths(lengths)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return -(-lengths // 2)

    def multiply_adds(self, num_frames: int) -> int:
        return 0


def tone_reader(sharpness: float = 8.0, normalizer: str = "verbatim/1") -> LoadedModel:
    """The recogniser as if it had been loaded from a file."""
    encoder = ToneReader(sharpness=sharpness)
    features = FeatureConfig(normalization="none")
    tokenizer = CharacterTokenizer(TOKENS)
    model = CTCModel(encoder, len(tokenizer.tokens))
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(len(tokenizer.tokens)))
        model.head.bias.zero_()
    description = ModelDescription(encoder.describe(), features, None, tokenizer.to_dict(), normalizer)
    metadata = {"name": "tone-reader", "seed": 7, "training_seconds": 0.0, "source": "constructed"}
    return LoadedModel(model.eval(), description, tokenizer, LogMel(features), metadata)


def export_tone_reader(folder: Path, normalizer: str = "verbatim/1") -> Path:
    """Write the recogniser as an exported model."""
    export_model(tone_reader(normalizer=normalizer), folder)
    return folder


def write_run(run: Path, root: Path, sharpness: float = 8.0) -> Path:
    """A run folder as training leaves it."""
    loaded = tone_reader(sharpness=sharpness)
    write_json(run / "run.json", {"name": "tones", "seed": 3, "data_root": str(root)})
    (run / "checkpoints").mkdir()
    weights = {f"model.{name}": weight for name, weight in loaded.model.state_dict().items()}
    torch.save({"description": loaded.description.to_dict(), "state_dict": weights}, run / "checkpoints" / "best.ckpt")
    return run
