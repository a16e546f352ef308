"""What `reasoner trace` shows: a tree in full, several questions in a line each, or the pairs of two traces."""

import json
import shlex
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from reasoner.cli.terminal import Terminal, columns, labelled, printable, table
from reasoner.errors import TraceError, UnknownName, UsageError
from reasoner.trace import outline as views
from reasoner.trace.events import read_trace
from reasoner.trace.outline import Outline
from reasoner.trace.page import fragment, page, pair, write_page
from reasoner.trace.replies import TRACE
from reasoner.trace.tree import SearchTree, TreeNode, search_trees

MAX_NAMED: Final = 5
"""Questions that an error names."""
WIDE: Final = 76
"""Columns from which a node takes one line; below, its state and cost are on a second one."""
MAX_PAIRS: Final = 25
"""Questions of two traces that are compared; their trees are in memory at once."""
MAX_NODES: Final = 500
MAX_LINES: Final = 12
"""Notes, proposals and comparisons that are shown of each."""
MAX_STEPS: Final = 100
MAX_STEP_LENGTH: Final = 1000
"""Characters of a step on the path."""
LEVEL: Final = 6
"""Columns that a terminal needs for each level of a tree; deeper levels continue in another tree."""


def check_file(path: Path) -> None:
    """Refuse a folder, and say which traces are in it. Raises UsageError."""
    if not path.is_dir():
        return
    traces = sorted([*path.glob(TRACE), *path.glob(f"*/{TRACE}"), *path.glob(f"arms/*/{TRACE}")])
    if not traces:
        raise UsageError(
            f"{path} is a folder without a trace: name a file that `--trace FILE` or `reasoner eval` wrote"
        )
    others = f"; it has {len(traces):,} traces: {_listed(traces)}" if traces[1:] else ""
    raise UsageError(f"{path} is a folder: type `reasoner trace {shlex.quote(str(traces[0]))}`{others}")


def _listed(things: Iterable[object]) -> str:
    names = list(map(str, things))
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")


def show(file: Path, question: str | None, html: Path | None, *, as_json: bool) -> None:
    """Show a single tree in full, several in a line each; draw them in `html` too if it is given.

    Raises:
        TraceError: the trace cannot be read or is empty, or the page cannot be written.
        UsageError: no question, or more than one, is named by `question`.
    """
    terminal = Terminal()

    def trees() -> Iterator[SearchTree]:
        drawn = iter([_tree_of(question, file)]) if question is not None else search_trees(read_trace(file))
        first = next(drawn, None)
        if first is None:
            raise TraceError(f"the trace {file} holds no question: it is empty")
        return chain((first,), drawn)

    if html is not None:
        # The page is written in full even if standard output cannot be.
        write_page(html, page(trees(), fragment, source=file.name))
    try:
        _show(terminal, trees(), as_json=as_json)
    finally:
        if html is not None:
            terminal.say(f"wrote {html}")


def show_pairs(files: tuple[Path, Path], question: str | None, html: Path | None, *, as_json: bool) -> None:
    """Show the questions that two traces share, two rows each: at most `MAX_PAIRS` of them. Raises as `show`."""
    terminal = Terminal()
    left, right = (_trees(file, question or "") for file in files)
    shared = [known for known in left if known in right]
    if not shared:
        raise UsageError(f"{files[0]} and {files[1]} hold no question in common: compare two traces of one question")
    pairs = [(left[known], right[known]) for known in shared[:MAX_PAIRS]]
    left_out = f"{len(shared) - len(pairs):,} more questions in common; choose one with --question ID"
    note = left_out if len(shared) > len(pairs) else ""
    if html is not None:
        title, source = "Two searches side by side", f"{files[0]} and {files[1]}"
        write_page(html, page(pairs, lambda both: pair(*both), title=title, source=source, note=note))
        terminal.say(f"wrote {html}")
    if as_json:
        for tree in chain.from_iterable(pairs):
            terminal.give(json.dumps(tree.row()))
    else:
        headings = ("question", "strategy", "answer", "samples", "tokens", "depth", "seconds")
        named = ((name, tree) for both in pairs for name, tree in zip(views.names_apart(*both), both, strict=True))
        rows = [(_question(tree), printable(name), *_cells(tree), f"{tree.cost.seconds:,.1f}") for name, tree in named]
        terminal.show(table(headings, rows))
    if note:
        terminal.say(note)


def _trees(file: Path, prefix: str) -> dict[str, SearchTree]:
    """The tree of each question with an id that starts so; the last one where a question was asked several times."""
    events = (event for event in read_trace(file) if event.question_id.startswith(prefix))
    return {tree.id: tree for tree in search_trees(events)}


def _tree_of(prefix: str, file: Path) -> SearchTree:
    """The tree of the question that is named by its id or by the first characters of it."""
    trees = _trees(file, prefix)
    if prefix in trees:
        return trees[prefix]
    if not trees:
        raise UnknownName("question", prefix, {event.question_id for event in read_trace(file)}, of="the trace")
    if len(trees) > 1:
        raise UsageError(f"--question {prefix} matches {len(trees):,} questions: {_listed(trees)}; give more of the id")
    return next(iter(trees.values()))


def _show(terminal: Terminal, trees: Iterator[SearchTree], *, as_json: bool) -> None:
    """Show a single tree in full, several in a line each."""
    first, second = next(trees), next(trees, None)
    if second is None:
        terminal.show(*([json.dumps(first.document())] if as_json else full(first, columns())))
        return
    several = chain((first, second), trees)
    if as_json:
        for tree in several:
            terminal.give(json.dumps(tree.row()))
        return
    headings = ("question", "ended by", "answer", "samples", "tokens", "depth")
    terminal.show(table(headings, [(_question(tree), tree.ended_by or "killed", *_cells(tree)) for tree in several]))
    terminal.say("choose one with --question ID")


def _question(tree: SearchTree) -> str:
    return f"{printable(tree.id)}  {printable(tree.began.text, limit=40)}"


def _cells(tree: SearchTree) -> tuple[str, str, str, str]:
    """Its answer, samples, tokens and depth."""
    answer = printable(tree.answer.text, limit=12) if tree.answer else "no answer"
    return answer, f"{tree.cost.samples:,}", f"{tree.cost.tokens:,}", str(tree.depth)


def full(search_tree: SearchTree, width: int) -> Iterator[RenderableType]:
    """Everything about a tree: its settings and result, the trees, the path to the answer, and other events."""
    facts = views.settings_of(search_tree)
    answer = printable(search_tree.answer.text, limit=200) if search_tree.answer else "none"
    cost = ", ".join(f"{amount} {kind}" for kind, amount in views.costs_of(search_tree))
    yield labelled(
        [
            ("question", f"{facts['question']}: {printable(search_tree.began.text, limit=300)}"),
            ("run", " · ".join(facts[name] for name in ("strategy", "verifier", "model", "engine"))),
            ("answer", answer),
            ("end", views.end_of(search_tree)),
            ("cost", cost),
            ("tree", views.counts_of(search_tree)),
            *(() if search_tree.path else [("path", f"none: {views.why_no_path(search_tree)}")]),
        ]
    )
    outline = Outline.of(search_tree, maximum=MAX_NODES)
    for head in outline.heads:
        yield ""
        yield from _drawn(outline, head, width)
    if outline.left_out:
        yield f"{outline.left_out:,} sequences are not shown; --json gives all"
    if len(search_tree.heads) > len(outline.heads):
        yield f"{len(search_tree.heads) - len(outline.heads):,} more prompts are not shown"
    if search_tree.path:
        skipped = max(0, len(search_tree.path) - MAX_STEPS)
        yield ""
        yield Text("→ the path to the answer" + (f", without its first {skipped:,} steps" if skipped else ""), "bold")
        yield labelled([_step(search_tree.nodes[node_id]) for node_id in search_tree.path[skipped:]])
    yield ""
    events = [(title, line) for title, lines in views.events_of(search_tree) for line in _last(lines)]
    yield labelled([(title, printable(line, limit=300)) for title, line in events])
    for name, meaning in views.legend_of(search_tree).items():
        yield Text(f"{name}: {meaning}", "dim")


def _step(node: TreeNode) -> tuple[str, str]:
    text = printable(f"{node.prefill}{node.text}", limit=MAX_STEP_LENGTH) or "(no text)"
    return f"#{node.id}", f"{views.score_of(node)}  {text}"


def _last(lines: list[str]) -> list[str]:
    """The last lines, which matter most, after the number of the others."""
    left_out = len(lines) - MAX_LINES
    return [f"({left_out:,} earlier ones)", *lines[-MAX_LINES:]] if left_out > 0 else lines


def _drawn(outline: Outline, head: int, width: int) -> Iterator[Tree]:
    """The tree under one head; where it is too deep for the terminal, its lower parts are trees of their own."""
    search_tree = outline.tree
    tree = _tree(_heading(search_tree, head, wide=width >= WIDE))
    yield tree
    parents = [tree]
    continued: list[Tree] = []
    for line in outline.rows(head):
        if line.node is None:
            parents[line.level].add(Text(f"{line.left_out:,} more, not shown", "dim"))
            continue
        branch = parents[line.level].add(_label(line.node, search_tree, wide=width >= WIDE))
        if line.node.children and (line.level + 1) % (width // LEVEL) == 0:
            branch.add(Text("continued below", "dim"))
            branch = _tree(Text(f"below #{line.node.id}", "bold"))
            continued.append(branch)
        parents[line.level + 1 :] = [branch]
    yield from continued


def _tree(label: RenderableType) -> Tree:
    """An empty tree with two columns of guides per level; rich's own have four."""
    tree = Tree(label, guide_style="dim")
    tree.TREE_GUIDES = [("  ", "│ ", "├ ", "└ ")] * 3
    tree.ASCII_GUIDES = ("  ", "| ", "+ ", "` ")
    return tree


def _heading(search_tree: SearchTree, index: int, *, wide: bool) -> RenderableType:
    head, several = search_tree.heads[index], len(search_tree.heads) > 1
    which = f"prompt {index + 1} of {len(search_tree.heads)}, after {head.after} sequences" if several else "prompt"
    title = f"{which}, {head.tokens:,} tokens: {printable(head.text, limit=140)}"
    return _line(title, "", "state", "score", "tokens", style="bold") if wide else _line(title, style="bold")


def _label(node: TreeNode, search_tree: SearchTree, *, wide: bool) -> RenderableType:
    """A node's text, answer, state, score and tokens, in one line or two."""
    text = printable(node.text, limit=140) or "(no text)"
    text = f"[{printable(node.prefill)}] {text}" if node.prefill else text
    text = f"#{node.id} like #{node.repeats}: {text}" if node.state == "repeat" else f"#{node.id} {text}"
    style = "bold green" if node.on_path else "dim" if node.state in views.FAINT else ""
    answer = printable(views.answer_of(node, search_tree), limit=16)
    answer = f"= {answer}" if answer else ""
    state, score, tokens = views.state_of(node, search_tree), views.score_of(node), f"{node.cost.tokens:,}"
    if wide:
        return _line(text, answer, state, score, tokens, style=style)
    return Group(_line(text, style=style), _line(f"  {state} {score} {tokens} tok  {answer}", style=style))


def _line(text: str, *cells: str, style: str) -> Table:
    """A text cut to the room that is left by the cells after it; the last three are columns."""
    line = Table.grid(padding=(0, 2, 0, 0), expand=True)
    line.add_column(ratio=1)
    for width in (None, 11, 5, 7)[: len(cells)]:
        line.add_column(width=width, no_wrap=True, justify="left" if width in (None, 11) else "right")
    line.add_row(Text(text, no_wrap=True, overflow="ellipsis"), *map(Text, cells), style=style)
    return line
