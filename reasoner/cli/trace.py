"""`reasoner trace`: how an answer was searched for."""

import json
import shlex
import sys
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH, json_option

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    from reasoner.cli.terminal import Terminal
    from reasoner.trace.outline import Outline
    from reasoner.trace.tree import SearchTree, TreeNode

MAX_NAMED = 5
"""Questions that an error names."""
WIDE = 76
"""Columns from which a node takes one line; below, its state and cost are on a second one."""
MAX_PAIRS = 25
"""Questions of two traces that are compared; their trees are in memory at once."""
MAX_NODES = 500
MAX_LINES = 12
"""Notes, proposals and comparisons that are shown of each."""
MAX_STEPS = 100
MAX_STEP_LENGTH = 1000
"""Characters of a step on the path."""
LEVEL = 6
"""Columns that a terminal needs for each level of a tree; deeper levels continue in another tree."""


@click.command("trace")
@click.argument("file", type=PATH)
@click.argument("other", type=PATH, required=False)
@click.option("--question", metavar="ID",
              help="The id of the question to show, or its first characters.  [default: all questions]")  # fmt: skip
@click.option("--html", type=PATH, metavar="OUT",
              help="Also draw the trees in this HTML file, which is replaced if it exists.")  # fmt: skip
@json_option("each question, one per line,")
@guarded
def command(file: Path, other: Path | None, question: str | None, html: Path | None, *, as_json: bool) -> int:
    """Show how an answer was searched for, from a trace.

    FILE is what `reasoner solve --trace FILE` wrote, or a trace in a run's folder. For one question: the tree of
    sampled sequences with their scores, states and costs, and the path to the answer. For several questions: one line
    each; choose one with --question.

    OTHER is a second trace of the same questions, such as that of another strategy: the two are compared question by
    question. With --html they are side by side.
    """
    from reasoner.cli.terminal import OutputLost, Terminal
    from reasoner.errors import TraceError, UsageError
    from reasoner.trace.tree import search_trees

    for trace in filter(None, (file, other)):
        _check_file(trace)
        with suppress(OSError):
            if html is not None and html.samefile(trace):
                raise UsageError(f"--html {html} is the trace itself: name another file")
    terminal = Terminal(sys.stdout, sys.stderr)
    if other is not None:
        return _compare(terminal, (file, other), question, html, as_json=as_json)
    if question is not None:
        shown = iter(_last_trees(file, [_id_of(question, file)]).values())
    else:
        from reasoner.trace.events import read_trace

        shown = search_trees(read_trace(file))
    first = next(shown, None)
    if first is None:
        raise TraceError(f"the trace {file} holds no question: it is empty")
    shown = chain((first,), shown)
    if html is None:
        _show(terminal, shown, as_json=as_json)
        return ANSWERED
    from reasoner.trace.page import write_page

    lost: OutputLost | None = None
    with closing(write_page(html, shown, source=file.name)) as pages:
        try:
            _show(terminal, pages, as_json=as_json)
        except OutputLost as error:
            lost = error
            # The page is written in full even if standard output cannot be.
            deque(pages, maxlen=0)
    terminal.say(f"wrote {html}")
    if lost:
        raise lost
    return ANSWERED


def _check_file(path: Path) -> None:
    """Refuse a folder, and say which traces are in it. Raises UsageError."""
    from reasoner.errors import UsageError
    from reasoner.trace.grades import TRACE

    if not path.is_dir():
        return
    traces = sorted([*path.glob(TRACE), *path.glob(f"*/{TRACE}"), *path.glob(f"arms/*/{TRACE}")])
    if not traces:
        raise UsageError(
            f"{path} is a folder without a trace: name a file that `--trace FILE` or `reasoner eval` wrote"
        )
    others = f"; it has {len(traces):,} traces: {', '.join(map(str, traces[:MAX_NAMED]))}" if traces[1:] else ""
    more = ", ..." if len(traces) > MAX_NAMED else ""
    raise UsageError(f"{path} is a folder: type `reasoner trace {shlex.quote(str(traces[0]))}`{others}{more}")


def _compare(
    terminal: "Terminal", files: tuple[Path, Path], question: str | None, html: Path | None, *, as_json: bool
) -> int:
    """The questions that two traces share, two lines each: at most `MAX_PAIRS` of them."""
    from reasoner.cli.terminal import columns
    from reasoner.errors import UsageError
    from reasoner.trace.page import write_pairs

    ids = [_ids_in(file) for file in files]
    wanted = [_id_of(question, files[0])] if question is not None else ids[0]
    shared = [known for known in wanted if known in ids[1]]
    if not shared:
        raise UsageError(f"{files[0]} and {files[1]} hold no question in common: compare two traces of one question")
    chosen = shared[:MAX_PAIRS]
    left, right = (_last_trees(file, chosen) for file in files)
    pairs = [(left[known], right[known]) for known in chosen]
    if html is not None:
        write_pairs(html, pairs, source=f"{files[0]} and {files[1]}", left_out=len(shared) - len(chosen))
        terminal.say(f"wrote {html}")
    if as_json:
        for tree in chain.from_iterable(pairs):
            terminal.give(json.dumps(tree.row()))
    else:
        terminal.show(_comparison(pairs, wide=columns() >= WIDE), width=columns())
    if len(shared) > len(chosen):
        terminal.say(f"{len(shared) - len(chosen):,} more questions in common; choose one with --question ID")
    return ANSWERED


def _last_trees(file: Path, ids: "Collection[str]") -> "dict[str, SearchTree]":
    """The tree of each question that is named; where it was asked several times, the last one."""
    from reasoner.trace.events import read_trace
    from reasoner.trace.tree import search_trees

    named = frozenset(ids)
    trees = search_trees(event for event in read_trace(file) if event.question_id in named)
    return {tree.id: tree for tree in trees}


def _ids_in(file: Path) -> "dict[str, None]":
    """The ids of the questions in a trace, in order."""
    from pydantic import BaseModel

    from reasoner.journal.lines import read_lines
    from reasoner.trace.events import EVENT_LINES

    class Named(BaseModel):
        question_id: str

    lines = read_lines(file, EVENT_LINES.reading(Named.model_validate_json))
    return dict.fromkeys(line.question_id for line in lines)


def _id_of(prefix: str, file: Path) -> str:
    """The id of the question that is named by its id or by the first characters of it."""
    from reasoner.errors import UnknownName, UsageError

    ids = _ids_in(file)
    matching = [prefix] if prefix in ids else [known for known in ids if known.startswith(prefix)]
    if not matching and ids:
        raise UnknownName("question", prefix, ids, of="the trace")
    if len(matching) > 1:
        names = ", ".join(matching[:MAX_NAMED]) + (", ..." if len(matching) > MAX_NAMED else "")
        raise UsageError(f"--question {prefix} matches {len(matching):,} questions: {names}; give more of the id")
    return matching[0] if matching else prefix


def _show(terminal: "Terminal", shown: "Iterator[SearchTree]", *, as_json: bool) -> None:
    """A single tree in full, several in a line each."""
    from reasoner.cli.terminal import columns

    first, second = next(shown), next(shown, None)
    if as_json and second is None:
        terminal.give(json.dumps(first.document()))
    elif second is None:
        terminal.show(*full(first, columns()), width=columns())
    elif as_json:
        for search_tree in chain((first, second), shown):
            terminal.give(json.dumps(search_tree.row()))
    else:
        terminal.show(_table(chain((first, second), shown), wide=columns() >= WIDE), width=columns())
        terminal.say("choose one with --question ID")


def _table(search_trees: "Iterator[SearchTree]", *, wide: bool) -> "RenderableType":
    """Several trees, one row each."""
    from rich.table import Table

    from reasoner.cli.terminal import printable

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column("question", ratio=1, no_wrap=True)
    table.add_column("answer", no_wrap=True, max_width=12)
    if wide:
        table.add_column("ended by", no_wrap=True)
    for heading in ("samples", "tokens", "depth") if wide else ("n", "tokens", "depth"):
        table.add_column(heading, justify="right", no_wrap=True)
    for search_tree in search_trees:
        text = printable(search_tree.began.text, limit=140)
        question = f"{printable(search_tree.id)}{'  ' if wide else chr(10) + '  '}{text}"
        answer = printable(search_tree.answer.text, limit=12) if search_tree.answer else "no answer"
        ended = [search_tree.ended_by or "killed"] if wide else []
        table.add_row(
            question,
            answer,
            *ended,
            f"{search_tree.cost.samples:,}",
            f"{search_tree.cost.tokens:,}",
            str(search_tree.depth),
        )
    return table


def _comparison(pairs: "list[tuple[SearchTree, SearchTree]]", *, wide: bool) -> "RenderableType":
    """Pairs of trees: the question on a line, then what each search answered and cost."""
    from rich.table import Table

    from reasoner.cli.terminal import printable
    from reasoner.trace.outline import names_apart

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column("strategy", ratio=1, no_wrap=not wide)
    table.add_column("answer", no_wrap=True, max_width=12)
    for heading in ("samples", "tokens", "depth", "seconds") if wide else ("n", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(printable(f"{pair[0].id}: {pair[0].began.text}", limit=140 if wide else 60))
        for name, tree in zip(names_apart(*pair), pair, strict=True):
            cost = tree.cost
            cells = [f"{cost.samples:,}", f"{cost.tokens:,}"]
            cells += [str(tree.depth), f"{cost.seconds:,.1f}"] if wide else []
            answer = printable(tree.answer.text, limit=12) if tree.answer else "no answer"
            table.add_row(f"  {printable(name, limit=140)}", answer, *cells)
    return table


def full(search_tree: "SearchTree", width: int) -> "Iterator[RenderableType]":
    """Everything about a tree: its settings and result, the trees, the path to the answer, and other events."""
    from rich.text import Text

    from reasoner.cli.terminal import labelled, printable
    from reasoner.trace import outline as views
    from reasoner.trace.outline import Outline

    facts = views.settings_of(search_tree)
    answer = printable(search_tree.answer.text, limit=200) if search_tree.answer else "none"
    cost = ", ".join(f"{amount} {kind}" for kind, amount in views.costs_of(search_tree))
    yield labelled(
        [
            ("question", f"{facts['question']}: {printable(search_tree.began.text, limit=300)}"),
            ("run", " · ".join(facts[name] for name in ("strategy", "verifier", "model", "engine"))),
            ("answer", Text(answer, style="bold green" if search_tree.path else "")),
            ("end", views.end_of(search_tree)),
            ("cost", cost),
            ("tree", views.counts_of(search_tree)),
            *(() if search_tree.path else [("path", f"none: {views.why_no_path(search_tree)}")]),
        ]
    )
    outline = Outline.of(search_tree, maximum=MAX_NODES)
    for head in outline.heads:
        yield ""
        yield from _trees(outline, head, width)
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


def _step(node: "TreeNode") -> "tuple[str, Text]":
    from rich.text import Text

    from reasoner.cli.terminal import printable
    from reasoner.trace.outline import score_of

    text = printable(f"{node.prefill}{node.text}", limit=MAX_STEP_LENGTH) or "(no text)"
    return f"#{node.id}", Text(f"{score_of(node)}  {text}", "bold green")


def _last(lines: list[str]) -> list[str]:
    """The last lines, which matter most, after the number of the others."""
    left_out = len(lines) - MAX_LINES
    return [f"({left_out:,} earlier ones)", *lines[-MAX_LINES:]] if left_out > 0 else lines


def _trees(outline: "Outline", head: int, width: int) -> "Iterator[Tree]":
    """The tree under one head; where it is too deep for the terminal, its lower parts are trees of their own."""
    from rich.text import Text

    search_tree = outline.tree
    tree = _tree(_heading(search_tree, head, wide=width >= WIDE))
    yield tree
    parents = [tree]
    continued: list[Tree] = []
    for row in outline.rows(head):
        if row.node is None:
            parents[row.level].add(Text(f"{row.left_out:,} more, not shown", "dim"))
            continue
        branch = parents[row.level].add(_label(row.node, search_tree, wide=width >= WIDE))
        if row.node.children and (row.level + 1) % (width // LEVEL) == 0:
            branch.add(Text("continued below", "dim"))
            branch = _tree(Text(f"below #{row.node.id}", "bold"))
            continued.append(branch)
        parents[row.level + 1 :] = [branch]
    yield from continued


def _tree(label: "RenderableType") -> "Tree":
    """An empty tree with two columns of guides per level; rich's own have four."""
    from rich.tree import Tree

    tree = Tree(label, guide_style="dim")
    tree.TREE_GUIDES = [("  ", "│ ", "├ ", "└ ")] * 3
    tree.ASCII_GUIDES = ("  ", "| ", "+ ", "` ")
    return tree


def _heading(search_tree: "SearchTree", index: int, *, wide: bool) -> "RenderableType":
    from reasoner.cli.terminal import printable

    head, several = search_tree.heads[index], len(search_tree.heads) > 1
    which = f"prompt {index + 1} of {len(search_tree.heads)}, after {head.after} sequences" if several else "prompt"
    title = f"{which}, {head.tokens:,} tokens: {printable(head.text, limit=140)}"
    return _line(title, "", "state", "score", "tokens", style="bold") if wide else _line(title, style="bold")


def _label(node: "TreeNode", search_tree: "SearchTree", *, wide: bool) -> "RenderableType":
    """A node's text, answer, state, score and tokens, in one line or two."""
    from rich.console import Group

    from reasoner.cli.terminal import printable
    from reasoner.trace import outline as views

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


def _line(text: str, *cells: str, style: str) -> "Table":
    """A text cut to the room that is left by the cells after it; the last three are columns."""
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2, 0, 0), expand=True)
    line.add_column(ratio=1)
    for width in (None, 11, 5, 7)[: len(cells)]:
        line.add_column(width=width, no_wrap=True, justify="left" if width in (None, 11) else "right")
    line.add_row(Text(text, no_wrap=True, overflow="ellipsis"), *map(Text, cells), style=style)
    return line
