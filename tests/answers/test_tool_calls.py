"""Calls of tools in replies: three forms, read and written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.tool_calls import ToolCall, call_text, read_calls
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.openai import wire
from reasoner.types import Message, Prompt, SamplingParams

HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
CODER = "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>"
LLAMA = '{"name": "weather", "parameters": {"days": 2.0, "city": "Oslo"}}'


@pytest.mark.parametrize("text", [HERMES, CODER, LLAMA])
def test_three_forms_of_a_call_are_read(text: str) -> None:
    read = read_calls(text)
    assert read is not None
    [made] = read.calls
    assert (made.name, json.loads(made.arguments)) == (
        "weather",
        {"city": "Oslo", "days": 2},
    )


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
        "<tool_call>" + "[" * 100_000,
        "<tool_call>" * 10_000,
        f"{HERMES}<tool_call>half of",
    ],
)
def test_a_malformed_call_is_not_read(text: str) -> None:
    assert read_calls(text) is None


ARGUMENTS = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4
)


@given(st.lists(st.tuples(st.sampled_from(["weather", "add"]), ARGUMENTS), max_size=3))
def test_what_is_written_is_read_again(
    calls: list[tuple[str, dict[str, object]]],
) -> None:
    found = read_calls(
        call_text(ToolCall(name, json.dumps(values)) for name, values in calls)
    )
    assert found is not None
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == calls


def test_calls_that_a_server_takes_out_of_a_reply_are_put_back() -> None:
    request = SampleRequest(
        "q",
        Prompt.chat("?"),
        RenderedPrompt(None, 5),
        SamplingParams(max_tokens=64),
        0,
        0,
    )
    draft = wire.Draft(request)
    pieces = [
        {"content": "I look. "},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "a",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {
            "tool_calls": [
                {"index": 1, "function": {"name": "add", "arguments": '{"a": 1}'}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    ]
    for piece in pieces:
        draft.add(json.dumps({"choices": [{"index": 0, "delta": piece}]}).encode())
    draft.add(
        b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}'
    )
    parts = draft.parts()
    assert parts is not None
    completion = draft.completion(draft.usage, parts)
    assert (completion.finish_reason, completion.ended) == ("stop", True)
    found = read_calls(completion.text)
    assert found is not None
    assert found.text == "I look."
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == [
        ("weather", {"city": "Oslo"}),
        ("add", {"a": 1}),
    ]


def test_tools_and_calls_are_a_part_of_what_a_prompt_is() -> None:
    plain = Prompt.chat("?")
    turn = Message("assistant", "", json.dumps({"tool_calls": [{"id": "a"}]}))
    others = [
        Prompt(plain.messages, tools="[]"),
        Prompt((*plain.messages, turn)),
        Prompt((*plain.messages, Message("assistant", ""))),
    ]
    assert len({prompt.digest for prompt in (plain, *others)}) == 4
    assert turn.fields == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a"}],
    }
