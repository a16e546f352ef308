"""The reply behind an answer as lines for a terminal, for --show-reasoning."""

from collections.abc import Iterator
from typing import Final

from reasoner.cli.terminal import one_line
from reasoner.solution import Solution

MAX_LINES: Final = 200
MAX_LINE: Final = 2000
"""Characters of a line that are shown."""


def reasoning_lines(solution: Solution) -> Iterator[tuple[str, str]]:
    """The thinking that a server returned apart from the reply, and the reply, with a label each."""
    if not solution.text:
        yield "reply", "no single reply states the answer"
    thinking = (reply.completion.thinking for reply in solution.samples if reply.text == solution.text)
    for label, text in (("thinking", next(thinking, "")), ("reply", solution.text)):
        for index, line in enumerate(_lines_of(text)):
            yield ("" if index else label), line


def _lines_of(text: str) -> Iterator[str]:
    """A text of a model as lines without control characters; a long text is cut."""
    lines = text.strip().splitlines()
    for line in lines[:MAX_LINES]:
        yield one_line(line[:MAX_LINE]).rstrip() + ("…" if len(line) > MAX_LINE else "")
    if len(lines) > MAX_LINES:
        yield f"[{len(lines) - MAX_LINES:,} more lines; --json holds all]"
