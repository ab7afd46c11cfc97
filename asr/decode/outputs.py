"""Where a command that decodes finds its split, and where it puts its results."""

from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.files import obstacle, read_json
from asr.model import LoadedModel


@dataclass(frozen=True)
class Outputs:
    """Where the results of a split go.

    In a run folder the split "test" has the plain names, another one its own, and so has every decoder other than the
    greedy one, so that no result overwrites another's.
    """

    hypotheses: Path
    scores: Path
    alignments: Path
    nbest: Path
    log_probs: Path

    @classmethod
    def of(cls, folder: Path, split: str, decoder: str = "greedy") -> "Outputs":
        of_split = "" if split == "test" else f"-{split}"
        suffix = of_split if decoder == "greedy" else f"{of_split}-{decoder}"
        return cls(
            folder / f"hypotheses{suffix}.jsonl",
            folder / f"scores{suffix}.json",
            folder / f"alignments{suffix}.txt",
            folder / f"nbest{suffix}.jsonl",
            folder / f"log-probs{of_split}.safetensors",  # the same for all decoders
        )


def name_of(file: Path | str) -> str:
    """What the results of cuts, or of other rows, are called that are given by their file.

    >>> name_of("corpus/dev.clean.jsonl.gz")
    'dev.clean'
    """
    return Path(file).name.removesuffix(".gz").removesuffix(".jsonl")


def recorded_root(loaded: LoadedModel, model_path: Path) -> Path | None:
    """The prepared corpus that the model was trained on; None if that is not recorded.

    It stands in the run.json of a run folder, or of a checkpoint's; an export knows none.
    """
    root = loaded.metadata.get("data_root")
    record = model_path.parent.parent / "run.json"
    if root is None and model_path.is_file() and record.is_file():
        root = read_json(record).get("data_root")
    return Path(root) if root else None


def corpus_root(given: str | None, loaded: LoadedModel, model: Path, otherwise: str = "--root or --cuts") -> Path:
    """The prepared corpus that a command is about: the one given with --root, or else that of the model's training.

    Args:
        given: --root.
        loaded: the model.
        model: its path.
        otherwise: the options that would tell, for the message.

    Raises:
        InputError: none was given, and none is recorded.
    """
    root = Path(given) if given else recorded_root(loaded, model)
    if root is None:
        raise InputError(f"{model} does not say which corpus it was trained on: give {otherwise}")
    return root


def output_folder(given: str | None, model_path: Path) -> Path:
    if given is None and not (model_path / "checkpoints").is_dir():
        raise InputError(f"{model_path} is not a run folder, so there is no place for the results: give -o FOLDER")
    folder = Path(given) if given else model_path
    if found := obstacle(folder):  # to be known before decoding, not after
        raise InputError(f"the results cannot be written to {folder}: {found} is not a folder that can be written")
    return folder


def split_manifest(root: Path, split: str) -> Path:
    """The manifest of a split of a prepared corpus.

    Raises:
        InputError: there is no such folder or no such split; the splits that there are are named.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root} with a prepared corpus; give --root or --cuts")
    for name in (f"{split}.jsonl.gz", f"{split}.jsonl"):
        if (root / name).is_file():
            return root / name
    splits = sorted(path.name.removesuffix(".jsonl.gz") for path in root.glob("*.jsonl.gz"))
    raise InputError(f"{root} has no split {split!r}; it has {', '.join(splits) or 'none: is it a prepared corpus?'}")
