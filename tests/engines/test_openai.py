"""The engine over HTTP against a server that replies well: what is sent, and what is made of the reply."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from reasoner.engine import RenderedPrompt
from reasoner.engines.openai import OpenAIEngine
from reasoner.types import Completion, Logprobs, Prompt, Usage
from tests.engines.drawing import draw, drawn
from tests.engines.fake_server import FakeServer, text_only
from tests.engines.fake_tokenizer import EOS, spell, spell_chat

ASKED = Prompt.chat("2+2?", system="Be brief.")
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2+2?"},
]
TEXT_ONLY = "the server takes no token ids: prompts are sent as text and continuation is not token-exact"
# A server that takes token ids


def test_heads_are_rendered_by_the_server_once_and_ids_are_appended() -> None:
    async def run(engine: OpenAIEngine) -> None:
        await engine.start()
        ids = tuple(spell_chat(TURNS))
        assert await engine.render(ASKED) == RenderedPrompt(ids, len(ids))
        longer = replace(ASKED, token_ids=(901, 902), text="ab")
        assert await engine.render(longer) == RenderedPrompt(
            (*ids, 901, 902), len(ids) + 2
        )
        raw = await engine.render(Prompt(raw="Once"))
        assert raw.token_ids == (1, *spell("Once"))

    with FakeServer() as server:
        asyncio.run(run(OpenAIEngine(base_url=server.url)))
        _probe, *heads = server.sent("/tokenize")
        assert heads == [
            {"model": "tiny", "messages": TURNS, "add_generation_prompt": True},
            {"model": "tiny", "prompt": "Once"},
        ]


def test_token_ids_and_every_option_are_sent() -> None:
    with FakeServer() as server:
        drawn(
            server,
            ASKED,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            min_p=0.1,
            logprobs=2,
            stop=("\n", "##"),
            stop_token_ids=(5,),
            presence_penalty=1.5,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            logit_bias=((7, -100),),
            bad_words=("no",),
        )
        assert server.sent("/v1/completions") == [
            {
                "model": "tiny",
                "prompt": spell_chat(TURNS),
                "return_token_ids": True,
                "temperature": 0.5,
                "max_tokens": 32,
                "top_p": 0.9,
                "top_k": 40,
                "min_p": 0.1,
                "presence_penalty": 1.5,
                "frequency_penalty": 0.0,
                "repetition_penalty": 1.0,
                "logit_bias": {"7": -100},
                "bad_words": ["no"],
                "seed": 41,
                "stop": ["\n", "##"],
                "stop_token_ids": [5],
                "logprobs": 2,
                "return_tokens_as_token_ids": True,
                "stream": True,
                "stream_options": {
                    "include_usage": True,
                    "continuous_usage_stats": True,
                },
            }
        ]


def test_a_completion_holds_what_the_server_sent() -> None:
    with FakeServer(cached=8) as server:
        completion = drawn(server, ASKED)
        assert completion == Completion(
            prompt=ASKED,
            text="The answer is 4",
            token_ids=(500, 501, 502, 503, EOS),
            finish_reason="stop",
            stop=None,
            usage=Usage(len(spell_chat(TURNS)), 8, 5),
            logprobs=None,
            index=3,
            seed=41,
        )
        assert completion.ended
        assert completion.continuation == (500, 501, 502, 503)


@pytest.mark.parametrize(
    ("asked", "reason", "stop", "ended"),
    [
        ({"stop": ("\n",)}, "\n", "\n", False),
        ({"stop_token_ids": (9,)}, 9, 9, False),
        # A second end-of-sequence token, from the model's own files.
        ({}, 9, None, True),
    ],
)
def test_what_stopped_a_sequence(
    asked: dict[str, Any], reason: str | int, stop: str | int, ended: bool
) -> None:
    with FakeServer(stop_reason=reason) as server:
        engine = OpenAIEngine(base_url=server.url)
        completion = asyncio.run(draw(engine, ASKED, **asked))
        assert not [note for note in engine.notes if "what stopped" in note]
        assert (completion.finish_reason, completion.stop, completion.ended) == (
            "stop",
            stop,
            ended,
        )
        assert completion.continuation == (
            (500, 501, 502, 503) if stop == "\n" else (500, 501, 502)
        )


@pytest.mark.parametrize(
    ("sent", "read"), [("length", "length"), ("content_filter", "abort")]
)
def test_a_cut_sequence_is_truncated_and_has_no_stop(sent: str, read: str) -> None:
    with FakeServer(finish=sent, stop_reason="repetition") as server:
        one = drawn(server, ASKED)
        assert (one.finish_reason, one.stop, one.truncated) == (read, None, True)


def test_logprobs_keep_the_best_first_and_no_more_than_asked() -> None:
    with FakeServer(reply=("a", "b"), finish="length") as server:
        assert drawn(server, ASKED, logprobs=2).logprobs == Logprobs(
            (-0.5, -1.0), ((-0.25, -0.5), (-0.25, -1.0))
        )
        assert drawn(server, ASKED, logprobs=0).logprobs == Logprobs((-0.5, -1.0), ())


def test_text_is_whole_whatever_it_holds_and_however_it_is_cut_up() -> None:
    reply = ("é\u2028\x85", "\n\ndata: x\r\n", "日本🙂")
    with FakeServer(reply=reply, bytes_per_write=3) as server:
        assert drawn(server, ASKED).text == "".join(reply)


def test_where_no_ids_come_back_the_continuation_is_text() -> None:
    async def run(engine: OpenAIEngine) -> None:
        first = await draw(engine, ASKED, max_tokens=2)
        assert first.continuation == ()
        await draw(engine, ASKED.then(first))

    with FakeServer(returns_ids=False) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(run(engine))
        assert any(
            note.startswith("the server returns no token ids") for note in engine.notes
        )
        assert (
            server.sent("/v1/chat/completions")[0]["messages"][-1]["content"]
            == "The answer"
        )


# A server that takes text only


def test_a_text_server_gets_messages_and_only_what_openai_defines() -> None:
    with text_only() as server:
        engine = OpenAIEngine(base_url=server.url)
        completion = asyncio.run(draw(engine, ASKED, stop=("##",), logprobs=1))
        assert server.sent("/v1/chat/completions") == [
            {
                "model": "tiny",
                "messages": TURNS,
                "max_tokens": 32,
                "seed": 41,
                "stop": ["##"],
                "logprobs": True,
                "top_logprobs": 1,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]
        assert completion.text == "The answer is 4"
        assert (
            completion.token_ids,
            completion.continuation,
            completion.finish_reason,
        ) == ((), (), "stop")
        assert completion.usage == Usage(len(spell_chat(TURNS)), 0, 5)
        assert completion.logprobs is not None
        assert completion.logprobs.top[1] == (-1.0,)
        assert engine.notes[0] == TEXT_ONLY


def test_on_a_server_an_adapter_is_the_model_of_the_request() -> None:
    with text_only() as server:
        drawn(server, ASKED, lora="my-adapter")
        drawn(server, ASKED)
        assert [body["model"] for body in server.sent("/v1/chat/completions")] == [
            "my-adapter",
            "tiny",
        ]


def test_a_text_server_continues_an_assistant_turn_or_the_raw_text() -> None:
    with text_only() as server:
        drawn(server, replace(ASKED, text="Well,"))
        drawn(server, replace(Prompt(raw="Once"), text=" upon"), logprobs=1)
        (chat,) = server.sent("/v1/chat/completions")
        assert chat["messages"][-1] == {"role": "assistant", "content": "Well,"}
        assert "continue_final_message" not in chat
        (raw,) = server.sent("/v1/completions")
        assert (raw["prompt"], raw["logprobs"]) == ("Once upon", 1)


def test_a_vllm_server_behind_a_gateway_still_continues_the_last_turn() -> None:
    with FakeServer(tokenizes=False) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(draw(engine, replace(ASKED, text="Well,"), logprobs=2))
        (body,) = server.sent("/v1/chat/completions")
        assert TEXT_ONLY in engine.notes
        assert (body["continue_final_message"], body["top_logprobs"]) == (True, 3)


@pytest.mark.parametrize(
    "prompt", [replace(ASKED, text="é🙂\ud83d"), Prompt(raw="Once")]
)
def test_the_bound_of_a_text_prompt_is_above_one_token_a_byte(prompt: Prompt) -> None:
    async def run(engine: OpenAIEngine) -> RenderedPrompt:
        await engine.start()
        return await engine.render(prompt)

    with text_only() as server:
        rendered = asyncio.run(run(OpenAIEngine(base_url=server.url)))
        contents = [message.content for message in prompt.messages] + [
            prompt.raw,
            prompt.text,
        ]
        spelled = sum(
            len(content.encode("utf-8", "surrogatepass")) for content in contents
        )
        assert rendered.token_ids is None
        assert rendered.tokens >= spelled + 16 * len(prompt.messages) + 16


# Connections


def test_one_engine_serves_many_event_loops_and_leaves_nothing_open() -> None:
    with FakeServer() as server:
        engine = OpenAIEngine(base_url=server.url)
        for _ in range(3):
            assert asyncio.run(draw(engine, ASKED)).text == "The answer is 4"
            assert server.wait_until_left()
        assert len(server.sent("/v1/models")) == 1
        assert len(engine._http._clients) == 1
