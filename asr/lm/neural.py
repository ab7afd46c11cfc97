"""Language models of characters: recurrent networks that predict each character from all before it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from asr.errors import InputError
from asr.files import atomic_writer, read_json, write_json
from asr.grid import GridLSTM

FORMAT = 1
"""Version of the plain-data description; a file with a higher one is refused."""
BOUNDARY = "\n"
"""What stands before and after every sentence."""
BATCH = 64
"""Sentences that are scored at once."""

State = tuple[Tensor, Tensor | None] | None
"""Of the recurrent layers, as GridLSTM returns and takes it; None is zeros."""


class CharacterLanguageModel(nn.Module):
    """P(character | all before it), by recurrent layers over an embedding.

    With architecture "lstm" the layers are a stacked LSTM, as torch.nn.LSTM computes it. With "grid" they are a Grid
    LSTM of time x depth (Kalchbrenner et al. 2016, arXiv 1507.01526, section 4.3): a memory runs along depth too, and
    the layers may share their weights. Both run by the same engines of `asr.grid`.

    Args:
        alphabet: the characters, each once, with the boundary "\\n" among them.
        architecture: "lstm" or "grid".
        layers: of the network.
        size: of its hidden vectors and memories.
        tied: all layers share their weights; of a grid only.
        embedding: size of a character's vector.
        engine: of `asr.grid`.

    Raises:
        InputError: a character is there twice, the boundary is missing, or an option's value is wrong.
    """

    def __init__(
        self,
        alphabet: str,
        architecture: Literal["lstm", "grid"] = "grid",
        layers: int = 3,
        size: int = 128,
        tied: bool = False,
        embedding: int = 64,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        if len(set(alphabet)) < len(alphabet) or BOUNDARY not in alphabet:
            raise InputError(f"an alphabet has each character once, and the line break: got {alphabet!r}")
        if architecture not in ("lstm", "grid"):
            raise InputError(f"architecture must be 'lstm' or 'grid', got {architecture!r}")
        if tied and architecture == "lstm":
            raise InputError("only the layers of a grid can be tied: their inputs and outputs are alike")
        self._described = {
            "alphabet": alphabet,
            "architecture": architecture,
            "layers": layers,
            "size": size,
            "tied": tied,
            "embedding": embedding,
        }
        self.alphabet = alphabet
        self._code = {character: number for number, character in enumerate(alphabet)}
        depth: Literal["lstm", "none"] = "lstm" if architecture == "grid" else "none"
        try:
            self.embedding = nn.Embedding(len(alphabet), embedding)
            self.recurrent = GridLSTM(embedding, size, layers, axes=1, depth=depth, tied=tied, engine=engine)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"no language model with these options: {error}") from error
        self.output = nn.Linear(size, len(alphabet))

    def forward(self, characters: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Characters (B, T) int64 -> scores of the next ones (B, T, V), before the softmax; the state that is left.

        A text in pieces, each begun in the state that the one before left, gives what it gives as one.
        """
        hidden, left = self.recurrent(self.embedding(characters), state=state)
        return self.output(hidden), left

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, but the engine."""
        return dict(self._described)

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def encode(self, text: str) -> Tensor:
        """Numbers of the characters, (T,) int64.

        Raises:
            InputError: one of them is not in the alphabet.
        """
        try:
            return torch.tensor([self._code[character] for character in text], dtype=torch.int64)
        except KeyError as error:
            near = max(0, text.index(str(error.args[0])) - 20)
            raise InputError(
                f"{error.args[0]!r} in {text[near : near + 40]!r} is not a character of the language model"
            ) from None

    @torch.no_grad()
    def score(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each sentence and of the boundary behind it, after a boundary and nothing else.

        Raises:
            InputError: a sentence holds a character that is not in the alphabet, or a line break.
        """
        for text in texts:
            if BOUNDARY in text:
                raise InputError(f"a sentence has no line break in it: {text!r}")
        codes = [self.encode(BOUNDARY + text + BOUNDARY) for text in texts]
        scores = [0.0] * len(codes)
        training = self.training
        self.eval()
        order = sorted(range(len(codes)), key=lambda number: len(codes[number]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for number, score in zip(chosen, self._score([codes[number] for number in chosen]), strict=True):
                scores[number] = score
        self.train(training)
        return scores

    def _score(self, codes: Sequence[Tensor]) -> list[float]:
        """Log-probabilities of what follows the first character; what is padded at the end changes nothing before."""
        padded = nn.utils.rnn.pad_sequence(list(codes), batch_first=True)
        given, expected = padded[:, :-1], padded[:, 1:]
        log_probs = self(given)[0].log_softmax(-1).gather(-1, expected.unsqueeze(-1)).squeeze(-1)
        lengths = torch.tensor([len(code) - 1 for code in codes])
        real = torch.arange(given.shape[1]) < lengths.unsqueeze(1)
        totals: list[float] = log_probs.double().where(real, 0.0).sum(1).tolist()
        return totals


def pieces(codes: Tensor, streams: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A text (N,) cut into as many streams as long, and these into pieces: (given, expected next), each (streams, T).

    The last piece may be shorter; up to `streams` characters at the end of the text are left out.

    >>> [given.tolist() for given, _ in pieces(torch.arange(9), streams=2, length=3)]
    [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]

    Raises:
        InputError: the text is shorter than two characters a stream.
    """
    each = (len(codes) - 1) // streams
    if each < 1:
        raise InputError(f"{len(codes)} characters are too few for {streams} streams")
    given = codes[: each * streams].view(streams, each)
    expected = codes[1 : each * streams + 1].view(streams, each)
    for start in range(0, each, length):
        yield given[:, start : start + length], expected[:, start : start + length]


@torch.no_grad()
def bits_per_character(model: CharacterLanguageModel, codes: Tensor, streams: int = 64, length: int = 256) -> Tensor:
    """Mean of -log2 P(character | all before it in its stream), stream by stream, (streams,) in float64.

    The streams are equally long, so that the mean of them is that of the text. It is log2 V for a uniform model.

    Raises:
        InputError: the text is shorter than two characters a stream.
    """
    training, state, count = model.training, None, 0
    total = torch.zeros(streams, dtype=torch.float64)
    model.eval()
    for given, expected in pieces(codes, streams, length):
        scores, state = model(given, state)
        total += nn.functional.cross_entropy(scores.mT, expected, reduction="none").double().sum(1)
        count += expected.shape[1]
    model.train(training)
    return total / count / math.log(2)


def save_language_model(model: CharacterLanguageModel, folder: Path | str, metadata: dict[str, Any]) -> None:
    """Write `lm.safetensors` and `lm.json` into `folder`; `metadata` is plain data on how it was made."""
    folder = Path(folder)
    with atomic_writer(folder / "lm.safetensors") as file:
        file.write(save({name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}))
    write_json(folder / "lm.json", {"format": FORMAT, "description": model.describe(), "metadata": metadata})


def load_language_model(folder: Path | str, engine: str = "auto") -> tuple[CharacterLanguageModel, dict[str, Any]]:
    """The model that `save_language_model` wrote, in eval mode, and its metadata.

    Raises:
        InputError: it is not there, is a file, was made by a later version, or its weights do not fit its description.
    """
    folder = Path(folder)
    if folder.is_file():
        kind = "an n-gram model" if folder.name.endswith((".npz", ".arpa", ".arpa.gz")) else "a file"
        raise InputError(f"{folder} is {kind}: a folder of `asr lm train` is wanted")
    content = read_json(folder / "lm.json")
    source = folder / "lm.safetensors"
    try:
        if content["format"] > FORMAT:
            raise InputError(f"{folder} has format {content['format']}; this version reads up to {FORMAT}: update asr")
        model = CharacterLanguageModel(**content["description"], engine=engine)
        metadata: dict[str, Any] = content["metadata"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'lm.json'} describes no language model of characters: {error}") from error
    try:
        model.load_state_dict(load(source.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"cannot use the weights {source}: {error}") from error
    return model.eval(), metadata
