"""What a client writes as text: built only if it sets nothing of the owner's, and stays small."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from reasoner.answers.kinds import AnswerKind
from reasoner.errors import UsageError
from reasoner.registry import build_checked, spec_of
from reasoner.specs import Mark, Owners, marks_of

MAX_COUNT: Final = 1024
"""The most samples, rounds or branches of an option of a request; those of nested strategies are multiplied."""
PASSED: Final = "single"
"""The strategy of a request that passes through; `none` is another name of it in a request."""


def _check(cls: type, option: str) -> None:
    """Refuse an option that only the owner may set."""
    mark = marks_of(cls).get(option)
    if isinstance(mark, Owners):
        raise UsageError(
            f"the option {option} cannot be set by a request, as {mark.why}: the server's owner sets it in an alias of "
            "the configuration"
        )


def client_kind(text: str) -> AnswerKind:
    """The kind of answer that a client sent.

    Raises:
        UsageError: there is none of this name, or it sets an option that only the owner of the server may set.
    """
    kind = AnswerKind.parse(text)
    for option in kind.options:
        for cls in kind.classes:
            _check(cls, option)
    return kind


@lru_cache(maxsize=256)
def build_client(kind: Literal["strategy", "rule"], spec: str) -> Any:
    """The object of a client's spec; many requests ask for the same.

    Raises:
        UsageError: it cannot be built, it is too large, or it sets an option that only the owner may set.
    """
    built = build_checked(kind, PASSED if kind == "strategy" and spec == "none" else spec, _check)
    for name, value in _counts(built):
        if value > MAX_COUNT:
            raise UsageError(f"{name} must be at most {MAX_COUNT:,} in a request (got {value:,})")
    if (samples := draws(built)) > MAX_COUNT:
        raise UsageError(f"a request may draw at most {MAX_COUNT:,} samples (got {samples:,}): lower n")
    return built


def draws(strategy: Any) -> int:
    """How many samples a strategy draws about: the product of what its options count, and of the strategy in it."""
    cls: type = type(strategy)
    samples = [name for name, mark in marks_of(cls).items() if mark is Mark.SAMPLES]
    inner = getattr(strategy, "of", None)
    own: int = math.prod(max(1, getattr(strategy, name)) for name in samples)
    return own * (draws(inner) if inner is not None else 1)


def _counts(thing: object) -> Iterator[tuple[str, int]]:
    """The counts among the options of an object and of those in it."""
    if isinstance(thing, tuple):
        for part in thing:
            yield from _counts(part)
    if not is_dataclass(thing) or isinstance(thing, type):
        return
    marks = marks_of(type(thing))
    for field in fields(thing):
        value = getattr(thing, field.name, None)
        if not field.init or field.name == "params":
            continue
        if isinstance(value, int) and not isinstance(value, bool) and marks.get(field.name) is not Mark.LENGTH:
            yield field.name, value
        yield from _counts(value)


def public_spec(strategy: object) -> str:
    """The spec of a strategy with all options that say something, but those of the owner, which may name files."""
    return spec_of(strategy, lambda cls, option: not isinstance(marks_of(cls).get(option), Owners))
