"""The Dockerfiles, as far as they can be checked without Docker: what they name exists, and the wheel can be built."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each with what follows it, continued lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split()[0], line.partition(" ")[2].strip())
        for line in joined.splitlines()
        if line.strip()
    ]


def copied(file: Path) -> list[str]:
    """What a Dockerfile copies out of the repository."""
    return [
        source
        for name, rest in instructions(file)
        if name == "COPY"
        for source in shlex.split(rest)[:-1]
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix[1:])
def test_what_it_copies_and_runs_exists(file: Path) -> None:
    sources = copied(file)
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    run = " ".join(rest for name, rest in instructions(file) if name == "RUN")
    named = re.findall(r"(?<=\s)[\w.][\w./-]*\.(?:txt|toml)\b", run)
    assert "constraints.txt" in named
    for path in named:
        assert (ROOT / path).exists()
        assert any(
            path == source or path.startswith(f"{source}/") for source in sources
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix[1:])
def test_it_installs_extras_that_exist_on_a_python_that_is_supported(
    file: Path,
) -> None:
    extras = re.findall(r'"\.\[([\w,]+)\]"', file.read_text())
    assert len(extras) == 1
    assert set(extras[0].split(",")) <= PROJECT["optional-dependencies"].keys()
    [(_, base)] = [each for each in instructions(file) if each[0] == "FROM"]
    [release] = re.findall(r"python:([\d.]+)-slim", base)
    assert release in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {release}" in PROJECT["classifiers"]


@pytest.mark.process
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix[1:])
def test_the_wheel_is_built_from_what_it_copies_alone(
    file: Path, tmp_path: Path
) -> None:
    for source in copied(file):
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source,
                tmp_path / source,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", tmp_path],
        check=True,
    )
    [wheel] = (tmp_path / "dist").glob("reasoner_kit-*.whl")
    pages = {
        f"reasoner/serving/page/{name}"
        for name in ("index.html", "style.css", "app.js")
    }
    assert pages <= set(zipfile.ZipFile(wheel).namelist())
