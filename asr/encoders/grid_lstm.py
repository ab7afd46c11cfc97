"""The 2-D Grid LSTM over time and frequency."""

from typing import Literal

from torch import Tensor, nn

from asr.encoders.contract import Encoder
from asr.encoders.frequency import FrequencyEmbedding, FrequencyGather, at_most_blocks, scans_from_high
from asr.encoders.options import option_errors
from asr.encoders.patches import Patches
from asr.encoders.recurrent import RecurrentStack
from asr.grid import GridLSTM
from asr.grid.arguments import one_of


class GridLSTMEncoder(Encoder):
    """Grid LSTM layers over patches of the spectrogram, under LSTM layers along time.

    The spectrogram is cut into patches, a grid of T' frames and F frequency blocks. A Grid LSTM (Kalchbrenner,
    Danihelka, Graves 2016, arXiv 1507.01526) runs over it along time and frequency, with depth="lstm" along the depth
    of its layers too. Each frame's blocks are gathered and projected, and LSTM layers run along time, as in the speech
    literature (Sainath and Li, "Modeling time-frequency patterns with LSTM vs. convolutional architectures for LVCSR
    tasks", Interspeech 2016).

    Args:
        num_features: M, mel bins of the input.
        patch_frames: frames of a patch.
        patch_mels: mel bins of a patch ("feature size").
        frame_stride: frames from one patch to the next; None is patch_frames.
        mel_stride: mel bins from one patch to the next ("frequency skip"); None is patch_mels.
        frequency_embedding: add a learned vector to each frequency block's patches.
        hidden_size: width of the grid's hidden and memory vectors.
        num_layers: grid layers.
        cell: "lstm", "gru" or "rnn".
        depth: "lstm" (a memory along depth, the third dimension of the grid; "gru" with GRU cells), a transfer without
            memory ("relu", "tanh" or "identity"), or "none" (plain stacking).
        priority: of "time", "frequency" and "depth" those that are computed last in each cell, in this order.
        tied: all grid layers share their weights; needs a depth "lstm" or "gru".
        shared: time, frequency and depth share their weights.
        output_gate: "outside" the tanh (usual) or "inside" (the paper).
        peepholes: whether the gates see the memory.
        coupled: whether the input gate is one minus the forget gate.
        cell_clip: bound of the memory; None is none.
        bands: of the frequency blocks, with weights of their own.
        bidirectional_time: whether the grid is also scanned backward in time.
        bidirectional_frequency: whether it is also scanned from high to low frequencies.
        merge: "concat" or "sum" of the directions, after each layer.
        forget_bias: initial bias of the grid's forget gates; None draws it like all others.
        gather: how a frame's blocks become one vector: "concat", "mean", or "last" (each scan's last block).
        projection_size: of the linear projection of that vector; None leaves it as it is.
        lstm_layers: LSTM layers along time above the grid; there may be none.
        lstm_hidden_size: units of each of them and direction.
        lstm_bidirectional: whether they also run backward.
        layer_norm: normalise the output of every layer. Grids were not seen to train under CTC without.
        dropout: probability, on the output of every layer.
        recurrent_dropout: probability, on the hidden vectors between the grid's cells, constant over the grid.

    Raises:
        InputError: an option's value is wrong; the message names both.
    """

    @option_errors()
    def __init__(
        self,
        num_features: int,
        patch_frames: int = 3,
        patch_mels: int = 8,
        frame_stride: int | None = None,
        mel_stride: int | None = None,
        frequency_embedding: bool = True,
        hidden_size: int = 48,
        num_layers: int = 2,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        depth: Literal["none", "lstm", "gru", "relu", "tanh", "identity"] = "none",
        priority: list[Literal["time", "frequency", "depth"]] | None = None,
        tied: bool = False,
        shared: bool = False,
        output_gate: Literal["outside", "inside"] = "outside",
        peepholes: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        bands: int = 1,
        bidirectional_time: bool = True,
        bidirectional_frequency: bool = True,
        merge: Literal["concat", "sum"] = "concat",
        forget_bias: float | None = None,
        gather: Literal["concat", "mean", "last"] = "concat",
        projection_size: int | None = 256,
        lstm_layers: int = 2,
        lstm_hidden_size: int = 192,
        lstm_bidirectional: bool = True,
        layer_norm: bool = True,
        dropout: float = 0.1,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.patches = Patches(num_features, patch_frames, patch_mels, frame_stride, mel_stride)
        blocks, size = self.patches.num_blocks, self.patches.size
        self.embedding = FrequencyEmbedding(blocks, size) if frequency_embedding else nn.Identity()
        self.grid = GridLSTM(
            size,
            hidden_size,
            num_layers,
            cell=cell,
            depth=depth,
            priority=[dimension_named(name) for name in priority or []],
            tied=tied,
            shared=shared,
            output_gate=output_gate,
            peepholes=peepholes,
            coupled=coupled,
            cell_clip=cell_clip,
            bands=at_most_blocks(bands, blocks),
            bidirectional=[bidirectional_time, bidirectional_frequency],
            merge=merge,
            forget_bias=forget_bias,
            layer_norm=layer_norm,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
        )
        parts = scans_from_high(self.grid.directions, merge) if gather == "last" else ()
        self.gather = FrequencyGather(blocks, self.grid.output_size, gather, projection_size, dropout, parts)
        self.recurrent = RecurrentStack(
            self.gather.output_size, lstm_hidden_size, lstm_layers, "lstm", lstm_bidirectional, layer_norm, dropout
        )
        self.output_size = self.recurrent.output_size
        self.subsampling = self.patches.subsampling
        self.streamable = not (bidirectional_time or (lstm_bidirectional and lstm_layers))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.embedding(self.patches(features, lengths))
        lengths = self.output_lengths(lengths)
        return self.recurrent(self.gather(self.grid(patches, lengths)[0]), lengths), lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.patches.output_lengths(lengths)

    def multiply_adds(self, num_frames: int) -> int:
        frames = self.patches.output_lengths(num_frames)
        grid = self.grid.multiply_adds((frames, self.patches.num_blocks))
        return grid + self.gather.multiply_adds(frames) + self.recurrent.multiply_adds(frames)


def dimension_named(name: Literal["time", "frequency", "depth"]) -> int | Literal["depth"]:
    """A dimension of the grid as `asr.grid.GridLSTM` has it.

    Raises:
        ValueError: there is none of that name.
    """
    one_of("priority", name, ("time", "frequency", "depth"))
    return "depth" if name == "depth" else ("time", "frequency").index(name)
