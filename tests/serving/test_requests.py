"""What the server reads: OpenAI's requests, and errors in its form for everything else."""

from typing import Any

import pytest

from reasoner.serving.requests import ChatRequest, Tool, read
from reasoner.serving.responses import ResponseRequest
from reasoner.types import Message, SamplingParams
from tests.serving.asking import chat, encoded, refusal

MODELS: list[type[ChatRequest | ResponseRequest]] = [ChatRequest, ResponseRequest]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def response(**fields: Any) -> ResponseRequest:
    return read(encoded({"model": "m", "input": "Hi", **fields}), ResponseRequest)


def test_sampling_parameters_have_openais_names_and_vllms() -> None:
    request = chat(
        temperature=0,
        top_p=0.5,
        top_k=-1,
        min_p=0.1,
        max_tokens=9,
        stop="\n",
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias={"7": -100, "3": 5},
        bad_words=["x"],
    )
    assert request.params == SamplingParams(
        temperature=0,
        top_p=0.5,
        top_k=0,
        min_p=0.1,
        max_tokens=9,
        stop=("\n",),
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias=((3, 5), (7, -100)),
        bad_words=("x",),
    )
    assert chat(stop=["a", "b"]).params.stop == ("a", "b")
    assert chat(max_tokens=9, max_completion_tokens=5).params.max_tokens == 5
    assert chat().params == SamplingParams()


def test_turns_may_be_parts_of_text_and_replies_that_are_sent_back() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "refusal", "refusal": "two"}]
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "ada"},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "hm",
            "tool_calls": [call],
        },
        {"role": "tool", "content": "It rains.", "tool_call_id": "c"},
    ]
    first, second, third, last = chat(messages=turns).turns
    assert (first, second) == (
        Message("system", "Be brief."),
        Message("user", "one\ntwo"),
    )
    assert (third.content, third.fields["tool_calls"]) == ("", [call])
    assert (last.content, last.fields["tool_call_id"]) == ("It rains.", "c")


def test_a_field_that_is_null_ignored_or_asks_for_nothing_has_no_effect_and_others_are_refused() -> (
    None
):
    assert (
        chat(
            **dict.fromkeys(
                [*ChatRequest.model_fields.keys() - {"model", "messages", "seed"}]
            )
        )
        == chat()
    )
    assert chat(**{field: {"a": "b"} for field in ChatRequest.ignored}) == chat()
    for field in ChatRequest.refused:
        error = refusal(lambda field=field: chat(**{field: True}))  # type: ignore[misc]
        assert (error.status, error.param, error.code) == (
            400,
            field,
            "unsupported_parameter",
        )
        assert chat(**{field: None}) == chat(**{field: False}) == chat()


def called(arguments: str) -> dict[str, Any]:
    call = {"function": {"name": "a", "arguments": arguments}}
    return {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]}


ARGUMENTS = "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"reasoner": {"strategy": ""}}, "reasoner.strategy", "1 to 4,000 characters"),
        ({"reasoner": {"answer": "nubmer"}}, "reasoner.answer", "mean 'number'?"),
        ({"reasoner": {"budget": "tokens"}}, "reasoner.budget", "tokens=4000"),
        ({"n": True}, "n", "(got True)"),
        ({"stop": [""]}, "stop[0]", "at least 1 character"),
        ({"messages": None}, "messages", "is missing"),
        (called("[1]"), ARGUMENTS, "a JSON object, as text"),
        (called("["), ARGUMENTS, "expecting value"),
        ({"stream_options": {"include_usage": True}}, None, "no effect without stream"),
        ({"tools": [WEATHER], "tool_choice": "x"}, "tool_choice", "(got 'x')"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "is missing"),
    ],
)
def test_what_does_not_fit_is_named(
    fields: dict[str, Any], param: str | None, says: str
) -> None:
    error = refusal(lambda: chat(**fields))
    assert (error.status, error.type, error.param) == (
        400,
        "invalid_request_error",
        param,
    )
    assert says in error.message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "must be a JSON object (got a list)"),
        (b"\xff\xfe", "not JSON: expected value at line 1 column 1"),
        (b'{"n": -Infinity}', "not JSON: invalid number"),
        (b'{"model": "\\ud800"}', "not JSON: unexpected end of hex escape"),
        (
            b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "recursion limit exceeded",
        ),
        (
            b"{" + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}",
            "fields that are unknown",
        ),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_request_at_all_is_refused(body: bytes, says: str) -> None:
    for model in MODELS:
        error = refusal(lambda model=model: read(body, model))  # type: ignore[misc]
        assert error.status == 400
        assert says in error.message


def test_a_response_is_a_chat() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    request = response(
        instructions="Be brief.",
        reasoning={"effort": "high", "summary": "auto"},
        max_output_tokens=7,
        temperature=1,
        top_p=0.5,
        reasoner={"answer": "number"},
        metadata={"a": "b"},
        store=False,
        tools=[],
        tool_choice="auto",
        text={"format": form, "verbosity": "low"},
    )
    asked = request.chat
    assert asked.turns == (Message("system", "Be brief."), Message("user", "Hi"))
    assert asked.thinking == "high"
    assert asked.reasoner == request.reasoner
    assert asked.params == SamplingParams(temperature=1, top_p=0.5, max_tokens=7)
    assert asked.response_format
    assert asked.response_format.schema_given == {"type": "object"}


def test_the_tools_of_a_response_and_what_was_called_are_those_of_a_chat() -> None:
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{name}",
            "call_id": name,
            "name": "weather",
            "arguments": sent,
        }
        for name, sent in (("a", '{"city": "Oslo"}'), ("b", ""))
    ]
    outputs: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": [{"type": "input_text", "text": "sun"}],
        },
    ]
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "item_reference", "id": "rs_1"},
        {"type": "reasoning", "id": "rs", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        *calls,
        *outputs,
        *calls[:1],
    ]
    tool = {
        "type": "function",
        "name": "weather",
        "description": "d",
        "parameters": {"type": "object"},
        "strict": True,
    }
    asked = response(
        input=items, tools=[tool], tool_choice={"type": "function", "name": "weather"}
    ).chat
    chat_tool = {
        "name": "weather",
        "description": "d",
        "parameters": {"type": "object"},
    }
    assert [each.function.model_dump() for each in asked.tools] == [chat_tool]
    assert isinstance(asked.tool_choice, Tool)
    assert asked.tool_choice.function.name == "weather"
    assert [turn.role for turn in asked.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    _, called, first, second, again = asked.turns
    assert called.content == "I look."
    sent = [
        (call["id"], call["function"]["arguments"])
        for call in called.fields["tool_calls"]
    ]
    assert sent == [("a", '{"city": "Oslo"}'), ("b", "{}")]
    assert (first.content, first.fields["tool_call_id"]) == ("rain", "a")
    assert (second.content, second.fields["tool_call_id"]) == ("sun", "b")
    assert [call["id"] for call in again.fields["tool_calls"]] == ["a"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "x"}, "previous_response_id"),
        ({"tools": [WEATHER]}, "tools[0].name"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": []}, "input"),
    ],
)
def test_a_response_keeps_nothing_and_calls_functions_only(
    fields: dict[str, Any], param: str
) -> None:
    assert refusal(lambda: response(**fields)).param == param
