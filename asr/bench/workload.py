"""Sizes of a Grid LSTM layer, and what follows from them: FLOPs, and the nn.LSTM of equal cost.

One layer, two axes, one direction, no depth. FLOPs are those of the matrix products alone, two a multiply-add; forward
and backward together count three times the forward (a product's gradient is two products of its size).
"""

import math
from dataclasses import dataclass
from typing import Literal

Mode = Literal["forward", "training"]
"""forward: without gradients. training: forward, and backward to the input and all parameters."""
PRODUCTS: dict[Mode, int] = {"forward": 1, "training": 3}
"""How often the forward pass's products are counted."""


@dataclass(frozen=True)
class Workload:
    """A Grid LSTM layer's sizes: (B, T, F, I, H).

    Args:
        batch: B, utterances.
        time: T, the first extent.
        frequency: F, the second extent.
        input_size: I, features of a cell's input.
        hidden_size: H, width of the two hidden and the two memory vectors of a cell.
    """

    batch: int
    time: int
    frequency: int
    input_size: int
    hidden_size: int

    @classmethod
    def parse(cls, text: str) -> "Workload":
        """Read "B,T,F,I,H".

        >>> Workload.parse("16,250,10,64,64")
        Workload(batch=16, time=250, frequency=10, input_size=64, hidden_size=64)

        Raises:
            ValueError: there are not five integers of at least 1.
        """
        parts = text.split(",")
        if len(parts) != 5 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            raise ValueError(f"a size is B,T,F,I,H: five integers with commas between them, got {text!r}")
        sizes = [int(part) for part in parts]
        if 0 in sizes:
            raise ValueError(f"B, T, F, I and H must be at least 1, got {text!r}")
        return cls(*sizes)

    def __str__(self) -> str:
        return f"{self.batch},{self.time},{self.frequency},{self.input_size},{self.hidden_size}"

    @property
    def cells(self) -> int:
        """Of the whole batch."""
        return self.batch * self.time * self.frequency

    @property
    def step_rows(self) -> int:
        """Cells of a full anti-diagonal of the whole batch: rows of one step's product."""
        return self.batch * min(self.time, self.frequency)

    def flops(self, mode: Mode) -> int:
        """Of this layer: a cell has 8H rows of weights, over its input and two hidden vectors.

        >>> Workload(16, 250, 10, 64, 64).flops("forward")
        7864320000
        """
        return PRODUCTS[mode] * 2 * self.cells * 8 * self.hidden_size * (self.input_size + 2 * self.hidden_size)

    @property
    def equal_lstm_size(self) -> int:
        """h of the nn.LSTM(h, h) whose products over (B, T) cost the same: 4h * 2h = 8H (I + 2H) F, rounded.

        >>> Workload(16, 250, 10, 64, 64).equal_lstm_size
        351
        """
        square = self.hidden_size * (self.input_size + 2 * self.hidden_size) * self.frequency
        return max(1, round(math.sqrt(square)))

    def equal_lstm_flops(self, mode: Mode) -> int:
        """Of nn.LSTM(h, h) over (B, T), exactly: the rounding of h makes it differ a little from `flops`."""
        return PRODUCTS[mode] * 2 * self.batch * self.time * 4 * self.equal_lstm_size * 2 * self.equal_lstm_size

    def folded_lstm_flops(self, mode: Mode) -> int:
        """Of nn.LSTM(I, H) with the frequencies in its batch: B * F sequences of length T, that never meet."""
        return PRODUCTS[mode] * 2 * self.cells * 4 * self.hidden_size * (self.input_size + self.hidden_size)
