"""Courses as one page of HTML that needs no script and nothing else: what models wrote is shown, never obeyed."""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from reasoner.errors import UsageError
from reasoner.files import replacing
from reasoner.tree.course import Course, Head
from reasoner.tree.outline import Outline, Row
from reasoner.tree.words import (
    FAINT,
    MEANINGS,
    answer_of,
    costs,
    counts,
    duel,
    ending,
    facts_of,
    proposal,
    provenance,
    score_of,
    state_of,
    stray,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MOST_NODES = 1000
"""Sequences of one course that are shown."""
MOST_OPEN = 60
"""A tree of more sequences is folded, but for the path."""
MOST_CHARACTERS = 1_000_000
"""Of the texts of one course, which share them; a text has `LONGEST_TEXT` at most."""
LONGEST_TEXT = 20_000
DEEPEST = 100
"""How deep nodes are nested: browsers give up at some hundreds of elements."""
MOST_LINES = 100
"""Of the path, from its end, and of each list."""
MOST_COURSES = 50
"""Questions on one page."""


class Shortened(NamedTuple):
    """A text made visible and cut, and how many characters were cut."""

    text: str
    left_out: int


class _Drawn(NamedTuple):
    row: Row
    after: str
    """The tags that stand between it and the next row."""


class _Grown(NamedTuple):
    number: int
    head: Head
    rows: Iterator[_Drawn]


def fragment(course: Course) -> "Markup":
    """A course as an `<article class="course">`, to stand in any page that has `style()` in its head. Bounded in size.

    Of more than `MOST_NODES` sequences those nearest to the prompt are shown, and the path to the answer; it says how
    many are left out, at each place.
    """
    from markupsafe import Markup

    outline = Outline.of(course, most=MOST_NODES, deepest=DEEPEST)
    heads = [_Grown(place + 1, course.heads[place], _drawn(outline, place)) for place in outline.heads]
    texts = len(outline.shown) + min(len(course.path), MOST_LINES) + sum(len(one.head.messages) for one in heads)
    return Markup(  # noqa: S704 it is what the template escaped
        _environment()
        .get_template("fragment.html")
        .render(
            course=course,
            outline=outline,
            heads=heads,
            hidden_heads=len(course.heads) - len(heads),
            longest=min(LONGEST_TEXT, MOST_CHARACTERS // max(texts, 1)),
            most_lines=MOST_LINES,
            all_open=len(outline.shown) <= MOST_OPEN,
            meanings=MEANINGS,
            costs=costs(course.cost),
            counts=counts(course),
            ending=ending(course),
            provenance=provenance(course),
            lists=_lists(course),
            faint=FAINT,
            score_of=score_of,
            facts_of=facts_of,
            state_of=partial(state_of, course=course),
            answer_of=partial(answer_of, course=course),
        )
    )


def style() -> "Markup":
    """The style sheet of a `fragment`, light and dark, to stand in a `<style>` element."""
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
    """A page that courses are added to one by one; `writing_page` makes one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._courses = 0

    @property
    def left_out(self) -> int:
        """How many courses are not shown."""
        return max(0, self._courses - MOST_COURSES)

    def passing(self, courses: Iterable[Course]) -> Iterator[Course]:
        """The same courses, each added to the page as it passes."""
        for course in courses:
            self.add(course)
            yield course

    def add(self, course: Course) -> None:
        """One more course; those after `MOST_COURSES` are only counted. Raises OSError: it cannot be written."""
        if self._courses < MOST_COURSES:
            self.write(fragment(course))
        self._courses += 1

    def write(self, text: str) -> None:
        """Some markup. Raises OSError: it cannot be written."""
        self._file.write(text.encode("utf-8", "replace") + b"\n")


@contextmanager
def writing_page(path: Path, *, source: str) -> Iterator[Page]:
    """A page about the trace named `source`. It takes its place at `path`, whole, at the end; an error leaves it out.

    Raises:
        UsageError: it cannot be written there.
    """
    templates = _environment().get_template
    try:
        with replacing(path) as file:
            page = Page(file)
            page.write(templates("page_top.html").render(source=visible(source), policy=policy(), style=style()))
            yield page
            page.write(templates("page_end.html").render(left_out=page.left_out, version=version("reasoner-kit")))
    except OSError as error:
        raise UsageError(f"cannot write the page {path}: {error.strerror}") from error


def visible(text: str) -> str:
    """Text without control, direction or unknown characters: their code points stand there instead."""
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"[U+{ord(char):04X}]" for char in text)


def _harmless(char: str) -> bool:
    # The joiners hold emoji and some scripts' letters together.
    return char.isprintable() or char in "\n\t\u200c\u200d" or unicodedata.category(char) == "Zs"


def shortened(text: str, limit: int) -> Shortened:
    """The first `limit` characters, made visible."""
    left_out = max(0, len(text) - limit)
    return Shortened(visible(text[:limit]) + ("…" if left_out else ""), left_out)


def _drawn(outline: Outline, head: int) -> Iterator[_Drawn]:
    """The rows with the tags that nest them. A template that called itself would run out of stack."""
    rows = outline.rows(head)
    row = next(rows, None)
    while row is not None:
        following = next(rows, None)
        level = following.level if following else 0
        if level > row.level:
            after = "<ul>"
        else:
            own = "" if row.node is None else "</details></li>"
            after = own + "</ul></details></li>" * (row.level - level)
        yield _Drawn(row, after)
        row = following


def _lists(course: Course) -> list[tuple[str, list[str]]]:
    return [
        ("Proposed", [proposal(one) for one in course.proposals]),
        ("Compared", [duel(one) for one in course.duels]),
        ("Stray ratings", [stray(one) for one in course.strays]),
        ("Noted by the strategy", list(course.notes)),
        ("Remarks of the engine", list(course.remarks)),
    ]


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    filters: dict[str, Any] = environment.filters
    filters |= {"shortened": shortened, "visible": visible, "oneline": lambda text: " ".join(text[:1000].split())}
    return environment
