"""Streamed replies: the chunks together are the whole reply, and each is one that OpenAI's client reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletionChunk

from reasoner.budget import Cost
from reasoner.errors import PromptTooLong
from reasoner.serving.replies import Result, chat_completion, usage
from reasoner.serving.streaming import ChatStream, CompletionStream
from reasoner.trace.events import Proposed, Sampled
from reasoner.types import Answer, Vote, VoteState
from tests.helpers import says, varied
from tests.running import running
from tests.scripted import THINKER, ScriptedEngine
from tests.serving.asking import answered, chat, completion, refusal
from tests.serving.openai_types import read_as
from tests.serving.test_replies import job, solved


def joined(chunks: list[dict[str, Any]], part: str, index: int = 0) -> str:
    """What the chunks say of a part of a choice."""
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(delta.get(part, "") for delta in deltas)


def streamed(results: list[Result], stream: ChatStream) -> list[dict[str, Any]]:
    """The chunks of a reply whose jobs are followed event by event."""
    chunks = [
        chunk
        for index, (_, solution) in enumerate(results)
        for event in solution.events
        if (chunk := stream.progress(event, index=index))
    ]
    return [*chunks, *stream.end(results)]


def checked(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for chunk in chunks:
        read_as(ChatCompletionChunk, chunk)
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("c", 7, "m")}
    return chunks


@running
async def test_a_vote_shows_its_progress_and_then_the_whole_reply() -> None:
    request = chat(reasoner={"strategy": "self_consistency:n=4", "answer": "number"})
    results = await answered(ScriptedEngine(says("7", "8", "8", "9")), request)
    chunks = checked(streamed(results, ChatStream("c", 7, "m", include_usage=True)))
    whole = chat_completion(results, id="c", created=7)
    assert joined(chunks, "content") == whole["choices"][0]["message"]["content"]
    lines = joined(chunks, "reasoning").splitlines()
    assert lines[-1] == "4 samples, leading 8 (50 %)"
    assert lines[0] == "1 sample"
    assert len(lines) == len({*lines})
    assert joined(chunks, "reasoning") == joined(chunks, "reasoning_content")
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks[:-1]] == ["assistant"] + [None] * (
        len(chunks) - 2
    )
    last, counted = chunks[-2:]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["reasoner"] == whole["reasoner"]
    assert (counted["choices"], counted["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@running
async def test_the_first_sample_that_ends_is_shown() -> None:
    request = chat(reasoner={"strategy": "best_of_n:n=3"})
    [(_, solution)] = await answered(ScriptedEngine(varied), request)
    stream = ChatStream("c", 7, "m")
    first = next(event for event in solution.events if isinstance(event, Sampled))
    assert joined([stream.progress(first) or {}], "reasoning") == "1 sample\n"
    rated = [chunk for event in solution.events if (chunk := stream.progress(event))]
    assert "3 rated" in joined(rated, "reasoning")


@running
async def test_several_choices_stream_side_by_side() -> None:
    results = await answered(ScriptedEngine(varied), chat(n=3))
    stream = ChatStream("c", 7, "m", include_usage=True)
    for index, (_, solution) in enumerate(results):
        stream.delta(solution.text[:3], index=index)
    chunks = checked(stream.end(results))
    for index, (_, solution) in enumerate(results):
        assert joined(chunks, "content", index) == solution.text[3:]
    assert chunks[-1]["usage"] == usage([solution.cost for _, solution in results])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1] == "stop"


@running
async def test_a_request_that_passes_through_streams_what_it_thinks_and_says() -> None:
    results = await answered(ScriptedEngine(lambda _: "It is 7", model=THINKER), chat())
    stream = ChatStream("c", 7, "m")
    parts = [stream.begin(), stream.delta("hm, let", thinking=True), stream.delta("It "), *stream.end(results)]
    chunks = checked(parts)
    assert joined(chunks, "content") == "It is 7"
    assert joined(chunks, "reasoning") == "hm, let me think"
    assert joined(chunks, "role") == "assistant"
    assert "usage" not in chunks[0]


@given(st.text(), st.integers(0, 20))
def test_what_was_streamed_is_not_sent_again(text: str, cut: int) -> None:
    solution = solved(text)
    stream = ChatStream("c", 7, "m")
    chunks = checked([stream.delta(text[:cut]), *stream.end([(job(), solution)])])
    assert joined(chunks, "content") == text


def test_another_text_than_was_streamed_is_not_added_to_it() -> None:
    stream = ChatStream("c", 7, "m")
    chunks = [stream.delta("It was"), *stream.end([(job(), solved("No idea"))])]
    assert joined(chunks, "content") == "It was"


def test_hostile_answers_are_short_lines_of_progress() -> None:
    bad = "\x1b[31m\n\ud800<script>" * 999
    vote_state = VoteState((Vote(Answer(bad, "k"), 1, 1),), 1)
    event = Proposed(question_id="q", t=0.0, answer=None, vote_state=vote_state, cost=Cost())
    chunk = ChatStream("c", 7, "m").progress(event)
    assert chunk
    line = joined(checked([chunk]), "reasoning")
    assert line.count("\n") == 1
    assert len(line) < 80
    assert line.removesuffix("\n").isprintable()


def test_a_failure_is_raised_before_any_of_the_last_chunks() -> None:
    stream = ChatStream("c", 7, "m")
    failed = solved(error=PromptTooLong(9, 5), ended_by="error")
    assert refusal(lambda: stream.end([(job(), failed)])).code == "context_length_exceeded"


@running
async def test_raw_prompts_stream() -> None:
    results = await answered(ScriptedEngine(lambda _: "upon a time"), completion())
    stream = CompletionStream("c", 7, "m", include_usage=True)
    chunks = [stream.delta("upon"), *stream.end(results)]
    for chunk in chunks:
        assert (chunk["id"], chunk["object"]) == ("c", "text_completion")
    texts = [choice["text"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(texts) == "upon a time"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == usage([results[0][1].cost])
    read_as(OpenAICompletion, chunks[-2])


@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_is_only_streamed_when_asked_for(include_usage: bool) -> None:
    chunks = ChatStream("c", 7, "m", include_usage).end([(job(), solved("x"))])
    assert ("usage" in chunks[-1]) is include_usage
