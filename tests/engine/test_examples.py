"""The examples, the README's Python block and the demo, run as they stand on the embedded model; cores are shared."""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reasoner.cli import main
from reasoner.engines.vllm.build import Build, CoreLog
from reasoner.engines.vllm.cores import InProcessCore
from reasoner.engines.vllm.engine import VllmEngine

ROOT = Path(__file__).parents[2]
# Two speak to a server or an agent: tests/serving/test_documentation.py runs them.
EXAMPLES = sorted(
    path.name
    for path in (ROOT / "examples").glob("*.py")
    if path.name not in ("agent_tool.py", "serving.py")
)


@pytest.fixture(scope="module", autouse=True)
def _shared_cores() -> Iterator[None]:
    """An engine with the arguments of one before gets the running core of that."""
    cores: dict[str, Any] = {}
    new_core, close = VllmEngine._new_core, InProcessCore.close

    def shared(self: VllmEngine, build: Build, arguments: Any, log: CoreLog) -> Any:
        key = str(arguments)
        if key not in cores:
            cores[key] = new_core(self, build, arguments, log)
        return cores[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VllmEngine, "_new_core", shared)
        patch.setattr(InProcessCore, "close", lambda core: None)
        yield
    for core in cores.values():
        close(core)


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


def test_the_first_python_block_of_the_readme_runs(
    embedded_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block, *_ = re.findall(
        r"^```python\n(.*?)^```",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    script = tmp_path / "block.py"
    script.write_text(block)
    runpy.run_path(str(script), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split() for line in lines if "Answer(" in line and line[0].isdigit()]
    assert [int(step[0]) for step in steps] == list(range(1, len(steps) + 1))
    assert 0 < int(steps[-1][1]) <= 2000


def test_the_tour_runs(
    embedded_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # It would end this process at once, as vLLM is imported.
    monkeypatch.setattr("reasoner.cli._leave", sys.exit)
    with pytest.raises(SystemExit) as left:
        main(["demo"])
    out, err = capfd.readouterr()
    assert left.value.code == 0, err
    assert "asked now: 12 questions" in " ".join(out.split())
