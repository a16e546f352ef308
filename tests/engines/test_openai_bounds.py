"""The engine over HTTP against a server that never ends, sends without end, or counts what cannot be."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from reasoner.engines.openai import OpenAIEngine
from reasoner.errors import RequestLost
from reasoner.types import Completion, Usage
from tests.engines.drawing import draw
from tests.engines.fake_server import FakeServer, Fault
from tests.engines.raw_server import STREAM, raw_server
from tests.running import running


async def for_ever(writer: asyncio.StreamWriter, first: bytes, again: bytes) -> None:
    writer.write(first)
    while True:
        writer.write(again)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        (STREAM, b": keep-alive\n\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
    ],
)
@running
async def test_what_keeps_a_connection_alive_for_ever_ends_at_the_deadline(
    first: bytes, again: bytes, interruptible: bool
) -> None:
    left = asyncio.Event()

    async def serve(
        _: Any, __: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await for_ever(writer, first, again)
        finally:
            left.set()

    async with raw_server(serve) as url:
        engine = OpenAIEngine(base_url=url, deadline=0.3)
        with pytest.raises(
            RequestLost,
            match=r"did not (finish a reply within 0\.3 s: set deadline|stop at max)",
        ):
            await draw(engine, interruptible=interruptible)
        await left.wait()


EVENT = b'data: {"choices": [{"index": 0, "delta": {"%s": "%s"}}]}\n\n'


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize(
    "sent",
    [
        EVENT % (b"content", b"x" * 100_000),
        b": " + b"x" * 100_000 + b"\n\n",
        b'data: {"choices": [{"logprobs": {"content": ['
        + b"1," * 50_000
        + b"1]}}]}\n\n",
        b'data: {"choices": [{"delta": {}, "junk": "' + b"x" * 100_000 + b'"}]}\n\n',
    ],
)
def test_bytes_without_end_are_held_in_proportion_to_max_tokens(
    sent: bytes, interruptible: bool
) -> None:
    async def run() -> None:
        async def serve(
            _: Any, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(STREAM)
            while not writer.is_closing():
                writer.write(sent)
                await writer.drain()

        async with raw_server(serve) as url:
            engine = OpenAIEngine(base_url=url)
            await engine.start()
            with pytest.raises(
                RequestLost,
                match=r"sent more than [\d,]+ bytes for max_tokens=512|malformed event",
            ):
                await draw(engine, interruptible=interruptible, max_tokens=512)

    tracemalloc.start()
    try:
        asyncio.run(run())
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


HUGE = "9" * 4000
NUMBERS = [HUGE, "NaN", "true", "0.5"]


@pytest.mark.parametrize(
    ("number", "where"),
    [
        *((number, "prompt_tokens") for number in NUMBERS),
        ("-1", "completion_tokens"),
        ("-1", "cached_tokens"),
    ],
)
@pytest.mark.parametrize("interruptible", [True, False])
def test_what_is_no_count_loses_that_sequence_and_no_other(
    number: str, where: str, interruptible: bool
) -> None:
    told = '{"prompt_tokens": 9, "completion_tokens": 1, %s}'
    told %= (
        f'"prompt_tokens_details": {{"cached_tokens": {number}}}'
        if where[0] == "c" and "ca" in where
        else f'"{where}": {number}'
    )
    piece = "delta" if interruptible else "message"
    reply = f'{{"choices": [{{"index": 0, "{piece}": {{"content": "4"}}, "finish_reason": "stop"}}], "usage": {told}}}'
    body = f"data: {reply}\n\ndata: [DONE]\n\n" if interruptible else reply

    async def both(engine: OpenAIEngine) -> None:
        with pytest.raises(RequestLost, match="malformed"):
            await draw(engine, interruptible=interruptible)
        assert (
            await draw(engine, interruptible=interruptible)
        ).text == "The answer is 4"

    with FakeServer(
        vllm=False, owner="someone", faults=[Fault("send", body=body)]
    ) as server:
        asyncio.run(both(OpenAIEngine(base_url=server.url)))


@pytest.mark.parametrize("value", ["0.1", "1e400", "NaN", '"-1"', f"-{HUGE}"])
@pytest.mark.parametrize("chat", [True, False])
def test_what_is_no_log_probability_is_malformed(value: str, chat: bool) -> None:
    both = {
        True: f'{{"content": [{{"logprob": {value}, "top_logprobs": []}}]}}',
        False: f'{{"token_logprobs": [-1.0], "top_logprobs": [{{"a": {value}}}]}}',
    }
    body = f'data: {{"choices": [{{"text": "x", "logprobs": {both[chat]}}}]}}\n\n'
    with (
        FakeServer(faults=[Fault("send", body=body)]) as server,
        pytest.raises(RequestLost, match="malformed event"),
    ):
        asyncio.run(draw(OpenAIEngine(base_url=server.url), logprobs=1))


def streamed(*events: str) -> FakeServer:
    body = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
    return FakeServer(vllm=False, owner="someone", faults=[Fault("send", body=body)])


def drawn(server: FakeServer, **params: Any) -> tuple[Completion, list[str]]:
    with server:
        engine = OpenAIEngine(base_url=server.url)
        return asyncio.run(draw(engine, **params)), list(engine.notes)


X = '{"choices": [{"index": 0, "delta": {"content": "x"}}]}'
THOUGHT = '{"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}'
END = '{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'


def test_each_chunk_counts_as_a_token_at_least() -> None:
    events = [*[X] * 300, *[THOUGHT] * 200, END]
    used = '{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}'
    one, notes = drawn(streamed(*events, used), max_tokens=512)
    assert one.usage == Usage(9, 0, 500, 200)
    assert any("counts contradict" in note for note in notes)


@pytest.mark.parametrize(
    ("usages", "wanted", "note"),
    [
        (
            [
                '{"prompt_tokens": 9, "completion_tokens": 8}',
                '{"prompt_tokens": 2, "completion_tokens": 1}',
            ],
            Usage(9, 0, 8),
            "no cached tokens",
        ),
        (
            ['{"prompt_tokens": 9, "completion_tokens": 5000}'],
            Usage(9, 0, 5000),
            "counts contradict",
        ),
        (
            [
                '{"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10}}'
            ],
            Usage(9, 9, 1),
            "counts contradict",
        ),
    ],
)
def test_counts_that_cannot_be_are_booked_for_what_they_cost_and_marked(
    usages: list[str], wanted: Usage, note: str
) -> None:
    told = [f'{{"choices": [], "usage": {usage}}}' for usage in usages]
    one, notes = drawn(streamed(X, END, *told))
    assert one.usage == wanted
    assert [line for line in notes if note in line]


def test_halves_of_a_character_are_joined_and_lone_ones_replaced() -> None:
    first, second = (X.replace("x", half) for half in ("\\ud83d", "\\ude42"))
    one, _ = drawn(streamed(first, second, first, END))
    assert one.text == "🙂\ufffd"
