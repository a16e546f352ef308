"""Courses as one page of HTML that needs no script and nothing else: what models wrote is shown, never obeyed."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

from reasoner.errors import UsageError
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


class Page:
    """A page that courses are added to one by one. It takes its place, whole, when it is left without an error."""

    def __init__(self, path: Path, *, source: str) -> None:
        """A page at `path` about the trace named `source`.

        Raises:
            UsageError: it cannot be written there.
        """
        self.path = path
        self._courses = 0
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot write the page {path}: it is no regular file; name another one")
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self._file: TextIO = self._beside.open("w", encoding="utf-8", errors="replace")
        except OSError as error:
            raise self._failed(error) from error
        self._source = source

    def __enter__(self) -> Self:
        self._write(_environment().get_template("page_top.html").render(source=visible(self._source), style=style()))
        return self

    def passing(self, courses: Iterable[Course]) -> Iterator[Course]:
        """The same courses, each added to the page as it passes."""
        for course in courses:
            self.add(course)
            yield course

    def add(self, course: Course) -> None:
        """One more course; those after `MOST_COURSES` are only counted.

        Raises:
            UsageError: it cannot be written.
        """
        if self._courses < MOST_COURSES:
            self._write(fragment(course))
        self._courses += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                end = _environment().get_template("page_end.html")
                left_out = max(0, self._courses - MOST_COURSES)
                self._write(end.render(left_out=left_out, version=version("reasoner-kit")))
                self._put_in_place()
        finally:
            self._file.close()
            self._beside.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        try:
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _put_in_place(self) -> None:
        try:
            self._file.close()
            self._beside.replace(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write the page {self.path}: {error.strerror}")


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
