"""A course drawn in lines for a terminal, down to 40 columns."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reasoner.cli.summary import LABEL
from reasoner.cli.terminal import clean, printable
from reasoner.tree.course import Course, Head, Node
from reasoner.tree.outline import Outline, Row
from reasoner.tree.words import (
    FAINT,
    MEANINGS,
    answer_of,
    costs,
    counts,
    duel,
    ending,
    proposal,
    provenance,
    score_of,
    state_of,
    stray,
)

NARROWEST = 40
"""Columns; a terminal with fewer breaks the lines itself."""
WIDE = 76
"""Columns from which a node is one line; below, its state and cost stand on a second one."""
MOST_NODES = 500
MOST_LINES = 12
"""Notes, proposals and comparisons that are shown of each."""
MOST_STEPS = 100
LONGEST_STEP = 1000
"""Characters of a step on the path."""
STYLES = {"path": "bold green", "faint": "dim", "title": "bold", "": ""}


class Line(NamedTuple):
    """One line, and which of the `STYLES` it has; the words say all that the style does."""

    text: str
    style: str = ""


def table(course: Course, columns: int) -> Iterator[str]:
    """A course in one line: question, answer, end, samples, tokens, depth; in two where there are few columns."""
    answer = printable(course.answer.text, limit=12) if course.answer else "no answer"
    numbers = f"{course.cost.samples:>5,} {course.cost.tokens:>9,} {course.depth:>3}"
    ended = course.ended_by or "killed"
    room = max(columns, NARROWEST) - len(numbers) - 1
    text = printable(course.began.text, limit=columns)
    if columns < WIDE:
        yield f"{_filled(f'{printable(course.id)} = {answer}', room)} {numbers}"
        yield _fit(f"  {text}", max(columns, NARROWEST))
    else:
        asked = _filled(f"{printable(course.id)}  {text}", room - 22)
        yield f"{asked} {_filled(answer, 12)} {ended:<8} {numbers}"


def table_head(columns: int) -> str:
    """What the columns of the table are."""
    numbers = f"{'drawn':>5} {'tokens':>9} {'dep':>3}" if columns < WIDE else f"{'drawn':>5} {'tokens':>9} deep"
    room = max(columns, NARROWEST) - 19 - 1
    left = (
        f"{'question = answer':<{room}}"
        if columns < WIDE
        else f"{'question':<{room - 22}} {'answer':<12} {'ended by':<8}"
    )
    return f"{left} {numbers}"


def drawing(course: Course, columns: int) -> Iterator[Line]:
    """All of a course: what it was, the tree, the path to the answer, and what else happened."""
    columns = max(columns, NARROWEST)
    yield from _top(course, columns)
    outline = Outline.of(course, most=MOST_NODES)
    if columns >= WIDE:
        yield Line("")
        yield Line(f"{'state':<11} {'score':>5} {'tokens':>7}  sequence", "title")
    for place in outline.heads:
        yield Line(_fit(_head(place, course.heads[place], len(course.heads)), columns), "title")
        guides: list[str] = []
        for row in outline.rows(place):
            guides[row.level :] = ["  " if row.last else "│ "]
            yield from _row(course, row, guides, columns)
    if len(course.heads) > len(outline.heads):
        yield Line(f"{len(course.heads) - len(outline.heads):,} more prompts, not shown", "faint")
    if outline.left_out:
        yield from _labelled(
            "left out",
            f"{outline.left_out:,} sequence{'s' if outline.left_out != 1 else ''}; --json gives all",
            columns,
        )
    yield from _path(course, columns)
    yield from _bottom(course, columns)


def _top(course: Course, columns: int) -> Iterator[Line]:
    facts = dict(provenance(course))
    asked = printable(course.began.text, limit=300)
    yield from _labelled("question", f"{facts['question']}: {asked}", columns)
    yield from _labelled(
        "run", " · ".join(facts[name] for name in ("strategy", "verifier", "model", "engine")), columns
    )
    answer = printable(course.answer.text, limit=200) if course.answer else "none"
    yield from _labelled("answer", answer, columns, "path" if course.path else "")
    yield from _labelled("end", ending(course), columns)
    yield from _labelled("cost", ", ".join(f"{amount} {kind}" for kind, amount in costs(course.cost)), columns)
    yield from _labelled("tree", counts(course), columns)


def _row(course: Course, row: Row, guides: Sequence[str], columns: int) -> Iterator[Line]:
    lead, under = _guides(guides, "└ " if row.last else "├ ", most=columns // 4 if columns >= WIDE else columns // 3)
    if row.node is None:
        gutter = " " * 27 if columns >= WIDE else ""
        yield Line(f"{gutter}{lead}{row.left_out:,} more, not shown", "faint")
        return
    node = row.node
    mark, word = state_of(node, course)
    score, tokens, answer = score_of(node), node.cost.tokens, _fit(printable(answer_of(node, course)), columns // 6)
    style = "path" if node.on_path else "faint" if node.state in FAINT else ""
    end = f"  = {answer}" if answer else ""
    if columns >= WIDE:
        start = f"{mark} {word:<9} {score:>5} {tokens:>7,}  {lead}#{node.id} "
        yield Line(start + _fit(_said(node, columns), columns - _cells(start + end)) + end, style)
        return
    start = f"{lead}#{node.id} "
    yield Line(start + _fit(_said(node, columns), columns - _cells(start)), style)
    more = "│ " if node.children else "  "
    yield Line(_fit(f"{under}{more}{mark} {word} {score} {tokens:,} tok{end}", columns), style)


def _guides(guides: Sequence[str], own: str, *, most: int) -> tuple[str, str]:
    """What stands before a node's first line and before its second; the outermost of too many are left out."""
    outer, under = "".join(guides[:-1]), "".join(guides)
    cut = len(under) - most // 2 * 2
    return (f"…{outer[cut + 1 :]}{own}", f"…{under[cut + 1 :]}") if cut > 0 else (outer + own, under)


def _said(node: Node, limit: int) -> str:
    said = printable(node.text, limit=limit) or "(no text)"
    said = f"[{printable(node.before, limit=limit // 2)}] {said}" if node.before else said
    return f"like #{node.repeats}: {said}" if node.state == "repeat" else said


def _head(place: int, head: Head, heads: int) -> str:
    which = f"prompt {place + 1} of {heads}, after {head.after} sequences" if heads > 1 else "prompt"
    return f"{which}, {head.tokens:,} tokens: {printable(head.text)}"


def _path(course: Course, columns: int) -> Iterator[Line]:
    if not course.path:
        why = "there is no answer" if course.answer is None else "no sequence has the final answer in its own words"
        yield from _labelled("path", f"none: {why}", columns)
        return
    yield Line("")
    yield Line("→ the path to the answer", "title")
    skipped = max(0, len(course.path) - MOST_STEPS)
    if skipped:
        yield Line(f"(its first {skipped:,} sequences are not shown)", "faint")
    for place in course.path[skipped:]:
        node = course.nodes[place]
        said = printable(f"{node.before}{node.text}", limit=LONGEST_STEP) or "(no text)"
        yield from _labelled(f"#{place}", f"{score_of(node)}  {said}", columns, "path")


def _bottom(course: Course, columns: int) -> Iterator[Line]:
    yield Line("")
    failed = [f"#{node.id} not rated: {one.error}" for node in course.nodes for one in node.ratings if one.error]
    for label, lines in (
        ("proposed", [proposal(one) for one in course.proposals]),
        ("compared", [duel(one) for one in course.duels]),
        ("failed", failed),
        ("stray", [stray(one) for one in course.strays]),
        ("noted", course.notes),
        ("remark", course.remarks),
    ):
        for line in _few(lines):
            yield from _labelled(label, printable(line, limit=300), columns)
    used = {state_of(node, course)[0] for node in course.nodes}
    for named, meaning in MEANINGS:
        if named[0] in used:
            yield Line(_fit(f"{named}: {meaning}", columns), "faint")


def _few(lines: Sequence[str]) -> list[str]:
    """The last lines, as they count most, after how many others there are."""
    left_out = len(lines) - MOST_LINES
    return [f"({left_out:,} earlier ones)", *lines[-MOST_LINES:]] if left_out > 0 else list(lines)


def _labelled(label: str, text: str, columns: int, style: str = "") -> Iterator[Line]:
    start = f"{label:<{LABEL}}" if len(label) < LABEL else f"{label} "
    room = columns if _cells(text) == len(text) else columns // 2
    for line in textwrap.wrap(clean(text), room, initial_indent=start, subsequent_indent=" " * LABEL) or [start]:
        yield Line(_fit(line, columns), style)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _filled(text: str, columns: int) -> str:
    """The text in exactly so many columns of a terminal."""
    fitting = _fit(text, columns)
    return fitting + " " * (columns - _cells(fitting))


def _fit(text: str, columns: int) -> str:
    """The text in so many columns of a terminal, where some characters take two."""
    from rich.cells import set_cell_size

    if _cells(text) <= columns:
        return text
    return set_cell_size(text, max(columns - 1, 0)).rstrip() + "…"
