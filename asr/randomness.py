"""Every random choice is a function of what it is for, never of what was drawn before it.

A generator is made from a seed and a list of keys (epoch, utterance id, purpose). So a choice does not depend on the
number of workers, on the order of loading, or on whether a run was interrupted.
"""

import hashlib
from typing import Any

import numpy as np

LARGEST_SEED = 2**32 - 1
"""Of a training: numpy's older generators, which Lightning seeds, take none above."""


def derive_seed(*keys: int | str) -> int:
    """Hash `keys` to a 63-bit seed.

    >>> derive_seed(0, 1, "utterance") == derive_seed(0, 1, "utterance")
    True
    >>> derive_seed(1, 11) == derive_seed(11, 1)
    False
    """
    text = "\x1f".join([f"{type(key).__name__}:{key}" for key in keys])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class _Key(np.random.bit_generator.ISeedSequence):
    """A seed as it is, for a bit generator that would otherwise first ask the system for entropy it does not need."""

    def __init__(self, seed: int) -> None:
        self._words = np.array([seed, 0], dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        assert (n_words, dtype) == (2, np.uint64), "Philox has a key of two 64-bit words"
        return self._words


def generator(*keys: int | str) -> np.random.Generator:
    """A NumPy generator that is a function of `keys` alone.

    It is counter-based (Philox; Salmon et al. 2011), with `derive_seed(*keys)` as its key, and so is cheap to make: one
    is made for every choice about every utterance.
    """
    key: Any = _Key(derive_seed(*keys))  # NumPy's annotations have forgotten ISeedSequence
    return np.random.Generator(np.random.Philox(key))
