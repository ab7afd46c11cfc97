"""Audio without any meaning, for tests that need samples and no speech."""

import numpy as np


def white_noise(num_samples: int, seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    """Gaussian samples (N,) float32."""
    return (amplitude * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)
