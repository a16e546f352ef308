"""OpenAI's own client, unchanged, against a server on a free port: what it asks for, and what it makes of the replies."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from reasoner.budget import Budget
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.config import ServerLimits
from reasoner.serving.limits import Key
from tests.helpers import says
from tests.scripted import THINKER, ScriptedEngine
from tests.serving.running import Server, serving

KEY = "alice-0123456789"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is 3 + 4?"}]


def client(server: Server, *, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Server]:
    with serving(SimulatedEngine()) as server:
        yield server


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    """A server whose model repeats the prompt as it was rendered."""

    def repeat(request: SampleRequest) -> str:
        return " | ".join(f"{message.role}: {message.content}" for message in request.prompt.messages)

    with serving(ScriptedEngine(repeat)) as server:
        yield server


@pytest.fixture(scope="module")
def thinker() -> Iterator[Server]:
    def reply(request: SampleRequest) -> str:
        return f"level {request.prompt.thinking_level}"

    with serving(ScriptedEngine(reply, model=THINKER)) as server:
        yield server


def test_the_model_and_its_aliases_are_listed(simulated: Server) -> None:
    with client(simulated) as asking:
        ids = [model.id for model in asking.models.list()]
        assert ids[0] == "simulated"
        assert "simulated@vote8" in ids
        assert asking.models.retrieve("simulated@vote8").id == "simulated@vote8"
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            asking.models.retrieve("other")


def test_replies_are_sent_at_once(simulated: Server) -> None:
    with client(simulated) as asking:
        asking.models.list()
        connections = [*simulated.listener._server.server_state.connections]
        sockets = [connection.transport.get_extra_info("socket") for connection in connections]
        assert sockets
        assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in sockets)


def test_a_vote_has_its_votes_and_its_usage(simulated: Server) -> None:
    with client(simulated) as asking:
        reply = asking.chat.completions.create(model="simulated@vote8", messages=ASKED, seed=1)
    assert reply.choices[0].message.content == "The answer is 7"
    assert reply.choices[0].finish_reason == "stop"
    report = (reply.model_extra or {})["reasoner"]
    assert sum(vote["count"] for vote in report["votes"]) == report["samples"] == 8
    assert reply.usage
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.total_tokens == report["cost"]["tokens"]


def test_a_plain_request_passes_through(echo: Server) -> None:
    turns: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}]},
    ]
    with client(echo) as asking:
        reply = asking.chat.completions.create(model="scripted", messages=turns)
        assert reply.choices[0].message.content == "system: Be brief. | user: One? | assistant: Two. | user: Three?"
        cut = asking.chat.completions.create(model="scripted", messages=turns, max_tokens=2)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("system: Be", "length")
        stopped = asking.chat.completions.create(model="scripted", messages=turns, stop=[" |"])
        assert stopped.choices[0].message.content == "system: Be brief."


def test_a_stream_adds_up_to_the_reply(simulated: Server) -> None:
    with client(simulated) as asking:
        stream = asking.chat.completions.create(
            model="simulated@vote8", messages=ASKED, seed=1, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        whole = asking.chat.completions.create(model="simulated@vote8", messages=ASKED, seed=1)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "The answer is 7"
    thought = "".join((chunk.choices[0].delta.model_extra or {}).get("reasoning", "") for chunk in chunks[:-1])
    assert "8 samples, leading 7" in thought
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_choices_differ_and_each_has_its_own_votes(simulated: Server) -> None:
    with client(simulated) as asking:
        reply = asking.chat.completions.create(model="simulated", messages=ASKED, n=12, seed=3)
        stream = asking.chat.completions.create(model="simulated", messages=ASKED, n=3, seed=3, stream=True)
        texts: dict[int, str] = {}
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert [choice.index for choice in reply.choices] == list(range(12))
    assert len({choice.message.content for choice in reply.choices}) > 1
    assert reply.usage
    costs = [(choice.model_extra or {})["reasoner"]["cost"]["tokens"] for choice in reply.choices]
    assert reply.usage.total_tokens == sum(costs)
    assert [texts[index] for index in range(3)] == [choice.message.content for choice in reply.choices[:3]]


def test_a_request_names_its_own_strategy(simulated: Server) -> None:
    own = {"reasoner": {"strategy": "best_of_n:n=3", "verifier": "certainty", "answer": "number"}}
    with client(simulated) as asking:
        reply = asking.chat.completions.create(model="simulated", messages=ASKED, extra_body=own)
        report = (reply.model_extra or {})["reasoner"]
        assert report["strategy"] == "best_of_n:n=3,selector=argmax,window=4"
        assert (report["verifier"], report["cost"]["samples"]) == ("certainty", 3)
        with pytest.raises(openai.BadRequestError, match="did you mean 'self_consistency'") as refused:
            asking.chat.completions.create(
                model="simulated", messages=ASKED, extra_body={"reasoner": {"strategy": "selfconsistency"}}
            )
    assert refused.value.param == "reasoner.strategy"


def test_the_effort_is_that_of_the_model_that_thinks(thinker: Server, echo: Server) -> None:
    with client(thinker) as asking:
        reply = asking.chat.completions.create(model="scripted thinker", messages=ASKED, reasoning_effort="high")
        assert reply.choices[0].message.content == "level high"
        assert (reply.choices[0].message.model_extra or {})["reasoning"] == "hm, let me think"
        assert reply.usage
        assert reply.usage.completion_tokens_details
        assert reply.usage.completion_tokens_details.reasoning_tokens
        plain = asking.chat.completions.create(model="scripted thinker", messages=ASKED, reasoning_effort="none")
        assert plain.choices[0].message.content == "level none"
    with client(echo) as asking:
        reply = asking.chat.completions.create(model="scripted", messages=ASKED, reasoning_effort="high")
        assert "the model does not think" in " ".join((reply.model_extra or {})["reasoner"]["notes"])


def test_responses(simulated: Server) -> None:
    with client(simulated) as asking:
        reply = asking.responses.create(model="simulated@vote8", input="What is 3 + 4?")
        assert (reply.output_text, reply.status) == ("The answer is 7", "completed")
        with asking.responses.stream(model="simulated@vote8", input="What is 3 + 4?") as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == "The answer is 7"


def test_completions(echo: Server, simulated: Server) -> None:
    with client(simulated) as asking:
        reply = asking.completions.create(model="simulated", prompt=["What is 1 + 1?", "What is 3 + 4?"], n=2, seed=5)
        assert len(reply.choices) == 4
        chunks = list(asking.completions.create(model="simulated", prompt="What is 3 + 4?", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks).startswith("The answer is")


def test_the_cost_is_estimated_and_nothing_is_drawn(simulated: Server) -> None:
    drawn = simulated.service.ledger.settled.samples
    with client(simulated) as asking:
        body = {"model": "simulated@vote16", "messages": ASKED, "max_tokens": 50}
        cost = asking.post("/reasoner/estimate", body=body, cast_to=dict[str, object])
    mean, longest = cost["mean"], cost["longest"]
    assert isinstance(mean, dict)
    assert isinstance(longest, dict)
    assert mean["samples"] == longest["samples"] == 16
    assert longest["generated_tokens"] == 16 * 50 > mean["generated_tokens"] > 0
    assert simulated.service.ledger.settled.samples == drawn


def test_keys() -> None:
    with serving(SimulatedEngine(), keys=[Key.of(KEY, "alice")]) as server:
        for wrong in ("none", "alice-012345678", KEY + "9"):
            with client(server, key=wrong) as asking, pytest.raises(openai.AuthenticationError) as refused:
                asking.models.list()
            assert refused.value.code == "invalid_api_key"
            assert wrong not in str(refused.value.body)
        with client(server, key=KEY) as asking:
            assert asking.chat.completions.create(model="simulated", messages=ASKED).choices
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert httpx.get(f"{server.url}/").status_code == 200
        for path in ("/metrics", "/openapi.json", "/nothing"):
            assert httpx.get(server.url + path).status_code == 401


def test_the_ceiling_bounds_every_request() -> None:
    with serving(SimulatedEngine(), ServerLimits(max_budget=Budget(samples=5))) as server, client(server) as asking:
        own = {"reasoner": {"strategy": "self_consistency:n=64", "budget": {"samples": 50}}}
        reply = asking.chat.completions.create(model="simulated", messages=ASKED, extra_body=own)
        report = (reply.model_extra or {})["reasoner"]
    assert (report["cost"]["samples"], report["ended_by"]) == (5, "budget")


def test_many_at_once_through_the_asynchronous_client(simulated: Server) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=simulated.base_url, api_key="none", max_retries=0) as asking:
            replies = await asyncio.gather(
                *(asking.chat.completions.create(model="simulated@vote8", messages=ASKED) for _ in range(40))
            )
            stream = await asking.chat.completions.create(model="simulated@vote8", messages=ASKED, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            return [*(reply.choices[0].message.content for reply in replies), text]

    assert set(asyncio.run(ask())) <= {f"The answer is {number}" for number in (6, 7, 8, 17)}


def test_errors_of_the_request_are_those_of_openais_client(simulated: Server) -> None:
    with client(simulated) as asking:
        with pytest.raises(openai.NotFoundError) as unknown:
            asking.chat.completions.create(model="gpt-9", messages=ASKED)
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError, match="temperature"):
            asking.chat.completions.create(model="simulated", messages=ASKED, temperature=7)
        with pytest.raises(openai.BadRequestError, match="unknown field"):
            asking.chat.completions.create(model="simulated", messages=ASKED, extra_body={"temprature": 1})
        with pytest.raises(openai.NotFoundError, match="there is no POST /v1/embeddings"):
            asking.embeddings.create(model="simulated", input="x")


def test_a_prompt_that_fills_the_context_has_its_code() -> None:
    engine = ScriptedEngine(says("7"), model=replace(ScriptedEngine(says("7")).model, context=8))
    with serving(engine) as server, client(server) as asking:
        with pytest.raises(openai.BadRequestError) as refused:
            asking.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "word " * 20}])
        assert refused.value.code == "context_length_exceeded"


def test_a_failure_of_the_engine_is_not_described() -> None:
    def fail(request: SampleRequest) -> str:
        raise RuntimeError("the secret of the house")

    with serving(ScriptedEngine(fail)) as server, client(server) as asking:
        with pytest.raises(openai.InternalServerError, match=r"internal error [0-9a-f]{12}") as failed:
            asking.chat.completions.create(model="scripted", messages=ASKED)
        assert "secret" not in str(failed.value.body)
        assert any("secret" in f"{report!r} {report.__cause__!r}" for report in server.reports)
        with pytest.raises(openai.APIError, match="internal error"):
            list(asking.chat.completions.create(model="scripted", messages=ASKED, stream=True))


def test_a_trace_is_read_by_the_key_that_made_it() -> None:
    keys = [Key.of(KEY, "alice"), Key.of("bob-0123456789", "bob")]
    with serving(SimulatedEngine(), keys=keys) as server, client(server, key=KEY) as asking:
        reply = asking.chat.completions.create(model="simulated@vote8", messages=ASKED)
        trace = f"{server.base_url}/reasoner/traces/{(reply.model_extra or {})['reasoner']['trace']}"
        own, other = ({"Authorization": f"Bearer {key}"} for key in (KEY, "bob-0123456789"))
        page = httpx.get(trace, headers=own)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert httpx.post(trace, data={"key": KEY}).status_code == 200
        assert len(httpx.get(f"{trace}.jsonl", headers=own).text.splitlines()) > 8
        assert httpx.get(trace, headers=other).status_code == 404
        assert httpx.get(trace).status_code == httpx.post(trace, data={"key": "no"}).status_code == 401
