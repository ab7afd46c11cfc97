"""The `asr` command: a table of verbs, each of which parses its own options."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from asr import __version__
from asr.errors import InputError

VERBS = {
    "fit": ("train a recogniser from a configuration", "asr.training.command:main"),
    "sweep": ("train models of equal size, cost or time alike, and compare them", "asr.sweep.command:main"),
    "test": ("decode a prepared split and score it", "asr.decode.commands:test"),
    "predict": ("write hypotheses for a prepared split, or any cuts", "asr.decode.commands:predict"),
    "tune-decoder": ("search the weights of a beam search on a development split", "asr.decode.tune_command:main"),
    "score": ("compute WER and CER of a hypotheses file", "asr.score.command:main"),
    "import": ("score another system's hypotheses, as a folder that compare takes", "asr.score.importing:main"),
    "sclite": ("write references and hypotheses for NIST's sclite", "asr.score.sclite:main"),
    "compare": ("one table of several runs", "asr.report.compare:main"),
    "report": ("a page about several runs: curves, errors, utterances to look at", "asr.report.html.command:main"),
    "transcribe": ("turn audio files into text", "asr.transcribe:main"),
    "robustness": ("error rates under noise, at other speeds and in long recordings", "asr.robustness.command:main"),
    "results": ("keep the results of runs, and write the tables of a document", "asr.report.documents:main"),
    "models": ("size, cost and frame rate of configurations", "asr.report.models:main"),
    "lm": ("build language models, and score text with them", "asr.lm.command:main"),
    "inspect": ("draw gates, memories and receptive fields of a model", "asr.inspect.command:main"),
    "gradients": ("draw how far gradients reach in recurrent nets", "asr.inspect.gradient_command:main"),
    "bench": ("time the Grid LSTM beside nn.LSTM, and measure its memory", "asr.bench.command:main"),
    "export": ("write a trained model as safetensors and JSON", "asr.export:main"),
    "doctor": ("report versions, devices, audio support and engines", "asr.doctor:main"),
}
"""verb -> (what it does, where the function `(arguments) -> exit code` is that does it)."""


def usage() -> str:
    """The text of `asr --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {purpose}" for verb, (purpose, _) in VERBS.items()]
    return "usage: asr VERB [options]    (asr VERB --help explains a verb)\n\n" + "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. Returns 0 when all went well, 1 when something given could not be used, 2 for a usage error.

    Raises:
        SystemExit: with 143 at SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in ([], ["-h"], ["--help"]):
        print(usage(), end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments == ["--version"]:
        print(f"asr {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"asr: no verb {verb!r}\n\n{usage()}", end="", file=sys.stderr)
        return 2
    former = signal.signal(signal.SIGTERM, _end)
    try:
        module, function = VERBS[verb][1].split(":")
        code: int = getattr(importlib.import_module(module), function)(rest)
        sys.stdout.flush()  # here, where a failure can still be told
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except OSError as error:
        _let_go_of_stdout()
        print(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, former)


def _end(signum: int, frame: FrameType | None) -> None:
    """End as if by an error, so that what was begun is put in order; `asr fit` does better while it trains."""
    raise SystemExit(128 + signum)


def _let_go_of_stdout() -> None:
    """Discard what could not be printed: Python would try again when it exits, and complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # it is no file, or closed
        return


if __name__ == "__main__":
    sys.exit(main())
