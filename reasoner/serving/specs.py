"""Specs that a client sends: built only if they read no file, load nothing, and stay small."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.specs import Spec, Value

OWNERS: Final = {
    "profile": "it reads a file",
    "lora": "it loads weights",
    "params.lora": "it loads weights",
}
"""Options that only the owner of a server may set, in an alias of its configuration, and why."""
MAX_COUNT: Final = 1024
"""The most samples, rounds or branches of an option of a request; those of nested strategies are multiplied."""
LENGTHS: Final = frozenset({
    "answer_tokens", "every", "max_characters", "max_thinking", "min_thinking", "reserve", "step_tokens",
})  # fmt: skip
"""Options that are a number of tokens or characters: the budget and the context bound them."""
DRAWS: Final = ("n", "chains", "k", "simulations", "b")
"""The options that say how many samples a strategy draws of one prompt."""


def client_spec(text: str) -> Spec:
    """The spec that a client sent.

    Raises:
        UsageError: it is not a spec, or it sets an option that only the owner of the server may set.
    """
    spec = Spec.parse(text)
    _check_options(spec, depth=0)
    return spec


def _check_options(value: Value, depth: int) -> None:
    match value:
        case Spec():
            for option, inner in value.options.items():
                if option in OWNERS:
                    raise UsageError(
                        f"the option {option} cannot be set by a request, as {OWNERS[option]}: the server's owner "
                        "sets it in an alias of the configuration"
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


def draws(strategy: object) -> int:
    """How many samples a strategy draws at least, those of the strategy in it multiplied."""
    own = max((value for name in DRAWS if isinstance(value := getattr(strategy, name, 1), int)), default=1)
    inner = getattr(strategy, "of", None)
    return own * (draws(inner) if inner is not None else 1)


def _counts(thing: object) -> Iterator[tuple[str, int]]:
    """The counts among the options of an object and of those in it."""
    if isinstance(thing, tuple):
        for part in thing:
            yield from _counts(part)
    if not is_dataclass(thing) or isinstance(thing, type):
        return
    for field in fields(thing):
        value = getattr(thing, field.name, None)
        if not field.init or field.name == "params":
            continue
        if isinstance(value, int) and not isinstance(value, bool) and field.name not in LENGTHS:
            yield field.name, value
        yield from _counts(value)


def public_spec(spec: Spec) -> Spec:
    """The spec without the options of the server's owner, which may name its files."""
    return Spec(spec.name, {option: _public(value) for option, value in spec.options.items() if option not in OWNERS})


def _public(value: Value) -> Value:
    if isinstance(value, Spec):
        return public_spec(value)
    return tuple(map(_public, value)) if isinstance(value, tuple) else value
