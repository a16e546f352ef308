"""Search trees as HTML without scripts or external resources; what a model wrote is shown as text only, and bounded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reasoner.budget import Cost, cost_line
from reasoner.errors import TraceError, UsageError
from reasoner.system.files import replacing
from reasoner.system.printing import visible
from reasoner.trace import outline as views
from reasoner.trace.events import Event
from reasoner.trace.outline import Outline, OutlineRow, answer_of, score_of, state_of
from reasoner.trace.tree import SearchTree, TreeNode, search_trees
from reasoner.types import VoteState
from reasoner.voting import MAX_ANSWERS, VoteSummary

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_NODES: Final = 1000
"""Sequences of one tree that are shown."""
MAX_OPEN: Final = 60
"""A tree of more sequences is folded, except for the path."""
MAX_CHARACTERS: Final = 1_000_000
"""Characters of all texts of one tree, divided among them; one text has at most `MAX_TEXT_LENGTH`."""
MAX_TEXT_LENGTH: Final = 20_000
MAX_DEPTH: Final = 100
"""Levels of nested nodes: browsers fail at some hundreds of elements."""
MAX_LINES: Final = 100
"""Lines of the path, from its end, and of each list."""
MAX_TREES: Final = 50
"""Questions on one page."""
MAX_DRAWN: Final = 200
"""Sequences in one drawing."""
MAX_DRAWN_DEPTH: Final = 40
"""Levels in one drawing: more cannot be distinguished on a telephone."""
MAX_GROUPS: Final = 12
"""Answers in one drawing; the others are one group."""
HEIGHT: Final = 760
"""Pixels that a drawing takes at most, where its rows need not be closer than `CLOSEST`."""
CLOSEST, WIDEST, LABELLED = 7, 26, 13
"""Pixels between rows: at least, at most, and from where each node has its score beside it."""
BINS: Final = 5
"""Colours of scores, each for an equal part of 0 to 1."""


class Shortened(NamedTuple):
    """A text made visible and cut, and how many characters were cut."""

    text: str
    left_out: int


class TreeMark(NamedTuple):
    """A sequence, or a prompt, as one mark of a drawing. `x` is a percentage, `y` pixels."""

    x: float
    y: float
    radius: float
    look: str
    """The classes of its style."""
    node: TreeNode | None
    tip: str
    """The text that a pointer resting on it shows."""
    label: str
    parent: "tuple[float, float] | None" = None
    """Where the line to it begins."""


class StepDrawing(NamedTuple):
    """The tree of steps, from the prompts on the left to the replies on the right."""

    marks: list[TreeMark]
    height: float
    levels: int
    left_out: int
    """Sequences that are not drawn."""
    labelled: bool
    """Whether there is room for the score of every node."""


class AnswerGroup(NamedTuple):
    """The samples with one answer; `name` is None for those without, or with any other answer where `others` > 0."""

    name: str | None
    samples: int
    chosen: bool = False
    others: int = 0


def layout(levels: Sequence[int]) -> list[float]:
    """The row of each item, from 0: each leaf has a row of its own, a parent is in the middle of its children.

    `levels` lists the items parents first, each followed by its descendants; the roots have level 0.
    """
    rows, below = [0.0] * len(levels), defaultdict[int, list[float]](list)
    leaves = sum(following <= level for level, following in zip(levels, [*levels[1:], 0], strict=True))
    for item in reversed(range(len(levels))):
        children = below.pop(levels[item] + 1, None)
        if not children:
            leaves -= 1
        rows[item] = (children[0] + children[-1]) / 2 if children else leaves
        below[levels[item]].append(rows[item])
    return rows


def steps_of(tree: SearchTree) -> StepDrawing | None:
    """The drawing of at most `MAX_DRAWN` sequences of a search by steps; None of another one."""
    if tree.depth < 2:
        return None
    outline = Outline.of(tree, maximum=MAX_DRAWN, deepest=MAX_DRAWN_DEPTH)
    rows: list[tuple[int, TreeNode | int]] = []
    for head in outline.heads:
        nodes = [(row.level + 1, row.node) for row in outline.rows(head) if row.node]
        rows += [(0, head), *nodes] if nodes else []
    levels = [level for level, _ in rows]
    offsets, deepest = layout(levels), max(levels)
    step = min(max(HEIGHT / (max(offsets) + 1), CLOSEST), WIDEST)
    marks: list[TreeMark] = []
    branch: list[tuple[float, float]] = []
    for (level, item), offset in zip(rows, offsets, strict=True):
        at = (round(100 * level / deepest, 2), round((offset + 0.5) * step, 1))
        del branch[level:]
        parent = branch[-1] if branch else None
        branch.append(at)
        if isinstance(item, int):
            name = "prompt" if len(tree.heads) == 1 else f"prompt {item + 1:,}"
            marks.append(TreeMark(*at, min(step / 2, 4), "prompt", None, name, name if step >= LABELLED else ""))
        else:
            marks.append(_mark(item, tree, at, parent, largest=step * 0.48))
    return StepDrawing(marks, round((max(offsets) + 1) * step, 1), deepest, outline.left_out, step >= LABELLED)


def _mark(
    node: TreeNode, tree: SearchTree, at: tuple[float, float], parent: tuple[float, float] | None, *, largest: float
) -> TreeMark:
    """The higher its score, the larger and stronger in colour."""
    final = node.id in tree.path[-1:]
    look = "unrated" if node.score is None else f"s{min(int(node.score * BINS), BINS - 1)}"
    look += " on-path" if node.on_path else " faint" if node.state in views.FAINT else ""
    answer, rated = answer_of(node, tree), score_of(node)
    facts = [f"#{node.id} {state_of(node, tree)}", f"= {answer[:60]}" if answer else "",
             f"score {rated}" if node.rating else "no score", f"{node.cost.tokens:,} tokens"]  # fmt: skip
    tip = f"{', '.join(filter(None, facts))}\n{' '.join(node.text[:300].split())[:90]}"
    short = f"{'→ ' if final else ''}{answer[:12]}{'…' if len(answer) > 12 else ''}" if answer else ""
    label = " · ".join(filter(None, [short, rated if node.rating else ""]))
    radius = round(min(largest, 4 if node.score is None else 3.5 + 3 * node.score), 1)
    return TreeMark(*at, radius, look + (" final" if final else ""), node, tip, label, parent)


def votes_of(tree: SearchTree) -> list[AnswerGroup]:
    """The samples of a search without steps, by answer: the most frequent first, those without an answer last."""
    if tree.depth > 1 or len(tree.nodes) < 2:
        return []
    counts = Counter(node.answer.key if node.answer and answer_of(node, tree) else None for node in tree.nodes)
    names = {node.answer.key: node.answer.text for node in reversed(tree.nodes) if node.answer}
    silent, final = counts.pop(None, 0), tree.answer.key if tree.answer else None
    ordered = counts.most_common()
    kept = [each for offset, each in enumerate(ordered) if offset < MAX_GROUPS or each[0] == final]
    groups = [AnswerGroup(names[key or ""], count, chosen=key == final) for key, count in kept]
    if rest := len(ordered) - len(kept):
        groups.append(AnswerGroup(None, counts.total() - sum(count for _, count in kept), others=rest))
    return [*groups, AnswerGroup(None, silent)] if silent else groups


def fragment(tree: SearchTree) -> "Markup":
    """A tree as an `<article class="course">`: its drawing, path, texts and costs. Bounded in size, without scripts.

    It needs `style()` in its page. Of more than `MAX_NODES` sequences, those nearest to the prompt and the path to the
    answer are shown, with the number of those left out where they would be.
    """
    outline = Outline.of(tree, maximum=MAX_NODES, deepest=MAX_DEPTH)
    heads = [(index, tree.heads[index], _nested(outline.rows(index))) for index in outline.heads]
    texts = len(outline.shown) + min(len(tree.path), MAX_LINES) + sum(len(head.messages) for _, head, _ in heads)
    return _render(
        "fragment.html",
        tree=tree,
        anchor=anchor_of(tree),
        outline=outline,
        heads=heads,
        longest=min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(texts, 1)),
        most_lines=MAX_LINES,
        all_open=len(outline.shown) <= MAX_OPEN,
        drawing=steps_of(tree),
        votes=votes_of(tree),
        rated=any(node.score is not None for node in tree.nodes),
        unrated=any(node.score is None for node in tree.nodes),
        faint=", ".join(dict.fromkeys(node.state for node in tree.nodes if node.state in views.FAINT)),
        views=views,
    )


def anchor_of(tree: SearchTree) -> str:
    """A prefix of element ids that is the same each time, and another one for another search."""
    short = repr((tree.began, tree.ended, len(tree.nodes))).encode("utf-8", "replace")
    return f"t{blake2b(short, digest_size=5).hexdigest()}"


def notebook_html(headline: str, state: VoteState, cost: Cost, reply: str, events: Sequence[Event]) -> str:
    """A solution in a `<div>` without scripts: the answer, the votes, the cost, the reply and the search behind them.

    The search is in a frame of its own, so that its styles and those of the notebook do not meet.
    """
    votes = [(shortened(vote.answer.text, 200).text, vote) for vote in state.votes[:MAX_ANSWERS]]
    try:
        tree = next(search_trees(events), None)
    except TraceError:
        # The events begin after the question did.
        tree = None
    page = "<!doctype html><html><head>{}<style>{}</style></head><body>{}</body></html>"
    return _render(
        "notebook.html",
        headline=shortened(headline, 600).text,
        votes=votes,
        heaviest=max((vote.weight for _, vote in votes), default=0) or 1,
        summary=VoteSummary(state),
        others=len(state.votes) + state.tail.classes - len(votes),
        cost=cost_line(cost),
        reply=shortened(reply, 4000),
        search=page.format(policy(), style(), fragment(tree)) if tree and tree.nodes else "",
    )


def style() -> "Markup":
    """The style sheet that pages share, then that of a `fragment`, light, dark and print, for a `<style>` element."""
    from markupsafe import Markup

    return Markup(base_style() + _sheet("tree.css"))  # noqa: S704 ours


def base_style() -> str:
    """The style sheet that pages share: colours, text, links, code."""
    return _sheet("base.css")


def _sheet(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def policy() -> "Markup":
    """The Content-Security-Policy of a page, a `<meta>` element: only the page's own styles, nothing from elsewhere.

    It comes first in the `<head>`, because it does not apply to what is before it.
    """
    from markupsafe import Markup

    content = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(Markup(content))  # noqa: S704 ours


def page(trees: Iterable[SearchTree], *, source: str, note: str = "") -> Iterator[str]:
    """A page about the trace named `source`, part by part: the `fragment` of each tree, and a `note` after them.

    After `MAX_TREES` trees the others are only counted.
    """
    yield _render("page_top.html", source=visible(source), policy=policy(), style=style())
    count = 0
    for count, tree in enumerate(trees, 1):
        if count <= MAX_TREES:
            yield fragment(tree)
    notes = [note, f"{count - MAX_TREES:,} more in the trace, not shown." if count > MAX_TREES else ""]
    yield from (f'<p class="note">{escape(each)}</p>' for each in notes if each)
    yield _render("page_end.html", version=version("reasoner-kit"))


def write_page(path: Path, parts: Iterable[str]) -> None:
    """Write a page, as a whole or not at all. Raises UsageError: it cannot be written there."""
    try:
        with replacing(path) as file:
            file.writelines(part.encode("utf-8", "replace") + b"\n" for part in parts)
    except OSError as error:
        raise UsageError(f"cannot write the page {path}: {error.strerror}") from error


def shortened(text: str, limit: int) -> Shortened:
    """The first `limit` characters, made visible."""
    left_out = max(0, len(text) - limit)
    return Shortened(visible(text[:limit]) + ("…" if left_out else ""), left_out)


def _nested(rows: Iterator[OutlineRow]) -> Iterator[tuple[OutlineRow, str]]:
    """The rows, each with the tags between it and the next. A template that called itself would run out of stack."""
    row = next(rows, None)
    while row is not None:
        following = next(rows, None)
        level = following.level if following else 0
        if level > row.level:
            yield row, "<ul>"
        else:
            own = "" if row.node is None else "</details></li>"
            yield row, own + "</ul></details></li>" * (row.level - level)
        row = following


def _render(template: str, **values: Any) -> "Markup":
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))  # noqa: S704 the template escapes it


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    filters: dict[str, Any] = environment.filters
    filters |= {"shortened": shortened, "visible": visible, "oneline": lambda text: " ".join(text[:1000].split())}
    return environment
