"""The parser of `asr fit`: a short help with the project's options, a long one with all, errors in a line or two."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import IO, Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

import asr.encoders

SECTIONS: dict[str, tuple[str, ...]] = {
    "run": ("config", "run", "seed", "ckpt_path", "init_from", "print_config"),
    "data": ("data.",),
    "model": ("model.encoder", "model.optimization."),
    "training": ("training.",),
    "trainer (of Lightning; these and others)": tuple(
        f"trainer.{name}"
        for name in (
            "max_epochs",
            "max_steps",
            "accelerator",
            "devices",
            "strategy",
            "precision",
            "gradient_clip_val",
            "accumulate_grad_batches",
            "val_check_interval",
        )
    ),
}
"""Heading -> the options below it in the short help: names, or beginnings of names that end in a dot."""


class HelpAll(argparse.Action):
    """`--help_all`."""

    def __init__(self, option_strings: Sequence[str], dest: str = argparse.SUPPRESS, **options: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        assert isinstance(parser, FitParser)
        parser.print_all_help()
        parser.exit()


class FitParser(LightningArgumentParser):
    """LightningCLI's parser with a short `--help`, and errors that do not print all hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"error: {message}\n({_hint(message)})", file=sys.stderr)
        sys.exit(2)

    def print_help(self, file: IO[str] | None = None) -> None:
        if "--help_all" not in self._option_string_actions:  # one that jsonargparse makes for the options of a class
            super().print_help(file)
            return
        lines = [f"usage: {self.prog} -c CONFIG [--option value ...]", "", str(self.description)]
        for heading, names in SECTIONS.items():
            actions = [action for name in names for action in self._actions if _is_named(action, name)]
            lines += ["", f"{heading}:", *(line for action in actions for line in _explained(action))]
        lines += ["", f"{self.prog} --help_all lists all options, {self.prog} --model.encoder.help NAME an encoder's."]
        print("\n".join(lines), file=file or sys.stdout)

    def print_all_help(self) -> None:
        """Print the help that jsonargparse makes."""
        super().print_help()


def _hint(message: str) -> str:
    """What to do about an error of jsonargparse, whose own words are about parsers.

    >>> _hint("unrecognized arguments: grid.yaml")
    'a configuration is given with -c FILE; asr fit --help lists the options'
    """
    options = "asr fit --help lists the options"
    no_option = message.startswith("unrecognized arguments") and message.endswith((".yaml", ".yml"))
    if no_option or "arguments are required" in message:
        return f"a configuration is given with -c FILE; {options}"
    if "model.encoder" in message:
        names = ", ".join(name for name in asr.encoders.__all__ if name != "Encoder")
        return f"encoders are {names}; asr fit --model.encoder.help NAME lists the options of one"
    return options


def _is_named(action: argparse.Action, name: str) -> bool:
    """Whether the action is an option of that name, and not a whole block of options, help on one, or a link."""
    dest = action.dest if isinstance(action.dest, str) else ""
    of_block = name.endswith(".") and dest.startswith(name)
    if not (dest == name or of_block) or dest.endswith(".help"):
        return False
    return "CONFIG" not in str(action.metavar) and action.option_strings[0].startswith("-")  # a linked one does not


def _explained(action: argparse.Action) -> list[str]:
    name = next(option for option in action.option_strings if option.startswith("--"))
    default = action.default
    given = "" if default is None or default is argparse.SUPPRESS else f" (default: {default})"
    text = " ".join((action.help or "").replace("%%", "%").split())
    first = text.split(". ")[0].rstrip(".") + given
    return textwrap.wrap(f"{name}  {first}", 110, initial_indent="  ", subsequent_indent=" " * 6)
