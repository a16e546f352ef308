"""Whole replies: valid in the types of OpenAI's client, and true to the solutions behind them."""

import json
from typing import Any

import pytest
from openai.types import Completion as OpenAICompletion
from openai.types import Model
from openai.types.chat import ChatCompletion

from reasoner.budget import Budget, Cost, Prices
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineError, PromptTooLong
from reasoner.registry import entries
from reasoner.serving.choice import Alias, Job, Offer, choose, default_aliases
from reasoner.serving.replies import MAX_ANSWER, Result, chat_completion, model_list, text_completion, usage
from reasoner.solution import Solution
from reasoner.types import Answer, Proposal, Vote, VoteState
from tests.helpers import meter_of, says, varied
from tests.running import running
from tests.scripted import THINKER, ScriptedEngine
from tests.serving.asking import answered, chat, completion, offer, refusal
from tests.serving.openai_types import read_as

NAMES = sorted(entries("strategy"))


def reply(results: list[Result], **options: Any) -> dict[str, Any]:
    document = chat_completion(results, id="chatcmpl-1", created=7, **options)
    read_as(ChatCompletion, document)
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return document


@pytest.mark.parametrize("name", NAMES)
@running
async def test_every_strategy_gives_a_reply_that_openais_client_reads(name: str) -> None:
    engine = ScriptedEngine(varied)
    request = chat(max_tokens=40, reasoner={"strategy": name, "answer": "number"})
    [result] = await answered(engine, request)
    document = reply([result])
    [choice] = document["choices"]
    assert result[1].answer
    assert result[1].answer.text in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert document["reasoner"]["answer"] == result[1].answer.text
    computed, cached, generated = meter_of(engine)
    judged = result[1].cost.verifier_tokens
    assert document["usage"]["prompt_tokens"] == computed + cached
    assert document["usage"]["completion_tokens"] == generated + judged
    assert document["usage"]["total_tokens"] == computed + cached + generated + judged


@pytest.mark.parametrize("alias", default_aliases())
@running
async def test_every_alias_is_answered_by_the_simulated_engine(alias: str) -> None:
    request = chat(model=f"m@{alias}", messages=[{"role": "user", "content": "What is 2 + 3?"}])
    document = reply(await answered(SimulatedEngine(accuracy=1), request))
    assert document["model"] == f"m@{alias}"
    # The engine knows arithmetic, and not what it means to mend a reply.
    assert ("The answer is " if alias == "refine" else "5") in document["choices"][0]["message"]["content"]


@running
async def test_a_plain_request_gives_the_models_own_text() -> None:
    text = "  A poem:\n\n| a | b |\n"
    document = reply(await answered(ScriptedEngine(lambda _: text), chat()))
    assert document["choices"][0]["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert document["reasoner"]["votes"] == [{"answer": text.strip(), "count": 1, "weight": 1.0}]
    assert document["reasoner"]["saved"] is None


@running
async def test_a_plain_request_that_is_cut_says_so() -> None:
    document = reply(await answered(ScriptedEngine(lambda _: "one two three four"), chat(max_tokens=2)))
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["choices"][0]["message"]["content"] == "one two"


@running
async def test_a_stop_string_ends_a_plain_request() -> None:
    document = reply(await answered(ScriptedEngine(lambda _: "one two END three"), chat(stop=" END")))
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["choices"][0]["message"]["content"] == "one two"


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
    assert (vendor["answer"], vendor["samples"], vendor["ended_by"]) == ("8", 4, "strategy")
    assert vendor["votes"][0] == {"answer": "8", "count": 2, "weight": 2.0}
    thought = document["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert thought == vendor["cost"]["thinking_tokens"] > 0


@running
async def test_several_choices_have_their_own_solutions_and_one_usage() -> None:
    results = await answered(ScriptedEngine(varied), chat(n=3))
    document = reply(results, traces=["a", None, "c"])
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in document["choices"]}) > 1
    assert [choice["reasoner"]["trace"] for choice in document["choices"]] == ["a", None, "c"]
    assert document["reasoner"] == document["choices"][0]["reasoner"]
    assert document["usage"] == usage([solution.cost for _, solution in results])


@running
async def test_a_vote_that_stops_early_says_what_it_saved() -> None:
    request = chat(model="m@auto-low", reasoner={"answer": "number"})
    document = reply(await answered(ScriptedEngine(says("7")), request, offer(prices=Prices(1, 2))))
    vendor = document["reasoner"]
    assert vendor["cost"]["samples"] + vendor["saved"] == 16
    assert vendor["saved"] > 0
    assert "usd" not in vendor["cost"]


@running
async def test_prices_are_in_the_cost() -> None:
    prices = Prices(1, 2)
    [result] = await answered(ScriptedEngine(says("7")), chat(), offer(prices=prices))
    assert reply([result], prices=prices)["reasoner"]["cost"]["usd"] == prices.usd(result[1].cost)


@running
async def test_a_budget_that_ends_gives_the_best_so_far() -> None:
    request = chat(model="m@vote16", reasoner={"answer": "number", "budget": {"samples": 3}})
    document = reply(await answered(ScriptedEngine(says("7")), request))
    assert (document["reasoner"]["ended_by"], document["choices"][0]["finish_reason"]) == ("budget", "stop")
    assert document["reasoner"]["saved"] is None
    assert document["choices"][0]["message"]["content"] == "The answer is 7"
    request = chat(reasoner={"budget": {"tokens": 1}})
    document = reply(await answered(ScriptedEngine(says("7")), request))
    assert document["choices"][0]["message"]["content"] == ""
    assert document["choices"][0]["finish_reason"] == "length"
    assert "budget tokens=1" in document["reasoner"]["reason"]


@running
async def test_raw_prompts_give_text_completions() -> None:
    results = await answered(ScriptedEngine(lambda request: f"{request.prompt.raw}!"), completion(prompt=["a", "b"]))
    document = text_completion(results, id="cmpl-1", created=7)
    read_as(OpenAICompletion, document)
    assert [choice["text"] for choice in document["choices"]] == ["a!", "b!"]
    assert document["object"] == "text_completion"


def job(**fields: Any) -> Job:
    return choose(chat(**fields), offer())[0]


def solved(text: str = "", **fields: Any) -> Solution:
    known = {"answer": None, "cost": Cost(), "proposals": (), "ended_by": "strategy", "reason": "done", **fields}
    return Solution("q", text=text, **known)


def test_abstention_is_not_an_answer() -> None:
    vote_state = VoteState((Vote(Answer("7", "7"), 1, 1),), 1)
    solution = solved("It is 7", confidence=0.3, proposals=(Proposal(Answer("7", "7"), vote_state, Cost()),))
    document = reply([(job(), solution)])
    assert document["choices"][0]["message"]["content"] == "not sure"
    assert document["reasoner"]["confidence"] == 0.3
    assert document["reasoner"]["answer"] is None


def test_an_answer_without_a_text_is_the_text() -> None:
    document = reply([(job(), solved(answer=Answer("B", "B")))])
    assert document["choices"][0]["message"]["content"] == "B"


def test_hostile_text_is_valid_and_bounded() -> None:
    bad = "\ud800\0" * 9999
    vote_state = VoteState((Vote(Answer(bad, "k"), 1, 1),), 1)
    solution = solved(bad, answer=Answer(bad, "k"), reason=bad, proposals=(Proposal(None, vote_state, Cost()),))
    document = reply([(job(), solution)])
    assert document["choices"][0]["message"]["content"] == "?\0" * 9999
    vendor = document["reasoner"]
    assert {len(vendor["answer"]), len(vendor["reason"]), len(vendor["votes"][0]["answer"])} == {MAX_ANSWER}


@pytest.mark.parametrize(
    ("error", "status", "code", "says"),
    [
        (PromptTooLong(9, 5), 400, "context_length_exceeded", "shorten it"),
        (EngineError("http://10.0.0.7/ refused with key sk-123"), 500, "internal_error", "internal error"),
    ],
)
def test_a_question_that_failed_is_an_error(error: Any, status: int, code: str, says: str) -> None:
    failed = refusal(lambda: reply([(job(), solved(error=error, ended_by="error"))]))
    assert (failed.status, failed.code) == (status, code)
    assert says in failed.message


def test_what_was_there_before_a_failure_is_a_reply_without_details() -> None:
    error = EngineError("http://10.0.0.7/ refused with key sk-123")
    document = reply([(job(), solved("It is 7", answer=Answer("7", "7"), error=error, ended_by="error"))])
    assert document["choices"][0]["message"]["content"] == "It is 7"
    assert document["reasoner"]["ended_by"] == "error"
    assert "sk-123" not in json.dumps(document)


def test_the_models_are_the_model_and_its_aliases() -> None:
    offered = Offer("ORG/m", aliases={"vote8": Alias("self_consistency", description="a vote")})
    document = model_list(offered, created=7)
    models = [read_as(Model, entry) for entry in document["data"]]
    assert [model.id for model in models] == ["ORG/m", "ORG/m@vote8"]
    assert models[1].description == "a vote"
    assert document["object"] == "list"


def test_usage_counts_every_token_of_every_job() -> None:
    costs = [Cost(1, 2, 4, 8, 16, thinking_tokens=3), Cost(100)]
    assert usage(costs) == {
        "prompt_tokens": 103,
        "completion_tokens": 28,
        "total_tokens": 131,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


@running
async def test_the_ceiling_holds_for_every_strategy() -> None:
    offered = offer(ceiling=Budget(samples=2))
    for name in NAMES:
        request = chat(max_tokens=40, reasoner={"strategy": name, "answer": "number"})
        [(_, solution)] = await answered(ScriptedEngine(varied), request, offered)
        assert solution.cost.samples <= 2
