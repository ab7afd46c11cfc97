"""Spectrograms and CTC posteriors of a few dev utterances, as pictures in TensorBoard."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from asr.data.batch import Batch
from asr.data.tokens import BLANK
from asr.decode.greedy import greedy_decode
from asr.training.event_log import EventLog


def posterior_figure(
    features: Tensor, log_probs: Tensor, tokens: tuple[str, ...], title: str, seconds_per_frame: float
) -> Figure:
    """Features (T, M) above CTC posteriors (T', V) on one time axis; tokens that never reach 5 % are left out."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    seconds = len(features) * seconds_per_frame
    extent = (0, seconds, 0, features.shape[1])
    upper.imshow(features.T.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma")
    upper.set_ylabel("mel bin")
    upper.set_title(title, fontsize=10, loc="left")
    probabilities = log_probs.exp()
    shown = [i for i in range(len(tokens)) if i == 0 or probabilities[:, i].max() >= 0.05]
    lower.imshow(
        probabilities[:, shown].T.numpy(),
        aspect="auto",
        extent=(0, seconds, len(shown) - 0.5, -0.5),
        cmap="Greys",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    names = {BLANK: "blank", " ": "space"}
    lower.set_yticks(range(len(shown)), [names.get(tokens[i], tokens[i]) for i in shown], fontsize=7)
    lower.set_xlabel("time (s)")
    lower.set_ylabel("CTC posterior")
    return figure


class PosteriorPictures(Callback):
    """In each validation, draws the first utterances of dev: features, posteriors, reference and hypothesis.

    Args:
        utterances: how many, of the first batch at most; 0 draws none.
    """

    def __init__(self, utterances: int = 2) -> None:
        self.utterances = utterances

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        # Here and not after validation, when averaged weights have made room for the trained ones again.
        log = next((one for one in trainer.loggers if isinstance(one, EventLog)), None)
        if batch_idx > 0 or log is None or not trainer.is_global_zero:
            return
        for index in range(min(self.utterances, len(batch.utterance_ids))):
            log.log_figure(f"dev/{batch.utterance_ids[index]}", _figure(pl_module, batch, index), trainer.current_epoch)


def _figure(pl_module: LightningModule, batch: Batch, index: int) -> Figure:
    """The picture of one utterance of a batch."""
    lengths = batch.feature_lengths[index : index + 1]
    features = batch.features[index : index + 1, : int(lengths)]
    with torch.no_grad():
        log_probs, output_lengths = pl_module(features, lengths)
    hypothesis = pl_module.tokenizer.decode(greedy_decode(log_probs, output_lengths)[0])
    config = pl_module.description.features
    return posterior_figure(
        features[0].float().cpu(),
        log_probs[0].float().cpu(),
        pl_module.tokenizer.tokens,
        f"{batch.utterance_ids[index]}\nreference: {batch.texts[index]}\nhypothesis: {hypothesis}",
        config.hop_length / config.sample_rate,
    )
