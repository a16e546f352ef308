r"""Specs: the text form of an object, such as `best_of_n:n=4,of=refine(rounds=1)`, as a tree of names and values.

    spec  = NAME [ ":" items | "(" items ")" ]
    spec  = spec "*" spec                 short for `product:members=[spec,spec]`
    items = [ item { "," item } ]
    item  = [ OPTION "=" ] value          only the first item may leave out its option
    value = spec | "[" [ value { "," value } ] "]" | JSON string | JSON object | bare text

Bare text runs up to the next comma or bracket, without the blanks around it. Text that holds one of `, ( ) [ ] { } " \`
is written as a JSON string. Inside another spec, the form with a colon ends at the first comma: it takes one option.

The type of an option may have a mark, as in `n: Samples = 8`, for those who set it on behalf of others: a server bounds
samples, leaves lengths to the budget and the context, and refuses what only its owner may set. A plug-in that extends
`CheckedOptions` refuses values outside of the ranges in its types when it is made.
"""

import ast
import dataclasses
import json
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, partial
from itertools import pairwise
from typing import Annotated, Any, Final, NamedTuple

from reasoner.errors import UsageError, require, require_choice

MAX_LENGTH = 1 << 20
MAX_DEPTH = 20
MAX_SAMPLES: Final = 1_000_000
"""The most sequences generated from one prompt at once, and so for one question by most strategies."""
_BARE = re.compile(r'[^,()\[\]{}"\\]*+')
_HEAD = re.compile(r'([^,()\[\]{}"\\:]*+)(:?)(.*)', re.DOTALL)
_QUOTED = "write text with brackets, quotes or backslashes in double quotes"
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*+")
    |(?<=[,(])\s*+(?P<option>[^\s,()\[\]{}"\\=]++)\s*+=\s*+(?P<empty>(?=[,)]|\Z))?
    |(?P<bare>[^,()\[\]{}"\\]++)
    |.""",
    re.DOTALL | re.VERBOSE,
)


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
        if len(parts := factors(text)) > 1:
            return cls("product", {"members": tuple(map(cls.parse, parts))})
        return _Reader(text).read()

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
        """The spec on one line, in the form with a colon; specs inside it are in parentheses, factors joined by `*`."""
        members = self.options.get("members") if self.name == "product" else None
        if isinstance(members, tuple) and len(members) > 1 == len(self.options):
            return "*".join(map(written, members))
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


def factors(text: str) -> list[str]:
    """The parts of `a*b(c=d)`; all of the text where it is no product. Options after a colon may hold any `*`."""
    depth, cuts = 0, [-1]
    for sign in re.finditer(r"[()*:]", text):
        depth += {"(": 1, ")": -1}.get(sign[0], 0)
        if depth == 0 and sign[0] == ":":
            break
        if depth == 0 and sign[0] == "*":
            cuts.append(sign.start())
    return [text[at + 1 : end] for at, end in pairwise([*cuts, len(text)])]


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


@dataclass(slots=True)
class _Reader:
    """Reads a spec as Python reads `b'b'(b'c'==b'd'(b'e'==b'1'))` for `b:c=d(e=1)`: bytes are bare text.

    The tree is only looked at, never evaluated.
    """

    text: str
    source: str = ""
    origins: list[tuple[int, int]] = field(default_factory=list)
    """Where each token begins in the source, and where in the text."""

    def read(self) -> Spec:
        if len(self.text) > MAX_LENGTH:
            raise UsageError(
                f"a spec must have at most {MAX_LENGTH:,} characters (got {len(self.text):,})"
            )
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise self.error("this character is not UTF-8 text", error.start) from None
        head = _HEAD.fullmatch(self.text)
        assert head is not None
        name, mark, rest = head.groups()
        self.source = ascii(name.strip().encode())
        self.translate(f"({rest}" if mark else rest, len(name))
        self.source += ")" if mark else ""
        try:
            tree = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            raise self.error(
                f"this ends no value: close each bracket, and {_QUOTED}",
                self.origin((error.offset or 1) - 1),
            ) from None
        except (ValueError, MemoryError, RecursionError):
            raise self.error("it is nested too deeply", 0) from None
        match tree:
            case ast.Constant(value=bytes(bare)):
                return Spec(bare.decode())
            case ast.Call():
                spec = self.value(tree, 0)
                assert isinstance(spec, Spec)
                return spec
        meant = f"{name.strip()}:{rest[1:].strip()}"
        raise self.error(f"expected a colon or (, as in {meant}", len(name))

    def translate(self, text: str, at: int) -> None:
        """Add each token to the source: bare text as bytes, a JSON string as text, a JSON object as it is."""
        braces = 0
        for token in _TOKEN.finditer(text):
            self.origins.append((len(self.source), at + token.start()))
            braces += (token[0] == "{") - (token[0] == "}")
            if braces or token[0] == "}":
                self.source += token[0].replace("\n", " ")
            elif token["string"]:
                try:
                    string = json.loads(token[0])
                    string.encode()
                except ValueError as error:
                    raise self.error(
                        f"malformed JSON string: {error}", self.origins[-1][1]
                    ) from None
                self.source += f"({string!a})"
            elif token["option"]:
                empty = "" if token["empty"] is None else "b''"
                self.source += f"{token['option'].encode()!a}=={empty}"
            elif (bare := token["bare"]) is not None:
                self.source += ascii(bare.strip().encode()) if bare.strip() else " "
            else:
                self.source += token[0]

    def value(self, node: ast.expr, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise self.error(
                f"brackets must be nested at most {MAX_DEPTH} deep", self.at_node(node)
            )
        match node:
            case ast.Constant(value=bytes(bare)):
                return BareWord(bare.decode())
            case ast.Constant(value=str(text)):
                return text
            case ast.List(elts=values):
                return tuple(self.value(each, depth + 1) for each in values)
            case ast.Compare(
                left=ast.Constant(value=bytes(option)),
                comparators=[ast.Constant(value=bytes(bare))],
            ):
                return BareWord(f"{option.decode()}={bare.decode()}")
            case ast.Dict() if _is_object(
                text := ast.get_source_segment(self.source, node) or ""
            ):
                return text
            case ast.Call(func=ast.Constant(value=bytes(bare)), args=items) if (
                b":" not in bare and len(bare.split()) < 2
            ):
                return Spec(bare.decode(), self.options(items, depth))
        raise self.error(
            f'this is no value: {_QUOTED}, as in "f(x)"',
            self.at_node(node),
        )

    def options(self, items: Sequence[ast.expr], depth: int) -> dict[str, Value]:
        options: dict[str, Value] = {}
        for item in items:
            match item:
                case ast.Compare(
                    left=ast.Constant(value=bytes(bare)), comparators=[node]
                ):
                    option = bare.decode()
                case node:
                    option = ""
            value = self.value(node, depth + 1)
            if options and not option:
                raise self.error(
                    f"{written(value)!r} sets nothing: write OPTION=VALUE",
                    self.at_node(item),
                )
            if option in options:
                raise self.error(
                    f"{option} is given twice: keep one", self.at_node(item)
                )
            options[option] = value
        return options

    def at_node(self, node: ast.expr) -> int:
        return self.origin(node.col_offset)

    def origin(self, offset: int) -> int:
        """Where in the text a place of the source comes from."""
        return max((at for begin, at in self.origins if begin <= offset), default=0)

    def error(self, problem: str, at: int) -> UsageError:
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
