"""Answers that are Python code; layout and comments do not count when two are compared.

A model wrote the text, so nothing in it is executed. Code that is too long or too deep to parse is compared by lines.
"""

import ast
import re
import warnings
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

from reasoner.answers.fences import FencedBlock, fenced_blocks
from reasoner.answers.forms import Form, Opening, machine_forms
from reasoner.answers.reading import KeyedKind
from reasoner.answers.thinking import TAIL
from reasoner.types import Answer

MAX_PARSED = 10_000
"""Maximum characters of code that is parsed for its key."""
MAX_DEPTH = 100
"""Maximum levels of the syntax tree of code that is parsed."""

_DEFINITION = re.compile(
    r"^(?:(?:async def|def|class) +(?P<name>\w+)(?P<tests>[^\n:]*\bTestCase\b)?|(?P<short>\w+) *= *lambda\b)",
    re.MULTILINE,
)
_CALL = re.compile(r"^[\w.]+\(", re.MULTILINE)
_TRIAL = re.compile(r"main\Z|test", re.IGNORECASE)
"""Names of functions and classes that try a solution."""
_NAMED = re.compile(
    r"(?:\b(?:def|class|function|method|called|named)\s+`?|`)([^\W\d]\w*)|\b([^\W\d]\w*)(?=\()"
)


@dataclass(frozen=True, slots=True)
class CodeSpace(KeyedKind):
    """Python code; two are equal if they parse to the same tree, so comments and layout do not count.

    `asked` are names in the question: the block of code that defines one of them is the answer.
    """

    name: ClassVar[str] = "code"
    version: ClassVar[int] = 7
    instruction: ClassVar[str] = "Give the answer as one Python code block."
    opening: ClassVar[Opening | None] = None
    tail: ClassVar[int] = TAIL

    asked: tuple[str, ...] = ()

    def forms(self, text: str) -> list[Form]:
        """The tags and fields of every kind, then the blocks of code between fences; a text after code explains it."""
        whole = Form(text, 0, len(text))
        marked = [
            form
            for form in machine_forms(text)
            if _defines(form.text) or _blocks(form.text)[0]
        ]
        return [form._replace(end=whole.end) for form in marked] or (
            [whole] if _blocks(text)[0] else []
        )

    def inside(self, text: str, reply: str) -> Answer | None:
        """The fenced block in the text that is the solution, or all of it if that is code."""
        return self._block(text) or (self._answer(text) if _defines(text) else None)

    def _alone(self, text: str) -> Answer | None:
        """An open block, or bare code.

        An unclosed fence counts if it opens the only block and its code parses: then the model stopped after its code
        and was not cut off. Text without a fence counts if all of it is Python that defines something.
        """
        answer = self._block(text + "\n") or (
            self._answer(text + "\n") if _defines(text) else None
        )
        return answer and replace(answer, rule="alone")

    def _block(self, text: str) -> Answer | None:
        blocks, open_block = _blocks(text)
        if blocks:
            return self._answer(_solution(blocks, frozenset(self.asked)))
        return (
            self._answer(open_block)
            if open_block is not None and syntax_tree(open_block) is not None
            else None
        )

    def _answer(self, code: str) -> Answer | None:
        return Answer(code, _key(code)) if code.strip() else None


def functions_in(question: str) -> tuple[str, ...]:
    """The names in a question that may be those of functions and classes to write."""
    return tuple(
        dict.fromkeys(
            match[1] or match[2] for match in _NAMED.finditer(question[:TAIL])
        )
    )


def _solution(blocks: list[FencedBlock], asked: frozenset[str]) -> str:
    """The last block that defines what was asked for, else the last that defines something and is no trial."""
    every = frozenset(name for block in blocks for name in _defined(block.text))

    def rank(index: int) -> tuple[bool, bool, bool, bool, int]:
        block, names = blocks[index], _defined(blocks[index].text)
        uses = not (every - names.keys()).isdisjoint(re.findall(r"\w+", block.text))
        tries = all(names.values()) or (
            uses and (any(names.values()) or _CALL.search(block.text) is not None)
        )
        return (
            not asked.isdisjoint(names),
            not tries,
            bool(names),
            block.language != "",
            index,
        )

    return blocks[max(range(len(blocks)), key=rank)].text


def _defined(block: str) -> dict[str, bool]:
    """The names that code defines, and whether each is a test or the main function."""
    return {
        match["name"] or match["short"]: bool(
            match["tests"] or (match["name"] and _TRIAL.match(match["name"]))
        )
        for match in _DEFINITION.finditer(block)
    }


def _defines(text: str) -> bool:
    """Whether all of a text is Python that defines a function or a class."""
    return _DEFINITION.search(text) is not None and syntax_tree(text) is not None


def _blocks(text: str) -> tuple[list[FencedBlock], str | None]:
    """The closed blocks of Python, and the block that is open at the end."""
    blocks = [
        block
        for block in fenced_blocks(text)
        if block.language in ("", "python", "py", "python3")
    ]
    open_block = next((block.text for block in blocks if not block.closed), None)
    return [block for block in blocks if block.closed], open_block


def syntax_tree(code: str) -> ast.Module | None:
    """The syntax tree; None if the code is too long, too deep or not Python."""
    # Maximum levels of brackets in code that is parsed
    if len(code) > MAX_PARSED or _brackets(code) > 60:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    # Counted here: when a RecursionError occurs depends on the depth of the caller.
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return None if level else tree


def _brackets(code: str) -> int:
    """An upper bound of the levels of brackets; those in strings and comments count too."""
    steps = ((sign in "([{") - (sign in ")]}") for sign in code)
    return max(accumulate(steps, lambda level, step: max(0, level + step), initial=0))


def _key(code: str) -> str:
    """The code in Python's own format; if it cannot be parsed, its lines without trailing blanks."""
    tree = syntax_tree(code)
    if tree is not None:
        return ast.unparse(tree)
    return "\n".join(
        stripped for line in code.splitlines() if (stripped := line.rstrip())
    )
