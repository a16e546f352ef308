"""Blocks between fences of backticks or tildes, as Markdown writes them; found in one pass over a text."""

import re
import textwrap
from typing import Final, NamedTuple

_FENCE: Final = re.compile(
    r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.MULTILINE
)


class FencedBlock(NamedTuple):
    """The text between two fences, or after the last one; `language` is what the opening fence says, in lower case."""

    language: str
    text: str
    closed: bool


def fenced_blocks(text: str) -> list[FencedBlock]:
    """The blocks of a text, without the indentation of a list around them; one that is open at the end is the last."""
    blocks: list[FencedBlock] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        # A fence with a language always opens a block: the opening fence of the block before may be cut off.
        if opened is None or fence[3]:
            opened = fence
        elif fence[2].startswith(opened[2]) and len(fence[1]) <= len(opened[1]) + 3:
            blocks.append(
                _block(opened, text[opened.end() + 1 : fence.start()], closed=True)
            )
            opened = None
    if opened:
        blocks.append(_block(opened, text[opened.end() + 1 :], closed=False))
    return blocks


def _block(opened: re.Match[str], text: str, *, closed: bool) -> FencedBlock:
    return FencedBlock(
        opened[3].lower(), textwrap.dedent(text) if opened[1] else text, closed
    )
