"""Weighing texts: the chain rule over a tree of token ids, within the budget and in the trace."""

import asyncio
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, Solution, solve, solve_many
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import BudgetExhausted, EngineError, PromptTooLong, RequestLost, TraceError, UsageError
from reasoner.execution.scoring import branch_nodes, joint_logprob
from reasoner.strategy import NOT_MEASURED, LogLikelihood, Plan, TextLikelihood, loglikelihood, propose
from reasoner.trace.events import Event, LikelihoodsMeasured, Proposed, Refused, Sampled
from reasoner.trace.history import read_histories
from reasoner.types import Answer, Completion, TokenIds, Usage, VoteState
from tests.execution.known_likelihoods import LETTERS, Asking, Known, by_hand
from tests.execution.one_question import PROMPT, QUESTION, TOKENS, Run, hang
from tests.helpers import DEADLINE, Planned, books, course, jumbled, meter_of, says, told, turns, write_trace
from tests.scripted import MODEL
from tests.sweeps import cases

WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=8)


def known(*, context: int = MODEL.context, **options: object) -> Known:
    return Known(says("7"), model=replace(MODEL, context=context), **options)  # type: ignore[arg-type]


def before(engine: Known) -> TokenIds:
    ids = asyncio.run(engine.render(PROMPT)).token_ids
    assert ids is not None
    return ids


# What a text weighs


@given(WORDS)
def test_a_text_weighs_what_the_chain_rule_says_and_each_place_is_asked_about_once(texts: list[str]) -> None:
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


def test_all_that_may_follow_has_probability_one() -> None:
    texts = list(map("".join, itertools.product(LETTERS, repeat=3)))
    asking = Asking(*texts)
    Run(asking, known())
    assert asking.reply is not None
    assert math.fsum(math.exp(one.logprob) for one in asking.reply if one) == pytest.approx(1, abs=1e-12)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple), max_size=30), st.integers(1, 4))
def test_the_tree_watches_every_step_of_every_text_once_and_no_more_at_a_time_than_allowed(
    spelled: list[TokenIds], max_samples: int
) -> None:
    places = branch_nodes(spelled, max_watched=max_samples)
    steps = [(place.path, token) for place in places for token in place.watch]
    assert len(steps) == len(set(steps))
    assert set(steps) == {(ids[:at], token) for ids in spelled for at, token in enumerate(ids)}
    assert all(1 <= len(place.watch) <= max_samples for place in places)
    told = dict.fromkeys(steps, -0.5)
    assert all(joint_logprob(ids, told) == TextLikelihood(-0.5 * len(ids), len(ids)) for ids in spelled)


def test_more_texts_than_one_request_may_watch_take_several() -> None:
    texts = [chr(place) for place in range(1000, 1300)]
    engine, asking = known(), Asking(*texts)
    assert Run(asking, engine).error is None
    assert [len(request.watch) for request in engine.asked] == [128, 128, 44]
    assert asking.reply == (TextLikelihood(math.log(1e-9), 1),) * 300


def test_after_forced_text_the_prompt_is_the_longer_one() -> None:
    longer = PROMPT.extended("ab", (97, 98))
    engine, asking = known(), Asking("cd", prompt=longer)
    assert Run(asking, engine).error is None
    assert asking.reply is not None
    assert asking.reply[0] is not None
    assert asking.reply[0].logprob == pytest.approx(by_hand((*before(engine), 97, 98), "cd"))


def test_nothing_is_no_text() -> None:
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
    assert max(usage.prompt_tokens + usage.generated_tokens for usage in engine.usage) == TOKENS + 3


def test_a_prompt_that_fills_the_window_is_an_error_before_anything_is_spent() -> None:
    run = Run(Asking("a"), known(context=TOKENS))
    assert isinstance(run.error, PromptTooLong)
    assert run.engine.usage == []


class Unspelled(Known):
    """An engine without a tokenizer."""

    async def encode(self, text: str) -> None:
        return None


def test_an_engine_that_spells_nothing_says_so_and_the_plan_may_go_on() -> None:
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


def test_so_does_the_simulation() -> None:
    run = Run(Asking("a"), SimulatedEngine())  # type: ignore[arg-type]
    assert isinstance(run.error, UsageError)
    assert "simulated has no token ids" in str(run.error)


class Blind(Known):
    """An engine that does not tell of watched tokens."""

    async def sample(self, request: SampleRequest) -> Completion:
        return replace(await Known.sample(self, request), logprobs=None)


def test_an_engine_that_watches_nothing_says_so_and_what_it_did_is_paid_for() -> None:
    run = Run(Asking("a"), Blind(says("7")))
    assert isinstance(run.error, UsageError)
    assert "scripted reports no log-probabilities of chosen tokens: use vLLM" in str(run.error)
    assert books(run.solution.cost) == meter_of(run.engine) == (TOKENS, 0, 1)
    [event] = run.seen(LikelihoodsMeasured)
    assert (event.likelihoods, event.error.partition(":")[0]) == ((), "UsageError")


# Costs and refusals


def test_what_texts_share_is_computed_once_where_prefixes_are_cached() -> None:
    one, both = (Run(Asking(*texts), known(block_size=1)) for texts in (["abc"], ["abc", "abd"]))
    assert both.solution.cost == replace(one.solution.cost, seconds=both.solution.cost.seconds)
    apart = Run(Asking("abc", "bcd"), known(block_size=1))
    assert apart.solution.cost.requests == one.solution.cost.requests + 2


def test_it_waits_for_what_is_in_flight_rather_than_to_be_refused() -> None:
    """Reserved uncached, five requests do not fit the budget at once; what they cost does."""
    texts = ("aaaaa", "aaaab")
    free = Run(Asking(*texts), known(block_size=1)).solution.cost.tokens
    assert free < 5 * (TOKENS + 1)
    asking = Asking(*texts)
    run = Run(asking, known(block_size=1), budget=Budget(tokens=free + TOKENS + 5))
    assert run.solution.ended_by == "strategy"
    assert asking.reply is not None


@cases("tokens", range(1, 120), thin=range(1, 120, 13))
def test_a_part_of_it_is_no_reply_and_no_budget_is_exceeded(tokens: int) -> None:
    refusals: list[BudgetExhausted] = []

    def plan(question: Question) -> Plan[Answer | None]:
        try:
            yield from loglikelihood(question.prompt, ["abcd", "bcda", "ca"])
        except BudgetExhausted as refusal:
            refusals.append(refusal)
        return None

    run = Run(plan, known(pause=jumbled(tokens)), budget=Budget(tokens=tokens))
    whole = Run(Asking("abcd", "bcda", "ca"), known()).solution.cost.tokens
    assert run.error is None
    assert run.solution.cost.tokens <= tokens
    assert books(run.solution.cost) == meter_of(run.engine)
    [event] = run.seen(LikelihoodsMeasured)
    assert bool(refusals) == (tokens < whole) == event.error.startswith(NOT_MEASURED) == (event.likelihoods == ())
    assert len(run.seen(Refused)) == len(refusals)


def test_a_budget_of_samples_does_not_bound_it() -> None:
    asking = Asking("ab")
    assert Run(asking, known(), budget=Budget(samples=0)).solution.ended_by == "strategy"
    assert asking.reply is not None


def test_the_plan_has_seen_what_it_cost() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield from loglikelihood(question.prompt, ["ab"])
        yield from propose(None, VoteState())
        return None

    run = Run(plan, known())
    [proposed] = run.seen(Proposed)
    assert proposed.cost == run.solution.cost.taking(0)


def test_at_the_deadline_it_is_cut_and_paid_for() -> None:
    run = Run(Asking("ab", "b"), known(pause=hang), budget=Budget(seconds=DEADLINE))
    assert (run.solution.ended_by, run.solution.cost.prompt_tokens) == ("budget", 2 * TOKENS + 1)
    [event] = run.seen(LikelihoodsMeasured)
    assert event.error.startswith(f"{NOT_MEASURED}: budget seconds={DEADLINE:g}")


def test_what_the_engine_loses_is_asked_again_and_paid_for_twice() -> None:
    lost: list[int] = []

    async def pause(request: SampleRequest) -> None:
        if len(lost) < 2:
            lost.append(0)
            request.meter.usage = replace(request.meter.usage or Usage(), generated_tokens=1)
            raise RequestLost("the connection broke")

    asking = Asking("a")
    run = Run(asking, known(pause=pause))
    assert asking.reply is not None
    assert (run.solution.cost.requests, run.solution.cost.cancelled_tokens) == (3, 2)
    assert books(run.solution.cost) == meter_of(run.engine)


@pytest.mark.parametrize("failure", [RequestLost("gone"), OSError("gone"), EngineError("gone")])
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


def test_cancelled_at_any_moment_it_loses_no_cost() -> None:
    async def test(moment: int) -> str:
        engine, events = known(pause=jumbled(moment, minimum=1)), list[Event]()
        work = asyncio.ensure_future(
            solve(QUESTION, Planned(Asking("abc", "bcd")), engine, trace=events.append, seed=moment)
        )
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        weighed = [event for event in events if isinstance(event, LikelihoodsMeasured)]
        assert books(sum((event.cost for event in weighed[1:]), weighed[0].cost)) == meter_of(engine)
        return weighed[0].error

    errors: Sequence[str] = [asyncio.run(test(moment)) for moment in range(3, 25)]
    assert set(errors) == {"", "cancelled"}


# Again from the trace


def twice(question: Question) -> Plan[Answer | None]:
    """Weighs, proposes the likelier of two, and weighs again after it."""
    answer, prompt = None, question.prompt
    for text in ("ab", "cd"):
        weights = yield from loglikelihood(prompt, [text, text[::-1], "a" * 40])
        likelier = text if weights[0] and weights[1] and weights[0].logprob > weights[1].logprob else text[::-1]
        assert weights[2] is None
        answer = Answer(likelier, likelier)
        yield from propose(answer, VoteState())
        prompt = prompt.extended(likelier, tuple(map(ord, likelier)))
    return answer


def recorded(budget: Budget | None = None) -> Run:
    return Run(twice, known(context=TOKENS + 20, pause=jumbled(1, lost=0.2)), budget=budget)


async def replayed(path: Path, script: object) -> Solution:
    engine = ReplayEngine(str(path))
    await engine.start()
    return await asyncio.wait_for(solve(QUESTION, Planned(script), engine), timeout=30)  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [None, 5, 25, 40, 60, 75, 90])
def test_a_trace_repeats_it_with_its_costs_and_refusals(tokens: int | None, tmp_path: Path) -> None:
    first = recorded(Budget(tokens=tokens) if tokens else None)
    again = asyncio.run(replayed(write_trace(tmp_path / "t.jsonl", first.events), twice))
    assert again.error is None
    assert course(again) == course(first.solution)


def test_what_failed_fails_again(tmp_path: Path) -> None:
    first = Run(Asking("a"), Blind(says("7")))
    again = asyncio.run(replayed(write_trace(tmp_path / "t.jsonl", first.events), Asking("a")))
    assert isinstance(again.error, EngineError)
    assert "reports no log-probabilities" in str(again.error)
    assert again.cost.taking(0) == first.solution.cost.taking(0)


def test_other_texts_are_not_in_the_trace(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", Run(Asking("a"), known()).events)
    again = asyncio.run(replayed(path, Asking("b")))
    assert isinstance(again.error, TraceError)
    assert "does not have the token ids of 'b'" in str(again.error)


def test_cut_off_anywhere_it_goes_on_and_weighs_nothing_twice() -> None:
    whole = recorded()

    async def go_on(moment: int) -> None:
        kept = whole.events[:moment]
        engine, after = known(context=TOKENS + 20), list(kept)
        [solution] = await solve_many(
            [QUESTION], Planned(twice), engine, trace=after.append, history=read_histories(kept)
        )
        assert (solution.answer, solution.error) == (whole.solution.answer, None)
        assert solution.cost.taking(0) == told(after).taking(0)
        weighed = [(event.prompt, event.texts) for event in after if isinstance(event, LikelihoodsMeasured)]
        assert len(weighed) == len(set(weighed)) == 2
        done = sum(isinstance(event, LikelihoodsMeasured) for event in kept)
        assert len(engine.usage) == 3 * (2 - done)

    for moment in range(len(whole.events)):
        asyncio.run(go_on(moment))


def test_what_was_interrupted_is_weighed_anew_both_are_paid_for_and_it_replays(tmp_path: Path) -> None:
    async def test() -> None:
        engine, events = known(pause=hang), list[Event]()
        work = asyncio.ensure_future(solve(QUESTION, Planned(Asking("ab")), engine, trace=events.append))
        await turns(20)
        work.cancel()
        await asyncio.wait([work])
        second, asking = known(), Asking("ab")
        [solution] = await solve_many(
            [QUESTION], Planned(asking), second, trace=events.append, history=read_histories(events)
        )
        assert asking.reply is not None
        spent = [sum(pair) for pair in zip(meter_of(engine), meter_of(second), strict=True)]
        assert list(books(solution.cost)) == spent
        assert solution.cost.requests == 4
        again = Asking("ab")
        replay = await replayed(write_trace(tmp_path / "t.jsonl", events), again)
        assert (replay.error, again.reply) == (None, asking.reply)

    asyncio.run(test())
