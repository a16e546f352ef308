"""Search trees as HTML without scripts or external resources; what a model wrote is shown as text only, and bounded."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reasoner.budget import cost_line
from reasoner.system.printing import clipped, counted, visible
from reasoner.trace import outline as views
from reasoner.trace.outline import Outline, OutlineRow
from reasoner.trace.view import QuestionView
from reasoner.types import VoteState
from reasoner.voting import MAX_ANSWERS

TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_NODES: Final = 1000
"""Sequences of one tree that are shown."""
MAX_CHARACTERS: Final = 1_000_000
"""Characters of all texts of one tree, divided among them; one text has at most `MAX_TEXT_LENGTH`."""
MAX_TEXT_LENGTH: Final = 20_000
MAX_LINES: Final = 100
"""Lines of the path, from its end, and of each list."""
MAX_TREES: Final = 50
"""Questions on one page."""


def fragment(tree: QuestionView) -> Markup:
    """A tree as an `<article class="course">`: its votes, path, texts and costs. Bounded in size, without scripts.

    It needs `style()` in its page. Of more than `MAX_NODES` sequences, those nearest to the prompt and the path to the
    answer are shown, with the number of the others.
    """
    # Levels of nested nodes: browsers fail at some hundreds of elements
    outline = Outline.of(tree, maximum=MAX_NODES, deepest=100)
    heads = [
        (index, tree.heads[index], _nested(outline.rows(index)))
        for index in outline.heads
    ]
    texts = (
        len(outline.shown)
        + min(len(tree.path), MAX_LINES)
        + sum(len(head.messages) for _, head, _ in heads)
    )
    return _render(
        "fragment.html",
        tree=tree,
        anchor=anchor_of(tree),
        outline=outline,
        heads=heads,
        longest=min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(texts, 1)),
        most_lines=MAX_LINES,
        # A tree of more sequences is folded, except for the path
        all_open=len(outline.shown) <= 60,
        vote=tree.proposals[-1].vote_state
        if tree.proposals and tree.depth == 1
        else VoteState(),
        most_answers=MAX_ANSWERS,
        views=views,
        cost=cost_line(tree.cost),
    )


def anchor_of(tree: QuestionView) -> str:
    """A prefix of element ids that is the same each time, and another one for another search."""
    short = repr((tree.began, tree.ended, len(tree.nodes))).encode("utf-8", "replace")
    return f"t{blake2b(short, digest_size=5).hexdigest()}"


def style() -> Markup:
    """The style sheet that pages share, then a `fragment`'s own, light, dark and print, for a `<style>` element."""
    return Markup(base_style() + _sheet("tree.css"))  # noqa: S704 ours


def base_style() -> str:
    """The style sheet that pages share: colours, text, links, code."""
    return _sheet("base.css")


def _sheet(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def policy(forms: str = "'none'") -> Markup:
    """The Content-Security-Policy of a page, a `<meta>` element: only the page's own styles, nothing from elsewhere.

    `forms` is where its forms may go. It comes first in the `<head>`, because it does not apply to what is before it.
    """
    content = f"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action {forms}"
    ours = Markup(content)  # noqa: S704
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(
        ours
    )


def page(
    trees: Iterable[QuestionView], *, source: str, note: str = ""
) -> Iterator[str]:
    """A page about the trace named `source`, part by part: the `fragment` of each tree, and a `note` after them.

    After `MAX_TREES` trees the others are only counted.
    """
    source = visible(source)
    top = {
        "title": f"How {source} came about",
        "heading": "How the answers came about",
        "source": source,
    }
    yield _render("page_top.html", **top, policy=policy(), style=style())
    count = 0
    for count, tree in enumerate(trees, 1):
        if count <= MAX_TREES:
            yield fragment(tree)
    notes = [
        note,
        f"{count - MAX_TREES:,} more in the trace, not shown."
        if count > MAX_TREES
        else "",
    ]
    yield from (f'<p class="note">{escape(each)}</p>' for each in notes if each)
    yield _render("page_end.html", version=version("reasoner-kit"))


def _nested(rows: Iterator[OutlineRow]) -> Iterator[tuple[OutlineRow, str]]:
    """The rows, each with the tags between it and the next. A template that called itself would run out of stack."""
    row = next(rows, None)
    while row is not None:
        following = next(rows, None)
        level = following.level if following else 0
        if level > row.level:
            yield row, "<ul>"
        else:
            yield row, "</details></li>" + "</ul></details></li>" * (row.level - level)
        row = following


def _render(template: str, **values: Any) -> Markup:
    return Markup(environment().get_template(template).render(values))  # noqa: S704 the template escapes it


@cache
def environment(
    folder: Path = TEMPLATES, finalize: Callable[[object], object] | None = None
) -> Environment:
    """The templates of a folder, and those that pages share: each text is escaped, and its characters made visible."""
    loader = FileSystemLoader([folder, TEMPLATES])
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize or _safe,
    )
    filters: dict[str, Any] = made.filters
    filters |= {
        "cut": clipped,
        "count": "{:,}".format,
        "counted": counted,
        "oneline": lambda text: " ".join(text[:1000].split()),
    }
    return made


def _safe(value: object) -> object:
    """A text made visible; markup is ours."""
    return (
        visible(value)
        if isinstance(value, str) and not hasattr(value, "__html__")
        else value
    )
