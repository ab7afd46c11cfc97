"""An LSTM along frequency under LSTMs along time."""

from typing import Literal

from torch import Tensor, nn

from asr.encoders.contract import Encoder
from asr.encoders.frequency import FrequencyEmbedding, FrequencyGather
from asr.encoders.options import option_errors
from asr.encoders.patches import Patches
from asr.encoders.recurrent import RecurrentStack
from asr.grid.arguments import at_least


class TimeFrequencyLSTMEncoder(Encoder):
    """F-LSTM -> T-LSTM (Li, Mohamed, Zweig, Gong, "LSTM time and frequency recurrence for automatic speech
    recognition", ASRU 2015).

    Within each frame, an LSTM reads the patches from low to high frequencies; its outputs, gathered and projected, are
    the frame that the LSTMs along time read. Unlike in a grid, nothing is carried in time below these.

    Args:
        num_features: M, mel bins of the input.
        patch_frames: frames of a patch.
        patch_mels: mel bins of a patch.
        frame_stride: frames from one patch to the next; None is patch_frames.
        mel_stride: mel bins from one patch to the next; None is patch_mels.
        frequency_embedding: add a learned vector to each frequency block's patches.
        frequency_hidden_size: units of each F-LSTM layer and direction.
        frequency_layers: F-LSTM layers.
        bidirectional_frequency: whether they also read from high to low frequencies.
        gather: how a frame's blocks become one vector: "concat", "mean", or "last" (each direction's last block).
        projection_size: of the linear projection of that vector; None leaves it as it is.
        lstm_layers: T-LSTM layers.
        lstm_hidden_size: units of each of them and direction.
        lstm_bidirectional: whether they run both ways along time. If not, the encoder can stream.
        layer_norm: normalise the output of every layer.
        dropout: probability, on the output of every layer.

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
        mel_stride: int | None = 4,
        frequency_embedding: bool = True,
        frequency_hidden_size: int = 64,
        frequency_layers: int = 1,
        bidirectional_frequency: bool = True,
        gather: Literal["concat", "mean", "last"] = "concat",
        projection_size: int | None = 256,
        lstm_layers: int = 3,
        lstm_hidden_size: int = 192,
        lstm_bidirectional: bool = True,
        layer_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.patches = Patches(num_features, patch_frames, patch_mels, frame_stride, mel_stride)
        blocks, size = self.patches.num_blocks, self.patches.size
        self.embedding = FrequencyEmbedding(blocks, size) if frequency_embedding else nn.Identity()
        at_least("frequency_hidden_size", frequency_hidden_size, 1)
        at_least("frequency_layers", frequency_layers, 1)
        at_least("lstm_layers", lstm_layers, 1)
        self.along_frequency = RecurrentStack(
            size, frequency_hidden_size, frequency_layers, "lstm", bidirectional_frequency, layer_norm, dropout
        )
        parts = (False, True) if bidirectional_frequency else (False,)
        width = self.along_frequency.output_size
        self.gather = FrequencyGather(blocks, width, gather, projection_size, dropout, parts)
        self.along_time = RecurrentStack(
            self.gather.output_size, lstm_hidden_size, lstm_layers, "lstm", lstm_bidirectional, layer_norm, dropout
        )
        self.output_size = self.along_time.output_size
        self.subsampling = self.patches.subsampling
        self.streamable = not lstm_bidirectional

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.embedding(self.patches(features, lengths))  # (B, T', F, size)
        batch, frames, blocks, _ = patches.shape
        whole = lengths.new_full((batch * frames,), blocks)
        scanned = self.along_frequency(patches.flatten(0, 1), whole).view(batch, frames, blocks, -1)
        lengths = self.output_lengths(lengths)
        return self.along_time(self.gather(scanned), lengths), lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.patches.output_lengths(lengths)

    def multiply_adds(self, num_frames: int) -> int:
        frames = self.patches.output_lengths(num_frames)
        scanned = self.along_frequency.multiply_adds(frames * self.patches.num_blocks)
        return scanned + self.gather.multiply_adds(frames) + self.along_time.multiply_adds(frames)
