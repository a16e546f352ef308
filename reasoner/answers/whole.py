"""Answers that are a whole reply: a JSON value, any text, or the calls of tools that a model wrote."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, get_args

from reasoner.answers.forms import Opening
from reasoner.answers.reading import Cut, Extract, SameKey, digest
from reasoner.errors import require_choice
from reasoner.system.files import parse_json
from reasoner.types import Answer

LONGEST: Final = 1_000_000
"""Characters of a reply that is read."""
_FENCED: Final = re.compile(r"^```(?:json)?[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JsonSpace(SameKey):
    """A JSON value; two are equal if they parse to the same value, whatever the order of names and the layout.

    A reply is read if it is one value as a whole, or else its last fenced block that is one. Numbers are equal by
    value, so 1.0 is 1. With `json_schema` among the sampling parameters, every reply that is not cut is one.
    """

    name: ClassVar[str] = "json"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Answer with one JSON value and nothing else."
    opening: ClassVar[Opening] = Opening("\n\n```json\n", "", "", ("\n```",), tokens=256)

    extract: Extract = "probe"
    cut: Cut = "drop"

    def __post_init__(self) -> None:
        require_choice(self.extract, "extract", get_args(Extract))
        require_choice(self.cut, "cut", get_args(Cut))

    def read(self, text: str) -> Answer | None:
        """The value that the reply is, or that its last fenced block is; the key is a digest, 32 hex digits."""
        if len(text) > LONGEST:
            return None
        for rule, candidate in [("whole", text), *(("fenced", block) for block in reversed(_FENCED.findall(text)))]:
            if (key := _key(candidate)) is not None:
                return Answer(candidate.strip(), key, rule)
        return None


def _key(text: str) -> str | None:
    try:
        value = plain(parse_json(text))
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return digest(canonical)


def plain(value: Any) -> Any:
    """The value with whole floats as integers."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class FreeSpace(SameKey):
    """The whole reply, as written; two are equal if they are the same text. The prompt is not changed.

    It is for strategies that choose among replies without counting equal ones, such as `best_of_n` and `universal`. A
    reply of blanks alone is no answer. Nothing in the text is interpreted, so its marks of thinking remain.
    """

    name: ClassVar[str] = "free"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = ""

    def read(self, text: str) -> Answer | None:
        """All of the text, without the blanks around it; its key is a digest, 32 hex digits."""
        written = text.strip()
        if not written:
            return None
        return Answer(written, digest(written), "whole")


REPLY: Final = "reply"
"""The key of all replies without a call."""
_TAGGED: Final = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION: Final = re.compile(r"\s*<function=([^>\s]{1,256})>(.*?)(?:</function>\s*)?", re.DOTALL)
_PARAMETER: Final = re.compile(r"<parameter=([^>\s]{1,256})>\n?(.*?)\n?</parameter>", re.DOTALL)


class ToolCall(NamedTuple):
    """A call of a tool: its name and its arguments, a JSON object as text."""

    name: str
    arguments: str


class Calls(NamedTuple):
    """A reply as text and calls of tools; either may be empty."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def read_calls(reply: str) -> Calls | None:
    """The calls in a reply and the text before them; None where it has a call that cannot be read.

    Three forms are read: `<tool_call>` around JSON with `name` and `arguments` (Hermes, Qwen), `<tool_call>` around
    `<function=NAME>` and `<parameter=NAME>` (Qwen3-Coder), and a reply that is such JSON as a whole, or a list of it
    (Llama 3).
    """
    if len(reply) > LONGEST:
        return None
    if match := _TAGGED.search(reply):
        tagged = _all(map(_tagged, _TAGGED.findall(reply)))
        return Calls(reply[: match.start()].strip(), tagged) if tagged else None
    value = _value(reply) if reply.lstrip()[:1] in ("{", "[") else None
    calls = _all(map(_from_json, value if isinstance(value, list) else [value]))
    return Calls("", calls) if calls else Calls(reply.strip())


def _all(calls: Iterable[ToolCall | None]) -> tuple[ToolCall, ...]:
    """The calls; empty if one of them could not be read."""
    read = tuple(calls)
    return () if None in read else tuple(call for call in read if call)


def _tagged(body: str) -> ToolCall | None:
    if function := _FUNCTION.fullmatch(body):
        return ToolCall(function[1], json.dumps({name: _value(text) for name, text in _PARAMETER.findall(function[2])}))
    return _from_json(_value(body))


def _value(text: str) -> Any:
    """The value of a text that is JSON, else the text."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def _from_json(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    arguments = _value(arguments) if isinstance(arguments, str) else arguments
    return ToolCall(value["name"], json.dumps(arguments)) if isinstance(arguments, dict) else None


def call_text(calls: Iterable[ToolCall]) -> str:
    """Calls as text that `read_calls` reads, for engines whose models write them otherwise."""
    bodies = [json.dumps(call._asdict()) for call in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


@dataclass(frozen=True, slots=True)
class ToolCallSpace(SameKey):
    """The tools that a reply calls, of those that there are; two are equal if names and arguments are, in any order.

    Replies without a call are all equal: what they say is not compared. A call of another tool is no answer.
    """

    tools: tuple[str, ...] = ()
    name: ClassVar[str] = "tool_call"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = ""

    def read(self, text: str) -> Answer | None:
        """The calls of a reply, with a digest of them as the key; None where it has no text and no call."""
        reply = read_calls(text)
        if reply is None or any(call.name not in self.tools for call in reply.calls):
            return None
        if not reply.calls:
            return Answer(reply.text, REPLY, REPLY) if reply.text else None
        try:
            values = [[call.name, plain(parse_json(call.arguments))] for call in reply.calls]
            canonical = sorted(json.dumps(value, sort_keys=True, allow_nan=False) for value in values)
        except (ValueError, RecursionError):
            return None
        key = digest("\0".join(canonical))
        return Answer(", ".join(f"{call.name}({call.arguments})" for call in reply.calls), key, "calls")
