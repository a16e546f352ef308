"""What a newer vLLM changed, of what we use of it: `REASONER_GOLDEN=update` accepts the new one."""

import ast
import importlib
import inspect
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/vllm_surface.txt"


def imports(trees: list[ast.Module]) -> set[tuple[str, str]]:
    """Module and name of all that our code imports from vLLM."""
    nodes = (
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    )
    return {
        (node.module, alias.name)
        for node in nodes
        if node.module and node.module.split(".")[0] == "vllm"
        for alias in node.names
    }


def surface(trees: list[ast.Module]) -> Iterator[str]:
    """Each imported part, and those of its members that our code mentions, with their arguments."""
    mentioned = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    mentioned |= {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    for module, name in sorted(imports(trees)):
        part = getattr(importlib.import_module(module), name, None)
        yield f"{module}.{name}{': missing' if part is None else _arguments(part)}"
        if inspect.isclass(part):
            own = {
                key
                for base in part.__mro__
                if base.__module__.startswith("vllm.")
                for key in vars(base)
            }
            for member in sorted(mentioned & own):
                if not member.startswith("__"):
                    yield f"    {member}{_arguments(inspect.getattr_static(part, member))}"


def _arguments(part: object) -> str:
    function = part.__func__ if isinstance(part, classmethod | staticmethod) else part
    by_python = inspect.isclass(part) and issubclass(part, Enum | BaseException)
    if not callable(function) or by_python:
        return ""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return "(...)"
    return f"({', '.join(parameter.name for parameter in parameters)})"


def test_the_parts_of_vllm_that_we_use_are_as_they_were() -> None:
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "reasoner/engines/vllm").glob("*.py"))
    ]
    found = "".join(f"{line}\n" for line in surface(trees))
    if os.environ.get("REASONER_GOLDEN") == "update":
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
