"""Calls of tools in replies: three forms, compared by name and arguments."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.tool_calls import (
    REPLY,
    ToolCall,
    ToolCallSpace,
    call_text,
    read_calls,
)
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.openai import wire
from reasoner.types import Message, Prompt, SamplingParams

SPACE = ToolCallSpace(("weather", "add"))
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
CODER = "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>"
LLAMA = '{"name": "weather", "parameters": {"days": 2.0, "city": "Oslo"}}'
OTHER = '<tool_call>{"name": "weather", "arguments": {"city": "Rome", "days": 2}}</tool_call>'


def test_the_same_call_in_three_forms_is_one_answer() -> None:
    answers = [
        SPACE.read(f"Let me look.\n{text}" if text != LLAMA else text)
        for text in (HERMES, CODER, LLAMA)
    ]
    other = SPACE.read(OTHER)
    assert None not in answers
    assert len({answer.key for answer in (*answers, other) if answer}) == 2


def test_the_order_of_calls_does_not_count_and_their_number_does() -> None:
    both, turned, twice = (
        SPACE.read(text) for text in (HERMES + OTHER, OTHER + HERMES, HERMES + HERMES)
    )
    keys = [answer and answer.key for answer in (both, turned, twice)]
    assert keys[0] == keys[1] != keys[2]


def test_replies_without_a_call_are_one_class() -> None:
    first, second = SPACE.read("It is sunny."), SPACE.read("I cannot know.")
    assert [answer and answer.key for answer in (first, second)] == [REPLY, REPLY]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        '<tool_call>{"name": "delete", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": "{"}</tool_call>',
        '<tool_call>{"name": 7}</tool_call>',
        "<tool_call>" + "[" * 100_000,
        "<tool_call>" * 10_000,
        '<tool_call>{"name": "weather", "arguments": {"city": NaN}}</tool_call>',
        f"{HERMES}<tool_call>half of",
    ],
)
def test_a_malformed_call_or_one_of_an_unknown_tool_is_no_answer(text: str) -> None:
    assert SPACE.read(text) is None


ARGUMENTS = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4
)


@given(st.lists(st.tuples(st.sampled_from(SPACE.tools), ARGUMENTS), max_size=3))
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
