"""What a reply must be: a JSON value of a schema, or calls of the tools that a request offers."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from reasoner.answers.tool_calls import ToolCallSpace
from reasoner.errors import shown
from reasoner.serving.errors import ApiError
from reasoner.serving.requests import ChatRequest
from reasoner.types import LONGEST_SCHEMA

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""The names of functions that OpenAI's API allows."""
MAX_TOOLS: Final = 1_000_000
"""Characters of all tools of a request."""


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """The form that a request asks for: a JSON schema, as JSON, and the tools that the model may call, as JSON.

    Without either the reply is text. `names` are those of the tools.
    """

    schema: str = ""
    tools: str = ""
    names: tuple[str, ...] = ()

    @property
    def space(self) -> ToolCallSpace:
        """The kind of answer of a vote on calls of the tools."""
        return ToolCallSpace(self.names)


def reply_form(request: ChatRequest) -> ReplyForm:
    """The form that a chat asks for.

    Raises:
        ApiError: 400, a tool or a schema is not one, or they contradict each other.
    """
    schema = _schema(request)
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, "none", "auto"):
            raise ApiError(400, "tool_choice has no effect without tools: leave it out", param="tool_choice")
        return ReplyForm(schema)
    functions = {function["name"]: function for function in map(_function, request.tools)}
    tools = _written(request.tools, "tools", MAX_TOOLS)
    if choice == "none":
        return ReplyForm(schema)
    if choice in (None, "auto"):
        if schema:
            raise ApiError(400, "a reply cannot both satisfy a schema and call tools: leave one of them out",
                           param="response_format")  # fmt: skip
        return ReplyForm("", tools, tuple(functions))
    if schema:
        raise ApiError(400, "tool_choice forces a call, which cannot satisfy the schema too", param="response_format")
    wanted = functions if choice == "required" else {name: functions[name] for name in [_forced(choice, functions)]}
    parameters = {name: function.get("parameters") or {"type": "object"} for name, function in wanted.items()}
    defined = {name: _moved(schema, f"#/$defs/{name}") for name, schema in parameters.items() if _refers(schema)}
    calls = [
        _call_schema(name, {"$ref": f"#/$defs/{name}"} if name in defined else schema)
        for name, schema in parameters.items()
    ]
    form = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if defined:
        form = {**form, "$defs": defined}
    return ReplyForm(_written(form, "tools", LONGEST_SCHEMA), tools, tuple(wanted))


def _schema(request: ChatRequest) -> str:
    form = request.response_format
    if form is None or form.type == "text":
        return ""
    if form.type == "json_object":
        return '{"type": "object"}'
    schema = (form.json_schema or {}).get("schema")
    if not isinstance(schema, dict):
        raise ApiError(400, f"response_format.json_schema.schema must be an object (got {shown(schema)})",
                       param="response_format.json_schema.schema")  # fmt: skip
    return _written(schema, "response_format.json_schema.schema", LONGEST_SCHEMA)


def _written(value: Any, param: str, longest: int) -> str:
    text = json.dumps(value, sort_keys=True)
    if len(text) > longest:
        raise ApiError(400, f"{param} must have at most {longest:,} characters (got {len(text):,})", param=param)
    return text


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise ApiError(400, 'a tool must be {"type": "function", "function": {...}}', param="tools")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        wanted = "1 to 64 letters, digits, dashes and underscores"
        raise ApiError(400, f"the name of a tool must be {wanted} (got {shown(name)})", param="tools")
    if not isinstance(function.get("parameters", {}), dict):
        raise ApiError(400, f"the parameters of the tool {name} must be a JSON schema, an object", param="tools")
    return function


def _forced(choice: Any, functions: dict[str, Any]) -> str:
    """The name of the tool that must be called."""
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        forms = 'none, auto, required or {"type": "function", "function": {"name": ...}}'
        raise ApiError(400, f"tool_choice must be {forms} (got {shown(choice)})", param="tool_choice")
    if name not in functions:
        known = ", ".join(functions)
        raise ApiError(400, f"tool_choice names {shown(name)}, which is none of the tools {known}", param="tool_choice")
    return name


def _refers(schema: dict[str, Any]) -> bool:
    return '"$ref"' in json.dumps(schema)


def _moved(schema: dict[str, Any], to: str) -> dict[str, Any]:
    """The schema as a part of another one, in which its references lead to the same."""

    def pointed(part: dict[str, Any]) -> dict[str, Any]:
        reference = part.get("$ref")
        return {**part, "$ref": to + reference[1:]} if isinstance(reference, str) and reference[:1] == "#" else part

    moved: dict[str, Any] = json.loads(json.dumps(schema), object_hook=pointed)
    return moved


def _call_schema(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The schema of one call as JSON."""
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
