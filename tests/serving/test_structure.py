"""Replies of a form: JSON of a schema, and calls of tools, alone and in votes."""

import json
from typing import Any

import jsonschema
import pytest
from openai.types.chat import ChatCompletion

from reasoner.serving.chat import ChatReply
from reasoner.serving.errors import ApiError
from reasoner.testing.scripted import ScriptedEngine
from tests.running import running
from tests.serving.asking import CLIENTS, answered, chat, only, read_as, refusal

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds."}}
SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}},
    "required": ["sum"],
}
FORM = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}


def call(city: str) -> str:
    return f'I look. <tool_call>{{"name": "weather", "arguments": {{"city": "{city}"}}}}</tool_call>'


def by_index(*replies: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request: replies[request.index % len(replies)])


async def reply(engine: ScriptedEngine, **fields: Any) -> ChatCompletion:
    request = chat(**fields)
    completion: ChatCompletion = read_as(
        ChatCompletion, ChatReply(request).whole(await answered(engine, request))
    )
    return completion


@running
async def test_with_tools_a_vote_is_one_reply_that_passes_through() -> None:
    engine = by_index(call("Rome"), call("Oslo"))
    given = await reply(engine, model="m@vote8", tools=[WEATHER, ADD])
    [choice] = given.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.tool_calls
    [made] = choice.message.tool_calls
    assert made.type == "function"
    assert (made.function.name, json.loads(made.function.arguments)) == (
        "weather",
        {"city": "Rome"},
    )
    told = given.model_extra["reasoner"]
    assert told["cost"]["samples"] == 1
    assert any("passed through" in note for note in told["notes"])


@pytest.mark.parametrize(
    ("choice", "valid", "invalid"),
    [
        (
            "required",
            [("weather", {"city": "Oslo"}), ("add", {"a": 1})],
            [("weather", {"city": 7}), ("rm", {})],
        ),
        (
            {"type": "function", "function": {"name": "weather"}},
            [("weather", {})],
            [("add", {})],
        ),
    ],
)
def test_a_call_that_must_be_made_is_a_schema(
    choice: Any, valid: list[Any], invalid: list[Any]
) -> None:
    job = only(tools=[WEATHER, ADD], tool_choice=choice)
    check = jsonschema.Draft202012Validator(json.loads(job.strategy.params.json_schema))
    assert all(
        check.is_valid({"name": name, "arguments": values}) for name, values in valid
    )
    assert not any(
        check.is_valid({"name": name, "arguments": values}) for name, values in invalid
    )
    assert not check.is_valid([])


def test_references_in_the_parameters_of_a_tool_lead_to_the_same() -> None:
    day = {
        "properties": {"day": {"$ref": "#/$defs/Day"}, "next": {"$ref": "#"}},
        "required": ["day"],
    }
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "parameters": {**day, "$defs": {"Day": {"enum": [name]}}},
            },
        }
        for name in ("sun", "moon")
    ]
    check = jsonschema.Draft202012Validator(
        json.loads(
            only(tools=tools, tool_choice="required").strategy.params.json_schema
        )
    )
    assert check.is_valid(
        {"name": "moon", "arguments": {"day": "moon", "next": {"day": "moon"}}}
    )
    assert not check.is_valid({"name": "moon", "arguments": {"day": "sun"}})
    assert not check.is_valid(
        {"name": "sun", "arguments": {"day": "sun", "next": {"day": "moon"}}}
    )


@running
async def test_a_vote_compares_json_as_values() -> None:
    engine = by_index('{"sum": 7}', '{"sum": 8}', '{\n "sum": 7.0}')
    given = await reply(engine, model="m@vote8", response_format=FORM)
    assert json.loads(given.choices[0].message.content or "") == {"sum": 7}
    assert sorted(vote["count"] for vote in given.model_extra["reasoner"]["votes"]) == [
        3,
        5,
    ]
    for form, schema in ((FORM, SCHEMA), ({"type": "json_object"}, {"type": "object"})):
        job = only(response_format=form)
        assert json.loads(job.strategy.params.json_schema) == schema
        assert job.passes_through


@pytest.mark.parametrize("name", sorted(set(CLIENTS) - {"auto"}))
def test_every_strategy_keeps_a_form_or_refuses_it(name: str) -> None:
    fields = {
        "response_format": FORM,
        "reasoner": {"strategy": name, "answer": "number"},
    }
    try:
        job = only(**fields)
    except ApiError:
        error = refusal(lambda: only(**fields))
        assert (error.status, error.param) == (400, "response_format")
    else:
        assert json.loads(job.strategy.params.json_schema) == SCHEMA


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {
                "tools": [
                    {
                        **ADD,
                        "function": {"name": "a", "parameters": {"x": "x" * 70_000}},
                    }
                ],
                "tool_choice": "required",
            },
            "tools",
        ),
        (
            {"tools": [WEATHER], "response_format": FORM, "tool_choice": "required"},
            "response_format",
        ),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "add"}},
            },
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_a_form_that_is_none_is_refused_by_its_field(
    fields: dict[str, Any], param: str
) -> None:
    error = refusal(lambda: only(**fields))
    assert (error.status, error.param) == (400, param)
    assert len(error.message) < 500
