"""Planned batches -> batches of features and tokens."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from lhotse import MonoCut
from torch import Tensor
from torch.utils.data import Dataset

from asr.data.augmentation import Augmentation
from asr.data.batch import Batch, Example, collate
from asr.data.cuts import load_waveform, speaker_of, text_of
from asr.data.features import LogMel
from asr.data.sampling import PlannedBatch
from asr.data.tokens import Tokenizer
from asr.errors import InputError


class StoredFeatures(Protocol):
    """Features before normalisation, by utterance id."""

    def __getitem__(self, utterance_id: str) -> Tensor:
        """(T, M) float32."""


class SpeechDataset(Dataset[Batch]):
    """Utterances as batches: read, augmented, turned into features one by one, then padded.

    Args:
        cuts: the utterances.
        features: waveform -> features, normalisation included.
        tokenizer: text -> tokens; None for utterances whose tokens nobody needs (targets are then empty).
        augmentation: for training; None for none. It applies only to batches that are planned for an epoch.
        stored: speed factor -> features computed beforehand, which replace reading audio.
    """

    def __init__(
        self,
        cuts: Iterable[MonoCut],
        features: LogMel,
        tokenizer: Tokenizer | None = None,
        augmentation: Augmentation | None = None,
        stored: Mapping[float, StoredFeatures] | None = None,
    ) -> None:
        self._cuts = {cut.id: cut for cut in cuts}
        self._features = features
        self._tokenizer = tokenizer
        self._augmentation = augmentation
        self._stored = stored
        self._zeros = torch.zeros(features.config.num_mels)

    def __len__(self) -> int:
        return len(self._cuts)

    def __getitem__(self, planned: PlannedBatch) -> Batch:
        """Load a planned batch.

        Raises:
            InputError: an utterance's audio or text cannot be used; it and its file are named.
        """
        return collate([self.example(utterance_id, planned.epoch) for utterance_id in planned.ids])

    @torch.no_grad()
    def example(self, utterance_id: str, epoch: int | None) -> Example:
        """Load one utterance; `epoch` None leaves out all augmentation."""
        cut = self._cuts[utterance_id]
        augmentation = self._augmentation
        augmented = augmentation is not None and epoch is not None
        speed = augmentation.speed(epoch, utterance_id) if augmented else 1.0
        if self._stored is None:
            waveform = torch.from_numpy(load_waveform(cut, self._features.config.sample_rate))
            if augmented:
                waveform = augmentation.waveform(waveform, epoch, utterance_id)
            features = self._features.unnormalized(waveform)
        else:
            features = self._stored[speed][utterance_id]
        if augmented:
            features = augmentation.warped(features, epoch, utterance_id)
        features = self._features.normalize(features)
        if augmented:
            # Masks take the mean's value, which normalisation makes zero.
            normalized = self._features.config.normalization != "none"
            fill = self._zeros if normalized else features.mean(dim=0)
            features = augmentation.features(features, epoch, utterance_id, fill)
        return Example(
            features=features,
            tokens=self._encode(cut),
            utterance_id=utterance_id,
            text=text_of(cut),
            speaker=speaker_of(cut),
            seconds=cut.duration / speed,
        )

    def _encode(self, cut: MonoCut) -> list[int]:
        if self._tokenizer is None:
            return []
        try:
            return self._tokenizer.encode(text_of(cut))
        except InputError as error:
            raise InputError(f"utterance {cut.id!r}: {error}") from error
