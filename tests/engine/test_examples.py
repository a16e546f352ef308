"""The examples and the README's Python block, run as they stand, on the embedded model where they use one."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The client of a server needs one: tests/serving/test_documentation.py runs it.
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "serving.py")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str,
    embedded_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, where vLLM is imported once for all of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    assert capsys.readouterr().out.strip()
    if name == "compare.py":
        assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_block_of_the_readme_runs(
    embedded_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(block)
    runpy.run_path(str(script), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split() for line in lines if "Answer(" in line and line[0].isdigit()]
    assert [int(step[0]) for step in steps] == list(range(1, len(steps) + 1))
    assert 0 < int(steps[-1][1]) <= 2000
