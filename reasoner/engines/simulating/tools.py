"""Which tool is called where a prompt offers some: one that its last turn names, and none a second time."""

import json
import random
import re
from typing import Any

from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.engines.simulating.instances import instance
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
