"""Any corpus: a table of audio paths and texts, or a folder of audio files with their transcripts beside them."""

import argparse
import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import InputError
from data_prep.reading import read_utf8, walk
from data_prep.utterance import Problem, Utterance

SUMMARY = "any corpus: a table (CSV, TSV, JSON Lines) of audio paths and texts, or a folder of audio with transcripts"

COLUMNS = {
    "audio": ("audio", "path", "file", "wav", "audio_path", "audio_filepath"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "id": ("id", "utterance_id", "utt_id"),
    "speaker": ("speaker", "speaker_id", "spk_id", "client_id"),
    "split": ("split", "part"),
    "start": ("start", "offset"),
    "duration": ("duration",),
}
"""Each column and the names by which it is known when none is given. Only audio and text are needed."""

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
AUDIO_SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".opus", ".mp3", ".sph", ".aiff", ".aif", ".au", ".m4a", ".wma"})
TEXT_SUFFIXES = (".txt", ".lab")

_NO_TRANSCRIPTS = re.compile(r"(readme|licen[cs]e|copying|changelog|notice|info|about|notes)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How to read a table or a folder.

    Args:
        columns: of a table, names that differ from those of `COLUMNS`.
        audio_root: what relative audio paths are relative to; None is the table's folder.
        part: of utterances for which no split column or folder tells it.
        speaker_pattern: a regular expression searched in the audio's path as the table has it, or relative to the
            folder; its first group is the speaker.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    audio_root: Path | None = None
    part: str = "all"
    speaker_pattern: str | None = None

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.speaker_pattern or "()").groups
        except re.error as error:
            raise InputError(f"--speaker-pattern {self.speaker_pattern!r} is no regular expression: {error}") from error
        if groups != 1:
            raise InputError(f"--speaker-pattern {self.speaker_pattern!r} needs one (group), it has {groups}")

    def speaker(self, path: str) -> str | None:
        """The speaker that a path tells."""
        match = re.search(self.speaker_pattern, path) if self.speaker_pattern else None
        return match[1] if match else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the table's own to a command line."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="a .csv or .tsv file with a header, or .jsonl with an object a line; or a folder, in which NAME.flac, "
        "NAME.wav, ... have their transcript in NAME.txt, NAME.lab, or a line `NAME TEXT` of a *.trans.txt; "
        "folders in it that are called train, dev or test are parts",
    )
    group = parser.add_argument_group("table")
    for column, names in COLUMNS.items():
        group.add_argument(
            f"--{column}-column", metavar="NAME", help=f"the column with the {column} (default: {', '.join(names)})"
        )
    group.add_argument("--audio-root", type=Path, metavar="FOLDER", help="what audio paths are relative to")
    group.add_argument(
        "--speaker-pattern",
        metavar="REGEX",
        help="find the speaker in the audio path: the first (group), for example '([^/]+)/[^/]+$' for the folder",
    )


def read(options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of a table or folder, and the problems of listing them.

    Raises:
        InputError: it is missing, of another kind, not UTF-8, or lacks a column; see `read_table` and `read_folder`.
    """
    names = {column: getattr(options, f"{column}_column") for column in COLUMNS}
    layout = Layout(
        {column: name for column, name in names.items() if name},
        options.audio_root,
        speaker_pattern=options.speaker_pattern,
    )
    if options.source.is_dir():
        given = [f"--{column}-column" for column in layout.columns] + ["--audio-root"] * bool(options.audio_root)
        if given:
            raise InputError(f"{given[0]} is for tables, and {options.source} is a folder")
        return read_folder(options.source, layout, skip=getattr(options, "output", None))
    return read_table(options.source, layout)


def read_table(path: Path, layout: Layout | None = None) -> tuple[list[Utterance], list[Problem]]:
    """List the utterances of a CSV, TSV or JSON Lines table.

    CSV is quoted as spreadsheets do it; in TSV quotes are characters like others. An id that the table does not give
    is the audio path without its suffix, with - for /, and with the start in milliseconds if there is one. `duration`
    is read only together with `start`.

    Returns:
        Utterances in the table's order; and one problem for each row that cannot be used, with its line number.

    Raises:
        InputError: the table is missing, not UTF-8 or of another kind, its header lacks a column or has several for
            one, or no row can be used.
    """
    layout = layout or Layout()
    rows = {".csv": _csv_rows, ".tsv": _tsv_rows, ".jsonl": _jsonl_rows}.get(path.suffix.lower())
    if rows is None:
        raise InputError(f"{path} is not a table known here ({', '.join(TABLE_SUFFIXES)}), and not a folder")
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for number, row in rows(path, read_utf8(path), layout):
        try:
            if isinstance(row, str):
                raise InputError(row)
            utterances.append(_utterance(row, _columns(list(row), layout), path, layout))
        except InputError as error:
            problems.append(Problem(f"{path}, line {number}", "bad-row", str(error), refused=True))
    if not utterances:
        raise InputError(f"{problems[0].subject}: {problems[0].detail}" if problems else f"{path} has no rows")
    return utterances, problems


Row = dict[str, Any] | str
"""The cells by column name, or what is wrong with the row."""


def _csv_rows(path: Path, text: str, layout: Layout) -> Iterator[tuple[int, Row]]:
    return _delimited(path, csv.reader(io.StringIO(text, newline=""), strict=True), layout)


def _tsv_rows(path: Path, text: str, layout: Layout) -> Iterator[tuple[int, Row]]:
    lines = io.StringIO(text, newline="")
    return _delimited(path, csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), layout)


def _delimited(path: Path, reader: Any, layout: Layout) -> Iterator[tuple[int, Row]]:
    """Rows with the line each begins in; blank lines are passed over."""
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            if cells and not header:
                header = [cell.strip() for cell in cells]
                _check_header(path, line, header, layout)
            elif cells:
                wrong = f"{len(cells)} cells, and the header has {len(header)}" if len(cells) != len(header) else None
                yield line, wrong or dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: the row that begins in line {line} cannot be read ({error})") from error


def _check_header(path: Path, line: int, header: Sequence[str], layout: Layout) -> None:
    try:
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(f"the column {twice[0]!r} occurs twice")
        _columns(header, layout)
    except InputError as error:
        raise InputError(f"{path}, line {line}: {error}") from error


def _jsonl_rows(path: Path, text: str, layout: Layout) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                yield number, f"not JSON ({error})"
            else:
                yield number, row if isinstance(row, dict) else f"not a JSON object but {type(row).__name__}"


def _columns(there: Sequence[str], layout: Layout) -> dict[str, str]:
    """Which of the names that are there is which column."""
    found = {}
    for column, names in COLUMNS.items():
        given = layout.columns.get(column)
        present = [name for name in ([given] if given else names) if name in there]
        if len(present) > 1:
            raise InputError(f"the columns {', '.join(present)} may all be the {column}: name one, --{column}-column")
        if present:
            found[column] = present[0]
        elif given or column in ("audio", "text"):
            wanted = repr(given) if given else f"for the {column} ({', '.join(names)})"
            raise InputError(f"no column {wanted}, but {', '.join(map(repr, there))}; name it, --{column}-column")
    return found


def _utterance(row: Mapping[str, Any], columns: Mapping[str, str], path: Path, layout: Layout) -> Utterance:
    cells = {column: _cell(row[name], name, column) for column, name in columns.items()}
    name = cells["audio"]
    if not name:
        raise InputError(f"no audio path in {columns['audio']!r}")
    start = _seconds(cells.get("start"), columns.get("start"), least=0.0)
    duration = None
    if start is not None:
        duration = _seconds(cells.get("duration"), columns.get("duration"), least=0.001)
    identifier = name.lstrip("/").removeprefix("./").removesuffix(Path(name).suffix).replace("/", "-")
    if start is not None:
        identifier += f"-{round(1000 * start):07d}"
    return Utterance(
        id=cells.get("id") or identifier,
        audio=(layout.audio_root or path.parent) / name,
        text=cells["text"],
        speaker=cells.get("speaker") or layout.speaker(name),
        part=cells.get("split") or layout.part,
        start=start or 0.0,
        duration=duration,
    )


def _cell(value: Any, name: str, column: str) -> str | None:
    """A cell as text: trimmed, but for transcripts, which only normalisation may change; NaN is pandas' empty cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
        raise InputError(f"{name!r} must be text or a finite number, got {value!r}")
    return str(value) if column == "text" else str(value).strip()


def _seconds(cell: str | None, name: str | None, least: float) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError as error:
        raise InputError(f"{name!r} must be a number of seconds, got {cell!r}") from error
    if not least <= value < math.inf:
        raise InputError(f"{name!r} must be at least {least:g} seconds and finite, got {cell!r}")
    return value


# ---- folders ---------------------------------------------------------------------------------------------------------


def read_folder(
    folder: Path, layout: Layout | None = None, skip: Path | None = None
) -> tuple[list[Utterance], list[Problem]]:
    """List the audio files under a folder, each with its transcript.

    That is the text of NAME.txt or NAME.lab beside NAME.flac (.wav, ...), or the rest of a line that begins with NAME
    in a *.trans.txt file of the same folder. The id is the path in the folder without suffix, with - for /. If the
    folder has folders train, dev or test, the folders in it are the parts. What is in `skip`, a former output, is left
    out.

    Returns:
        Utterances sorted by path, `text` None where there is no transcript; and problems: transcripts without audio
        (a README or LICENSE is not taken for one), with a second one, or not UTF-8.

    Raises:
        InputError: the folder holds no audio, or a folder in it cannot be read.
    """
    layout = layout or Layout()
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    has_parts = any(os.path.isdir(folder / part) for part in ("train", "dev", "test"))
    for place, names in walk(folder, skip):
        relative = place.relative_to(folder)
        prefix = "".join(f"{part}-" for part in relative.parts)
        texts, wrong = _transcripts(place, names, prefix)
        problems += wrong
        audio = [name for name in names if Path(name).suffix.lower() in AUDIO_SUFFIXES]
        part = relative.parts[0] if has_parts and relative.parts else layout.part
        for name in audio:
            speaker = layout.speaker((relative / name).as_posix())
            text = texts.get(Path(name).stem)
            utterances.append(Utterance(f"{prefix}{Path(name).stem}", place / name, text, speaker, part))
        problems += [
            Problem(f"{prefix}{stem}", "missing-audio", f"{place} has a transcript {stem} and no audio file", True)
            for stem in sorted(set(texts) - {Path(name).stem for name in audio})
            if not _NO_TRANSCRIPTS.match(stem)
        ]
    if not utterances:
        raise InputError(f"{folder} holds no audio ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return utterances, problems


def _transcripts(place: Path, names: Sequence[str], prefix: str) -> tuple[dict[str, str], list[Problem]]:
    """Text by the stem of the audio file it belongs to."""
    texts: dict[str, str] = {}
    problems = []
    for name in names:
        if not name.lower().endswith(TEXT_SUFFIXES):
            continue
        try:
            content = read_utf8(place / name)
        except InputError as error:
            problems.append(Problem(f"{prefix}{Path(name).stem}", "unreadable-text", str(error), refused=True))
            continue
        pairs = [(Path(name).stem, content)]
        if name.lower().endswith(".trans.txt"):
            lines = [line.split(maxsplit=1) for line in content.splitlines() if line.strip()]
            pairs = [(line[0], " ".join(line[1:])) for line in lines]
        for stem, text in pairs:
            if texts.setdefault(stem, text) != text:
                detail = f"{place / name}: another transcript of {stem} than before, {text!r} and {texts[stem]!r}"
                problems.append(Problem(f"{prefix}{stem}", "unreadable-text", detail, refused=True))
    return texts, problems
