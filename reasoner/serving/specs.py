"""Specs that a client sends: built only if they read no file, load nothing, and stay small."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal

from reasoner.errors import UsageError
from reasoner.marks import Mark, Owners, marks_of
from reasoner.registry import build, entries, expanded, load
from reasoner.sampling import SamplingParams
from reasoner.specs import Spec, Value

KINDS: Final = ("strategy", "rule", "verifier")
"""Kinds of plug-ins that a spec of a client may name."""
MAX_COUNT: Final = 1024
"""The most samples, rounds or branches of an option of a request; those of nested strategies are multiplied."""


def client_spec(text: str) -> Spec:
    """The spec that a client sent.

    Raises:
        UsageError: it is not a spec, or it sets an option that only the owner of the server may set.
    """
    spec = expanded("strategy", Spec.parse(text))
    _check_options(spec, depth=0)
    return spec


def _check_options(value: Value, depth: int) -> None:
    match value:
        case Spec():
            value = expanded("strategy", value)
            for option, inner in value.options.items():
                if owners := _owners(value.name, option):
                    raise UsageError(
                        f"the option {option} cannot be set by a request, as {owners.why}: the server's owner sets it "
                        "in an alias of the configuration"
                    )
                _check_options(inner, depth)
        case tuple():
            for inner in value:
                _check_options(inner, depth)
        case _ if ":" in value or "(" in value:
            # A spec may also be nested as text. Other text is no spec, or one without options.
            try:
                nested = Spec.parse(value)
            except UsageError:
                return
            if depth > 4:
                raise UsageError("specs in quotes must be nested at most 4 deep") from None
            _check_options(nested, depth + 1)


def _owners(plugin: str, option: str) -> Owners | None:
    """The mark of an option that only the owner may set, whatever kind of plug-in has this name."""
    marked: list[type] = [load(kind, plugin) for kind in KINDS if plugin in entries(kind)]
    marks = [marks_of(cls).get(option) for cls in marked]
    marks.append(marks_of(SamplingParams).get(option.removeprefix("params.")))
    return next((mark for mark in marks if isinstance(mark, Owners)), None)


def build_client(kind: Literal["strategy", "rule"], spec: Spec) -> Any:
    """The object of a client's spec.

    Raises:
        UsageError: it cannot be built, or it is too large.
    """
    built = build(kind, spec)
    for name, value in _counts(built):
        if value > MAX_COUNT:
            raise UsageError(f"{name} must be at most {MAX_COUNT:,} in a request (got {value:,})")
    if (samples := draws(built)) > MAX_COUNT:
        raise UsageError(f"a request may draw at most {MAX_COUNT:,} samples (got {samples:,}): lower n")
    return built


def draws(strategy: Any) -> int:
    """How many samples a strategy draws at least, those of the strategy in it multiplied."""
    cls: type = type(strategy)
    samples = [name for name, mark in marks_of(cls).items() if mark is Mark.SAMPLES]
    own = max((getattr(strategy, name) for name in samples), default=1)
    inner = getattr(strategy, "of", None)
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


def public_spec(spec: Spec) -> Spec:
    """The spec without the options of the server's owner, which may name its files."""
    options = {option: _public(value) for option, value in spec.options.items() if not _owners(spec.name, option)}
    return Spec(spec.name, options)


def _public(value: Value) -> Value:
    if isinstance(value, Spec):
        return public_spec(value)
    return tuple(map(_public, value)) if isinstance(value, tuple) else value
