"""Replies of chats and completions: valid in the types of OpenAI's client, and true to the solutions behind them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from reasoner.budget import Budget, Cost, Prices
from reasoner.engine import SampleRequest
from reasoner.errors import EngineError, PromptTooLong
from reasoner.serving.chat import ChatReply
from reasoner.serving.replies import MAX_ANSWER, MAX_VOTES, Result, usage
from reasoner.solution import Solution
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import meter_of, says, varied
from reasoner.trace.events import Proposed
from reasoner.types import Answer, Proposal, Vote, VoteState
from tests.running import running
from tests.serving.asking import (
    CLIENTS,
    answered,
    chat,
    followed,
    offer,
    only,
    read_as,
    refusal,
    said,
    streamed,
)


def reply(results: list[Result], *, prices: Prices | None = None) -> dict[str, Any]:
    document = ChatReply(chat(), prices).whole(results)
    read_as(ChatCompletion, document)
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return document


def solved(text: str = "", **fields: Any) -> list[Result]:
    """The one choice of a reply that ended like this."""
    known = {
        "answer": None,
        "cost": Cost(),
        "proposals": (),
        "ended_by": "strategy",
        "reason": "done",
        **fields,
    }
    return [Result(only(), Solution("q", text=text, **known))]


# Whole replies


@pytest.mark.parametrize("name", CLIENTS)
@running
async def test_every_strategy_gives_a_reply_that_openais_client_reads(
    name: str,
) -> None:
    engine = ScriptedEngine(varied)
    request = chat(
        max_tokens=40, seed=8, reasoner={"strategy": name, "answer": "number"}
    )
    [result] = await answered(engine, request)
    document = reply([result])
    [choice] = document["choices"]
    solution = result.solution
    assert solution.answer
    assert solution.answer.text in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert document["reasoner"]["answer"] == solution.answer.text
    computed, cached, generated = meter_of(engine)
    judged = solution.cost.verifier_tokens
    assert document["usage"]["prompt_tokens"] == computed + cached
    assert document["usage"]["completion_tokens"] == generated + judged
    assert document["usage"]["total_tokens"] == computed + cached + generated + judged
    [bounded] = await answered(
        ScriptedEngine(varied), request, offer(ceiling=Budget(samples=2))
    )
    assert bounded.solution.cost.samples <= 2


@running
async def test_a_plain_request_gives_the_models_own_text() -> None:
    text = "  A poem:\n\n| a | b |\n"
    document = reply(await answered(ScriptedEngine(lambda _: text), chat()))
    assert document["choices"][0]["message"] == {
        "role": "assistant",
        "content": text,
        "refusal": None,
    }
    assert document["reasoner"]["votes"] == [
        {"answer": text.strip(), "count": 1, "weight": 1.0}
    ]
    assert document["reasoner"]["saved"] is None


@running
async def test_a_plain_request_says_that_it_was_cut() -> None:
    results = await answered(
        ScriptedEngine(lambda _: "one two three"), chat(max_tokens=2)
    )
    [choice] = reply(results)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (
        "one two",
        "length",
    )


@running
async def test_the_text_is_that_of_the_winner_and_so_is_its_thinking() -> None:
    def thoughts(request: SampleRequest) -> str:
        return f"thought {request.index}"

    engine = ScriptedEngine(says("7", "8", "8", "9"), thoughts=thoughts, model=THINKER)
    request = chat(reasoner={"strategy": "self_consistency:n=4", "answer": "number"})
    document = reply(await answered(engine, request))
    message = document["choices"][0]["message"]
    assert message["content"] == "The answer is 8"
    assert message["reasoning"] == message["reasoning_content"] == "thought 1"
    vendor = document["reasoner"]
    assert (vendor["answer"], vendor["samples"], vendor["ended_by"]) == (
        "8",
        4,
        "strategy",
    )
    assert vendor["votes"][0] == {"answer": "8", "count": 2, "weight": 2.0}
    thought = document["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert thought == vendor["cost"]["thinking_tokens"] > 0


@running
async def test_several_choices_have_their_own_solutions_and_one_usage() -> None:
    results = await answered(ScriptedEngine(varied), chat(n=3))
    document = reply(
        [
            replace(result, trace=trace)
            for result, trace in zip(results, ["a", None, "c"], strict=True)
        ]
    )
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in document["choices"]}) > 1
    assert [choice["reasoner"]["trace"] for choice in document["choices"]] == [
        "a",
        None,
        "c",
    ]
    assert document["reasoner"] == document["choices"][0]["reasoner"]
    news = [
        said(result.solution.text[:3], index=index)
        for index, result in enumerate(results)
    ]
    chunks = checked(streamed(with_usage(), results, *news))
    for index, result in enumerate(results):
        assert joined(chunks, "content", index) == result.solution.text
    assert (
        document["usage"]
        == chunks[-1]["usage"]
        == usage(sum((each.solution.cost for each in results), Cost()))
    )


@running
async def test_a_vote_that_stops_early_says_what_it_saved_and_what_it_cost() -> None:
    prices = Prices(1, 2)
    request = chat(model="m@auto-low", reasoner={"answer": "number"})
    [result] = await answered(ScriptedEngine(says("7")), request, offer(prices=prices))
    vendor = reply([result])["reasoner"]
    assert vendor["cost"]["samples"] + vendor["saved"] == 16
    assert vendor["saved"] > 0
    assert "usd" not in vendor["cost"]
    assert reply([result], prices=prices)["reasoner"]["cost"]["usd"] == prices.usd(
        result.solution.cost
    )


def test_an_abstention_is_no_answer_and_an_answer_without_a_text_is_the_text() -> None:
    vote_state = VoteState((Vote(Answer("7", "7"), 1, 1),), 1)
    document = reply(
        solved(
            "It is 7",
            confidence=0.3,
            proposals=(Proposal(Answer("7", "7"), vote_state, Cost()),),
        )
    )
    assert document["choices"][0]["message"]["content"] == "not sure"
    assert (document["reasoner"]["confidence"], document["reasoner"]["answer"]) == (
        0.3,
        None,
    )
    document = reply(solved(answer=Answer("B", "B")))
    assert document["choices"][0]["message"]["content"] == "B"


def test_hostile_text_is_valid_and_bounded() -> None:
    bad = "\ud800\0" * 9999
    vote_state = VoteState((Vote(Answer(bad, "k"), 1, 1),), 1)
    document = reply(
        solved(
            bad,
            answer=Answer(bad, "k"),
            reason=bad,
            proposals=(Proposal(None, vote_state, Cost()),),
        )
    )
    assert document["choices"][0]["message"]["content"] == "\ufffd\0" * 9999
    vendor = document["reasoner"]
    assert {
        len(vendor["answer"]),
        len(vendor["reason"]),
        len(vendor["votes"][0]["answer"]),
    } == {MAX_ANSWER}


@pytest.mark.parametrize(
    ("error", "status", "code", "says"),
    [
        (PromptTooLong(9, 5), 400, "context_length_exceeded", "shorten it"),
        (
            EngineError("http://10.0.0.7/ refused with key sk-123"),
            500,
            "internal_error",
            "internal error",
        ),
    ],
)
def test_a_question_that_failed_is_an_error_unless_there_was_a_text(
    error: Any, status: int, code: str, says: str
) -> None:
    for call in (ChatReply.whole, ChatReply.end):
        failed = refusal(
            lambda call=call: call(  # type: ignore[misc]
                ChatReply(chat()), solved(error=error, ended_by="error")
            )
        )
        assert (failed.status, failed.code) == (status, code)
        assert says in failed.message
    document = reply(
        solved("It is 7", answer=Answer("7", "7"), error=error, ended_by="error")
    )
    assert document["choices"][0]["message"]["content"] == "It is 7"
    assert document["reasoner"]["ended_by"] == "error"
    assert "sk-123" not in json.dumps(document)


# Streams


def joined(chunks: list[dict[str, Any]], part: str, index: int = 0) -> str:
    """What the chunks say of a part of a choice."""
    deltas = [
        choice["delta"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    ]
    return "".join(delta.get(part) or "" for delta in deltas)


def checked(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for chunk in chunks:
        read_as(ChatCompletionChunk, chunk)
    assert (
        len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    )
    return chunks


def with_usage(**fields: Any) -> ChatReply:
    return ChatReply(
        chat(stream=True, stream_options={"include_usage": True}, **fields)
    )


@running
async def test_a_vote_shows_its_progress_and_then_the_whole_reply() -> None:
    request = chat(reasoner={"strategy": "self_consistency:n=4", "answer": "number"})
    results = await answered(ScriptedEngine(says("7", "8", "8", "9")), request)
    stream = with_usage()
    chunks = checked([*stream.begin(1), *streamed(stream, results, *followed(results))])
    document = ChatReply(chat()).whole(results)
    assert joined(chunks, "content") == document["choices"][0]["message"]["content"]
    lines = joined(chunks, "reasoning").splitlines()
    assert lines[-1] == "4 samples, leading 8 (50 %)"
    assert lines[0] == "1 sample"
    assert len(lines) == len({*lines})
    assert joined(chunks, "reasoning") == joined(chunks, "reasoning_content")
    assert joined(chunks, "role") == "assistant"
    reports = [chunk["reasoner"] for chunk in chunks if "reasoner" in chunk]
    assert reports[0]["samples"] == 1
    assert {**reports[-2], "cost": None} == {
        "samples": 4,
        "votes": reports[-1]["votes"],
        "cost": None,
    }
    assert reports[-2]["cost"]["tokens"] == reports[-1]["cost"]["tokens"]
    assert reports[-1] == document["reasoner"]
    last, counted = chunks[-2:]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (counted["choices"], counted["usage"]) == ([], document["usage"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_hostile_answers_are_short_lines_of_progress_and_few_are_in_a_chunk() -> None:
    bad = "\x1b[31m\n\ud800<script>" * 999
    vote_state = VoteState(
        tuple(Vote(Answer(bad, str(number)), 1, 1) for number in range(60)), 60
    )
    event = Proposed(
        question_id="q", t=0.0, answer=None, vote_state=vote_state, cost=Cost()
    )
    [chunk] = checked([*ChatReply(chat()).progress(0, event)])
    assert len(chunk["reasoner"]["votes"]) == MAX_VOTES
    line = joined([chunk], "reasoning")
    assert line.count("\n") == 1
    assert len(line) < 80
    assert line.removesuffix("\n").isprintable()
