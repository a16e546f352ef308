"""Anthropic's own client, unchanged, against a server on a free port."""

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import ToolUseBlock

from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.messages import MessageRequest
from reasoner.serving.requests import read
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import says
from tests.serving.running import Server, serving

KEY = "alice-0123456789"
WEATHER = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {}},
}


def client(server: Server, key: str = "none") -> Any:
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0)


def test_a_vote_whole_and_streamed() -> None:
    asked: dict[str, Any] = {
        "model": "simulated@vote8",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    }
    with (
        serving(SimulatedEngine(accuracy=1, tokens=10), keys={"alice": KEY}) as server,
        client(server, KEY) as asking,
    ):
        whole = asking.messages.create(**asked)
        assert [block.text for block in whole.content] == ["The answer is 7"]
        assert (whole.stop_reason, whole.model) == ("end_turn", "simulated@vote8")
        vendor = whole.model_extra["reasoner"]
        assert vendor["samples"] == 8
        assert whole.usage.output_tokens == vendor["cost"]["generated_tokens"]
        with asking.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        assert [block.type for block in streamed.content] == ["thinking", "text"]
        assert streamed.content[1].text == "The answer is 7"
        assert streamed.usage.output_tokens > 0
        for wrong, error, said in (
            ({"model": "other"}, anthropic.NotFoundError, "no model named 'other'"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
                anthropic.BadRequestError,
                "text",
            ),
        ):
            with pytest.raises(error, match=said) as caught:
                asking.messages.create(**{**asked, **wrong})
            body: Any = caught.value.body
            assert body["type"] == "error"
        with (
            client(server, "wrong-wrong-wrong") as stranger,
            pytest.raises(anthropic.AuthenticationError),
        ):
            stranger.messages.create(**asked)


def test_thinking_and_the_calls_of_tools_are_blocks() -> None:
    called = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    with (
        serving(ScriptedEngine(lambda _: f"I look. {called}")) as server,
        client(server) as asking,
    ):
        asked = {
            "model": "scripted",
            "max_tokens": 50,
            "tools": [WEATHER],
            "messages": [{"role": "user", "content": "?"}],
        }
        asked["model"] = server.service.offer.model.name
        for streams in (False, True):
            if streams:
                with asking.messages.stream(**asked) as stream:
                    message = stream.get_final_message()
            else:
                message = asking.messages.create(**asked)
            [use] = [
                block for block in message.content if isinstance(block, ToolUseBlock)
            ]
            assert (use.name, use.input, message.stop_reason) == (
                "weather",
                {"city": "Oslo"},
                "tool_use",
            )
    with (
        serving(ScriptedEngine(says("7"), model=THINKER)) as server,
        client(server) as asking,
    ):
        name = server.service.offer.model.name
        message = asking.messages.create(
            model=name, max_tokens=50, messages=[{"role": "user", "content": "3 + 4?"}]
        )
        assert [block.type for block in message.content] == ["thinking", "text"]
        silent = asking.messages.create(
            model=name,
            max_tokens=50,
            thinking={"type": "disabled"},
            messages=[{"role": "user", "content": "3 + 4?"}],
        )
        assert [block.type for block in silent.content] == ["text"]


def test_a_reply_that_is_cut_has_its_text_and_says_so() -> None:
    asked: dict[str, Any] = {
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    }
    with serving(SimulatedEngine(tokens=1e9)) as server, client(server) as asking:
        for model in ("simulated", "simulated@vote8", "simulated@best8"):
            message = asking.messages.create(model=model, **asked)
            assert [bool(block.text) for block in message.content] == [True], model
            assert message.stop_reason == "max_tokens"
    # Of thinking that is cut there is no text.
    with (
        serving(ScriptedEngine(says("7"), model=THINKER)) as server,
        client(server) as asking,
    ):
        message = asking.messages.create(model=server.service.offer.model.name, **asked)
        assert ([block.type for block in message.content], message.stop_reason) == (
            ["thinking"],
            "max_tokens",
        )


def test_the_tokens_of_a_prompt_are_counted() -> None:
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": "What is 3 + 4?"}]
    }
    with serving(SimulatedEngine()) as server, client(server) as asking:
        counted = [
            asking.messages.count_tokens(model=model, **asked, **more).input_tokens
            for model, more in (
                ("simulated", {}),
                ("simulated", {"system": "Be brief.", "tools": [WEATHER]}),
                ("simulated@vote8", {}),
            )
        ]
        plain, longer, voted = counted
        assert (plain, longer) == (5, 7)
        message = asking.messages.create(model="simulated@vote8", max_tokens=9, **asked)
        assert message.usage.input_tokens == 8 * voted


def test_a_history_with_tools_becomes_turns_of_a_chat() -> None:
    history = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {
                    "type": "tool_use",
                    "id": "t1",
                    "name": "weather",
                    "input": {"city": "Oslo"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "sun"}],
                },
                {"type": "text", "text": "So?"},
            ],
        },
    ]
    body = {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": history,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tool_choice": {"type": "any"},
        "tools": [WEATHER],
    }
    chat = read(json.dumps(body).encode(), MessageRequest).chat
    assert [turn.role for turn in chat.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert [turn.content for turn in chat.messages] == [
        "Be brief.",
        "Weather?",
        "I look.",
        "sun",
        "So?",
    ]
    [call] = chat.messages[2].tool_calls or []
    assert (call.id, json.loads(call.function.arguments)) == (
        chat.messages[3].tool_call_id,
        {"city": "Oslo"},
    )
    assert (chat.thinking, chat.tool_choice, chat.tools[0].function.name) == (
        2000,
        "required",
        "weather",
    )
