"""Who may import whom: every arrow of the map in `asr/__init__.py` points one way."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric"}
LAYERS = (
    {"cpu", "errors", "files", "randomness", "number_words", "text", "provenance", "config"},
    {"grid"},
    {"encoders", "data", "lm"},
    {"model"},
    {"experiment"},
    {"decode", "score"},
    {"report", "recognizer"},
    {"training", "bench", "transcribe", "export", "doctor", "robustness"},
    {"sweep", "inspect"},
    {"cli"},
)
"""The rooms of asr from below: each may import those below it; decode and score also each other."""
MODULES = sorted(p for package in ("asr", "data_prep") for p in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """Dotted name of a module from its path."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def third_party(names: set[str]) -> set[str]:
    tops = {name.split(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {"asr", "data_prep"}


def own(names: set[str]) -> set[str]:
    return {name for name in names if inside(name, "asr", "data_prep")}


def modules_of(package: str) -> list[Path]:
    found = [path for path in MODULES if inside(name_of(path), package)]
    assert found, f"no modules in {package}"
    return found


@pytest.mark.parametrize("path", modules_of("asr.grid"), ids=name_of)
def test_the_grid_imports_torch_alone(path: Path) -> None:
    assert third_party(imports(path)) <= {"torch", "triton"}
    assert all(inside(name, "asr.grid") for name in own(imports(path)))


@pytest.mark.parametrize("path", modules_of("asr.encoders"), ids=name_of)
def test_encoders_know_no_files_no_corpora_and_no_lightning(path: Path) -> None:
    assert third_party(imports(path)) <= {"torch"}
    assert all(inside(name, "asr.encoders", "asr.grid", "asr.errors") for name in own(imports(path)))


NETWORKS = ("asr.lm.neural", "asr.lm.neural_training", "asr.lm.neural_command")
"""What is in asr.lm and no n-gram."""


@pytest.mark.parametrize("path", [path for path in modules_of("asr.lm") if name_of(path) not in NETWORKS], ids=name_of)
def test_n_grams_need_numpy_alone(path: Path) -> None:
    assert third_party(imports(path)) <= {"numpy"}
    assert all(inside(name, "asr.lm", "asr.text", "asr.files", "asr.errors") for name in own(imports(path)))
    assert not [name for name in own(imports(path)) if inside(name, *NETWORKS)]


@pytest.mark.parametrize("path", modules_of("asr"), ids=name_of)
def test_asr_never_imports_data_prep(path: Path) -> None:
    assert not [name for name in imports(path) if inside(name, "data_prep")]


@pytest.mark.parametrize("path", [path for path in modules_of("asr") if name_of(path) != "asr"], ids=name_of)
def test_every_room_imports_only_rooms_below_it(path: Path) -> None:
    height = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    room = name_of(path).split(".")[1]
    others = {name.split(".")[1] for name in imports(path) if inside(name, "asr") and "." in name}
    above = [other for other in others & height.keys() if other != room and height[other] > height[room]]
    beside = [other for other in others & height.keys() if other != room and height[other] == height[room]]
    assert above == []
    assert height[room] == 0 or set(beside) <= {"decode", "score"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_lightning_is_known_only_where_a_trainer_runs_something(path: Path) -> None:
    known = ("asr.training", "asr.recognizer", "asr.data.datamodule", "asr.decode.prediction")
    assert inside(name_of(path), *known) or not LIGHTNING & third_party(imports(path))


def test_importing_grid_and_encoders_loads_nothing_heavier_than_torch() -> None:
    program = "import sys, json, asr.grid, asr.encoders; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & (LIGHTNING | {"lhotse", "torchaudio", "soundfile", "matplotlib", "triton"})
