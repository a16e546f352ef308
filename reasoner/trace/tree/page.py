"""Courses as one HTML page without scripts or external resources; model output is shown as text only."""

import unicodedata
from collections.abc import Generator, Iterable, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.errors import UsageError
from reasoner.system.files import replacing
from reasoner.trace.tree import words
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
MAX_TREES = 50
"""Questions on one page."""


class Shortened(NamedTuple):
    """A text made visible and cut, and how many characters were cut."""

    text: str
    left_out: int


def fragment(tree: SearchTree) -> "Markup":
    """A tree as an `<article class="course">` for any page with `style()` in its head. Bounded in size.

    Of more than `MAX_NODES` sequences, those nearest to the prompt and the path to the answer are shown, with the
    number of those left out where they would be.
    """
    from markupsafe import Markup

    outline = Outline.of(tree, maximum=MAX_NODES, deepest=MAX_DEPTH)
    heads = [(index, tree.heads[index], _nested(outline.rows(index))) for index in outline.heads]
    texts = len(outline.shown) + min(len(tree.path), MAX_LINES) + sum(len(head.messages) for _, head, _ in heads)
    return Markup(  # noqa: S704 the template escapes it
        _environment()
        .get_template("fragment.html")
        .render(
            tree=tree,
            outline=outline,
            heads=heads,
            longest=min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(texts, 1)),
            most_lines=MAX_LINES,
            all_open=len(outline.shown) <= MAX_OPEN,
            words=words,
            state_of=partial(words.state_of, tree=tree),
            answer_of=partial(words.answer_of, tree=tree),
        )
    )


def style() -> "Markup":
    """The style sheet that pages share, then that of a `fragment`, light, dark and print, for a `<style>` element."""
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    return Markup("".join((folder / name).read_text(encoding="utf-8") for name in ("base.css", "tree.css")))  # noqa: S704 ours


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
    template, count = _environment().get_template, 0
    try:
        with replacing(path) as file:

            def write(markup: str) -> None:
                file.write(markup.encode("utf-8", "replace") + b"\n")

            write(template("page_top.html").render(source=visible(source), policy=policy(), style=style()))
            for count, tree in enumerate(trees, 1):
                if count <= MAX_TREES:
                    write(fragment(tree))
                yield tree
            left_out = max(0, count - MAX_TREES)
            write(template("page_end.html").render(left_out=left_out, version=version("reasoner-kit")))
    except OSError as error:
        raise UsageError(f"cannot write the page {path}: {error.strerror}") from error


def visible(text: str) -> str:
    """Text with control, direction and unknown characters replaced by their code points."""
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"[U+{ord(char):04X}]" for char in text)


def _harmless(char: str) -> bool:
    # The joiners are part of emoji and of some scripts.
    return char.isprintable() or char in "\n\t\u200c\u200d" or unicodedata.category(char) == "Zs"


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
