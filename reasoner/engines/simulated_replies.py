"""What the simulated engine replies: the answers to arithmetic, instances of JSON schemas, and calls of tools."""

import json
import random
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from reasoner.answers.expressions import evaluate
from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.errors import UsageError, shown
from reasoner.system.files import parse_json
from reasoner.types import Prompt

_ASKED: Final = re.compile(
    r"(?:what is|what's|how much is|calculate|compute|evaluate|work out)?\s*([^?=]+?)\s*(?:=\s*)?\??\.?",
    re.IGNORECASE,
)
_WORDS: Final = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "x": "*",
}
DEEPEST: Final = 40
"""The most levels of an instance."""
BRIEF: Final = 4
"""The level after which only what is required is written: a schema that refers to itself ends."""
_OBEYED: Final = {"$ref", "anyOf", "oneOf", "const", "enum", "type", "properties"} | {
    *("required", "items", "additionalProperties")
}
_SILENT: Final = {"$schema", "$id", "$defs", "definitions", "title", "description"} | {
    *("default", "examples", "strict")
}
"""Keywords that limit nothing."""


def arithmetic(text: str) -> Fraction | None:
    """The value of the last paragraph that is only an arithmetic question; None without one."""
    return read_arithmetic(text)[0]


@lru_cache(maxsize=4096)
def read_arithmetic(text: str) -> tuple[Fraction | None, tuple[str, ...]]:
    """The value of what `arithmetic` finds, and the answers that are stated after it."""
    after = list[str]()
    for paragraph in reversed(text.split("\n\n")):
        # The longest paragraph, in characters, that is read as arithmetic
        if len(paragraph) <= 1000 and (match := _ASKED.fullmatch(paragraph.strip())):
            expression = evaluate(
                re.sub(
                    r"\s(multiplied by|divided by|plus|minus|times|x)\s",
                    lambda word: f" {_WORDS[word[1].lower()]} ",
                    match[1],
                    flags=re.IGNORECASE,
                )
            )
            if expression and len(expression.constants) > 1:
                return expression.value, tuple(
                    re.findall(
                        r"The answer is (-?\d+(?:[./]\d+)?)", "\n".join(reversed(after))
                    )
                )
        after.append(paragraph)
    return None, ()


def written(value: Fraction) -> str:
    """A value as a decimal number of at most 6 decimal places, else as a fraction."""
    decimal = value * 10**6
    return f"{float(value):.12g}" if decimal.denominator == 1 else str(value)


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


def named_call(prompt: Prompt, answer: str, source: random.Random) -> str:
    """A call, as text, of the tool that the last turn of the user names; empty where it names none.

    Raises:
        UsageError: the parameters of the tool have no instance.
    """
    if not prompt.tools or prompt.messages[-1].role != "user":
        return ""
    for tool in json.loads(prompt.tools):
        function = tool["function"]
        if _names(prompt, function["name"]):
            parameters = json.dumps(function.get("parameters") or {"type": "object"})
            return call_text(
                [ToolCall(function["name"], instance(parameters, answer, source))]
            )
    return ""


def in_turn(schema: str, prompt: Prompt) -> str:
    """The schema of a call that must be made, with the tools first that were not called yet and are named."""
    parsed = json.loads(schema)
    if not prompt.tools or "anyOf" not in parsed:
        return schema
    called = {
        call["function"]["name"]
        for message in prompt.messages
        for call in message.fields.get("tool_calls", [])
    }

    def turn(call: Any) -> tuple[bool, bool]:
        name = call["properties"]["name"]["const"]
        return name in called, not _names(prompt, name)

    return json.dumps({**parsed, "anyOf": sorted(parsed["anyOf"], key=turn)})


def _names(prompt: Prompt, name: str) -> bool:
    turns = [message.content for message in prompt.messages if message.role == "user"]
    return bool(turns and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", turns[-1]))
