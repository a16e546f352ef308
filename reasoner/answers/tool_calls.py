"""Calls of tools that a model wrote: read from its reply, passed to the client, and never made here."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from reasoner.answers.whole import LONGEST
from reasoner.system.files import parse_json

_TAGGED: Final = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION: Final = re.compile(
    r"\s*<function=([^>\s]{1,256})>(.*?)(?:</function>\s*)?", re.DOTALL
)
_PARAMETER: Final = re.compile(r"<parameter=([^>\s]{1,256})>")
_CLOSING: Final = "</parameter>"


class ToolCall(NamedTuple):
    """A call of a tool: its name and its arguments, a JSON object as text."""

    name: str
    arguments: str


class ToolReply(NamedTuple):
    """A reply as text and calls of tools; either may be empty."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def read_calls(reply: str) -> ToolReply | None:
    """The calls in a reply and the text before them; None where it has a call that cannot be read.

    Three forms are read: `<tool_call>` around JSON with `name` and `arguments` (Hermes, Qwen), `<tool_call>` around
    `<function=NAME>` and `<parameter=NAME>` (Qwen3-Coder), and a reply that is such JSON as a whole, or a list of it
    (Llama 3).
    """
    if len(reply) > LONGEST:
        return None
    if match := _TAGGED.search(reply):
        tagged = _all(map(_tagged, _TAGGED.findall(reply)))
        return ToolReply(reply[: match.start()].strip(), tagged) if tagged else None
    value = _value(reply) if reply.lstrip()[:1] in ("{", "[") else None
    calls = _all(map(_from_json, value if isinstance(value, list) else [value]))
    return ToolReply("", calls) if calls else ToolReply(reply.strip())


def _all(calls: Iterable[ToolCall | None]) -> tuple[ToolCall, ...]:
    """The calls; empty if one of them could not be read."""
    read = tuple(calls)
    return () if None in read else tuple(call for call in read if call)


def _tagged(body: str) -> ToolCall | None:
    if function := _FUNCTION.fullmatch(body):
        return ToolCall(
            function[1],
            json.dumps({name: _value(text) for name, text in _parameters(function[2])}),
        )
    return _from_json(_value(body))


def _parameters(body: str) -> Iterator[tuple[str, str]]:
    """The name and the text of each parameter that closes, without a line break at its ends."""
    position = 0
    while opening := _PARAMETER.search(body, position):
        closing = body.find(_CLOSING, opening.end())
        if closing < 0:
            return
        yield (
            opening[1],
            body[opening.end() : closing].removeprefix("\n").removesuffix("\n"),
        )
        position = closing + len(_CLOSING)


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
    return (
        ToolCall(value["name"], json.dumps(arguments))
        if isinstance(arguments, dict)
        else None
    )


def call_text(calls: Iterable[ToolCall]) -> str:
    """Calls as text that `read_calls` reads, for engines whose models write them otherwise."""
    bodies = [json.dumps(call._asdict()) for call in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)
