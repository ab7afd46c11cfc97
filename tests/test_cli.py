"""The `asr` command: verbs, exit codes, and errors without tracebacks."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import asr
from asr import cli
from asr.errors import InputError


@pytest.fixture
def verb(monkeypatch):
    """A verb `try` that does what a test gives it."""

    def install(function):
        monkeypatch.setitem(sys.modules, "tried", types.SimpleNamespace(main=function))
        monkeypatch.setitem(cli.VERBS, "try", ("try something", "tried:main"))

    return install


def raising(error):
    def function(arguments):
        raise error

    return function


def test_help_lists_every_verb_on_stdout(capsys):
    assert cli.main(["--help"]) == cli.main(["-h"]) == 0
    output = capsys.readouterr()
    assert all(f"  {name} " in output.out and purpose in output.out for name, (purpose, _) in cli.VERBS.items())
    assert output.err == ""


def test_no_verb_is_a_usage_error(capsys):
    assert cli.main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("usage: asr VERB")


def test_an_unknown_verb_is_a_usage_error_that_names_it(capsys):
    assert cli.main(["tset"]) == 2
    assert "no verb 'tset'" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"asr {asr.__version__}\n"


def test_a_verb_gets_its_arguments_and_its_exit_code_is_passed_on(verb):
    got = []
    verb(lambda arguments: got.append(arguments) or 3)
    assert cli.main(["try", "-x", "1"]) == 3
    assert got == [["-x", "1"]]


def test_bad_input_is_one_line_on_stderr_and_exit_code_1(verb, capsys):
    verb(raising(InputError("the moon is not made of cheese")))
    assert cli.main(["try"]) == 1
    assert capsys.readouterr() == ("", "error: the moon is not made of cheese\n")


def test_a_fault_of_ours_keeps_its_traceback(verb):
    verb(raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["try"])


def test_an_interrupt_ends_with_130(verb, capsys):
    verb(raising(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"asr {name}" in capsys.readouterr().out


NEEDED = {
    "bench": ["grid"],
    "export": ["model", "-o", "out"],
    "gradients": ["-o", "out.png"],
    "import": ["hyp.trn", "--references", "ref.jsonl", "-o", "out"],
    "inspect": ["model", "--audio", "a.wav", "-o", "out"],
    "lm": ["info", "model"],
    "results": ["write", "RESULTS.md"],
    "sclite": ["run", "-o", "out"],
    "transcribe": ["a.wav", "-m", "model"],
    "doctor": [],
    "fit": [],
}
"""Arguments without which a verb would miss those first; others take any word."""


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_an_unknown_option_is_a_usage_error_that_names_it(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, *NEEDED.get(name, ["x"]), "--no-such-option", "1"])
    assert stop.value.code == 2
    assert "no-such-option" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    # as in `asr compare ... | head -1`
    code = (
        "import sys, types; from asr import cli\n"
        "def long(arguments):\n"
        "    for _ in range(100000): print('a line')\n"
        "sys.modules['tried'] = types.SimpleNamespace(main=long)\n"
        "cli.VERBS['try'] = ('', 'tried:main')\n"
        "sys.exit(cli.main(['try']))"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("flush", [True, False])
def test_output_that_cannot_be_written_is_one_line_on_stderr_and_exit_code_1(flush):
    code = (
        "import sys, types; from asr import cli\n"
        f"sys.modules['tried'] = types.SimpleNamespace(main=lambda arguments: print('a', flush={flush}) or 0)\n"
        "cli.VERBS['try'] = ('', 'tried:main')\n"
        "sys.exit(cli.main(['try']))"
    )
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (1, "error: No space left on device\n")


def test_a_file_that_cannot_be_used_is_named(verb, capsys):
    verb(lambda arguments: Path("/nowhere/file").read_text())
    assert cli.main(["try"]) == 1
    assert capsys.readouterr().err == "error: /nowhere/file: No such file or directory\n"


def test_the_installed_command_is_this_one():
    run = subprocess.run([sys.executable, "-m", "asr.cli", "nonsense"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "no verb 'nonsense'" in run.stderr
