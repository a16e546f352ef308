"""Courses as one HTML page without scripts or external resources; model output is shown as text only."""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from reasoner.errors import UsageError
from reasoner.system.files import replacing
from reasoner.trace.tree import words
from reasoner.trace.tree.outline import Outline, Row
from reasoner.trace.tree.search_tree import SearchTree

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MAX_NODES = 1000
"""Sequences of one course that are shown."""
MAX_OPEN = 60
"""A tree of more sequences is folded, except for the path."""
MAX_CHARACTERS = 1_000_000
"""Characters of all texts of one course, divided among them; one text has at most `MAX_TEXT_LENGTH`."""
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


def fragment(course: SearchTree) -> "Markup":
    """A course as an `<article class="course">` for any page with `style()` in its head. Bounded in size.

    Of more than `MAX_NODES` sequences, those nearest to the prompt and the path to the answer are shown, with the
    number left out at each place.
    """
    from markupsafe import Markup

    outline = Outline.of(course, maximum=MAX_NODES, deepest=MAX_DEPTH)
    heads = [(index, course.heads[index], _nested(outline.rows(index))) for index in outline.heads]
    texts = len(outline.shown) + min(len(course.path), MAX_LINES) + sum(len(head.messages) for _, head, _ in heads)
    return Markup(  # noqa: S704 the template escapes it
        _environment()
        .get_template("fragment.html")
        .render(
            course=course,
            outline=outline,
            heads=heads,
            longest=min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(texts, 1)),
            most_lines=MAX_LINES,
            all_open=len(outline.shown) <= MAX_OPEN,
            words=words,
            state_of=partial(words.state_of, course=course),
            answer_of=partial(words.answer_of, course=course),
        )
    )


def style() -> "Markup":
    """The style sheet of a `fragment`, light and dark, for a `<style>` element."""
    from markupsafe import Markup

    return Markup((Path(__file__).parent / "templates" / "tree.css").read_text(encoding="utf-8"))  # noqa: S704 ours


def policy() -> "Markup":
    """The Content-Security-Policy of a page, a `<meta>` element: only the page's own styles, nothing from elsewhere.

    It stands first in the `<head>`, because what comes before it is not under it.
    """
    from markupsafe import Markup

    content = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(Markup(content))  # noqa: S704 ours


class Page:
    """A page to which courses are added one by one; made by `writing_page`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.search_trees = 0

    def passing(self, search_trees: Iterable[SearchTree]) -> Iterator[SearchTree]:
        """The same courses, each added to the page as it passes."""
        for course in search_trees:
            self.add(course)
            yield course

    def add(self, course: SearchTree) -> None:
        """Add a course; those after `MAX_TREES` are only counted. Raises OSError: it cannot be written."""
        if self.search_trees < MAX_TREES:
            self.write(fragment(course))
        self.search_trees += 1

    def write(self, text: str) -> None:
        """Write markup. Raises OSError: it cannot be written."""
        self._file.write(text.encode("utf-8", "replace") + b"\n")


@contextmanager
def writing_page(path: Path, *, source: str) -> Iterator[Page]:
    """A page about the trace named `source`. It is written to `path` at the end, or not at all if an error occurs.

    Raises:
        UsageError: it cannot be written there.
    """
    templates = _environment().get_template
    try:
        with replacing(path) as file:
            page = Page(file)
            page.write(templates("page_top.html").render(source=visible(source), policy=policy(), style=style()))
            yield page
            page.write(
                templates("page_end.html").render(
                    left_out=max(0, page.search_trees - MAX_TREES), version=version("reasoner-kit")
                )
            )
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
