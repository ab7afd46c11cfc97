"""What encoders over time x frequency grids share: telling blocks apart, and gathering them into frames."""

from typing import Literal

import torch
from torch import Tensor, nn

from asr.encoders.dropout import Dropout
from asr.grid.arguments import at_least, one_of, probability
from asr.grid.options import Direction


def scans_from_high(directions: tuple[Direction, ...], merge: str) -> tuple[bool, ...]:
    """For each scan of a grid over time and frequency whether it runs from high to low, in the order of its features.

    Raises:
        ValueError: the scans are summed although they end in different blocks.
    """
    from_high = tuple(backward for _, backward in directions)
    if merge == "concat":
        return from_high
    if len(set(from_high)) > 1:
        raise ValueError("gather 'last' needs merge 'concat' where bidirectional_frequency is true, got merge 'sum'")
    return from_high[:1]


def at_most_blocks(bands: int, blocks: int) -> int:
    """A number of bands.

    Raises:
        ValueError: there are fewer frequency blocks.
    """
    if at_least("bands", bands, 1) > blocks:
        raise ValueError(f"bands must be at most the number of frequency blocks, {blocks}, got {bands}")
    return bands


class FrequencyEmbedding(nn.Module):
    """Adds a learned vector to each frequency block, so that weights shared by all blocks can tell them apart.

    It starts at zero. It is the least of what Kreyssig, Zhang and Woodland ("Improved TDNNs using deep kernels and
    frequency dependent Grid-RNNs", ICASSP 2018) found to matter: weights that depend on the frequency.
    """

    def __init__(self, num_blocks: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_blocks, size))

    def forward(self, blocks: Tensor) -> Tensor:
        """(B, T, F, size) -> the same shape."""
        return blocks + self.weight


class FrequencyGather(nn.Module):
    """Blocks (B, T, F, C) -> frames (B, T, output_size).

    Args:
        num_blocks: F.
        size: C.
        gather: "concat" of all blocks, their "mean", or the "last" block of each scan along frequency, which has seen
            all others.
        projection_size: features of a linear projection of the gathered blocks and a layer normalisation after it;
            None leaves them as they are.
        dropout: probability, on the result.
        reversed_parts: with "last", for each equal part of the features whether it was scanned from high to low.
    """

    def __init__(
        self,
        num_blocks: int,
        size: int,
        gather: Literal["concat", "mean", "last"] = "concat",
        projection_size: int | None = None,
        dropout: float = 0.0,
        reversed_parts: tuple[bool, ...] = (False,),
    ) -> None:
        super().__init__()
        one_of("gather", gather, ("concat", "mean", "last"))
        self.gather = gather
        self.reversed_parts = reversed_parts
        self.gathered_size = num_blocks * size if gather == "concat" else size
        if projection_size is None:
            self.projection: nn.Module = nn.Identity()
            self.norm: nn.Module = nn.Identity()
            self.output_size = self.gathered_size
        else:
            self.projection = nn.Linear(self.gathered_size, at_least("projection_size", projection_size, 1))
            self.norm = nn.LayerNorm(projection_size)
            self.output_size = projection_size
        self.dropout = Dropout(probability("dropout", dropout))

    def forward(self, blocks: Tensor) -> Tensor:
        if self.gather == "concat":
            gathered = blocks.flatten(-2)
        elif self.gather == "mean":
            gathered = blocks.mean(-2)
        else:
            parts = blocks.chunk(len(self.reversed_parts), dim=-1)
            ends = zip(parts, self.reversed_parts, strict=True)
            gathered = torch.cat([part[:, :, 0 if backward else -1] for part, backward in ends], dim=-1)
        frames: Tensor = self.dropout(self.norm(self.projection(gathered)))
        return frames

    def multiply_adds(self, num_frames: int) -> int:
        """Of the projection, over `num_frames` frames."""
        return num_frames * self.projection.weight.numel() if isinstance(self.projection, nn.Linear) else 0
