"""Instances of JSON schemas: what a model would write that is held to a schema."""

import json
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import count
from typing import Any, Final

from reasoner.errors import UsageError, shown
from reasoner.system.files import parse_json

LARGEST: Final = 5_000
"""The most steps to write an instance: values, characters of texts, and parts of the schema that are read."""
DEEPEST: Final = 40
"""The most levels of an instance."""
_BRIEF: Final = (4, 500)
"""The level, and the steps, after which only what is required is written: a schema that refers to itself ends."""
ANY_OBJECT: Final = '{"type": "object"}'
"""The schema that leaves an object to what the prompt says of it."""
_KEYWORDS: Final[Mapping[str, set[str]]] = {
    "object": {
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
    },
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"},
    "string": {"minLength", "maxLength", "format"},
    "number": {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    },
}
"""The keywords of each type, by which a schema without a type has one."""
_LIMITING: Final = {"type", "enum", "const", "anyOf", "oneOf"}.union(
    *_KEYWORDS.values()
)
_UNREAD: Final = {
    "not",
    "if",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "pattern",
    "propertyNames",
    "patternProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
}
"""Keywords that limit values, and are not obeyed here."""
_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "json-pointer": "/answer",
    "regex": ".*",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uri-reference": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class _NoInstance(UsageError):
    """Nothing satisfies this part of a schema; another alternative may have an instance."""


def instance(schema: str, answer: str, source: random.Random) -> str:
    """A value that satisfies a JSON schema, as JSON. It says `answer` where the schema lets it; the rest is drawn.

    Raises:
        UsageError: nothing satisfies the schema, or it has a keyword that is not obeyed here.
    """
    try:
        root = _parsed(schema)
        return json.dumps(_Writer(root, answer, source).value(root), ensure_ascii=False)
    except UsageError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise UsageError(f"json_schema is no JSON schema: {error}") from None


@lru_cache(maxsize=64)
def _parsed(schema: str) -> Any:
    return parse_json(schema)


def schema_like(value: Any) -> dict[str, Any]:
    """The schema of values like this example: the same names, and the same types, which a text may say in words."""
    match value:
        case dict():
            return {
                "properties": {name: schema_like(part) for name, part in value.items()},
                "required": list(value),
            }
        case list():
            return {"items": schema_like(value[0]) if value else {}, "minItems": 1}
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "boolean" if "true or false" in value.lower() else "string"}
    return {}


def number_in(answer: str) -> Fraction | None:
    """The number that an answer is, if any."""
    return (
        Fraction(answer)
        if re.fullmatch(r"-?\d{1,30}(?:[./]\d{1,30})?", answer, flags=re.ASCII)
        and not answer.endswith("/0")
        else None
    )


class _Writer:
    """Writes an instance of a root schema."""

    def __init__(self, root: Any, answer: str, source: random.Random) -> None:
        self._root, self._answer, self._source = root, answer, source
        self._level = self._steps = 0

    @property
    def _brief(self) -> bool:
        return (self._level, self._steps) > _BRIEF or self._steps > _BRIEF[1]

    def value(self, schema: Any) -> Any:
        """A value that satisfies a part of the root."""
        whole = self._whole(schema)
        if unread := min(_UNREAD & whole.keys(), default=""):
            raise UsageError(
                f"json_schema has the keyword {unread}, which the simulated engine does not obey: leave it out, or "
                "ask a model"
            )
        for several in ("anyOf", "oneOf"):
            if several in whole:
                rest = {name: part for name, part in whole.items() if name != several}
                return self._first(
                    [{**rest, "allOf": [part]} for part in whole[several]], self.value
                )
        if "const" in whole or "enum" in whole:
            return self._chosen([whole["const"]] if "const" in whole else whole["enum"])
        return self._typed(whole)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > LARGEST:
            raise UsageError(
                f"json_schema takes more than {LARGEST:,} steps to satisfy: make it smaller"
            )

    def _whole(self, schema: Any) -> dict[str, Any]:
        """A schema in one with those that it refers to, and those that must hold beside it."""
        self._spend(1)
        if self._level > DEEPEST:
            raise _NoInstance(
                f"json_schema has no instance of at most {DEEPEST} levels"
            )
        if isinstance(schema, bool):
            return {} if schema else {"enum": []}
        whole = {
            name: part for name, part in schema.items() if name not in ("$ref", "allOf")
        }
        parts = [self._referred(schema["$ref"])] if "$ref" in schema else []
        self._level += 1
        for part in (*parts, *schema.get("allOf", ())):
            whole = _both(whole, self._whole(part))
        self._level -= 1
        return whole

    def _referred(self, reference: str) -> Any:
        """The part of the root with this JSON pointer."""
        if reference.partition("/")[0] != "#":
            raise UsageError(
                f"json_schema refers to {shown(reference)}, outside of itself: put it into $defs"
            )
        part = self._root
        for name in reference.split("/")[1:]:
            part = part[
                int(name)
                if isinstance(part, list)
                else name.replace("~1", "/").replace("~0", "~")
            ]
        return part

    def _first(self, parts: Iterable[Any], write: Callable[[Any], Any]) -> Any:
        """What is written for the first part that has an instance; where it is to be brief, simple parts come first."""
        refused: UsageError = _NoInstance(
            "json_schema has an empty list of alternatives"
        )
        for part in sorted(parts, key=_has_parts) if self._brief else parts:
            level = self._level
            try:
                return write(part)
            except _NoInstance as error:
                refused, self._level = error, level
        raise refused

    def _chosen(self, values: list[Any]) -> Any:
        """The value that is the answer, else any."""
        if not values:
            raise _NoInstance("json_schema has a part that nothing satisfies")
        number = number_in(self._answer)
        stated = [
            value
            for value in values
            if value == self._answer or (number is not None and value == number)
        ]
        value = stated[0] if stated else self._source.choice(values)
        self._spend(len(str(value)))
        return value

    def _typed(self, schema: dict[str, Any]) -> Any:
        kinds = schema.get("type") or next(
            (kind for kind, words in _KEYWORDS.items() if words & schema.keys()), "any"
        )
        number = number_in(self._answer)
        write: dict[str, Callable[[], Any]] = {
            "any": lambda: self._answer if number is None else _plain(number),
            "object": lambda: self._object(schema),
            "array": lambda: self._array(schema),
            "string": lambda: self._string(schema),
            "integer": lambda: self._number(schema, whole=True),
            "number": lambda: self._number(schema, whole=False),
            "boolean": lambda: self._source.random() < 1 / 2,
            "null": lambda: None,
        }
        self._level += 1
        value = self._first(
            kinds if isinstance(kinds, list) else [kinds], lambda kind: write[kind]()
        )
        self._level -= 1
        return value

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        least, most = (
            schema.get("minProperties", 0),
            schema.get("maxProperties", math.inf),
        )
        other = schema.get(
            "additionalProperties", schema.get("unevaluatedProperties", True)
        )
        optional = [
            name
            for name, part in properties.items()
            if name not in required and part is not False
        ]
        room = (least if self._brief else min(most, len(properties))) - len(required)
        chosen = {*required, *optional[: max(0, room)]}
        names = [name for name in properties if name in chosen]
        names += [name for name in required if name not in properties]
        if not (properties or required or other is False or self._brief):
            least = max(least, min(1, most))
        spare = (f"answer{number or ''}" for number in count())
        names += [
            next(name for name in spare if name not in chosen)
            for _ in range(min(least, LARGEST) - len(names))
        ]
        if len(names) > most:
            raise _NoInstance(f"json_schema requires more than {most} properties")
        return {name: self.value(properties.get(name, other)) for name in names}

    def _array(self, schema: dict[str, Any]) -> list[Any]:
        first, other = schema.get("prefixItems", []), schema.get("items", True)
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        length = least if self._brief else min(most, max(least, len(first), 1))
        if other is False:
            length = min(length, len(first))
        if not least <= length <= most:
            raise _NoInstance(
                f"json_schema has an array of at least {least} items that may not have them"
            )
        self._spend(length)
        items = list[Any]()
        for index in range(length):
            part = first[index] if index < len(first) else other
            items.append(
                self._other(items, part)
                if schema.get("uniqueItems")
                else self.value(part)
            )
        return items

    def _other(self, items: list[Any], schema: Any) -> Any:
        """A value that differs from those that are there: as if the answer were another one."""
        answer, known = (
            self._answer,
            {json.dumps(item, sort_keys=True) for item in items},
        )
        try:
            # How many items are tried until one differs
            for number in range(50):
                value = self.value(schema)
                if json.dumps(value, sort_keys=True) not in known:
                    return value
                self._answer = (
                    str(number)
                    if number_in(answer) is not None
                    else f"{answer}{number}"
                )
        finally:
            self._answer = answer
        raise _NoInstance(
            "json_schema has an array of more different items than there are"
        )

    def _string(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        self._spend(max(least, len(self._answer)))
        length = min(most, max(least, len(self._answer)))
        text = _FORMATS.get(
            schema.get("format", ""), self._answer.ljust(length, "-")[:length]
        )
        if not least <= len(text) <= most:
            raise _NoInstance(
                f"json_schema has a text for which the simulated engine finds none: {shown(schema)}"
            )
        return text

    def _number(self, schema: dict[str, Any], *, whole: bool) -> int | float:
        """The answer if it is allowed, else a number at a bound or between both."""
        bounds = {
            name: Fraction(str(value))
            for name, value in schema.items()
            if name in _KEYWORDS["number"]
        }
        step = bounds.pop("multipleOf", Fraction(1) if whole else None)
        if whole and step is not None:
            step = Fraction(step.numerator)
        low, high = bounds.get("minimum"), bounds.get("maximum")
        above, below = bounds.get("exclusiveMinimum"), bounds.get("exclusiveMaximum")

        def fits(value: Fraction) -> bool:
            return (
                (low is None or value >= low)
                and (high is None or value <= high)
                and (above is None or value > above)
                and (below is None or value < below)
            )

        stated = number_in(self._answer)
        near = [
            Fraction(self._source.randrange(10)) if stated is None else stated,
            *bounds.values(),
        ]
        near += [(first + another) / 2 for first in near for another in near]
        if step is not None:
            near = [
                math.floor(value / step) * step + more
                for value in near
                for more in (0, step, -step)
            ]
        else:
            near += [value + more for value in near for more in (1, -1)]
        fitting = next(filter(fits, near), None)
        if fitting is None:
            raise _NoInstance(
                f"json_schema has a number that nothing satisfies: {shown(schema)}"
            )
        return _plain(fitting)


def _has_parts(part: Any) -> bool:
    """Whether a schema, or a type, is of a value with others in it."""
    deep = {"$ref", "properties", "items", "anyOf", "oneOf", "allOf"}
    return part in ("object", "array") or (
        isinstance(part, dict) and bool(deep & part.keys())
    )


def _both(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema that holds where both do.

    Raises:
        UsageError: both have a keyword for which there is no such schema.
    """
    both = {**first, **other}
    for name in first.keys() & other.keys():
        pair = first[name], other[name]
        if name == "properties":
            shared = {
                key: {"allOf": [each[key] for each in pair]}
                for key in pair[0].keys() & pair[1].keys()
            }
            both[name] = {**pair[0], **pair[1], **shared}
        elif name == "required":
            both[name] = list(dict.fromkeys([*pair[0], *pair[1]]))
        elif name.startswith(("min", "exclusiveMin")):
            both[name] = max(pair)
        elif name.startswith(("max", "exclusiveMax")):
            both[name] = min(pair)
        elif pair[0] != pair[1] and name in _LIMITING:
            raise UsageError(
                f"json_schema has two values for {name} that both hold, which the simulated engine does not obey: "
                "write one, or ask a model"
            )
    return both


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
