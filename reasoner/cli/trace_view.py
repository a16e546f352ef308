"""What `reasoner trace` shows: a tree in full, or several questions in a line each."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from reasoner.budget import cost_line
from reasoner.cli.terminal import Terminal, columns, labelled
from reasoner.errors import TraceError, UnknownName
from reasoner.journal.folder import write_whole
from reasoner.system.printing import counted, printable
from reasoner.trace import outline as views
from reasoner.trace.events import read_trace
from reasoner.trace.outline import Outline
from reasoner.trace.page import page
from reasoner.trace.view import QuestionView, TreeNode, search_trees

MAX_LINES: Final = 12
"""Notes, proposals and comparisons that are shown of each."""


def show(file: Path, question: str | None, html: Path | None) -> None:
    """Show a single tree in full, several in a line each; draw them in `html` too if it is given.

    Raises:
        TraceError: the trace cannot be read or is empty, or the page cannot be written.
        UnknownName: there is no question with the id `question`.
    """
    terminal = Terminal()

    def trees() -> Iterator[QuestionView]:
        return (
            search_trees(read_trace(file))
            if question is None
            else iter([_tree_of(question, file)])
        )

    shown = trees()
    first = next(shown, None)
    if first is None:
        raise TraceError(f"the trace {file} holds no question: it is empty")
    if html is not None:
        # The page is written in full even if standard output cannot be.
        write_whole(
            html,
            (
                part.encode("utf-8", "replace") + b"\n"
                for part in page(trees(), source=file.name)
            ),
        )
    try:
        second = next(shown, None)
        if second is None:
            terminal.show(*full(first, columns()))
        else:
            _show_rows(terminal, chain((first, second), shown))
    finally:
        if html is not None:
            terminal.say(f"wrote {html}")


def _tree_of(question: str, file: Path) -> QuestionView:
    """The tree of the question with this id; the last one of several attempts."""
    trees = [
        *search_trees(
            event for event in read_trace(file) if event.question_id == question
        )
    ]
    if not trees:
        raise UnknownName(
            "question",
            question,
            {event.question_id for event in read_trace(file)},
            of="the trace",
        )
    return trees[-1]


def _show_rows(terminal: Terminal, trees: Iterator[QuestionView]) -> None:
    """Show each tree in a line."""
    for tree in trees:
        answer = printable(tree.answer.text, limit=12) if tree.answer else "no answer"
        cost = f"{counted(tree.cost.samples, 'sample')}, tokens {tree.cost.tokens:,}, depth {tree.depth:,}"
        asked = printable(tree.began.text, limit=40)
        terminal.show(
            labelled(
                [
                    (
                        printable(tree.id),
                        f"{asked} · {tree.ended_by or 'killed'}: {answer}, {cost}",
                    )
                ]
            )
        )
    terminal.say("choose one with --question ID")


def full(search_tree: QuestionView, width: int) -> Iterator[RenderableType]:
    """Everything about a tree: its settings and result, the trees, the path to the answer, and other events."""
    facts = views.settings_of(search_tree)
    answer = (
        printable(search_tree.answer.text, limit=200) if search_tree.answer else "none"
    )
    yield labelled(
        [
            (
                "question",
                f"{facts['question']}: {printable(search_tree.began.text, limit=300)}",
            ),
            (
                "run",
                " · ".join(
                    facts[name] for name in ("strategy", "verifier", "model", "engine")
                ),
            ),
            ("answer", answer),
            ("end", views.end_of(search_tree)),
            ("cost", cost_line(search_tree.cost)),
            ("drawn", views.counts_of(search_tree)),
            *(
                ()
                if search_tree.path
                else [("path", "none: no sequence states the final answer")]
            ),
        ]
    )
    # Columns that a terminal needs for each level of a tree; deeper levels are left out
    outline = Outline.of(search_tree, maximum=500, deepest=width // 6)
    for head in outline.heads:
        yield ""
        yield _drawn(outline, head)
    if outline.left_out:
        yield f"not shown: {counted(outline.left_out, 'sequence')}"
    if len(search_tree.heads) > len(outline.heads):
        yield f"not shown: {counted(len(search_tree.heads) - len(outline.heads), 'more prompt')}"
    if search_tree.path:
        skipped = max(0, len(search_tree.path) - 100)
        yield ""
        yield Text(
            "→ the path to the answer"
            + (f", without its first {skipped:,} steps" if skipped else ""),
            "bold",
        )
        yield labelled(
            [
                _step(search_tree.nodes[node_id])
                for node_id in search_tree.path[skipped:]
            ]
        )
    yield ""
    events = [
        (title, line)
        for title, lines in views.events_of(search_tree)
        for line in _last(lines)
    ]
    yield labelled([(title, printable(line, limit=300)) for title, line in events])
    for name, meaning in views.legend_of(search_tree).items():
        yield Text(f"{name}: {meaning}", "dim")


def _step(node: TreeNode) -> tuple[str, str]:
    # Characters of a step on the path
    text = printable(f"{node.prefill}{node.text}", limit=1000) or "(no text)"
    return f"#{node.id}", f"{views.score_of(node)}  {text}"


def _last(lines: list[str]) -> list[str]:
    """The last lines, which matter most, after the number of the others."""
    left_out = len(lines) - MAX_LINES
    return (
        [f"({left_out:,} earlier ones)", *lines[-MAX_LINES:]] if left_out > 0 else lines
    )


def _drawn(outline: Outline, head: int) -> Tree:
    """The tree under one head, with two columns of guides per level; rich's own have four."""
    tree = Tree(_heading(outline.tree, head), guide_style="dim")
    tree.TREE_GUIDES = [("  ", "│ ", "├ ", "└ ")] * 3
    tree.ASCII_GUIDES = ("  ", "| ", "+ ", "` ")
    parents = [tree]
    for line in outline.rows(head):
        parents[line.level + 1 :] = [
            parents[line.level].add(_label(line.node, outline.tree))
        ]
    return tree


def _heading(search_tree: QuestionView, index: int) -> Text:
    head, several = search_tree.heads[index], len(search_tree.heads) > 1
    which = f"prompt {index + 1} of {len(search_tree.heads)}" if several else "prompt"
    return _line(
        f"{which}, {head.tokens:,} tokens: {printable(head.text, limit=140)}", "bold"
    )


def _label(node: TreeNode, search_tree: QuestionView) -> Text:
    """A node's state, score, tokens, answer and text in one line."""
    text = printable(node.text, limit=140) or "(no text)"
    text = f"[{printable(node.prefill)}] {text}" if node.prefill else text
    answer = printable(views.answer_of(node, search_tree), limit=16)
    facts = f"#{node.id} {views.state_of(node, search_tree)} {views.score_of(node)} {node.cost.tokens:,} tok"
    style = "bold green" if node.on_path else "dim" if node.state in views.FAINT else ""
    return _line(f"{facts}{f' = {answer}' if answer else ''}  {text}", style)


def _line(text: str, style: str) -> Text:
    """A text cut to the room that there is."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")
