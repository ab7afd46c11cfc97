"""What an output listens to: the size of its gradient at every place of the input.

Of the Jacobian of an output vector y at one place, the column of an input value x has the Euclidean norm |dy/dx|. It is
estimated with random signs v: the mean square of d(v . y)/dx over many v is the column's square, without bias, and one
backward pass gives it for all inputs at once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from asr.encoders import GridLSTMEncoder, MultidimensionalLSTMEncoder
from asr.model import CTCModel
from asr.randomness import generator

DRAWS = 4
"""Vectors of random signs by default."""
PLACES = 24
"""Output frames of which a receptive field is the median."""
MOST_FRAMES = 12_000
"""That are computed at once, copies of the utterance for some of the places."""

Compute = Callable[[Tensor], Tensor]


class ReceptiveField(NamedTuple):
    """How strongly input values move an output, at most places in time.

    Attributes:
        norms: of the gradient, the median over places (2 * W + 1, M), NaN where no place had such a frame.
        places: their number.
    """

    norms: Tensor
    places: int

    @property
    def reach(self) -> int:
        """W: the row of offset 0."""
        return len(self.norms) // 2

    @property
    def along_time(self) -> Tensor:
        """Norm of the gradient of whole frames, (2 * W + 1,)."""
        return self.norms.square().sum(dim=1).sqrt()

    @property
    def along_frequency(self) -> Tensor:
        """Norm of the gradient of whole mel bins, over all offsets, (M,)."""
        return self.norms.square().nansum(dim=0).sqrt()

    def within(self, share: float) -> int:
        """The fewest frames to both sides of offset 0 that hold a share of the squared gradient."""
        squares = self.along_time.square().nan_to_num()
        sums = torch.stack([squares[self.reach - n : self.reach + n + 1].sum() for n in range(self.reach + 1)])
        return int((sums < share * squares.sum()).sum())


def gradient_norms(
    compute: Compute, inputs: Tensor, places: Sequence[tuple[int, ...]], draws: int = DRAWS, seed: int = 0
) -> Tensor:
    """How strongly each input value moves the output vector at each of some places.

    Args:
        compute: inputs (P, *shape) -> outputs (P, *extents, D), each of the P by itself.
        inputs: (*shape).
        places: P indices of the output, each (*extents).
        draws: vectors of random signs. The estimate of a norm is exact for D = 1.
        seed: of the signs.

    Returns:
        Norms of the derivatives, (P, *shape) in float64.
    """
    number = len(places)
    index = (torch.arange(number), *(torch.tensor(along) for along in zip(*places, strict=True)))
    random = generator(seed, "gradient norms")
    squares = torch.zeros(number, *inputs.shape, dtype=torch.double)
    for _ in range(draws):
        copies = inputs.detach().expand(number, *inputs.shape).clone().requires_grad_()
        found = compute(copies)[index]
        signs = torch.from_numpy(random.choice([-1.0, 1.0], found.shape)).to(found)
        (gradient,) = torch.autograd.grad((found * signs).sum(), copies)
        squares += gradient.double().square()
    return (squares / draws).sqrt()


def receptive_field(
    compute: Compute, features: Tensor, places: Sequence[tuple[int, ...]], subsampling: int, draws: int = DRAWS
) -> ReceptiveField:
    """The median of `gradient_norms`, aligned so that the first input frame of each place's own is at offset 0.

    Args:
        compute: features (P, T, M) -> outputs (P, T', ..., D).
        features: (T, M).
        places: indices of the output, the first of each its frame.
        subsampling: input frames an output frame.
        draws: see `gradient_norms`.
    """
    frames = len(features)
    aligned = torch.full((len(places), 2 * frames - 1, features.shape[1]), torch.nan, dtype=torch.double)
    together = max(1, MOST_FRAMES // frames)
    for start in range(0, len(places), together):
        some = places[start : start + together]
        norms = gradient_norms(compute, features, some, draws)
        for number, place in enumerate(some):
            first = frames - 1 - place[0] * subsampling
            aligned[start + number, first : first + frames] = norms[number]
    return ReceptiveField(aligned.nanmedian(dim=0).values, len(places))


def spread(frames: int, number: int = PLACES) -> list[int]:
    """Up to `number` places spread over the middle half of so many frames.

    >>> spread(40, 4), spread(3)
    ([10, 17, 23, 30], [0, 1, 2])
    """
    if frames <= number:
        return list(range(frames))
    quarter = frames / 4
    return sorted({round(quarter + 2 * quarter * n / (number - 1)) for n in range(number)})


def field_of_model(model: CTCModel, features: Tensor, draws: int = DRAWS) -> ReceptiveField:
    """That of the log-probabilities of an output frame, for the features (T, M) of an utterance."""

    def compute(copies: Tensor) -> Tensor:
        lengths = torch.full((len(copies),), copies.shape[1])
        return cast(Tensor, model(copies, lengths)[0])

    encoder = model.encoder
    frames = int(encoder.output_lengths(torch.tensor(len(features))))
    return receptive_field(compute, features, [(t,) for t in spread(frames)], encoder.subsampling, draws)


def field_of_grid(
    encoder: GridLSTMEncoder | MultidimensionalLSTMEncoder, features: Tensor, block: int, draws: int = DRAWS
) -> ReceptiveField:
    """That of a cell's output in a frequency block of the last grid layer, for the features (T, M) of an utterance."""

    def compute(copies: Tensor) -> Tensor:
        lengths = torch.full((len(copies),), copies.shape[1])
        patches = encoder.embedding(encoder.patches(copies, lengths))
        return cast(Tensor, encoder.grid(patches, encoder.patches.output_lengths(lengths))[0])

    frames = encoder.patches.output_lengths(len(features))
    places = [(t, block) for t in spread(frames)]
    return receptive_field(compute, features, places, encoder.subsampling, draws)
