"""Calls of tools in the form of OpenAI's API: those that a client sends back, and those of a reply."""

import json
from collections.abc import Sequence
from typing import Any

from reasoner.answers.tool_calls import ToolCall
from reasoner.serving.errors import ApiError
from reasoner.system.files import parse_json


def turn_fields(tool_calls: Sequence[dict[str, Any]] | None, tool_call_id: str | None) -> str:
    """The fields of a turn beyond its role and text, as JSON for the chat template; empty without any.

    Raises:
        ApiError: 400, a call is not in the form of OpenAI's API.
    """
    fields: dict[str, Any] = {}
    if tool_calls:
        fields["tool_calls"] = [_call(call) for call in tool_calls]
    if tool_call_id:
        fields["tool_call_id"] = tool_call_id
    return json.dumps(fields) if fields else ""


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
    try:
        valid = isinstance(name, str) and isinstance(arguments, str) and isinstance(parse_json(arguments or "{}"), dict)
    except ValueError:
        valid = False
    if not valid:
        wanted = '{"id": ..., "type": "function", "function": {"name": ..., "arguments": "{...}"}}'
        raise ApiError(400, f"a call of a tool must be {wanted}", param="messages")
    written = {"name": name, "arguments": arguments or "{}"}
    return {"id": str(call.get("id", ""))[:512], "type": "function", "function": written}


def call_objects(calls: Sequence[ToolCall], *, prefix: str) -> list[dict[str, Any]]:
    """Calls in the form of a reply; `prefix` makes their ids unique."""
    return [
        {
            "id": f"call_{prefix}_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(calls)
    ]
