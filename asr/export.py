"""`asr export`: a trained model as a folder of its own, with the decoder that it is to be used with."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.decode.log_probs import tokens_digest
from asr.decode.options import check_tokens, decoder_for
from asr.decode.tuned import DECODER_FILE
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.model import MODEL_HELP, LoadedModel, export_model, load_model, model_path

KEPT = ("tokens", "versions", "commit")
"""What of a decoder.json is exported beside its options: no trials, and no path."""


def main(arguments: Sequence[str]) -> int:
    """`asr export`."""
    options = _parser().parse_args(arguments)
    loaded, folder = load_model(options.model), Path(options.output)
    if (folder / "checkpoints").is_dir():
        raise InputError(f"{folder} is a run folder, whose checkpoints an export would hide: give another folder")
    if options.decoder_config:
        check_tokens(options.decoder_config, tokens_digest(loaded.tokenizer))
        record, files = decoder_record(options.decoder_config, options.model)
    elif (folder / DECODER_FILE).is_file():
        raise InputError(f"{folder / DECODER_FILE} is that of another export: remove it, or give --decoder-config")
    if options.about:
        loaded = LoadedModel(*loaded[:4], loaded.metadata | {"about": options.about})
    export_model(loaded, folder, half=options.half)
    written = ["model.json"]
    if options.decoder_config:
        for name, path in files.items():
            if path.resolve() != (folder / name).resolve():
                shutil.copyfile(path, folder / name)
        write_json(folder / DECODER_FILE, record)
        written += [*files, DECODER_FILE]
    print(f"wrote {folder / 'model.safetensors'}, {', '.join(written)}")
    return 0


def decoder_record(config: Path | str, model: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """A decoder.json for a folder that holds a model and its files, and those files by the names that they have there.

    Raises:
        InputError: it cannot be used, or two of its files have the same name.
    """
    decoding, content = decoder_for(config, model), read_json(config)
    data, files = decoding.to_dict(), {}
    for option, path in decoding.files().items():
        name = Path(path).name
        if name in files:
            raise InputError(f"{config} names two files {name}: rename one")
        files[name] = Path(path)
        data[option] = {**data[option], "path": name}
    tuned = content.get("tuned_on") or {}
    kept = {key: content[key] for key in KEPT if key in content}
    digests = {key: tuned[key] for key in ("utterances", "reference_digest", "model_sha256") if key in tuned}
    return {"options": data, "tuned_on": digests, **kept}, files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr export",
        description="Write a trained model as safetensors and JSON, and with --decoder-config the decoder that it uses "
        "unless told otherwise: commands that get the folder decode by the decoder.json in it.",
    )
    parser.add_argument("model", type=model_path, help=MODEL_HELP)
    parser.add_argument("-o", "--output", required=True, help="folder to write into")
    parser.add_argument("--half", action="store_true", help="store float16 weights, half the size")
    parser.add_argument("--decoder-config", metavar="FILE", help="decoder.json, whose language models are copied too")
    parser.add_argument("--about", metavar="TEXT", help="a line for those who use it: what it is, and how good")
    return parser
