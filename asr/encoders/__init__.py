"""Spectrogram -> frames: one contract for all architectures.

contract                                    what every encoder keeps
patches, frequency, recurrent, sequences    the parts that encoders are made of
grid_lstm, multidimensional_lstm, time_frequency_lstm, stacked_rnn    the encoders
"""

from asr.encoders.contract import Encoder
from asr.encoders.grid_lstm import GridLSTMEncoder
from asr.encoders.multidimensional_lstm import MultidimensionalLSTMEncoder
from asr.encoders.stacked_rnn import StackedRNNEncoder
from asr.encoders.time_frequency_lstm import TimeFrequencyLSTMEncoder

__all__ = [
    "Encoder",
    "GridLSTMEncoder",
    "MultidimensionalLSTMEncoder",
    "StackedRNNEncoder",
    "TimeFrequencyLSTMEncoder",
]
