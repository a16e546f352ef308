"""OpenAI's own client, unchanged, against a server on a free port: what it asks for, and what it makes of the replies."""

import math
from collections.abc import Iterator
from dataclasses import replace

import httpx
import openai
import pytest
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
)
from openai.types.responses import ResponseInputParam, ResponseOutputMessage

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving import responses
from reasoner.testing.scripted import THINKER, ScriptedEngine
from tests.serving.running import Server, serving

KEY = "alice-0123456789"
CALLED = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
ASKED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is 3 + 4?"}
]


def client(server: Server, *, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Server]:
    with serving(SimulatedEngine(accuracy=1, tokens=10)) as server:
        yield server


def test_the_model_and_its_aliases_are_listed(simulated: Server) -> None:
    with client(simulated) as asking:
        ids = [model.id for model in asking.models.list()]
        assert ids[0] == "simulated"
        assert "simulated@vote8" in ids
        assert asking.models.retrieve("simulated@vote8").id == "simulated@vote8"
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            asking.models.retrieve("other")


def test_the_tokens_of_a_reply_have_log_probabilities(simulated: Server) -> None:
    def said(request: SampleRequest) -> str:
        return (
            CALLED
            if request.prompt.tools
            else f"Let us see.\n\nThe answer is {request.index % 3}"
        )

    engine = ScriptedEngine(
        said, model=replace(THINKER, name="scripted"), certainty=lambda _: 0.5
    )
    text = "Let us see.\n\nThe answer is 0"
    with serving(engine) as server, client(server) as asking:
        create = asking.chat.completions.create
        for model in ("scripted", "scripted@vote8"):
            logprobs = (
                create(model=model, messages=ASKED, logprobs=True).choices[0].logprobs
            )
            assert logprobs
            tokens = logprobs.content or []
            assert "".join(token.token for token in tokens) == text
            assert {token.logprob for token in tokens} == {math.log(0.5)}
            assert (
                bytes(byte for token in tokens for byte in token.bytes or ()).decode()
                == text
            )
            chunks = list(
                create(model=model, messages=ASKED, logprobs=True, stream=True)
            )
            parts = [
                choice.logprobs
                for chunk in chunks
                for choice in chunk.choices
                if choice.logprobs
            ]
            assert [part.content for part in parts] == [tokens]
            response = asking.responses.create(
                model=model, input="?", include=["message.output_text.logprobs"]
            )
            [part] = response.output[-1].content
            assert [each.token for each in part.logprobs or ()] == [
                token.token for token in tokens
            ]
        # There are none where the text is that of several sequences, or a call.
        searched = {
            "reasoner": {"strategy": "beam_search:n=2,width=2", "answer": "number"}
        }
        reply = create(
            model="scripted", messages=ASKED, logprobs=True, extra_body=searched
        )
        assert reply.choices[0].logprobs is None
        assert any(
            note.startswith("there are no logprobs")
            for note in (reply.model_extra or {})["reasoner"]["notes"]
        )
        tool: ChatCompletionFunctionToolParam = {
            "type": "function",
            "function": {"name": "weather", "parameters": {}},
        }
        reply = create(model="scripted", messages=ASKED, logprobs=True, tools=[tool])
        assert (reply.choices[0].finish_reason, reply.choices[0].logprobs) == (
            "tool_calls",
            None,
        )
        with pytest.raises(
            openai.BadRequestError,
            match="only the tokens of the reply have log-probabilities",
        ):
            create(model="scripted", messages=ASKED, logprobs=True, top_logprobs=2)
    with (
        client(simulated) as asking,
        pytest.raises(openai.BadRequestError, match="does not know the texts of its"),
    ):
        asking.chat.completions.create(model="simulated", messages=ASKED, logprobs=True)


def test_a_message_of_a_response_may_be_sent_by_its_id_and_by_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Vercel's SDK does by default."""
    monkeypatch.setattr(responses, "MAX_KEPT", 2)
    keys = {"alice": KEY, "bob": "bob-0123456789"}
    engine = ScriptedEngine(lambda request: f"seen {len(request.prompt.messages)}")
    with (
        serving(engine, keys=keys) as server,
        client(server, key=KEY) as alice,
        client(server, key=keys["bob"]) as bob,
    ):
        said = alice.responses.create(model="scripted", input="One?").output[0]
        assert isinstance(said, ResponseOutputMessage)
        earlier: ResponseInputParam = [
            {"role": "user", "content": "One?"},
            {"type": "item_reference", "id": said.id},
        ]
        second = alice.responses.create(model="scripted", input=earlier, stream=True)
        assert [
            event.response.output_text
            for event in second
            if event.type == "response.completed"
        ] == ["seen 2"]
        with pytest.raises(
            openai.BadRequestError,
            match=f"no message '{said.id}' of yours is kept: send it",
        ):
            bob.responses.create(model="scripted", input=earlier)
        bob.responses.create(model="scripted", input="Two?")
        with pytest.raises(openai.BadRequestError, match="is kept") as dropped:
            alice.responses.create(model="scripted", input=earlier)
        assert dropped.value.param == "input[1].id"


def test_keys() -> None:
    with serving(SimulatedEngine(accuracy=1, tokens=10), keys={"alice": KEY}) as server:
        for wrong in ("none", "alice-012345678", KEY + "9"):
            with (
                client(server, key=wrong) as asking,
                pytest.raises(openai.AuthenticationError) as refused,
            ):
                asking.models.list()
            assert refused.value.code == "invalid_api_key"
            assert wrong not in str(refused.value.body)
        with client(server, key=KEY) as asking:
            assert asking.chat.completions.create(
                model="simulated", messages=ASKED
            ).choices
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert httpx.get(f"{server.url}/").status_code == 200
        for path in ("/metrics", "/nothing"):
            assert httpx.get(server.url + path).status_code == 401


def test_a_trace_is_read_by_the_key_that_made_it() -> None:
    keys = {"alice": KEY, "bob": "bob-0123456789"}
    with (
        serving(SimulatedEngine(accuracy=1, tokens=10), keys=keys) as server,
        client(server, key=KEY) as asking,
    ):
        reply = asking.chat.completions.create(model="simulated@vote8", messages=ASKED)
        trace = f"{server.base_url}/reasoner/traces/{(reply.model_extra or {})['reasoner']['trace']}"
        own, other = (
            {"Authorization": f"Bearer {key}"} for key in (KEY, "bob-0123456789")
        )
        page = httpx.get(trace, headers=own)
        assert (page.status_code, page.headers["content-type"]) == (
            200,
            "text/html; charset=utf-8",
        )
        assert httpx.post(trace, data={"key": KEY}).status_code == 200
        assert page.headers["content-security-policy"].startswith(
            "default-src 'none'; style-src 'unsafe-inline';"
        )
        file = httpx.get(f"{trace}.jsonl", headers=own)
        assert file.headers["content-type"] == "application/jsonl"
        assert len(file.text.splitlines()) > 8
        for path in (trace, f"{trace}.jsonl"):
            assert httpx.get(path, headers=other).status_code == 404
            assert httpx.get(path).status_code == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for content, status in (
            (b"key=bob-0123456789", 404),
            (b"key=no", 401),
            (b"\xff%zz", 401),
            (b"x" * 5000, 413),
        ):
            assert (
                httpx.post(trace, content=content, headers=form).status_code == status
            )
        assert httpx.post(trace, json={"key": KEY}).status_code == 415
