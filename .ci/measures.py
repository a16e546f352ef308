"""The measures of the product's source, and the bar for its number of statements."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("reasoner", "strategies", "verifiers", "evals")
MOST_STATEMENTS: Final = 31_003
"""Statements without docstrings and without `reasoner.testing`, which counts as tests."""


def sources() -> Iterator[Path]:
    """The modules of the product."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "testing" not in path.relative_to(ROOT).parts:
                yield path


def documented(tree: ast.Module) -> Iterator[ast.Expr]:
    """The docstrings of a module: those of its definitions, and those below its constants."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node


def constants_of(tree: ast.Module) -> int:
    """How many names in capitals a module gives a value."""
    targets = [
        target
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return sum(
        isinstance(target, ast.Name) and target.id.isupper() for target in targets
    )


def main() -> None:
    """Print the measures; fail above the bar."""
    statements = lines = constants = callables = execution = kept = modules = 0
    for path in sources():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        modules += 1
        statements += sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - sum(
            1 for _ in documented(tree)
        )
        lines += text.count("\n")
        constants += constants_of(tree)
        kept += len(re.findall(r"# fmt: (?:skip|off)", text))
        if path.is_relative_to(ROOT / "reasoner/execution"):
            callables += text.count("Callable[")
            execution += text.count("\n")
    print(f"{modules:7,} modules")
    print(f"{statements:7,} statements without docstrings, at most {MOST_STATEMENTS:,}")
    print(f"{lines / statements:7.2f} lines a statement")
    print(f"{constants:7,} constants of modules")
    print(
        f"{1000 * callables / execution:7.1f} `Callable[` in 1,000 lines of execution"
    )
    print(f"{kept:7,} lines that the formatter must not touch")
    if statements > MOST_STATEMENTS:
        sys.exit(
            f"{statements:,} statements are more than {MOST_STATEMENTS:,}: remove some before you add more"
        )


if __name__ == "__main__":
    main()
