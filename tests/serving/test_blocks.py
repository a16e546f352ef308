"""A stream of any form is the same reply as the whole one, however its text is cut into pieces."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.engine import TextPiece
from reasoner.serving.chat import ChatReply
from reasoner.serving.messages import MessageReply
from reasoner.serving.replies import LOST, Reply, Result
from reasoner.serving.requests import read
from reasoner.serving.responses import ResponseReply
from reasoner.testing.scripted import THINKER, ScriptedEngine
from tests.serving.asking import BODY, answered, chat, encoded, offer, said, streamed

Document = dict[str, Any]
Parts = tuple[str, str, list[tuple[str, Any]]]
"""The thinking of a reply, its text, and the names and arguments of its calls."""
TOOL = {"type": "function", "function": {"name": "weather"}}
ASKED: dict[type[Reply], Document] = {
    ChatReply: BODY,
    MessageReply: {
        "model": "m",
        "messages": BODY["messages"],
        "max_tokens": 99,
    },
    ResponseReply: {"model": "m", "input": "How many?"},
}


def made(form: type[Reply]) -> Reply:
    return form(read(encoded(ASKED[form]), form.reads))


def parts(reply: Document) -> Parts:
    """The parts of a whole reply of any form."""
    if "choices" in reply:
        [choice] = reply["choices"]
        message = choice["message"]
        calls = [call["function"] for call in message.get("tool_calls", ())]
        return (
            message.get("reasoning", ""),
            message["content"] or "",
            [(call["name"], json.loads(call["arguments"])) for call in calls],
        )
    thinking, text, made = "", "", []
    for block in reply["content"] if "content" in reply else reply["output"]:
        match block:
            case {"type": "thinking"}:
                thinking += block["thinking"]
            case {"type": "text"}:
                text += block["text"]
            case {"type": "tool_use"}:
                made.append((block["name"], block["input"]))
            case {"type": "reasoning", "content": [part]}:
                thinking += part["text"]
            case {"type": "message", "content": [part]}:
                text += part["text"]
            case {"type": "function_call"}:
                made.append((block["name"], json.loads(block["arguments"])))
            case _:
                raise AssertionError(block)
    return thinking, text, made


def of_chunks(chunks: Iterable[Document]) -> Parts:
    message: Document = defaultdict(str, tool_calls=[])
    for chunk in chunks:
        [choice] = chunk["choices"]
        for name, value in choice["delta"].items():
            message[name] += value
    return parts({"choices": [{"message": message}]})


def of_responses(events: Iterable[Document]) -> Parts:
    """The parts of the deltas; the items that ended are the output of the last event."""
    texts, items = defaultdict[int, str](str), []
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] += event["delta"]
        if event["type"] == "response.output_item.done":
            item = event["item"]
            whole = item.get("arguments") or item["content"][0]["text"]
            assert texts[event["output_index"]] == whole
            items.append(item)
    assert event["response"]["output"] == items
    return parts(event["response"])


def of_messages(events: Iterable[Document]) -> Parts:
    blocks: list[Document] = []
    for event in events:
        match event:
            case {"type": "content_block_start"}:
                assert event["index"] == len(blocks)
                blocks.append(dict(event["content_block"]))
            case {"delta": {"partial_json": piece}}:
                blocks[event["index"]]["input"] = json.loads(piece)
            case {"type": "content_block_delta", "delta": delta}:
                kind = blocks[event["index"]]["type"]
                blocks[event["index"]][kind] += delta[kind]
    starts = [event for event in events if event["type"] == "content_block_start"]
    stops = [event for event in events if event["type"] == "content_block_stop"]
    assert [event["index"] for event in stops] == [*range(len(starts))]
    return parts({"content": blocks})


FORMS: dict[type[Reply], Any] = {
    ChatReply: of_chunks,
    MessageReply: of_messages,
    ResponseReply: of_responses,
}
CALLS = st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=3)


def solved(thinking: str, text: str, calls: Iterable[Document] = ()) -> list[Result]:
    """One choice whose model thinks, says a text, and calls a tool with these arguments."""
    called = "".join(
        f"<tool_call>{json.dumps({'name': 'weather', 'arguments': arguments})}</tool_call>"
        for arguments in calls
    )
    engine = ScriptedEngine(
        lambda _: text + called,
        thoughts=lambda _: thinking,
        model=replace(THINKER, name="m"),
    )
    request = chat(**({"tools": [TOOL]} if called else {}))
    return asyncio.run(answered(engine, request, offer(model=engine.model)))


def cut(text: str, places: list[int]) -> list[str]:
    """A text in pieces; some may be empty."""
    at = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(at)]


@given(
    thinking=st.text(max_size=9),
    text=st.text(max_size=9),
    calls=CALLS,
    places=st.lists(st.integers(0, 9), max_size=4),
    pieces=st.integers(0, 12),
)
def test_a_stream_is_the_whole_reply(
    thinking: str,
    text: str,
    calls: list[Document],
    places: list[int],
    pieces: int,
) -> None:
    results = solved(thinking, text, calls)
    for form, read_stream in FORMS.items():
        thought, spoken, called = whole = parts(made(form).whole(results))
        assert len(called) == len(calls)
        news = [
            *(said(piece, thinking=True) for piece in cut(thought, places)),
            *(said(piece) for piece in cut(spoken, places)),
        ]
        stream = made(form)
        begun = [*stream.begin(1)]
        # The text of a reply that may call tools is sent at its end.
        sent = streamed(stream, results, *([] if calls else news[:pieces]))
        assert read_stream([*begun, *sent]) == whole
        assert LOST not in json.dumps(sent)


@pytest.mark.parametrize("form", FORMS)
def test_a_text_that_is_not_the_one_that_was_streamed_is_noted(
    form: type[Reply],
) -> None:
    results = solved("", "No idea")
    stream = made(form)
    sent = [
        *stream.begin(1),
        *stream.text(0, TextPiece("It was")),
        *stream.end(results),
    ]
    assert LOST in json.dumps(sent)
    deltas = json.dumps([each for each in sent if "response" not in each])
    assert "No idea" not in deltas.partition('"reasoner"')[0]
