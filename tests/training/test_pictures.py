import io

import numpy as np
import torch
from matplotlib.image import imread

from asr.training.pictures import posterior_figure


def test_the_picture_names_the_tokens_that_occur_and_spans_the_utterance() -> None:
    features = torch.randn(120, 20)
    probabilities = torch.full((40, 4), 1e-3)
    probabilities[:, 0] = 0.9
    probabilities[5, 2] = 0.95
    figure = posterior_figure(features, probabilities.log(), ("<blank>", " ", "A", "B"), "a title", 0.01)
    upper, lower = figure.axes
    assert [label.get_text() for label in lower.get_yticklabels()] == ["blank", "A"]
    assert upper.get_title(loc="left") == "a title"
    assert lower.get_xlim() == (0, 1.2)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    picture.seek(0)
    assert np.std(imread(picture)[..., :3]) > 0.05
