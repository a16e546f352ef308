"""The kinds of answer by name, and the choice of one for a question."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

from reasoner.answers.choices import choice_in
from reasoner.answers.reading import FormReader
from reasoner.answers.thinking import TAIL
from reasoner.errors import UsageError, require_name
from reasoner.types import AnswerSpace

_YES_NO_QUESTION = re.compile(
    r"[,:;.?!(]\s?(?:(?:please\s)?(?:answer|reply)\s(?:with\s)?)?yes(?:\sor\s|/)no\W{0,4}\Z",
    re.IGNORECASE,
)
_NUMERIC = re.compile(
    r"\bhow (?:many|much|old|far|long|tall|fast)\b"
    r"|\b(?:sum|product|difference|quotient|total|average|percent|remainder)\b"
    r"|\bcalculate\b|\bcompute\b|\d\s*[-+*/x×÷^=]\s*\d|\b(?:plus|minus|times|divided by)\b",
    re.IGNORECASE,
)


_COMMAND = (
    r"\\(?:[dt]?frac|sqrt|pi|theta|alpha|beta|sum|prod|int|lim|log|ln|sin|cos|tan|cdot|times|left|begin|binom|leq?|geq?"
    r"|neq?|infty|circ|overline|angle|triangle|mathbb|text)(?![a-z])"
)
_TASK = r"\b(?:simplify|factor(?:i[sz]e)?|expand)\b[^.?!\n]{0,40}?(?:[\^$\\(]|\d[a-z]|\b[a-z]\s*[-+*/])"
_MATHEMATICAL = re.compile(
    rf"{_COMMAND}|\$(?=\S)[^$\n\\^_=+]*+[\\^_=+][^$\n]*+(?<=\S)\$|\$[a-z]\$|{_TASK}|\bin terms of \$?[b-z]\b",
    re.IGNORECASE,
)

A = TypeVar("A", bound=AnswerSpace)
_CLASSES: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("numbers", "NumberSpace"),
    "math": ("maths", "MathSpace"),
    "choice": ("choices", "ChoiceSpace"),
    "yes_no": ("texts", "YesNoSpace"),
    "text": ("texts", "TextSpace"),
    "code": ("code", "CodeSpace"),
    "json": ("whole", "JsonSpace"),
    "free": ("whole", "FreeSpace"),
}
"""The module and the class of each kind. A class is imported when it is needed: its patterns take long to compile."""
KINDS = tuple(_CLASSES)
SPACES = ("auto", *KINDS)


def class_of(kind: str) -> type[Any]:
    """The class of a kind but `auto`, which chooses one of them."""
    module, name = _CLASSES[kind]
    cls: type[Any] = getattr(import_module(f"reasoner.answers.{module}"), name)
    return cls


def kind_options(kind: str) -> tuple[str, ...]:
    """The options of a kind: the fields of its class that are given by name."""
    return _options_of(class_of(kind) if kind != "auto" else FormReader)


def _options_of(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls) if field.kw_only)


def _kind_of(question: str) -> str:
    """The kind that `auto` chooses."""
    if choice_in(question):
        return "choice"
    if _YES_NO_QUESTION.search(question[-TAIL:]):
        return "yes_no"
    if _MATHEMATICAL.search(question[-TAIL:]):
        return "math"
    # Of a long question, both ends: what is asked is said before or after what it is about.
    numeric = _NUMERIC.search(question[:TAIL]) or _NUMERIC.search(question[-TAIL:])
    return "number" if numeric else "text"


def _space(kind: str, question: str) -> AnswerSpace:
    """The space of a kind but `auto`, with the options that the question lists or the functions that it names."""
    if kind == "code":
        from reasoner.answers.code import CodeSpace, functions_in

        return CodeSpace(functions_in(question))
    if kind != "choice":
        space: AnswerSpace = class_of(kind)()
        return space
    choice = choice_in(question)
    if choice is None:
        raise UsageError(
            "the question lists no options: write them as `A) ... B) ...`, or choose another answer kind"
        )
    return choice


class AnswerKind(NamedTuple):
    """A kind of answer as it was read from text: its name, and its options as the fields of its space."""

    name: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> "AnswerKind":
        """Read a kind; options may follow its name, as in `math:seconds=30`.

        `pattern` is a regular expression by which answers are read first, and the last option: it may hold commas.
        `extract=rules` asks no model to end a reply without a form, and `cut=probe` also asks it to end one that a
        limit cut.

        Raises:
            UsageError: there is no such kind or option.
        """
        name, _, options = text.partition(":")
        require_name("answer kind", name, SPACES)
        return cls(name, _read_options(name, kind_options(name), options))

    @property
    def classes(self) -> list[type[Any]]:
        """The classes of the spaces that it may be: `auto` may be any."""
        return [
            class_of(kind) for kind in (KINDS if self.name == "auto" else (self.name,))
        ]

    def space(self, question: str) -> AnswerSpace:
        """The space for a question.

        `auto` chooses by listed options, a final `yes or no?`, formulas, and words such as "how many"; in this order.

        Raises:
            UsageError: an option has no valid value, or the question lists no options for `choice`.
        """
        space = _space(
            _kind_of(question) if self.name == "auto" else self.name, question
        )
        return replace(space, **self.options) if self.options else space  # type: ignore[type-var]


def space_for(name: str, question: str) -> AnswerSpace:
    """The space of a kind, written as `AnswerKind.parse` reads it, for a question. Raises as it and its `space`."""
    return AnswerKind.parse(name).space(question)


def with_options(space: A, options: str) -> A:
    """The same space with options such as `extract=rules`; unchanged for an empty text.

    Raises:
        UsageError: the kind has no such option, or its value is not valid.
    """
    if not options:
        return space
    return replace(
        space, **_read_options(space.name, _options_of(type(space)), options)
    )  # type: ignore[type-var]


def _read_options(kind: str, known: tuple[str, ...], text: str) -> dict[str, Any]:
    """The options of an answer kind, as the fields of its space."""
    values = dict[str, Any]()
    while text:
        option, _, value = (part.strip() for part in text.partition("="))
        require_name("option", option, known, of=f"answer kind {kind}")
        if option in values:
            raise UsageError(f"answer kind {kind}: {option} is given twice: keep one")
        text = ""
        if option != "pattern":
            value, _, text = value.partition(",")
        values[option] = _seconds(value) if option == "seconds" else value
    return values


def _seconds(value: str) -> float:
    try:
        return float(value.encode("ascii"))
    except ValueError:
        raise UsageError(
            f"answer kind math: seconds must be a number, as in math:seconds=30 (got {value!r})"
        ) from None
