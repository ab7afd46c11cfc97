"""Recurrent networks over grids: the Grid LSTM and the multidimensional LSTM. Imports torch alone.

grid_lstm, multidimensional_lstm    the modules
layers, arguments, inputs           what they share: parameters, the merge of directions, checks
options                             a layer as plain values, and the protocol that engines keep
engines                             the engines by name
definition                          cell by cell, the oracle of the tests
wavefront                           plain PyTorch over anti-diagonals, which takes its parts from
schedule                            the order of the cells
recurrence, cells                   the loop over steps and its gradient, a step's elementwise part: the usual cells
stack                               all layers in one such loop
recorded                            the same for all other options, with the gradient left to autograd
torch_layers                        layers of torch.nn.LSTM and torch.nn.GRU on the C++ kernel, in bfloat16
"""

from asr.grid.grid_lstm import GridLSTM
from asr.grid.multidimensional_lstm import MultidimensionalLSTM
from asr.grid.options import GridState

__all__ = ["GridLSTM", "GridState", "MultidimensionalLSTM"]
