"""A JSON value that satisfies a schema, made around an answer: what the simulated engine replies in a form."""

import json
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from reasoner.errors import UsageError, shown

MAX_DEPTH: Final = 40
DEEP: Final = 8
"""From this depth on, null goes before other alternatives."""
MAX_VALUES: Final = 2000
MAX_TRIES: Final = 16
"""Places of a text at which a schema is looked for."""
MAX_TEXT: Final = 10_000
"""Characters of one text, and items of one list."""
_FORMATS: Final = {
    "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z", "duration": "P1D",
    "email": "someone@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uri": "https://example.com/", "url": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
_NOT_MADE: Final = (
    "not", "if", "pattern", "contains", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
    "dependencies", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef",
)  # fmt: skip
_TYPES: Final = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""The keywords that show a type where a schema names none."""


class _CannotMake(UsageError):
    """A part of a schema has no value that is made here; another part may have one."""


@lru_cache(maxsize=256)
def made_json(schema: str, answer: str, turn: int = 0) -> str:
    """JSON of a value that satisfies the JSON schema; numbers and texts in it are the answer where they may be.

    Of alternatives at the top of the schema, such as calls of several tools, the one whose `turn` it is goes first.

    Raises:
        UsageError: the schema has keywords for which no value is made, or needs a value that is too large.
    """
    root = json.loads(schema)
    if isinstance(choices := root.get("anyOf"), list) and choices:
        position = turn % len(choices)
        root["anyOf"] = choices[position:] + choices[:position]
    try:
        return json.dumps(_Maker(root, answer).made(root), ensure_ascii=False)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"the simulated engine cannot read this JSON schema: {str(error)[:80]}") from None


def schema_in(text: str) -> str:
    """The first JSON schema of an object that a text holds, as clients write it into a prompt; empty without one."""
    at, tries = text.find("{"), 0
    while at >= 0 and tries < MAX_TRIES:
        tries += 1
        try:
            target, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(target.get("properties"), dict):
                return json.dumps(target)
        at = text.find("{", end)
    return ""


class _Maker:
    def __init__(self, root: Any, answer: str) -> None:
        self._root = root
        self._answer = answer
        self._left = MAX_VALUES

    def made(self, schema: Any, depth: int = 0, nth: int = 0) -> Any:
        """A value; the `nth` differs from those before it where the schema has so many."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise _CannotMake("the simulated engine makes no value so large: ask for a smaller schema")
        schema = {} if schema is True else _object(schema)
        if "$ref" in schema:
            return self.made(_merged([self._resolved(schema["$ref"]), _without(schema, "$ref")]), depth + 1, nth)
        if "allOf" in schema:
            return self.made(_merged([_without(schema, "allOf"), *_listed(schema, "allOf")]), depth + 1, nth)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                rest = _without(schema, choice)
                return self._first(({**rest, **_object(part)} for part in _listed(schema, choice)), depth + 1, nth)
        for keyword in _NOT_MADE:
            if schema.get(keyword, True) not in (True, {}):
                raise _CannotMake(f"the simulated engine makes no value for the keyword {keyword} of a JSON schema")
        return self._plain(schema, depth, nth)

    def _plain(self, schema: Mapping[str, Any], depth: int, nth: int) -> Any:
        """A value of a schema that does not name others."""
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            options = _listed(schema, "enum")
            first = next((position for position, option in enumerate(options) if str(option) == self._answer), 0)
            return options[(first + nth) % len(options)]
        shows = (kind for kind, words in _TYPES.items() if any(word in schema for word in words))
        kind = schema.get("type") or next(shows, "string")
        if isinstance(kind, list):
            kinds = sorted(kind, key=lambda each: each == "null")
            return self._first(({**schema, "type": each} for each in kinds), depth + 1, nth)
        return self._typed(kind, schema, depth, nth)

    def _first(self, schemas: Iterable[Any], depth: int, nth: int) -> Any:
        """A value of the first schema that has one."""
        failure = _CannotMake("a JSON schema lists no alternative")
        if depth > DEEP:
            # A value that holds itself ends.
            schemas = sorted(schemas, key=lambda each: each.get("type") != "null")
        for schema in schemas:
            try:
                return self.made(schema, depth, nth)
            except _CannotMake as error:
                failure = error
        raise failure

    def _resolved(self, reference: Any) -> Any:
        """What a reference within the schema points to."""
        target = self._root
        steps = reference.split("/") if isinstance(reference, str) else [""]
        for step in steps[1:]:
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        if steps[0] != "#" or target is None:
            raise _CannotMake(f"the reference {shown(reference)} of a JSON schema points to nothing in it")
        return target

    def _typed(self, kind: Any, schema: Mapping[str, Any], depth: int, nth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number":
                return self._number(schema, nth, whole=kind == "integer")
            case "string":
                return self._text(schema, nth)
            case "boolean":
                return (self._answer.lower() not in ("no", "false", "0")) != bool(nth % 2)
            case "null":
                return None
        raise _CannotMake(f"the type {shown(kind)} of a JSON schema is none of JSON's")

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = _object(schema.get("properties", {}))
        names = list(dict.fromkeys(schema.get("required", ()))) or (list(properties) if depth <= 3 else [])
        more = schema.get("additionalProperties", True)
        least = schema.get("minProperties", 0)
        others = [name for name in properties if name not in names]
        if more is not False:
            others += [f"field{number}" for number in range(1, min(least, MAX_VALUES) + 1)]
        names += others[: max(0, least - len(names))]
        if len(names) < least:
            raise _CannotMake(f"the simulated engine makes no object of {shown(least)} fields for this JSON schema")
        return {name: self.made(properties.get(name, more), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems", ())
        items = schema.get("items", True)
        most = schema.get("maxItems", MAX_TEXT)
        length = max(schema.get("minItems", 0), min(most, max(1 if items is not False else 0, len(first))))
        if length > MAX_TEXT:
            raise _CannotMake(f"the simulated engine makes no list of {length:,} items")
        made = [
            self.made(first[position] if position < len(first) else items, depth + 1, max(0, position - len(first)))
            for position in range(length)
        ]
        if schema.get("uniqueItems") and len({json.dumps(value, sort_keys=True) for value in made}) < length:
            raise _CannotMake("the simulated engine makes no list of so many different items for this JSON schema")
        return made

    def _number(self, schema: Mapping[str, Any], nth: int, *, whole: bool) -> float:
        try:
            wanted = Fraction(self._answer.replace(",", ""))
        except (ValueError, ZeroDivisionError):
            wanted = Fraction(7)
        step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else Fraction(1) if whole else Fraction(0)
        if whole and step.denominator > 1:
            step = Fraction(step.numerator)
        nudge = step or Fraction(1, 1000)
        lows = [_exact(schema, "minimum"), _exact(schema, "exclusiveMinimum", nudge)]
        highs = [_exact(schema, "maximum"), _exact(schema, "exclusiveMaximum", -nudge)]
        low = max((limit for limit in lows if limit is not None), default=None)
        high = min((limit for limit in highs if limit is not None), default=None)
        wanted += nth * (step or 1) * (1 if high is None or wanted + nth * (step or 1) <= high else -1)
        value = wanted if high is None else min(wanted, high)
        value = value if low is None else max(value, low)
        if step:
            value = math.floor(value / step) * step
            value += step if low is not None and value < low else 0
        if high is not None and value > high:
            raise _CannotMake("the simulated engine finds no number within the limits of this JSON schema")
        return int(value) if value.denominator == 1 else float(value)

    def _text(self, schema: Mapping[str, Any], nth: int) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", MAX_TEXT)
        if least > min(most, MAX_TEXT):
            raise _CannotMake(f"the simulated engine makes no text of {least:,} characters")
        if form := _FORMATS.get(schema.get("format", "")):
            return form
        self._left -= least // 64
        text = self._answer + (f" {nth + 1}" if nth else "")
        return text.ljust(least, ".")[:most]


def _exact(schema: Mapping[str, Any], keyword: str, plus: Fraction = Fraction(0)) -> Fraction | None:
    """A limit of a number; limits of the fourth draft, which are true or false, count as none."""
    limit = schema.get(keyword)
    return None if limit is None or isinstance(limit, bool) else Fraction(str(limit)) + plus


def _merged(schemas: Iterable[Any]) -> dict[str, Any]:
    """One schema for all: the properties of each, and all that each requires."""
    merged: dict[str, Any] = {}
    for schema in map(_object, schemas):
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged = {**merged, **schema}
        merged |= {"properties": properties} if properties else {}
        merged |= {"required": required} if required else {}
    return merged


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _CannotMake(f"a part of a JSON schema must be an object (got {shown(value)})")
    return value


def _listed(schema: Mapping[str, Any], keyword: str) -> list[Any]:
    value = schema[keyword]
    if not isinstance(value, list) or not value:
        raise _CannotMake(f"{keyword} of a JSON schema must be a list (got {shown(value)})")
    return value


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}
