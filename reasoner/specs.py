r"""Specs: the text form of an object, such as `best_of_n:n=4,of=refine(rounds=1)`, as a tree of names and values.

    spec  = NAME [ ":" items | "(" items ")" ]
    items = [ item { "," item } ]
    item  = [ OPTION "=" ] value          only the first item may leave out its option
    value = spec | "[" [ value { "," value } ] "]" | JSON string | JSON object | bare text

Bare text runs up to the next comma or bracket, without the blanks around it. Text that holds one of `, ( ) [ ] { } " \`
is written as a JSON string. Inside another spec, the form with a colon ends at the first comma: it takes one option.

The type of an option may have a mark, as in `n: Samples = 8`, for those who set it on behalf of others: a server bounds
samples, leaves lengths to the budget and the context, and refuses what only its owner may set. A plug-in that extends
`CheckedOptions` refuses values outside of the ranges in its types when it is made.
"""

import dataclasses
import json
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, partial
from typing import Annotated, Any, Final, NamedTuple

from reasoner.errors import UsageError, require, require_choice

MAX_LENGTH = 1 << 20
MAX_DEPTH = 20
MAX_SAMPLES: Final = 1_000_000
"""The most sequences generated from one prompt at once, and so for one question by most strategies."""
_BARE = re.compile(r'[^,()\[\]{}"\\]*+')
_NAME = re.compile(r'[^,()\[\]{}"\\:]*+')
_OPTION = re.compile(r'\s*+([^\s,()\[\]{}"\\=]++)\s*+=')


class BareWord(str):
    """Text written without quotes: a word, a number, `none`, or the name of an object."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A name and its options as written; the option of a first value without a name is ""."""

    name: str
    options: Mapping[str, "Value"] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Read a spec.

        Raises:
            UsageError: the text is not a spec; the message names the position.
        """
        return _Parser(text).parse()

    def __hash__(self) -> int:
        return hash(str(self))

    def without(self, *options: str) -> "Spec":
        """The same spec with some options left out, also of the specs in it."""

        def kept(value: Value) -> Value:
            if isinstance(value, Spec):
                return value.without(*options)
            return tuple(map(kept, value)) if isinstance(value, tuple) else value

        return Spec(
            self.name,
            {
                name: kept(value)
                for name, value in self.options.items()
                if name not in options
            },
        )

    def __str__(self) -> str:
        """The spec on one line, in the form with a colon; specs inside it are in parentheses."""
        return f"{self.name}:{self._items()}" if self.options else self.name

    def nested(self) -> str:
        """The spec as it is written inside another one."""
        return f"{self.name}({self._items()})" if self.options else self.name

    def _items(self) -> str:
        return ",".join(
            f"{option}={written(value)}".removeprefix("=")
            for option, value in self.options.items()
        )


Value = str | Spec | tuple["Value", ...]


class OpenOptions(NamedTuple):
    """Options of a plug-in beyond its fields, as an attribute `open_options` of its class.

    The `field` holds them by name. `read` makes its value of what a spec gives: all options that are not fields. It
    raises UsageError. The names are checked by the class.
    """

    field: str
    read: Callable[[Mapping[str, Value]], Mapping[str, Any]]


def written(value: Value) -> str:
    """The text that is read as `value` again."""
    match value:
        case Spec():
            return value.nested()
        case tuple():
            return f"[{','.join(map(written, value))}]"
        case BareWord():
            return value
    plain = (
        value == value.strip()
        and value.isprintable()
        and value.lower() not in ("", "none")
    )
    if plain and (_BARE.fullmatch(value) or _is_object(value)):
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


class _Parser:
    """Reads one spec from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def parse(self) -> Spec:
        if len(self.text) > MAX_LENGTH:
            raise UsageError(
                f"a spec must have at most {MAX_LENGTH:,} characters (got {len(self.text):,})"
            )
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise self._error("this character is not UTF-8 text", error.start) from None
        name = self._run(_NAME).strip()
        opening = self._take(":(")
        spec = Spec(name, self._items(")" if opening == "(" else "") if opening else {})
        self._blanks()
        if self.at < len(self.text):
            meant = (
                f": write {name}:{self.text[self.at + 1 :].strip()}"
                if self.text[self.at] == "," and name
                else ""
            )
            raise self._error(
                f"expected {'the end' if opening else 'a colon or ('}, got {self.text[self.at]!r}{meant}"
            )
        return spec

    def _items(self, end: str) -> dict[str, Value]:
        """The options up to the bracket that ends them, which is read too, or up to the end of the text."""
        options: dict[str, Value] = {}
        while not self._ended(end):
            begin = self.at
            named = _OPTION.match(self.text, begin)
            option = named[1] if named else ""
            self.at = named.end() if named else begin
            value = self._value()
            if options and not option:
                raise self._error(
                    f"{written(value)!r} sets nothing: write OPTION=VALUE", begin
                )
            if option in options:
                raise self._error(f"{option} is given twice: keep one", begin)
            if named or value:
                options[option] = value
            self._comma(end)
        return options

    def _value(self) -> Value:
        self._blanks()
        begin, first = self.at, self.text[self.at : self.at + 1]
        if first and first in '"{':
            return self._json()
        if self._take("["):
            return self._list()
        bare = self._run(_BARE).strip()
        if not self._take("("):
            return BareWord(bare)
        if ":" in bare or bare.split() != [bare]:
            problem = f'{bare!r} is not a name: write text with a bracket in double quotes, as in "f(x)"'
            raise self._error(problem, begin)
        self._enter()
        options = self._items(")")
        self.depth -= 1
        return Spec(bare, options)

    def _list(self) -> tuple[Value, ...]:
        self._enter()
        values: list[Value] = []
        while not self._ended("]"):
            values.append(self._value())
            self._comma("]")
        self.depth -= 1
        return tuple(values)

    def _json(self) -> str:
        """A JSON string, as its text, or a JSON object, as it is written."""
        begin = self.at
        try:
            value, self.at = json.JSONDecoder().raw_decode(self.text, begin)
            text = value if isinstance(value, str) else self.text[begin : self.at]
            text.encode()
        except RecursionError:
            raise self._error("the JSON object is nested too deeply") from None
        except UnicodeEncodeError:
            raise self._error("the JSON string is not UTF-8 text", begin) from None
        except json.JSONDecodeError as error:
            raise self._error(f"malformed JSON: {error.msg}", error.pos) from None
        return text

    def _ended(self, end: str) -> bool:
        self._blanks()
        if self.at == len(self.text):
            if end:
                raise self._error(f"expected {end!r}, got the end")
            return True
        return bool(self._take(end))

    def _comma(self, end: str) -> None:
        """Read the comma after a value; there is none before the end."""
        self._blanks()
        character = self.text[self.at : self.at + 1]
        if not self._take(",") and character != end:
            got = (
                f"{character!r}: write text that holds it in double quotes"
                if character
                else "the end"
            )
            raise self._error(f"expected ','{f' or {end!r}' if end else ''}, got {got}")

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"brackets must be nested at most {MAX_DEPTH} deep")

    def _run(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return match[0]

    def _take(self, allowed: str) -> str:
        """The next character, read, if it is one of those allowed; otherwise nothing."""
        character = self.text[self.at : self.at + 1]
        if not character or character not in allowed:
            return ""
        self.at += 1
        return character

    def _blanks(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def _error(self, problem: str, at: int = -1) -> UsageError:
        at = self.at if at < 0 else at
        begin = max(0, at - 40)
        shown = f"{'...' if begin else ''}{self.text[begin : begin + 80]}"
        return UsageError(f"spec {shown!r}, character {at + 1}: {problem}")


class Mark(Enum):
    """What a number is."""

    SAMPLES = "how many sequences are drawn of one prompt"
    LENGTH = "a number of tokens or characters"


class OwnerOnly(NamedTuple):
    """Only the owner of a server may set it, and why."""

    why: str


class Range(NamedTuple):
    """The values that a number may have; the last range of a type counts."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def __get_pydantic_json_schema__(self, schema: Any, describe: Any) -> Any:
        """The type's JSON schema with these limits in place of those before; infinity is none."""
        # The limits of a `Range` in a JSON schema
        limited = describe(schema) | dict(
            zip(
                ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
                self,
                strict=True,
            )
        )
        return {
            name: value
            for name, value in limited.items()
            if value not in (None, math.inf)
        }


Samples = Annotated[int, Mark.SAMPLES, Range(at_least=1, at_most=MAX_SAMPLES)]
Length = Annotated[int, Mark.LENGTH, Range(at_least=0)]
Count = Annotated[int, Range(at_least=1)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Chance = Annotated[float, Range(above=0, below=1)]
FilePath = Annotated[str, OwnerOnly("it reads a file")]
Weights = Annotated[str, OwnerOnly("it loads weights")]
Pattern = Annotated[str, OwnerOnly("it runs a regular expression")]
Seconds = Annotated[
    float, OwnerOnly("it is processor time"), Range(above=0, below=math.inf)
]


class CheckedOptions:
    """The base of a plug-in that checks its options when it is made: numbers by their ranges, words by their choices.

    What else a subclass checks or derives is its `complete`.

    Raises:
        UsageError: as in "n must be at least 1 (got 0)".
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, check in _checks_of(cls).items():
            if (value := getattr(self, name)) is not None:
                check(value, name)
        self.complete()

    def complete(self) -> None:
        """Check or derive more, once each option is one of those allowed."""


@lru_cache(maxsize=512)
def marks_of(cls: type) -> Mapping[str, Mark | OwnerOnly]:
    """The marks of a class's options by name."""
    marked = {
        name: [
            mark
            for mark in getattr(hint, "__metadata__", ())
            if isinstance(mark, Mark | OwnerOnly)
        ]
        for name, hint in hints_of(cls, marks=True).items()
    }
    return {name: marks[0] for name, marks in marked.items() if marks}


@lru_cache(maxsize=512)
def _checks_of(cls: Any) -> Mapping[str, partial[None]]:
    """What refuses a value outside of the range or the choices of its option, by the option's name."""
    checks: dict[str, partial[None]] = {}
    hints = hints_of(cls, marks=True)
    for option in dataclasses.fields(cls):
        hint = hints.get(option.name)
        # An option that may be None is a union. A word in place of a number has more forms than its choices.
        kinds = typing.get_args(hint)
        for part in (hint, *kinds):
            ranges = [
                mark
                for mark in getattr(part, "__metadata__", ())
                if isinstance(mark, Range)
            ]
            if ranges:
                checks[option.name] = partial(
                    require,
                    **ranges[-1]._asdict(),
                    whole=typing.get_args(part)[0] is int,
                )
            elif typing.get_origin(part) is typing.Literal and int not in kinds:
                checks[option.name] = partial(
                    require_choice, choices=typing.get_args(part)
                )
    return checks


@lru_cache(maxsize=1024)
def hints_of(cls: type, *, marks: bool = False) -> Mapping[str, Any]:
    """The types of a class's fields, with their marks and ranges or without; none where they cannot be read."""
    try:
        return typing.get_type_hints(cls, include_extras=marks)
    except Exception:  # names that a foreign module imports for type checkers only
        return {}
