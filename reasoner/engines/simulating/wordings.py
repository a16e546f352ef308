"""The form of a reply that a prompt asks for: in words, as client libraries and people write it, or by its tools."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from reasoner.answers.choices import choice_in
from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.engines.simulating.instances import instance, schema_like
from reasoner.errors import UsageError
from reasoner.types import Prompt


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


LONGEST: Final = 100_000
"""The characters of a prompt that are read for a form."""
_JSON: Final = re.compile(
    r"\b(?:in|as|of|valid|only|an?|one|the|this)\b[ \w`*'-]{0,30}\bjson\b|\bjson (?:object|array|value|schema)",
    re.IGNORECASE,
)
_EITHER: Final = re.compile(
    r"\b(yes|true)\b[\"'`*]*\s*(?:/|\||,|or)\s*(?:or\s+)?[\"'`*]*(no|false)\b",
    re.IGNORECASE,
)
_BARE: Final = re.compile(
    r"\b(?:only|just|nothing but|exactly)\b.{0,40}\b(?:letter|label|number|integer|answer|word|option|name|yes|true)\b"
    r"|\b(?:one|single) (?:word|letter|number|digit)\b|\bnothing else\b"
    r"|\b(?:letter|label|number|integer|answer|word|option|name|no|false) (?:only|alone)\b"
    r"|\b(?:answer|reply|respond)(?: with)?:? [\"'`*]*(?:yes|true)\b",
    re.IGNORECASE,
)
_SCHEMA: Final = {
    "properties",
    "$ref",
    "$defs",
    "enum",
    "anyOf",
    "items",
    "additionalProperties",
}
"""Keywords by which an object in a prompt is a schema, and no example of what is wanted."""


class Option(NamedTuple):
    """An answer that a prompt allows, and the text that it stands for."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Wording:
    """The form that a prompt asks for: JSON of a schema, sections, or an answer, with words around it unless `bare`.

    `options` are the answers that it allows; empty where any may be given. The first of them is the right one, unless
    the question shows another.
    """

    options: tuple[Option, ...] = ()
    schema: str = ""
    sections: tuple[str, ...] = ()
    bare: bool = False

    def reply(self, answer: str, source: random.Random) -> str:
        """A reply of this form with an answer."""
        if self.schema:
            try:
                return instance(self.schema, answer, source)
            except UsageError:
                # The prompt only speaks of it.
                return f"The answer is {answer}"
        if self.sections:
            return "\n\n".join(
                f"[[ ## {name} ## ]]\n{'' if name == 'completed' else answer}".strip()
                for name in self.sections
            )
        return answer if self.bare else f"The answer is {answer}"


@lru_cache(maxsize=1024)
def wording(instructions: str, question: str) -> Wording:
    """The form that the system turns and the last turn of a user ask for."""
    text = f"{instructions[:LONGEST]}\n\n{question[:LONGEST]}"
    # A section of a reply, as DSPy asks for it
    if sections := tuple(
        dict.fromkeys(re.findall(r"`\[\[ ## (\w{1,64}) ## \]\]`", question[:LONGEST]))
    ):
        return Wording(sections=sections)
    if _JSON.search(text):
        return Wording(schema=json.dumps(_wanted(text)))
    bare = bool(_BARE.search(text))
    options = list[Option]()
    if re.search(r"\b(?:letter|label|option|choice)\b", text, flags=re.IGNORECASE) and (
        choice := choice_in(question)
    ):
        options = list(map(Option, choice.known, choice.options))
    elif either := _EITHER.search(text):
        options = [Option(word, word) for word in either.groups()]
    random.Random(question).shuffle(options)
    return Wording(tuple(options), bare=bare)


def _wanted(text: str) -> dict[str, Any]:
    """The schema of the JSON that a text asks for: the last one in it, else of its last example or its names."""
    objects = list(_objects_in(text))
    if schemas := [value for value in objects if _SCHEMA & value.keys()]:
        return schemas[-1]
    if objects:
        return schema_like(objects[-1])
    names: dict[str, Any] = {
        name: {}
        for line in re.findall(
            r"^.*\b(?:json|fields?|keys?|properties)\b.*$",
            text,
            flags=re.IGNORECASE | re.MULTILINE,
        )
        for name in re.findall(r"[`\"'](\w{1,64})[`\"']", line)
    }
    if names:
        return {"properties": names, "required": list(names)}
    return (
        {}
        if re.search(r"\bjson value\b", text, flags=re.IGNORECASE)
        else {"type": "object"}
    )


def _objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that are not empty, without those inside of others."""
    decoder, position = json.JSONDecoder(), 0
    # How many braces of a prompt are tried as the begin of an object
    for _ in range(50):
        position = text.find("{", position)
        if position < 0:
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        if value:
            yield value
