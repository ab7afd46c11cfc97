"""How runs were trained and decoded, as their folders say, and in what the runs of a comparison differ."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.config import read_yaml
from asr.errors import InputError
from asr.files import read_json
from asr.report.runs import ScoredRun

UNKNOWN = "–"


def record_of(run: ScoredRun) -> Mapping[str, Any]:
    """The run.json of a run; empty where there is none, as of a foreign system."""
    file = run.folder / "run.json"
    record = read_json(file) if file.is_file() else None
    return record if isinstance(record, Mapping) else {}


def config_of(run: ScoredRun) -> dict[str, Any] | None:
    """The config.yaml of a run; None where there is none."""
    file = run.folder / "config.yaml"
    return read_yaml(file) if file.is_file() else None


def block_of(config: dict[str, Any], blocks: Sequence[str], run: ScoredRun) -> dict[str, Any]:
    """A block of options within blocks; empty where there is none.

    Raises:
        InputError: a value stands in the place of a block; file, block and value are named.
    """
    found = config
    for depth, block in enumerate(blocks, start=1):
        inner = found.get(block)
        if inner is None:
            return {}
        if not isinstance(inner, dict):
            name = ".".join(blocks[:depth])
            raise InputError(f"{run.folder / 'config.yaml'}: {name} must be a block of options, not {inner!r}")
        found = inner
    return found


def unfinished(run: ScoredRun) -> str | None:
    """How far a training came that is not finished, as far as that is known; None of a finished or foreign one.

    The number of planned epochs is that of config.yaml.
    """
    record = record_of(run)
    if record.get("finished", True):
        return None
    epochs = record.get("epochs")
    if not isinstance(epochs, int):
        return "not finished"
    planned = block_of(config_of(run) or {}, ["trainer"], run).get("max_epochs")
    return f"not finished, {epochs} of {planned} epochs" if _counts(planned) else f"not finished, {epochs} epochs"


def _counts(planned: object) -> bool:
    return isinstance(planned, int) and planned > 0


def circumstances(runs: Sequence[ScoredRun]) -> list[str]:
    """Sentences: trainings that are not finished, and what decoding, cuts, training data or code the runs do not share.

    What is not known of a run is not compared.
    """
    lines = [f"{run.name}: training {state}." for run in runs if (state := unfinished(run))]
    decoded = _decodings(runs)
    manifests = {run.name: _manifest(run) for run in runs}
    length = shared_length(manifests.values())
    cuts = {name: place(path, length) if path else UNKNOWN for name, path in manifests.items()}
    roots = {run.name: _root(run) for run in runs}
    length = shared_length(roots.values())
    data = {run.name: training_data({**record_of(run), "data_root": roots[run.name]}, length) for run in runs}
    commits = {run.name: short(record_of(run).get("commit")) for run in runs}
    return lines + [
        f"{what}: {said}."
        for what, values in (
            ("Decoding differs", decoded),
            ("Manifests of the test set, and so perhaps its audio, differ", cuts),
            ("Training data differ", data),
            ("Commits of training differ", commits),
        )
        if (said := _differing(values))
    ]


def _differing(values: Mapping[str, str]) -> str:
    """Names by value where there is more than one value.

    >>> _differing({"a": "x", "b": "y", "c": "x", "d": UNKNOWN}), _differing({"a": "x", "d": UNKNOWN})
    ('a, c: x; b: y', '')
    """
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        if value != UNKNOWN:
            names.setdefault(value, []).append(name)
    return "; ".join(f"{', '.join(of)}: {value}" for value, of in names.items()) if len(names) > 1 else ""


def _decodings(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """How the texts of each run were made; where all are of beam searches, what these do not share."""
    options = {run.name: decoding_options(run.scores) for run in runs}
    known = [set(of_run.items()) for of_run in options.values() if of_run]
    shared = set.intersection(*known) if len(known) > 1 else set()
    differing = {
        name: {option: value for option, value in of_run.items() if (option, value) not in shared}
        for name, of_run in options.items()
    }
    return {name: _written(differing[name]) if options[name] else UNKNOWN for name in options}


def _manifest(run: ScoredRun) -> object:
    """The manifest that was decoded; of an imported system only references are known."""
    return None if "imported" in run.scores else run.scores.get("manifest")


def _root(run: ScoredRun) -> object:
    """The folder of the training data, by run.json or else by config.yaml."""
    return record_of(run).get("data_root") or block_of(config_of(run) or {}, ["data"], run).get("root")


def shared_length(paths: Iterable[object]) -> int:
    """How many parts at the end of paths tell them apart: three, or as many as all have.

    One run may know a folder as "data/an4" and another the same as "/home/somebody/data/an4".

    >>> shared_length(["data/an4", "/home/somebody/data/an4", None]), shared_length(["/a/b/c/d"]), shared_length([])
    (2, 3, 3)
    """
    return max(1, min([3, *(len(_parts(path)) for path in paths if path)]))


def _parts(path: object) -> list[str]:
    return [part for part in Path(str(path)).parts if part != "/"]


def place(path: object, parts: int = 4) -> str:
    """The end of a path: enough to tell it, without the names of somebody's machine.

    >>> place("/home/somebody/work/runs/grid/checkpoints/best.ckpt"), place("grid/best.ckpt")
    ('runs/grid/checkpoints/best.ckpt', 'grid/best.ckpt')
    """
    return "/".join(_parts(path)[-parts:])


def training_data(record: Mapping[str, Any], length: int = 3) -> str:
    """The line of run.json about the training split, without its batches, and so many parts of its folder's path."""
    lines = [line for line in str(record.get("data") or "").splitlines() if line.startswith("train: ")]
    root = record.get("data_root")
    if not lines:
        return place(root, length) if root else UNKNOWN
    described = ", ".join(lines[0].removeprefix("train: ").split(", ")[:2])
    return f"{described} of {place(root, length)}" if root else described


def decoding(scores: Mapping[str, Any]) -> str:
    """How hypotheses were made, as scores.json has it: a word, or options."""
    return _written(decoding_options(scores, digests=False)) or UNKNOWN


def decoding_options(scores: Mapping[str, Any], digests: bool = True) -> dict[str, str]:
    """The decoder of a run and its options; empty where they are not known.

    Args:
        scores: of the run.
        digests: tell files of one name apart by the beginning of their SHA-256.
    """
    found = scores.get("decoding")
    if isinstance(found, Mapping):
        # A calibration of confidences changes no text.
        said = {name: value for name, value in found.items() if value is not None and name != "confidence"}
        return {str(name): _short_value(value, digests) for name, value in said.items()}
    return {"decoder": str(found)} if found else {}


def _written(options: Mapping[str, str]) -> str:
    """Options in a line; of a decoder that has none its name alone.

    >>> _written({"decoder": "greedy"}), _written({"decoder": "beam", "alpha": "0.5"})
    ('greedy', 'decoder beam, alpha 0.5')
    """
    if list(options) == ["decoder"]:
        return options["decoder"]
    return ", ".join(f"{name} {value}" for name, value in options.items())


def _short_value(value: Any, digests: bool) -> str:
    """An option; of a file its name."""
    if not (isinstance(value, Mapping) and "path" in value):
        return str(value)
    digest = f" ({str(value['sha256'])[:8]})" if digests and value.get("sha256") else ""
    return f"{Path(str(value['path'])).name}{digest}"


def short(commit: object) -> str:
    """A commit in ten digits, and whether files differed from it.

    >>> short("0123456789abcdef-dirty")
    '0123456789 with changes'
    """
    if not isinstance(commit, str):
        return UNKNOWN
    digits, _, changed = commit.partition("-")
    return digits[:10] + (" with changes" if changed else "")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
