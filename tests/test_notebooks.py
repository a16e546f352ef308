"""The notebooks of `examples/`, each cell run in order, with an event loop as in Jupyter."""

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.process
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_and_holds_no_output(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpl.use("Agg")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["cells"][0]["cell_type"]) == (4, "markdown")
    module = ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", module)

    async def run() -> None:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                code = compile(
                    "".join(cell["source"]),
                    path.name,
                    "exec",
                    ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                )
                ended: Any = eval(code, vars(module))
                if inspect.isawaitable(ended):
                    await ended

    asyncio.run(run())
