"""Search trees as one HTML page without scripts or external resources; model output is shown as text only."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.errors import UsageError
from reasoner.system.files import replacing
from reasoner.system.printing import visible
from reasoner.trace.tree import words
from reasoner.trace.tree.drawing import anchor_of, depth_costs, drawing_of, score_bin
from reasoner.trace.tree.outline import Outline, Row
from reasoner.trace.tree.search_tree import SearchTree

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MAX_NODES = 1000
"""Sequences of one tree that are shown."""
MAX_OPEN = 60
"""A tree of more sequences is folded, except for the path."""
MAX_CHARACTERS = 1_000_000
"""Characters of all texts of one tree, divided among them; one text has at most `MAX_TEXT_LENGTH`."""
MAX_TEXT_LENGTH = 20_000
MAX_DEPTH = 100
"""Levels of nested nodes: browsers fail at some hundreds of elements."""
MAX_LINES = 100
"""Lines of the path, from its end, and of each list."""
MAX_SPOKEN = 20
"""Sequences of the path that a screen reader names."""
MAX_TREES = 50
"""Questions on one page."""


class Shortened(NamedTuple):
    """A text made visible and cut, and how many characters were cut."""

    text: str
    left_out: int


def fragment(tree: SearchTree) -> "Markup":
    """A tree as an `<article class="course">`: its drawing, path, texts and costs. Bounded in size, without scripts.

    It needs `style()` in its page. Of more than `MAX_NODES` sequences, those nearest to the prompt and the path to the
    answer are shown, with the number of those left out where they would be.
    """
    return _article(tree, heading=tree.began.text)


def _article(tree: SearchTree, *, heading: str, anchor: str = "", level: int = 2, fold: bool = False) -> "Markup":
    from markupsafe import Markup

    outline = Outline.of(tree, maximum=MAX_NODES, deepest=MAX_DEPTH)
    heads = [(index, tree.heads[index], _nested(outline.rows(index))) for index in outline.heads]
    texts = len(outline.shown) + min(len(tree.path), MAX_LINES) + sum(len(head.messages) for _, head, _ in heads)
    steps = [f"#{node}" for node in tree.path[-MAX_SPOKEN:]]
    faint = dict.fromkeys(node.state for node in tree.nodes if node.state in words.FAINT)
    return Markup(  # noqa: S704 the template escapes it
        _environment()
        .get_template("fragment.html")
        .render(
            tree=tree,
            heading=heading,
            level=f"h{level}",
            sub=f"h{level + 1}",
            anchor=anchor or anchor_of(tree),
            outline=outline,
            heads=heads,
            longest=min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(texts, 1)),
            most_lines=MAX_LINES,
            all_open=len(outline.shown) <= MAX_OPEN,
            unfolded=len(outline.shown) <= MAX_OPEN and not fold,
            drawing=drawing_of(tree),
            depths=depth_costs(tree),
            path_names=", ".join((["..."] if len(tree.path) > MAX_SPOKEN else []) + steps),
            rated=any(score_bin(node) is not None for node in tree.nodes),
            unrated=any(score_bin(node) is None for node in tree.nodes),
            faint=", ".join(faint),
            used={" ".join(words.state_of(node, tree)) for node in tree.nodes} | {"→ path"},
            words=words,
            state_of=partial(words.state_of, tree=tree),
            answer_of=partial(words.answer_of, tree=tree),
        )
    )


def pair(first: SearchTree, second: SearchTree) -> "Markup":
    """Two searches for one answer as a `<section class="pair">`: a table that compares them, then both side by side."""
    from markupsafe import Markup

    names = words.apart(first, second)
    anchor = anchor_of(first)
    sides = [
        _article(tree, heading=name, anchor=f"{anchor}-{side}", level=3, fold=True)
        for tree, name, side in zip((first, second), names, "ab", strict=True)
    ]
    rows = words.compared(first, second)
    template = _environment().get_template("pair.html")
    page = template.render(question=first.began.text, names=names, rows=rows, anchor=anchor, sides=sides)
    return Markup(page)  # noqa: S704 the template escapes it


def style() -> "Markup":
    """The style sheet that pages share, then that of a `fragment`, light, dark and print, for a `<style>` element."""
    from markupsafe import Markup

    return Markup(base_style() + _sheet("tree.css"))  # noqa: S704 ours


def base_style() -> str:
    """The style sheet that pages share: colours, text, links, code."""
    return _sheet("base.css")


def _sheet(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def policy() -> "Markup":
    """The Content-Security-Policy of a page, a `<meta>` element: only the page's own styles, nothing from elsewhere.

    It comes first in the `<head>`, because it does not apply to what is before it.
    """
    from markupsafe import Markup

    content = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(Markup(content))  # noqa: S704 ours


def write_page(path: Path, trees: Iterable[SearchTree], *, source: str) -> Generator[SearchTree, None, None]:
    """The same trees; each is added, as it passes, to a page about the trace named `source`.

    After `MAX_TREES` trees they are only counted. The page is written to `path` after the last one, or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    with _page(path, title="Search trees", source=source) as write:
        count = 0
        for count, tree in enumerate(trees, 1):
            if count <= MAX_TREES:
                write(fragment(tree))
            yield tree
        _left_out(write, max(0, count - MAX_TREES), "choose one with --question")


def page_of(trees: Iterable[SearchTree], *, source: str, note: str = "") -> str:
    """The page that `write_page` writes, as text; after the trees it says `note`."""
    parts: list[str] = []
    with _body(parts.append, title="Search trees", source=source):
        for count, tree in enumerate(trees, 1):
            if count > MAX_TREES:
                parts.append(f'<p class="note">The first {MAX_TREES} questions are shown.</p>')
                break
            parts.append(fragment(tree))
        if note:
            parts.append(f'<p class="note">{escape(note)}</p>')
    return "\n".join(parts)


def write_pairs(path: Path, pairs: Iterable[tuple[SearchTree, SearchTree]], *, source: str, left_out: int) -> None:
    """A page that shows the two searches of each question side by side, and says that `left_out` more are not shown.

    Raises:
        UsageError: it cannot be written there.
    """
    with _page(path, title="Two searches side by side", source=source) as write:
        for first, second in pairs:
            write(pair(first, second))
        _left_out(write, left_out, "choose one with --question")


@contextmanager
def _page(path: Path, *, title: str, source: str) -> Iterator[Callable[[str], None]]:
    """Adds markup to the body of a page; where the block fails, the file stays as it was."""
    try:
        with replacing(path) as file:

            def write(markup: str) -> None:
                file.write(markup.encode("utf-8", "replace") + b"\n")

            with _body(write, title=title, source=source):
                yield write
    except OSError as error:
        raise UsageError(f"cannot write the page {path}: {error.strerror}") from error


@contextmanager
def _body(write: Callable[[str], None], *, title: str, source: str) -> Iterator[None]:
    """Writes what comes before the body of a page, and after the block what comes after it."""
    template = _environment().get_template
    write(template("page_top.html").render(title=title, source=visible(source), policy=policy(), style=style()))
    yield
    write(template("page_end.html").render(version=version("reasoner-kit")))


def _left_out(write: Callable[[str], None], questions: int, advice: str) -> None:
    if questions:
        many = f"{questions:,} more question{'s' if questions != 1 else ''}"
        write(f'<p class="note">{many} in the trace, not shown: {advice}.</p>')


def shortened(text: str, limit: int) -> Shortened:
    """The first `limit` characters, made visible."""
    left_out = max(0, len(text) - limit)
    return Shortened(visible(text[:limit]) + ("…" if left_out else ""), left_out)


def _nested(rows: Iterator[Row]) -> Iterator[tuple[Row, str]]:
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


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    filters: dict[str, Any] = environment.filters
    filters |= {"shortened": shortened, "visible": visible, "oneline": lambda text: " ".join(text[:1000].split())}
    return environment
