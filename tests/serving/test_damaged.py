"""Requests that are almost right, damaged anywhere: whatever a client sent wrongly is a 400 in the form of its route."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.engines.simulated import SimulatedEngine
from tests.serving.running import Server, serving

INFINITE = "an infinite number"
"""Stands for a number that is JSON, and too large for any computer."""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED = "What is 3 + 4?"
VENDOR = {
    "strategy": "self_consistency:n=2",
    "answer": "number",
    "budget": {"tokens": 4000},
    "stop": "beta",
}
CALL = {
    "id": "c",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
CHAT: dict[str, Any] = {
    "model": "simulated",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
        {"role": "user", "content": [{"type": "text", "text": ASKED}]},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    ],
    "tool_choice": "auto",
    "stream": True,
    "stop": ["x"],
    "logit_bias": {"3": 1},
    "reasoner": VENDOR,
}
MESSAGES: dict[str, Any] = {
    "model": "simulated",
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool_use",
                    "id": "t",
                    "name": "weather",
                    "input": {"city": "Oslo"},
                }
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}],
        },
        {"role": "user", "content": [{"type": "text", "text": ASKED}]},
    ],
    "tools": [{"name": "weather", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 10},
    "output_config": {"effort": "low"},
    "reasoner": VENDOR,
}
RESPONSES: dict[str, Any] = {
    "model": "simulated",
    "instructions": "Be brief.",
    "input": [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"},
        {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
    ],
    "tools": [
        {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
    ],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoner": VENDOR,
}
COUNTED = {name: value for name, value in MESSAGES.items() if name != "max_tokens"}
ROUTES = {
    "chat/completions": CHAT,
    "messages": MESSAGES,
    "messages/count_tokens": COUNTED,
    "responses": RESPONSES,
}
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    1.5,
    INFINITE,
    "",
    "x",
    "a b",
    "\x00",
    [],
    {},
    [[]],
    [None],
    {"": None},
    [{}],
    "none",
    "required",
    "any",
    "function",
    "assistant",
    "system",
    "single",
    "{",
    "[1]",
    '{"a": 1e999}',
    {"type": "tool"},
    {"type": "tool", "name": "a b"},
    {"type": "function"},
    {"type": "function", "name": ""},
    {"type": "function", "function": {"name": ""}},
    {"type": "json_schema"},
    {"$ref": "#/x"},
    {"a": INFINITE},
    {"type": "item_reference", "id": "msg_x"},
    {"type": "json_schema", "schema": {"type": 7}},
)


def places(part: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a document has values, as keys that lead there."""
    if at:
        yield at
    inside = (
        part.items()
        if isinstance(part, dict)
        else enumerate(part)
        if isinstance(part, list)
        else ()
    )
    for key, value in inside:
        yield from places(value, (*at, key))


@st.composite
def damaged(draw: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """A route, and a request of it with some damages."""
    route = draw(st.sampled_from([*ROUTES]))
    body = copy.deepcopy(ROUTES[route])
    for _ in range(draw(st.integers(1, 4))):
        *path, key = draw(st.sampled_from([*places(body)]))
        holder: Any = body
        for part in path:
            holder = holder[part]
        match draw(st.sampled_from(["replace", "replace", "remove", "repeat", "add"])):
            case "replace":
                holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
            case "remove":
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder[key:key] = [
                    copy.deepcopy(holder[key])
                    for _ in range(draw(st.sampled_from([1, 2100])))
                ]
            case "add" if isinstance(holder, dict):
                holder[
                    draw(st.sampled_from(["type", "name", "role", "content", "x"]))
                ] = draw(st.sampled_from(ODD))
    return route, body


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(SimulatedEngine(tokens=5)) as running:
        yield running
        assert running.reports == []


@given(damaged())
def test_what_a_client_sent_wrongly_is_no_fault_of_the_server(
    server: Server, asked: tuple[str, dict[str, Any]]
) -> None:
    route, body = asked
    sent = json.dumps(body).replace(json.dumps(INFINITE), "1e999")
    response = httpx.post(
        f"{server.base_url}/{route}",
        content=sent,
        headers={"Content-Type": "application/json"},
    )
    # On a machine that is busy, a body may come too late.
    assert response.status_code in {200, 400, 404, 408}
    if response.status_code != 200:
        document = response.json()
        error = document["error"]
        assert set(document) == (
            {"type", "error"} if route.startswith("messages") else {"error"}
        )
        assert set(error) == (
            {"type", "message"}
            if route.startswith("messages")
            else {"type", "message", "param", "code"}
        )
        assert (
            error["type"] in {"invalid_request_error", "not_found_error"}
            or response.status_code == 408
        )
        assert error["message"]
