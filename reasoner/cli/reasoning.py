"""The reply behind an answer, for --show-reasoning."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from reasoner.cli.terminal import clean
from reasoner.trace.events import Event, Sampled
from reasoner.trace.tree.build import search_trees

MAX_LINES: Final = 200
MAX_LINE: Final = 2000
"""Characters of a line that are shown."""


class Reasoning(NamedTuple):
    """A reply from its beginning, with all steps of a search, and the thinking that a server returned apart from it."""

    text: str
    thinking: str


def reasoning_of(events: Sequence[Event]) -> Reasoning | None:
    """The reply that the answer of a question was most likely read from; None where no reply states it."""
    tree = next(search_trees(events), None)
    if tree is None or not tree.path:
        return None
    nodes = [tree.nodes[index] for index in tree.path]
    sampled = [event for event in events if isinstance(event, Sampled)]
    thinking = [
        next((event.thinking for event in sampled if (event.index, event.text) == (node.index, node.text)), "")
        for node in nodes
    ]
    return Reasoning("".join(node.prefill + node.text for node in nodes), "\n".join(filter(None, thinking)))


def lines_of(text: str) -> Iterator[str]:
    """A text of a model as lines for a terminal, without control characters; a long text is cut."""
    lines = text.strip().splitlines()
    for line in lines[:MAX_LINES]:
        yield clean(line[:MAX_LINE]).rstrip() + ("…" if len(line) > MAX_LINE else "")
    if len(lines) > MAX_LINES:
        yield f"[{len(lines) - MAX_LINES:,} more lines; --json holds all]"
