"""`asr sclite`: references and hypotheses as NIST's sclite reads them, and what sclite counts.

sclite aligns words at a cost of 4 for a substitution and 3 for a deletion or an insertion. The error rates here are of
alignments with the fewest errors, where each costs 1. Both agree on most utterances, but where shifting words saves
substitutions sclite takes the shift, although it counts more errors. `P Q A B C` heard as `D E F P Q` is 5
substitutions, a cost of 20, or 3 insertions and 3 deletions, a cost of 18, which sclite takes. It never counts fewer
errors. Of alignments of the same cost any may be taken, so substitutions, deletions and insertions may differ where
their sum does not.
"""

import argparse
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asr.decode.hypotheses import Hypothesis, read_hypotheses
from asr.errors import InputError
from asr.files import write_text
from asr.score.errors import ErrorCounts
from asr.score.formats import EVENLY, format_ctm, format_stm, format_trn
from asr.score.importing import hypotheses_in
from asr.score.scores import format_rate, score

OPTIONS = ("-s", "-e", "utf-8")
"""Of sclite: upper and lower case differ, and texts are UTF-8."""
SUM_LINE = re.compile(r"\|\s*Sum\s*\|\s*\d+\s+\d+\s*\|\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s")


def write_sclite_files(folder: Path, rows: Sequence[Hypothesis]) -> None:
    """Write ref.trn, hyp.trn, ref.stm and hyp.ctm of hypotheses with references."""
    write_text(folder / "ref.trn", format_trn({row.id: row.reference or "" for row in rows}))
    write_text(folder / "hyp.trn", format_trn({row.id: row.hypothesis for row in rows}))
    write_text(folder / "ref.stm", format_stm(rows))
    write_text(folder / "hyp.ctm", format_ctm(rows))


def sclite_program() -> list[str] | None:
    """How sclite is called here (Debian's package sctk has it behind a command of its own); None if it is not."""
    if shutil.which("sclite"):
        return ["sclite"]
    return ["sctk", "sclite"] if shutil.which("sctk") else None


def sclite_arguments(folder: Path, timed: bool = False) -> list[str]:
    """Arguments of sclite for the files of a folder: TRN, or STM and CTM if `timed`."""
    if timed:
        return ["-r", str(folder / "ref.stm"), "stm", "-h", str(folder / "hyp.ctm"), "ctm", *OPTIONS]
    return ["-r", str(folder / "ref.trn"), "trn", "-h", str(folder / "hyp.trn"), "trn", "-i", "spu_id", *OPTIONS]


def run_sclite(program: Sequence[str], folder: Path, timed: bool = False) -> ErrorCounts:
    """What sclite counts in the files of a folder.

    Raises:
        InputError: it fails, or its report has no sum.
    """
    command = [*program, *sclite_arguments(folder, timed), "-o", "rsum", "stdout"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    found = SUM_LINE.search(done.stdout)
    if done.returncode or found is None:
        raise InputError(f"`{' '.join(command)}` failed with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return ErrorCounts(*map(int, found.groups()))


def main(arguments: Sequence[str]) -> int:
    """`asr sclite`."""
    options = _parser().parse_args(arguments)
    given, folder = Path(options.run), Path(options.output)
    rows = read_hypotheses(hypotheses_in(given, options.split) if given.is_dir() else given)
    ours = score(rows).words
    write_sclite_files(folder, rows)
    print(f"wrote ref.trn, hyp.trn, ref.stm and hyp.ctm of {len(rows)} utterances to {folder}")
    for note in _notes(rows):
        print(f"note: {note}")
    program = sclite_program()
    print(f"here:    {_described(ours)}")
    for timed in (False, True):
        command = " ".join([*(program or ["sclite"]), *sclite_arguments(folder, timed)])
        if options.run_sclite and program:
            print(f"sclite:  {_described(run_sclite(program, folder, timed))}   ({'STM, CTM' if timed else 'TRN'})")
        else:
            print(command)
    if options.run_sclite and program is None:
        raise InputError("sclite is not installed (Debian's package sctk has it), so the files were not scored by it")
    return 0


def _notes(rows: Sequence[Hypothesis]) -> list[str]:
    notes = []
    even = [row for row in rows if row.hypothesis.split() and row.times is None]
    if even:
        notes.append(f"the times of words in hyp.ctm are not known for {len(even)} utterances ({EVENLY})")
    unknown = [row for row in rows if not row.seconds]
    if unknown:
        notes.append(f"{len(unknown)} utterances have no known duration and were given a second a word")
    return notes


def _described(counts: ErrorCounts) -> str:
    return (
        f"{format_rate(counts)}, {counts.substitutions} substitutions, {counts.deletions} deletions, "
        f"{counts.insertions} insertions"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr sclite",
        description="Write references and hypotheses as TRN, and as STM and CTM, for NIST's sclite (Debian's package "
        "sctk), and print the commands that score them. Characters that sclite reads as signs are written as %%XX, "
        "which the first line of the file then says.",
        epilog="sclite weighs a substitution 4 and the others 3, so its alignments, and rarely its sum of errors, "
        "differ from those of `asr score`, which has the fewest errors.",
    )
    parser.add_argument("run", help="run folder with hypotheses, or a hypotheses.jsonl with references")
    parser.add_argument("--split", default="test", help="which hypotheses of the run folder (default: test)")
    parser.add_argument("-o", "--output", required=True, help="folder for the four files")
    parser.add_argument("--run", dest="run_sclite", action="store_true", help="run sclite and print what it counts")
    return parser
