"""A JSON value that satisfies a plain schema, made around an answer: what the simulated engine replies in a form."""

import json
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from reasoner.errors import UsageError

DEEP: Final = 8
"""From this depth on, null goes before other alternatives, so that a value that holds itself ends."""
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 2000
_READ: Final = {
    "type", "properties", "required", "items", "minItems", "enum", "const", "anyOf", "oneOf", "$ref", "minimum",
    "additionalProperties", "$defs", "definitions", "$schema", "$id", "title", "description", "default", "examples",
}  # fmt: skip
"""The keywords that are read, and those that say nothing of a value."""


@lru_cache(maxsize=256)
def made_json(schema: str, answer: str, turn: int = 0) -> str:
    """JSON of a value that satisfies the schema; numbers and texts in it are the answer where they may be.

    Of alternatives at the top of the schema, such as calls of several tools, number `turn` is taken.

    Raises:
        UsageError: the schema has keywords for which no value is made, or a value would be too large.
    """
    try:
        root = json.loads(schema)
        if choices := root.get("anyOf"):
            root["anyOf"] = [choices[turn % len(choices)]]
        return json.dumps(_Maker(root, answer).made(root), ensure_ascii=False)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"the simulated engine cannot read this JSON schema: {str(error)[:80]}") from None


class _Maker:
    def __init__(self, root: Any, answer: str) -> None:
        self._root = root
        self._answer = answer
        self._left = MAX_VALUES

    def made(self, schema: Any, depth: int = 0) -> Any:
        """A value of a schema."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise UsageError("the simulated engine makes no value so large: ask for a smaller schema")
        schema = {} if schema is True else schema
        if unread := sorted(schema.keys() - _READ):
            raise UsageError(f"the simulated engine makes no value for the keyword {unread[0]} of a JSON schema")
        if reference := schema.get("$ref"):
            target = self._root
            for step in reference.removeprefix("#").split("/")[1:]:
                target = target[step]
            return self.made(target, depth + 1)
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            order = sorted(choices, key=lambda each: depth > DEEP and each.get("type") != "null")
            return self.made(order[0], depth + 1)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return next((option for option in options if str(option) == self._answer), options[0])
        kind = schema.get("type") or ("object" if "properties" in schema else "string")
        return self._typed(next(each for each in kind if each != "null") if type(kind) is list else kind, schema, depth)

    def _typed(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                properties = schema.get("properties", {})
                names = schema.get("required") or (list(properties) if depth <= DEEP else [])
                return {name: self.made(properties.get(name, True), depth + 1) for name in names}
            case "array":
                return [self.made(schema.get("items", True), depth + 1) for _ in range(schema.get("minItems", 1))]
            case "integer" | "number":
                return self._number(schema.get("minimum"), whole=kind == "integer")
            case "boolean":
                return self._answer.lower() not in ("no", "false", "0")
            case "null":
                return None
        return self._answer

    def _number(self, minimum: float | None, *, whole: bool) -> float:
        value = 7.0
        with suppress(ValueError):
            value = float(self._answer.replace(",", ""))
        value = value if minimum is None else max(value, minimum)
        return int(value) if whole or value == int(value) else value
