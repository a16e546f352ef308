"""Answers that are Python code: read out of a text, and known again when only layout and comments differ.

The text is what a model wrote, so nothing in it is executed; code too long or too deep to be parsed is compared line
by line.
"""

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers.reading import ByKey, final_segment
from reasoner.types import Answer

MAX_PARSED = 10_000
"""Characters of code that is parsed for its key."""
MAX_BRACKETS = 60
"""Levels of brackets in code that is parsed."""
MAX_DEPTH = 100
"""Levels of the tree of code whose key is written from it."""

# A fence with a language always opens: what closes none is a block whose beginning lies before the tail.
_FENCE = re.compile(r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.MULTILINE)
_PYTHON = ("", "python", "py", "python3")


@dataclass(frozen=True, slots=True)
class CodeSpace(ByKey):
    """Python code; two are one when they parse to the same tree, so comments and layout aside."""

    name: ClassVar[str] = "code"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the answer as one Python code block."

    def read(self, text: str) -> Answer | None:
        """The last fenced block that is marked as Python or not at all.

        A fence that is never closed counts where it opens the only block and what follows parses: a model that stops
        after its code has answered, and one that was cut has not.
        """
        segment = final_segment(text)
        if segment is None:
            return None
        blocks, open_block = _blocks(segment)
        if blocks:
            code, rule = blocks[-1], "fence"
        elif open_block is not None and _tree(open_block) is not None:
            code, rule = open_block, "unclosed"
        else:
            return None
        return Answer(code, _key(code), rule) if code.strip() else None


def _blocks(text: str) -> tuple[list[str], str | None]:
    """The closed blocks of Python, and the one left open at the end."""
    blocks: list[str] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None or fence[3]:
            opened = fence
        elif fence[2].startswith(opened[2]) and len(fence[1]) <= len(opened[1]) + 3:
            if opened[3].lower() in _PYTHON:
                blocks.append(_dedented(text[opened.end() + 1 : fence.start()], opened))
            opened = None
    if opened is None or opened[3].lower() not in _PYTHON:
        return blocks, None
    return blocks, _dedented(text[opened.end() + 1 :], opened)


def _dedented(code: str, fence: re.Match[str]) -> str:
    """The code of a block in a list, without the list's indentation."""
    return textwrap.dedent(code) if fence[1] else code


def _tree(code: str) -> ast.Module | None:
    """The tree of code that is small and flat enough; None for all else."""
    if len(code) > MAX_PARSED or _brackets(code) > MAX_BRACKETS:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    # Not left to a RecursionError, which comes sooner the deeper the caller is.
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return None if level else tree


def _brackets(code: str) -> int:
    """No fewer levels than the brackets of the code have; those in strings and comments are taken for brackets."""
    deepest = level = 0
    for sign in code:
        level = max(0, level + (sign in "([{") - (sign in ")]}"))
        deepest = max(deepest, level)
    return deepest


def _key(code: str) -> str:
    """The code as Python itself would write it; where it isn't parsed, its lines without what ends them in spaces."""
    tree = _tree(code)
    if tree is not None:
        return ast.unparse(tree)
    return "\n".join(stripped for line in code.splitlines() if (stripped := line.rstrip()))
