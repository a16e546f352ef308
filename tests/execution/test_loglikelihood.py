"""Weighing texts: the chain rule over a tree of token ids, within the budget and in the trace."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.errors import EngineError, RequestLost, UsageError
from reasoner.execution.scoring import branch_nodes, joint_logprob
from reasoner.strategy import (
    NOT_MEASURED,
    LogLikelihood,
    Plan,
    TextLikelihood,
    loglikelihood,
)
from reasoner.testing.scripted import MODEL
from reasoner.testing.support import books, meter_of, says, turns
from reasoner.trace.events import LikelihoodsMeasured, Sampled
from reasoner.types import Answer, Completion, TokenIds
from tests.execution.known_likelihoods import LETTERS, Asking, Known, by_hand
from tests.execution.one_question import PROMPT, TOKENS, Run, hang
from tests.waiting import idle_time

WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=8)


def known(*, context: int = MODEL.context, **options: object) -> Known:
    return Known(says("7"), model=replace(MODEL, context=context), **options)  # type: ignore[arg-type]


def before(engine: Known) -> TokenIds:
    ids = asyncio.run(engine.render(PROMPT)).token_ids
    assert ids is not None
    return ids


# What a text weighs


@given(WORDS)
def test_likelihoods_follow_the_chain_rule_with_one_request_for_each_node(
    texts: list[str],
) -> None:
    engine, asking = known(), Asking(*texts)
    run = Run(asking, engine)
    assert run.error is None
    assert asking.reply is not None
    for text, found in zip(texts, asking.reply, strict=True):
        assert found is not None
        assert found.tokens == len(text)
        assert found.logprob == pytest.approx(by_hand(before(engine), text), abs=1e-12)
    places = {text[:place] for text in texts for place in range(len(text))}
    assert len(engine.usage) == len(places) == run.solution.cost.requests
    assert run.solution.cost.samples == 0
    assert run.seen(Sampled) == []


@given(
    st.lists(
        st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple), max_size=30
    ),
    st.integers(1, 4),
)
def test_the_tree_watches_each_token_once_within_the_limit_of_a_request(
    spelled: list[TokenIds], max_samples: int
) -> None:
    places = branch_nodes(spelled, max_watched=max_samples)
    steps = [(path, token) for path, watch in places for token in watch]
    assert len(steps) == len(set(steps))
    assert set(steps) == {
        (ids[:at], token) for ids in spelled for at, token in enumerate(ids)
    }
    assert all(1 <= len(watch) <= max_samples for _, watch in places)
    told = dict.fromkeys(steps, -0.5)
    assert all(
        joint_logprob(ids, told) == TextLikelihood(-0.5 * len(ids), len(ids))
        for ids in spelled
    )


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(UsageError, match="give at least one"):
        LogLikelihood(PROMPT, ())
    with pytest.raises(UsageError, match="a text is empty"):
        LogLikelihood(PROMPT, ("a", ""))


# What does not fit, and engines that cannot tell


def test_a_text_that_does_not_fit_the_window_is_left_out() -> None:
    engine, asking = known(context=TOKENS + 3), Asking("abcd", "abc", "a")
    assert Run(asking, engine).error is None
    assert asking.reply is not None
    assert [one and one.tokens for one in asking.reply] == [None, 3, 1]
    assert (
        max(usage.prompt_tokens + usage.generated_tokens for usage in engine.usage)
        == TOKENS + 3
    )


class Unspelled(Known):
    """An engine without a tokenizer."""

    async def encode(self, text: str) -> None:
        return None


def test_an_engine_without_token_ids_is_an_error_in_the_plan() -> None:
    complaints: list[str] = []

    def plan(question: Question) -> Plan[Answer | None]:
        try:
            yield from loglikelihood(question.prompt, ["a"])
        except UsageError as error:
            complaints.append(str(error))
        return None

    run = Run(plan, Unspelled(says("7")))
    assert run.error is None
    assert run.engine.usage == []
    [complaint] = complaints
    assert complaint.startswith("scripted has no token ids for 'a' after this prompt")
    assert complaint.endswith("use vLLM in this program, as by --engine vllm")


class Blind(Known):
    """An engine that does not tell of watched tokens."""

    async def sample(self, request: SampleRequest) -> Completion:
        return replace(await Known.sample(self, request), logprobs=None)


def test_an_engine_that_watches_nothing_says_so_and_what_it_did_is_paid_for() -> None:
    run = Run(Asking("a"), Blind(says("7")))
    assert isinstance(run.error, UsageError)
    assert "scripted reports no log-probabilities of chosen tokens: use vLLM" in str(
        run.error
    )
    assert books(run.solution.cost) == meter_of(run.engine) == (TOKENS, 0, 1)
    [event] = run.seen(LikelihoodsMeasured)
    assert (event.likelihoods, event.error.partition(":")[0]) == ((), "UsageError")


# Costs and refusals


@idle_time()
def test_at_the_deadline_it_is_cut_and_paid_for() -> None:
    run = Run(Asking("ab", "b"), known(pause=hang), budget=Budget(seconds=1))
    assert (run.solution.ended_by, run.solution.cost.prompt_tokens) == (
        "budget",
        2 * TOKENS + 1,
    )
    [event] = run.seen(LikelihoodsMeasured)
    assert event.error.startswith(f"{NOT_MEASURED}: budget seconds=1")


@pytest.mark.parametrize(
    "failure", [RequestLost("gone"), OSError("gone"), EngineError("gone")]
)
def test_a_failure_ends_the_run_and_nothing_stays_in_flight(failure: Exception) -> None:
    async def pause(request: SampleRequest) -> None:
        if request.watch == (98,):
            raise failure
        await turns(20)

    run = Run(Asking("ab", "cd"), known(pause=pause))
    assert isinstance(run.error, EngineError)
    assert "gone" in str(run.error)
    assert books(run.solution.cost) == meter_of(run.engine)
    assert [event.likelihoods for event in run.seen(LikelihoodsMeasured)] == [()]
