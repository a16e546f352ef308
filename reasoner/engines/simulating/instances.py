"""Instances of JSON schemas: what a model would write that is held to a schema."""

import json
import random
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from reasoner.errors import UsageError, shown
from reasoner.system.files import parse_json

DEEPEST: Final = 40
"""The most levels of an instance."""
BRIEF: Final = 4
"""The level after which only what is required is written: a schema that refers to itself ends."""
ANY_OBJECT: Final = '{"type": "object"}'
"""The schema that leaves an object to what the prompt says of it."""
_OBEYED: Final = {"$ref", "anyOf", "oneOf", "const", "enum", "type", "properties"} | {
    *("required", "items", "additionalProperties")
}
_SILENT: Final = {"$schema", "$id", "$defs", "definitions", "title", "description"} | {
    *("default", "examples", "strict")
}
"""Keywords that limit nothing."""


def instance(schema: str, answer: str, source: random.Random) -> str:
    """A value that satisfies a JSON schema, as JSON. It says `answer` where the schema lets it; the rest is drawn.

    Raises:
        UsageError: nothing satisfies the schema, or it has a keyword that is not obeyed here.
    """
    try:
        root = parse_json(schema)
        return json.dumps(
            _Writer(root, answer, source).value(root, 0), ensure_ascii=False
        )
    except UsageError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"json_schema is no JSON schema: {error}") from None


def schema_like(value: Any) -> dict[str, Any]:
    """The schema of values like this example: the same names, and the same types, which a text may say in words."""
    match value:
        case dict():
            return {
                "properties": {name: schema_like(part) for name, part in value.items()},
                "required": list(value),
            }
        case list():
            return {"items": schema_like(value[0]) if value else {}}
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "boolean" if "true or false" in value.lower() else "string"}
    return {}


@dataclass(frozen=True, slots=True)
class _Writer:
    root: Any
    answer: str
    source: random.Random

    def value(self, schema: Any, level: int) -> Any:
        """A value that satisfies a part of the root."""
        if level > DEEPEST:
            raise UsageError(f"json_schema has no instance of at most {DEEPEST} levels")
        schema = {} if schema is True else schema
        if unread := min(schema.keys() - _OBEYED - _SILENT, default=""):
            raise UsageError(
                f"json_schema has the keyword {unread}, which the simulated engine does not obey: leave it out, or ask "
                "a model"
            )
        match schema:
            case {"$ref": str(reference)}:
                return self.value(_referred(self.root, reference), level + 1)
            case {"anyOf": [*parts]} | {"oneOf": [*parts]}:
                # The last is often null, and ends a schema that refers to itself.
                return self.value(parts[-1 if level > BRIEF else 0], level + 1)
            case {"const": value}:
                return value
            case {"enum": [*values]}:
                answers = (self.answer, _number_in(self.answer))
                stated = [value for value in values if value in answers]
                return (stated or [self.source.choice(values)])[0]
        return self._typed(schema, level)

    def _typed(self, schema: dict[str, Any], level: int) -> Any:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        shape = "array" if "items" in schema else "any"
        kind = schema.get("type", "object" if properties or required else shape)
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "array":
            items = [schema.get("items", True)] * (level <= BRIEF)
            return [self.value(part, level + 1) for part in items]
        if kind == "object":
            names = dict.fromkeys([*(properties if level <= BRIEF else ()), *required])
            other = schema.get("additionalProperties", True)
            if not properties and other is not False:
                names = names or {"answer": None}
            return {
                name: self.value(properties.get(name, other), level + 1)
                for name in names
            }
        stated = _number_in(self.answer)
        number = self.source.randrange(10) if stated is None else stated
        return {
            "any": self.answer if stated is None else stated,
            "string": self.answer,
            "integer": int(number),
            "number": number,
            "boolean": self.source.random() < 1 / 2,
            "null": None,
        }[kind]


def _referred(root: Any, reference: str) -> Any:
    """The part of the root with this JSON pointer."""
    start, *names = reference.split("/")
    if start != "#":
        raise UsageError(
            f"json_schema refers to {shown(reference)}, outside of itself: put it into $defs"
        )
    for name in names:
        root = root[name.replace("~1", "/").replace("~0", "~")]
    return root


def _number_in(answer: str) -> int | float | None:
    """The number that an answer is, if any."""
    if not re.fullmatch(r"-?[0-9]{1,30}(?:[./][0-9]{0,29}[1-9])?", answer):
        return None
    number = Fraction(answer)
    return int(number) if number.denominator == 1 else float(number)
