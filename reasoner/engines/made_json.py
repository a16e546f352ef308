"""A JSON value that satisfies a schema, made around an answer: what the simulated engine replies in a form."""

import json
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from reasoner.errors import UsageError, shown

MAX_VALUES: Final = 2000
DEEP: Final = 8
"""From this depth on, null goes before other alternatives, so that a value that holds itself ends."""
MAX_DEPTH: Final = 40
MAX_TEXT: Final = 10_000
"""Characters of one text, and items of one list."""
MAX_TRIES: Final = 16
"""Places of a text at which a schema is looked for."""
_FORMATS: Final = {
    "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z", "duration": "P1D",
    "email": "someone@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uri": "https://example.com/", "url": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
_NOT_MADE: Final = (
    "not", "if", "pattern", "contains", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
    "dependencies", "minProperties", "prefixItems", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef",
)  # fmt: skip
_TYPES: Final = {"properties": "object", "required": "object", "items": "array", "minItems": "array",
                 "minimum": "number", "maximum": "number", "multipleOf": "number"}  # fmt: skip
"""The keywords that show a type where a schema names none."""


class _CannotMake(UsageError):
    """A part of a schema has no value that is made here; another part may have one."""


@lru_cache(maxsize=256)
def made_json(schema: str, answer: str, turn: int = 0) -> str:
    """JSON of a value that satisfies the JSON schema; numbers and texts in it are the answer where they may be.

    Of alternatives at the top of the schema, such as calls of several tools, number `turn` goes first.

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
    at = text.find("{")
    for _ in range(MAX_TRIES):
        if at < 0:
            break
        try:
            target, end = json.JSONDecoder().raw_decode(text, at)
            if isinstance(target.get("properties"), dict):
                return json.dumps(target)
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    return ""


class _Maker:
    def __init__(self, root: Any, answer: str) -> None:
        self._root = root
        self._answer = answer
        self._left = MAX_VALUES

    def made(self, schema: Any, depth: int = 0) -> Any:
        """A value of a schema, or of the first of its alternatives that has one."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise _CannotMake("the simulated engine makes no value so large: ask for a smaller schema")
        schema = {} if schema is True else _object(schema)
        if "$ref" in schema:
            return self.made({**self._resolved(schema["$ref"]), **_without(schema, "$ref")}, depth + 1)
        if "allOf" in schema:
            return self.made(_merged([_without(schema, "allOf"), *_listed(schema, "allOf")]), depth + 1)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                rest = _without(schema, choice)
                return self._first([{**rest, **_object(part)} for part in _listed(schema, choice)], depth + 1)
        return self._plain(schema, depth)

    def _plain(self, schema: dict[str, Any], depth: int) -> Any:
        """A value of a schema that does not name others."""
        for keyword in _NOT_MADE:
            if (value := schema.get(keyword, True)) is not True and value != {}:
                raise _CannotMake(f"the simulated engine makes no value for the keyword {keyword} of a JSON schema")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            options = _listed(schema, "enum")
            return next((option for option in options if str(option) == self._answer), options[0])
        kind = schema.get("type") or next(
            (_TYPES[word] for word in schema if schema[word] and word in _TYPES), "string"
        )
        if isinstance(kind, list):
            kinds = sorted(kind, key=lambda each: each == "null")
            return self._first([{**schema, "type": each} for each in kinds], depth + 1)
        return self._typed(kind, schema, depth)

    def _first(self, schemas: list[dict[str, Any]], depth: int) -> Any:
        failure = _CannotMake("a JSON schema lists no alternative")
        for schema in sorted(schemas, key=lambda each: depth > DEEP and each.get("type") != "null"):
            try:
                return self.made(schema, depth)
            except _CannotMake as error:
                failure = error
        raise failure

    def _resolved(self, reference: Any) -> dict[str, Any]:
        """What a reference within the schema points to."""
        target = self._root
        start, *steps = reference.split("/") if isinstance(reference, str) else [""]
        for step in steps:
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        if start != "#" or not isinstance(target, dict):
            raise _CannotMake(f"the reference {shown(reference)} of a JSON schema points to nothing in it")
        return target

    def _typed(self, kind: Any, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                properties = _object(schema.get("properties", {}))
                more = schema.get("additionalProperties", True)
                # What nobody requires is left out of deep objects, which may hold themselves.
                names = schema.get("required") or (list(properties) if depth <= 3 else [])
                return {name: self.made(properties.get(name, more), depth + 1) for name in names}
            case "array":
                length = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1)))
                if length > MAX_TEXT or (schema.get("uniqueItems") and length > 1):
                    raise _CannotMake(f"the simulated engine makes no list of {length:,} items for this JSON schema")
                return [self.made(schema.get("items", True), depth + 1) for _ in range(length)]
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "string":
                return self._text(schema)
            case "boolean":
                return self._answer.lower() not in ("no", "false", "0")
            case "null":
                return None
        raise _CannotMake(f"the type {shown(kind)} of a JSON schema is none of JSON's")

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        try:
            wanted = Fraction(self._answer.replace(",", ""))
        except (ValueError, ZeroDivisionError):
            wanted = Fraction(7)
        step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else Fraction(int(whole))
        if whole and step.denominator > 1:
            step = Fraction(step.numerator)
        nudge = step or Fraction(1, 1000)
        zero = Fraction(0)
        limits = {"minimum": zero, "exclusiveMinimum": nudge, "maximum": zero, "exclusiveMaximum": -nudge}
        # Limits of the fourth draft, which are true or false, count as none.
        given = {name: schema[name] for name in limits if not isinstance(schema.get(name, True), bool)}
        exact = {name: Fraction(str(value)) + limits[name] for name, value in given.items()}
        low = max((value for name, value in exact.items() if "inimum" in name), default=None)
        high = min((value for name, value in exact.items() if "aximum" in name), default=None)
        value = wanted if high is None else min(wanted, high)
        value = value if low is None else max(value, low)
        if step:
            value = math.floor(value / step) * step
            value += step if low is not None and value < low else 0
        if high is not None and value > high:
            raise _CannotMake("the simulated engine finds no number within the limits of this JSON schema")
        return int(value) if value.denominator == 1 else float(value)

    def _text(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", MAX_TEXT)
        if least > min(most, MAX_TEXT):
            raise _CannotMake(f"the simulated engine makes no text of {least:,} characters")
        return _FORMATS.get(schema.get("format", "")) or self._answer.ljust(least, ".")[:most]


def _merged(schemas: Iterable[Any]) -> dict[str, Any]:
    """One schema for all: the properties of each, and all that each requires."""
    merged: dict[str, Any] = {}
    for schema in map(_object, schemas):
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged = {**merged, **schema, "properties": properties, "required": required}
    return merged


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _CannotMake(f"a part of a JSON schema must be an object (got {shown(value)})")
    return value


def _listed(schema: dict[str, Any], keyword: str) -> list[Any]:
    value = schema[keyword]
    if not isinstance(value, list) or not value:
        raise _CannotMake(f"{keyword} of a JSON schema must be a list (got {shown(value)})")
    return value


def _without(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}
