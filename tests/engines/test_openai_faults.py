"""The engine over HTTP against a server that fails: what is tried again, what is lost, and what the meter holds."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from reasoner.engine import SampleRequest, UsageMeter
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai.http import backoff, retry_after
from reasoner.engines.openai.values import message_of
from reasoner.errors import EngineUnavailable, ReasonerError, RequestLost, UsageError
from reasoner.system.printing import printable
from reasoner.types import Completion, Prompt, SamplingParams, Usage
from tests.engines.fake_server import FakeServer, Fault
from tests.engines.fake_tokenizer import spell_chat
from tests.waiting import PATIENCE, idle_time

ASKED = Prompt.chat("2+2?")
PROMPT_TOKENS = len(spell_chat([{"role": "user", "content": "2+2?"}]))
BUSY = Fault("status", 503, '{"error": {"message": "overloaded"}}')


class Watched(UsageMeter):
    """A meter that tells what is written to it."""

    def __init__(self, tell: Callable[[Usage | None], object]) -> None:
        self._tell = tell

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "usage":
            self._tell(value)


class Run:
    """One sequence drawn by an engine that waits in no time: its meter, and the waits that it would have made."""

    def __init__(
        self, server: FakeServer, *, seed: int = 1, patience: float = 60.0
    ) -> None:
        self.engine = OpenAIEngine(base_url=server.url, timeout=20, patience=patience)
        self.engine._http.sleep = self._sleep
        self.meter = UsageMeter()
        self.waits: list[float] = []
        self.metered: list[Usage | None] = []
        self.seed = seed

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.metered.append(self.meter.usage)

    async def sample(self, max_tokens: int = 32) -> Completion:
        await self.engine.start()
        params = SamplingParams(max_tokens=max_tokens)
        rendered = await self.engine.render(ASKED)
        return await self.engine.sample(
            SampleRequest("q", ASKED, rendered, params, 0, self.seed, meter=self.meter)
        )

    def __call__(self, max_tokens: int = 32) -> Completion:
        return asyncio.run(self.sample(max_tokens))

    def lost(self, match: str, max_tokens: int = 32) -> Usage | None:
        with pytest.raises(RequestLost, match=match) as caught:
            self(max_tokens)
        assert "\n" not in str(caught.value)
        return self.meter.usage

    def refused(
        self, match: str, error: type[ReasonerError] = EngineUnavailable
    ) -> str:
        with pytest.raises(error, match=match) as caught:
            self()
        assert "\n" not in str(caught.value)
        return str(caught.value)


# What cost nothing is tried again


def test_a_busy_server_is_waited_for_as_long_as_it_asks() -> None:
    with FakeServer(
        faults=[Fault("status", 429, "slow down", (("Retry-After", "7"),))]
    ) as server:
        run = Run(server)
        assert run().text == "The answer is 4"
        assert len(server.sent("/v1/completions")) == 2
        assert len(run.waits) == 1
        assert 7.25 <= run.waits[0] <= 7.5
        assert run.metered == [Usage()]


def test_after_the_last_try_one_line_says_what_happened() -> None:
    with FakeServer(faults=[BUSY] * 9) as server:
        run = Run(server, patience=1)
        said = run.refused(
            r"no answer from http://127.0.0.1:\d+/v1 in [34] tries over 1 s, the last: 503 \(overloaded\): try later"
        )
        assert len(server.sent("/v1/completions")) == len(run.waits) + 1
        assert sum(run.waits) <= 1
        assert len(said) < 200
        assert run.meter.usage == Usage()


@pytest.mark.parametrize("status", [408, 502])
def test_passing_failures_are_tried_again(status: int) -> None:
    with FakeServer(faults=[Fault("status", status)]) as server:
        run = Run(server)
        run()
        assert len(run.waits) == 1


def test_a_server_that_is_down_gives_one_clear_line() -> None:
    with FakeServer() as server:
        run = Run(server)
    said = run.refused(
        r"no answer from http://127.0.0.1:\d+/v1 in \d tries over 5 s, the last: .+: start the server there, or set"
    )
    assert sum(run.waits) == pytest.approx(5, abs=0.5)
    assert len(said) < 250


# What trying again would not change


@pytest.mark.parametrize(
    ("status", "body", "match"),
    [
        (401, '{"error": "no such key"}', r"401 \(no such key\): set api_key"),
        (404, '{"message": "no such model"}', "ends in /v1"),
        (422, "top_k is not known", r"422 \(top_k is not known\)"),
        (307, "", "answered 307: "),
    ],
)
def test_refusals_are_final_and_show_what_the_server_says(
    status: int, body: str, match: str
) -> None:
    with FakeServer(faults=[Fault("status", status, body)]) as server:
        run = Run(server)
        # What the server says of a parameter is for who set it.
        run.refused(match, UsageError if status in (400, 422) else EngineUnavailable)
        assert len(server.sent("/v1/completions")) == 1
        assert run.waits == []
        assert run.meter.usage == Usage()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "m"}, "message": "x"}', "m"),
        (b"[" * 100_000, "[" * 299 + "…"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"7", "7"),
    ],
)
def test_error_bodies_of_any_form_can_be_shown(body: bytes, said: str) -> None:
    assert printable(message_of(body), limit=300) == said


# What is lost part-way


def test_a_reply_that_costs_nothing_is_asked_for_again_where_it_was_cut() -> None:
    with FakeServer(tokenize_faults=[Fault("cut", after=9)] * 2) as server:
        run = Run(server)
        assert run().text == "The answer is 4"
        assert len(run.waits) == 2


def test_a_cut_stream_is_lost_with_what_it_cost() -> None:
    with FakeServer(faults=[Fault("cut", after=2)]) as server:
        run = Run(server)
        assert run.lost("the stream from .* was cut") == Usage(PROMPT_TOKENS, 0, 2)
        assert len(server.sent("/v1/completions")) == 1
        assert run.waits == []


def test_a_stream_that_falls_silent_is_lost() -> None:
    with (
        FakeServer(faults=[Fault("stall", after=3)]) as server,
        idle_time(server.stalled.is_set),
    ):
        assert Run(server).lost("was cut: no byte within 20 s") == Usage(
            PROMPT_TOKENS, 0, 3
        )
        assert server.disconnected.wait(PATIENCE)


def test_nobody_can_tell_what_a_silent_request_cost() -> None:
    with (
        FakeServer(faults=[Fault("silent")]) as server,
        idle_time(server.stalled.is_set),
    ):
        assert (
            Run(server).lost("accepted a request and sent nothing: no byte within 20 s")
            is None
        )
        assert len(server.sent("/v1/completions")) == 1


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("data: {not json\n\n", "malformed event: {not json"),
        ('data: {"choices": [{"token_ids": [-1]}]}\n\n', "malformed event"),
        (
            'data: {"choices": [{"logprobs": {"token_logprobs": [-1], "top_logprobs": [{}, {}]}}]}\n\n',
            "malformed",
        ),
        (
            'data: {"error": {"message": "engine died"}}\n\n',
            r"gave up part-way: engine died",
        ),
        (": keep-alive\n\nevent: x\n\n", "ended before the sequence did"),
        (
            'data: {"choices": [{"text": "x"}]}\n\n' * 200,
            "did not stop at max_tokens=32",
        ),
    ],
)
def test_nonsense_after_two_tokens_is_lost_with_what_they_cost(
    body: str, match: str
) -> None:
    with FakeServer(faults=[Fault("send", body=body, after=2)]) as server:
        usage = Run(server).lost(match)
        assert usage is not None
        assert usage.prompt_tokens == PROMPT_TOKENS
        assert 2 <= usage.generated_tokens <= 32


def test_cancelling_closes_the_connection_and_keeps_the_meter() -> None:
    async def cancel(run: Run) -> None:
        two_tokens = asyncio.Event()
        run.meter = Watched(
            lambda usage: (
                two_tokens.set() if usage and usage.generated_tokens == 2 else None
            )
        )
        task = asyncio.create_task(run.sample())
        await two_tokens.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.disconnected.wait, PATIENCE)
        assert run.meter.usage == Usage(PROMPT_TOKENS, 0, 2)

    with FakeServer(faults=[Fault("stall", after=2)]) as server:
        asyncio.run(cancel(Run(server)))


# Counting without the server's help


def test_a_server_without_usage_is_estimated_and_never_above_the_limit() -> None:
    with FakeServer(
        vllm=False, owner="someone", reports_usage=False, reply=("a",) * 9
    ) as server:
        run = Run(server)
        completion = run(4)
        assert completion.usage.generated_tokens == 4
        assert (
            completion.usage.prompt_tokens
            == asyncio.run(run.engine.render(ASKED)).tokens
        )
        assert any("reports no usage" in note for note in run.engine.notes)


# Waiting


def test_backoff_is_capped() -> None:
    assert [15 <= backoff(attempt, seed=0) <= 30 for attempt in (6, 7, 60, 5000)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("-3", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        (formatdate(0, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_read_in_every_form(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}) == seconds
