"""The examples and the README's Python block, run as they stand, on the embedded model where they use one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def run(code: Path, folder: Path) -> str:
    finished = subprocess.run([sys.executable, code], capture_output=True, text=True, cwd=folder)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, embedded_model: Path, tmp_path: Path) -> None:
    assert run(ROOT / "examples" / name, tmp_path).strip()
    if name == "compare.py":
        assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_block_of_the_readme_runs(embedded_model: Path, tmp_path: Path) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(block)
    lines = run(script, tmp_path).splitlines()
    assert lines[0].startswith("Answer(")
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(1, len(lines)))
