"""Thinking levels and numbers of thinking tokens on servers: what is sent, what is learned, what is drawn twice."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Budget, Question, SamplingParams, solve
from reasoner.engine import SampleRequest
from reasoner.engines.openai import OpenAIEngine
from reasoner.errors import EngineUnavailable
from reasoner.trace.events import Event
from reasoner.types import ThinkingLevel
from reasoner_strategies import Single
from tests.engines.drawing import ALWAYS, ASKED, HEAD, THOUGHTS, draw, drawn, thinker
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.fake_tokenizer import THINK, spell

CHAT, RAW = "/v1/chat/completions", "/v1/completions"
HYBRID = "/models/Qwen3-8B"


# Thinking levels


@pytest.mark.parametrize("level", ["none", "low", "high", 512])
def test_a_level_is_an_argument_of_the_chat_template_where_prompts_are_rendered(
    level: ThinkingLevel,
) -> None:
    with thinker(root=HYBRID) as server:
        engine = OpenAIEngine(
            base_url=server.url, extra_body='{"chat_template_kwargs": {"custom": 1}}'
        )
        prompt = ASKED.at_level(level)
        one = asyncio.run(draw(engine, prompt))
        bodies = [
            body
            for body in server.sent("/tokenize")
            if body.get("messages") == [{"role": "user", "content": "2+2?"}]
        ]
        assert [body["chat_template_kwargs"] for body in bodies] == [
            {"custom": 1, "enable_thinking": level != "none"}
        ]
    assert one.thinking == ("" if level == "none" else "Is it 12?")


def test_a_model_that_always_thinks_is_given_a_thought_that_is_closed() -> None:
    with thinker() as server:
        one = drawn(server, ASKED.at_level("none"))
        skip = spell("Okay, I think I have finished thinking.\n</think>\n\n")
        assert server.sent(RAW)[0]["prompt"] == [*HEAD, THINK, *skip]
    assert (one.text, one.thinking) == ("The answer is 4", "")


@pytest.mark.parametrize("root", [HYBRID, ALWAYS])
def test_watched_tokens_are_those_of_a_reply_without_thinking(root: str) -> None:
    async def run(engine: OpenAIEngine) -> None:
        await engine.start()
        prompt, params = ASKED.at_level("none"), SamplingParams(max_tokens=1)
        request = SampleRequest(
            "q", prompt, await engine.render(prompt), params, 0, 1, watch=(7, 8)
        )
        await engine.sample(request)

    with thinker(root=root) as server:
        asyncio.run(run(OpenAIEngine(base_url=server.url)))
        [body] = server.sent(CHAT)
    if root == HYBRID:
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
    else:
        assert body["messages"][-1]["content"].startswith(
            "<think>\nOkay, I think I have finished thinking.\n</think>"
        )
        assert body["continue_final_message"] is True


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Qwen3-8B", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("gpt-oss-20b", {"reasoning_effort": "low"}),
        ("gpt-5.2", {"reasoning_effort": "low"}),
        ("unknown", {"reasoning_effort": "low"}),
    ],
)
def test_a_chat_is_sent_its_level(name: str, fields: dict[str, object]) -> None:
    with text_only(models=(name,)) as server:
        drawn(server, ASKED.at_level("low"))
        [body] = server.sent(CHAT)
    assert {
        key: body[key]
        for key in ("chat_template_kwargs", "reasoning_effort")
        if key in body
    } == fields


def test_what_a_server_refuses_of_a_level_is_learned() -> None:
    refusals = [
        "Unrecognized request argument supplied: chat_template_kwargs",
        "Unrecognized request argument supplied: reasoning_effort",
    ]
    with text_only(
        models=("Qwen3-8B",), faults=[Fault("status", 400, text) for text in refusals]
    ) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(draw(engine, ASKED.at_level("low")))
        first, second, third = server.sent(CHAT)
    assert first["chat_template_kwargs"] == {"enable_thinking": True}
    assert second["reasoning_effort"] == "low"
    assert third.keys().isdisjoint({"chat_template_kwargs", "reasoning_effort"})
    assert [note for note in engine.notes if "takes no thinking level" in note]


# A number of thinking tokens


async def solved(
    server: FakeServer, level: int, budget: Budget | None = None
) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    question = Question.of("2+2?", space="number")
    question = replace(question, prompt=question.prompt.at_level(level))
    strategy, engine = (
        Single(SamplingParams(max_tokens=40)),
        OpenAIEngine(base_url=server.url),
    )
    return await solve(
        question, strategy, engine, budget=budget, trace=events.append
    ), events


def test_without_ids_thinking_is_continued_within_the_last_turn() -> None:
    with text_only(models=("DeepSeek-R1",), thinking=THOUGHTS) as server:
        solution, _ = asyncio.run(solved(server, 3))
        first, second = server.sent(CHAT)
    assert first["max_tokens"] == 3
    assert second["messages"][-1] == {
        "role": "assistant",
        "content": "<think>Is it\n</think>\n\n",
    }
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (
        True,
        False,
    )
    assert str(solution.answer.text) == "4"


def test_a_server_that_takes_the_reply_after_closed_thinking_for_thinking_is_understood() -> (
    None
):
    events = '{"choices": [{"index": 0, "delta": {"reasoning": "The answer is 4"}, "finish_reason": "stop"}]}'
    with text_only(
        models=("Qwen3-8B",), faults=[Fault("send", body=f"data: {events}\n\n")]
    ) as server:
        one = drawn(server, replace(ASKED, thinking="Is it\n</think>\n\n"))
    assert (one.text, one.thinking, one.usage.thinking_tokens) == (
        "The answer is 4",
        "",
        0,
    )


def test_thinking_that_a_server_hides_cannot_be_continued() -> None:
    with text_only(models=("o3-mini",)) as server:
        solution, _ = asyncio.run(solved(server, 1))
    assert str(solution.error).startswith(
        "thinking=1: the server does not show its thinking"
    )
    assert solution.cost.requests == 0
    with (
        text_only() as server,
        pytest.raises(
            EngineUnavailable, match="cannot continue within it: set reasoning_parser"
        ),
    ):
        drawn(server, replace(ASKED, thinking="Is it"))
