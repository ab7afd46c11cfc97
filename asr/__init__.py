"""Speech recognition on spectrograms: 2D Grid LSTMs and stacked recurrent baselines under CTC.

The map (an arrow is an import, and none points back):

    cli -> recognizer, data, decode, score, report -> encoders -> grid

    asr.grid        the Grid LSTM and the multidimensional LSTM, useful without any speech; imports torch alone
    asr.encoders    spectrogram -> frames, one contract for all architectures; knows no files and no Lightning
    asr.lm          language models: n-grams, which need numpy alone, and networks of characters
    asr.model       encoder + CTC head, rebuilt from plain data
    asr.data        cuts -> batches: audio, features, augmentation, tokens, the datamodule
    asr.recognizer  the LightningModule; asr.training holds its callbacks and the `fit` command
    asr.decode      log-probs -> text
    asr.score       text -> error rates
    asr.report      scores -> tables and pictures
    asr.bench       what the grid costs: time and memory beside its references

Dimensions, in shapes everywhere: B batch, N samples, T frames, M mel bins, F frequency blocks, D features,
H hidden, V tokens (blank is 0), U target length. Batch first. `lengths` is int64 (B,).
"""

__version__ = "0.1.0"


def load(path=None, device="cpu"):
    """Load a recogniser from a model folder, a run folder or a checkpoint; by default the one in the package.

    Returns an `asr.transcribe.Transcriber`; its `transcribe(audio)` takes a path or samples. See there for errors.
    """
    from asr.transcribe import Transcriber

    return Transcriber.load(path, device=device)
