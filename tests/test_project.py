"""The shape of the project itself: sizes, exports, what the wheel holds."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reasoner

ROOT = Path(__file__).parents[1]
SOURCES = ("reasoner", "strategies", "verifiers", "evals", "examples", "bench", "tests")
LONGEST = 400


@pytest.mark.parametrize("folder", SOURCES)
def test_no_module_is_longer_than_a_person_reads(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert {str(path): lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_the_public_names_are_these() -> None:
    assert reasoner.__all__ == sorted(reasoner.__all__)
    assert set(reasoner.__all__) == set(reasoner._HOMES)
    for name in reasoner.__all__:
        assert getattr(reasoner, name).__module__ == f"reasoner.{reasoner._HOMES[name]}"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reasoner.nothing


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path)
        for folder in SOURCES[:4]
        for path in (ROOT / folder).rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith("reasoner_kit-")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"reasoner", "reasoner_strategies", "reasoner_verifiers", "reasoner_evals"}
    packaged = {name for name in names if name.endswith(".py")}
    on_disk = {
        str(path.relative_to(ROOT / root))
        for root, package in (
            (".", "reasoner"),
            ("strategies", "reasoner_strategies"),
            ("verifiers", "reasoner_verifiers"),
            ("evals", "reasoner_evals"),
        )
        for path in (ROOT / root / package).rglob("*.py")
    }
    assert packaged == on_disk
    assert "reasoner_verifiers/reward/heads/smollm2-135m-instruct.safetensors" in names
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    declared = zipfile.ZipFile(wheel).read(entry_points).decode()
    for group in ("console_scripts", "reasoner.strategies", "reasoner.verifiers", "reasoner.engines"):
        assert f"[{group}]" in declared
