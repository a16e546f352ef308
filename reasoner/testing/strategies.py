"""What every strategy promises of a whole run: budgets, anytime answers, order, seeds, replay and resuming."""

import asyncio
import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from unittest import mock

from reasoner.answers.numbers import NumberSpace
from reasoner.answers.questions import Question
from reasoner.budget import Budget
from reasoner.engine import Engine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import BudgetExhausted, VerifierError
from reasoner.execution.admission import Admission
from reasoner.execution.runner import solve, solve_sync
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    QUESTION,
    Judge,
    books,
    course,
    jumbled,
    meter_of,
    says,
    short,
    traced_cost,
    turns,
    unsteady,
    varied,
    verifier_for,
    write_trace,
)
from reasoner.trace.events import (
    ATTEMPTS,
    Began,
    Ended,
    Event,
    Prefilled,
    Prompted,
    Proposed,
    Sampled,
    Scored,
)
from reasoner.trace.history import read_histories
from reasoner.types import Answer, Completion, Rating
from reasoner.verifier import CostMeter, Verifier

RETRIES = ATTEMPTS - 1
"""How often a sequence can be lost without an error."""


StrategyLaw = Callable[..., None]
"""A law of strategies: raises an AssertionError where the strategy breaks it, and with `wide` searches longer."""


def check_strategy(
    strategy: Strategy, *, wide: bool = False, leave_out: Collection[StrategyLaw] = ()
) -> None:
    """Hold a strategy to all of `STRATEGY_LAWS` but those that it does not promise, on scripted replies with numbers.

    `wide` searches for a counterexample for minutes instead of a second.

    Raises:
        AssertionError: it breaks a law.
    """
    for law in STRATEGY_LAWS:
        if law not in leave_out:
            law(strategy, wide=wide)


def _run(
    strategy: Strategy, engine: Engine, verifier: Verifier | None = None, **options: Any
) -> Solution:
    solution = solve_sync(
        QUESTION,
        short(strategy),
        engine,
        verifier=verifier_for(strategy, verifier),
        **options,
    )
    assert solution.error is None, f"the run ended with an error: {solution.error!r}"
    return solution


def equal_replies_lead_to_equal_operations(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """A plan that draws from `random`, a clock or the order of a set would neither replay nor resume."""

    def operations() -> list[str]:
        events: list[Event] = []
        judge = verifier_for(strategy)
        solve_sync(
            QUESTION,
            short(strategy),
            ScriptedEngine(varied),
            verifier=judge,
            trace=events.append,
        )
        return [_operation(event) for event in events]

    first = operations()
    for _ in range(20 if wide else 4):
        for position, (before, now) in enumerate(
            itertools.zip_longest(first, operations(), fillvalue="nothing")
        ):
            assert before == now, (
                f"two runs with equal replies differ at event {position}, {before} in the first and {now} in the "
                "other: a plan must do the same after the same replies; take random numbers from "
                "random.Random(question.id)"
            )


def _operation(event: Event) -> str:
    """The event in words, without its time and cost."""
    named = [str(getattr(event, name))[:8] for name in event.indexed_by]
    if isinstance(event, Prompted):
        named = [repr(event.messages[-1].content if event.messages else event.raw)]
    elif isinstance(event, Proposed):
        named = [str(event.answer), f"after {event.vote_state.samples} samples"]
    return " ".join([event.event, *named])


def no_budget_of_tokens_is_exceeded(strategy: Strategy, *, wide: bool = False) -> None:
    """Whatever is lost on the way, and the ledger, the trace, the engine and the verifier have counted the same."""
    budgets, seeds = (
        ((0, 1, 5, 20, 50, 90, 200, 500, 5000), 10)
        if wide
        else ((0, 5, 50, 200, 5000), 1)
    )
    for tokens, seed in itertools.product(budgets, range(seeds)):
        engine, judge = (
            ScriptedEngine(
                varied, pause=jumbled(seed, lost=0.1, losses=RETRIES), block_size=seed
            ),
            Judge(),
        )
        events: list[Event] = []
        solution = _run(
            strategy,
            engine,
            judge,
            budget=Budget(tokens=tokens),
            seed=seed,
            trace=events.append,
        )
        cost = solution.cost
        assert cost.tokens <= tokens, (
            f"a budget of {tokens} tokens was exceeded: {cost}"
        )
        assert books(cost) == meter_of(engine), (
            f"{cost} is not what the engine counted: {meter_of(engine)}"
        )
        assert cost.verifier_tokens == sum(judge.spent), (
            f"{cost} is not what the verifier counted: {sum(judge.spent)}"
        )
        assert traced_cost(events).taking(0) == cost.taking(0), (
            f"{cost} is not what the trace says: {traced_cost(events)}"
        )
        if tokens <= 5:
            ended = solution.ended_by, solution.answer, cost.tokens
            assert ended == ("budget", None, 0), (
                f"with {tokens} tokens nothing can be drawn: {ended}"
            )
            assert "budget tokens=" in solution.reason, (
                f"the reason does not name the budget: {solution.reason}"
            )


def no_budget_of_samples_is_exceeded(strategy: Strategy, *, wide: bool = False) -> None:
    """More budget never draws less, and where it is enough it changes nothing."""
    free = _run(strategy, ScriptedEngine(varied))
    assert free.ended_by in {"strategy", "rule"}, (
        f"without a budget it ended by {free.ended_by}"
    )
    spent, enough = [], free.cost.samples
    for limit in sorted(
        {
            *range(min(enough, 40 if wide else 4) + 1),
            enough // 2,
            max(0, enough - 1),
            enough,
            enough + 1,
        }
    ):
        solution = _run(strategy, ScriptedEngine(varied), budget=Budget(samples=limit))
        assert solution.cost.samples <= limit, (
            f"a budget of {limit} samples was exceeded: {solution.cost}"
        )
        spent.append(solution.cost.samples)
        if limit >= enough:
            assert course(solution) == course(free), (
                f"{limit} samples are enough, and the run was another one"
            )
        else:
            stopped = solution.ended_by == "budget" or solution.answer == free.answer
            assert stopped, (
                f"with {limit} of {enough} samples it ended by {solution.ended_by} with another answer"
            )
        assert limit or (solution.ended_by, solution.answer) == ("budget", None), (
            "it answered without a sample"
        )
    assert spent == sorted(spent), f"more budget drew fewer samples: {spent}"
    assert spent[1] == 1, "a budget of one sample was not used"


@contextmanager
def _refusing(after: int) -> Iterator[list[int]]:
    """The ledger refuses every operation after this many; gives the number of those asked for."""
    short, calls = Admission.short, [0]

    def refusing(self: Admission, ask: Any) -> Any:
        calls[0] += 1
        if calls[0] > after:
            raise BudgetExhausted("tokens", needed=9, free=0, limit=1)
        return short(self, ask)

    with mock.patch.object(Admission, "short", refusing):
        yield calls


def it_survives_a_refusal_at_every_operation(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """The budget may end at any moment, in the middle of a level or between a step and its rating."""
    refusals = 100 if wide else 10
    with _refusing(10**9) as asked:
        free = _run(strategy, ScriptedEngine(varied))
    calls = asked[0]
    for last in sorted(
        {*range(min(calls, refusals // 2)), *range(0, calls, 1 + 2 * calls // refusals)}
    ):
        with _refusing(last):
            solution = _run(strategy, ScriptedEngine(varied))
        # A rule may have stopped before anybody looked at what was refused.
        stopped = solution.ended_by == "budget" or solution.answer == free.answer
        assert stopped, (
            f"refused after {last} operations, it ended by {solution.ended_by} with another answer"
        )
        lost = solution.answer is None and any(
            proposal.answer for proposal in solution.proposals
        )
        assert not lost, (
            f"refused after {last} operations, it lost the answer that it had proposed"
        )


def proposals_lead_to_the_answer(strategy: Strategy, *, wide: bool = False) -> None:
    """And only grow in cost and samples."""
    solution = _run(strategy, ScriptedEngine(varied, pause=jumbled(1)))
    assert solution.proposals, "it never proposed an answer"
    assert solution.proposals[-1].answer == solution.answer, (
        "the last proposal is not the answer"
    )
    grown = [(each.cost.tokens, each.vote_state.samples) for each in solution.proposals]
    for earlier, later in itertools.pairwise(
        [*grown, (solution.cost.tokens, grown[-1][1])]
    ):
        assert earlier[0] <= later[0], f"a later proposal cost fewer tokens: {grown}"
        assert earlier[1] <= later[1], f"a later proposal has fewer samples: {grown}"


def without_any_answer_it_abstains(strategy: Strategy, *, wide: bool = False) -> None:
    """No answer and no error, after at least one sample."""
    for reply in ("no idea", "", "The answer is"):
        solution = _run(strategy, ScriptedEngine(lambda _, reply=reply: reply))  # type: ignore[misc]
        got = solution.answer, solution.vote_state.votes
        assert got == (None, ()), (
            f"no reply has an answer ({reply!r}), and it answered {got}"
        )
        assert solution.cost.samples >= 1, "it abstained without a sample"


def when_all_answers_are_equal_that_is_the_answer(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """With the whole vote."""
    solution = _run(strategy, ScriptedEngine(says("7")))
    got = solution.answer and solution.answer.key, solution.vote_state.share
    assert got == ("7", 1.0), (
        f"every reply said 7, and answer and share of the vote are {got}"
    )


class _Counted(NumberSpace):
    """Keeps the texts that it reads."""

    texts: ClassVar[list[str]] = []

    def read(self, text: str) -> Answer | None:
        self.texts.append(text)
        return NumberSpace.read(self, text)


def each_completion_is_read_once(strategy: Strategy, *, wide: bool = False) -> None:
    """And what the plan wrote itself, by `Prefill`."""
    _Counted.texts.clear()
    events: list[Event] = []
    question = dataclasses.replace(QUESTION, space=_Counted())
    verifier = verifier_for(strategy)
    solution = solve_sync(
        question,
        short(strategy),
        ScriptedEngine(varied),
        verifier=verifier,
        trace=events.append,
    )
    texts = solution.cost.samples + sum(
        isinstance(event, Prefilled) for event in events
    )
    assert len(_Counted.texts) <= texts, (
        f"{texts} texts were read {len(_Counted.texts)} times"
    )


class _Broken(Judge):
    """A verifier that always fails."""

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        raise VerifierError("out of order")


def a_verifier_that_always_fails_costs_no_answer(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """A verifier that always fails gives no rating of zero."""
    events: list[Event] = []
    solution = _run(
        strategy, ScriptedEngine(says("7", "8", "8")), _Broken(), trace=events.append
    )
    assert solution.answer is not None, "the verifier failed, and the answer was lost"
    for event in (event for event in events if isinstance(event, Scored)):
        assert event.value is None, (
            f"the verifier failed, and its value is {event.value}"
        )


def _on_schedules(strategy: Strategy, count: int) -> list[Solution]:
    """The same samples in other orders and at other paces, with an engine that tells more or less of them."""
    engines = (
        ScriptedEngine(varied, pause=jumbled(order), growing=unsteady(order))
        for order in range(count)
    )
    return [_run(strategy, engine, seed=3) for engine in engines]


def _one(values: Collection[object], what: str) -> None:
    assert len(set(values)) <= 1, f"{what} depends on what ends first: {set(values)}"


def all_schedules_take_one_course(strategy: Strategy, *, wide: bool = False) -> None:
    """Whatever ends first, at whatever pace, and whatever the engine tells of it on the way."""
    solutions = _on_schedules(strategy, 400 if wide else 10)
    _one(
        [
            (
                solution.answer,
                solution.vote_state,
                solution.ended_by,
                solution.cost.sequential_tokens,
            )
            for solution in solutions
        ],
        "the answer",
    )
    _one(
        [
            tuple((each.answer, each.vote_state) for each in solution.proposals)
            for solution in solutions
        ],
        "a proposal",
    )
    # What was in flight when a strategy stopped had come more or less far, or had even ended.
    whole = [
        each
        for each in solutions
        if not each.cost.cancelled_tokens and each.ended_by != "rule"
    ]
    _one([course(solution)[:3] for solution in whole], "the cost")


def all_schedules_have_one_curve(strategy: Strategy, *, wide: bool = False) -> None:
    """Each proposal has the same cost on all schedules. Leave it out where samples are counted in launch order."""
    _one(
        [
            course(solution)[3]
            for solution in _on_schedules(strategy, 400 if wide else 10)
        ],
        "the cost of a proposal",
    )


def the_seed_decides_the_samples(strategy: Strategy, *, wide: bool = False) -> None:
    """The same seed draws the same samples, another one draws others, and no two samples of a run share solution."""

    def seeds(seed: int) -> list[int]:
        events: list[Event] = []
        _run(strategy, ScriptedEngine(varied), seed=seed, trace=events.append)
        return [event.seed for event in events if isinstance(event, Sampled)]

    first, again, other = seeds(1), seeds(1), seeds(2)
    assert first == again, "the same seed drew other samples"
    assert not set(first) & set(other), "another seed drew the same samples"
    assert len(set(first)) == len(first), "two samples have one seed"


def it_repeats_itself_from_its_trace(strategy: Strategy, *, wide: bool = False) -> None:
    """Without a model, and under a budget too."""

    async def repeat(budget: Budget | None, seed: int, folder: str) -> None:
        events: list[Event] = []
        engine = ScriptedEngine(
            varied,
            pause=jumbled(seed, lost=0.1, losses=RETRIES, minimum=1),
            block_size=2,
        )
        plan, judge = short(strategy), verifier_for(strategy)
        first = await solve(
            QUESTION,
            plan,
            engine,
            verifier=judge,
            budget=budget,
            seed=seed,
            trace=events.append,
        )
        replay = ReplayEngine(
            str(write_trace(Path(folder) / f"{seed} {budget}.jsonl", events))
        )
        await replay.start()
        judge = verifier_for(strategy, replay.verifier())
        work = solve(QUESTION, plan, replay, verifier=judge, budget=budget, seed=seed)
        second = await asyncio.wait_for(work, timeout=30)
        assert course(second) == course(first), (
            f"with seed {seed} and {budget} the replay differs: {second.error!r}"
        )

    with TemporaryDirectory() as folder:
        for budget, seed in itertools.product(
            (None, Budget(samples=3), Budget(tokens=120)), range(10 if wide else 1)
        ):
            asyncio.run(repeat(budget, seed, folder))


def cancelled_at_any_moment_it_loses_no_cost(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """The trace has an end, and all that the engine counted."""

    async def cut(moment: int) -> bool:
        engine, judge, events = (
            ScriptedEngine(varied, pause=jumbled(moment)),
            verifier_for(strategy),
            list[Event](),
        )
        work = asyncio.ensure_future(
            solve(
                QUESTION, short(strategy), engine, verifier=judge, trace=events.append
            )
        )
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        spent, counted = books(traced_cost(events)), meter_of(engine)
        assert spent == counted, (
            f"cancelled at {moment}, the trace has {spent} and the engine {counted}"
        )
        ended = [event for event in events if isinstance(event, Ended)]
        begun = any(event.event == "began" for event in events)
        assert len(ended) == begun, (
            f"cancelled at {moment}, the trace has {len(ended)} ends"
        )
        if work.cancelled() and ended:
            reason = "a rule" if ended[0].ended_by == "rule" else ended[0].reason
            assert reason in {"a rule", "interrupted", "the strategy finished"}, (
                f"it ended by {reason}"
            )
            assert books(ended[0].cost) == counted, (
                f"its end has {ended[0].cost} and the engine {counted}"
            )
        return work.cancelled()

    cancelled = [
        asyncio.run(cut(moment)) for moment in (range(100) if wide else range(0, 30, 4))
    ]
    assert any(cancelled), "it took no turn of the event loop"


_SEED = 3
"""With seed 0 two siblings of a search are equal, and the script tells their greedy rollouts apart; no model does."""


async def _resumed(
    strategy: Strategy,
    events: list[Event],
    engine: Engine,
    *,
    budget: Budget | None = None,
    verifier: Verifier | None = None,
) -> Solution:
    """The solution of a run that is resumed after these events; those that come then are appended."""
    history, judge = read_histories(list(events)), verifier_for(strategy, verifier)
    work = solve(
        QUESTION,
        short(strategy),
        engine,
        verifier=judge,
        budget=budget,
        trace=events.append,
        seed=_SEED,
        history=history,
    )
    solution = await asyncio.wait_for(work, timeout=30)
    assert solution.error is None, (
        f"the resumed run ended with an error: {solution.error!r}"
    )
    return solution


def _fresh(order: int) -> ScriptedEngine:
    return ScriptedEngine(varied, pause=jumbled(order))


def _drawn_once(events: list[Event], moment: int) -> None:
    drawn = Counter(
        (event.prompt, event.index) for event in events if isinstance(event, Sampled)
    )
    assert max(drawn.values()) == 1, (
        f"cut off at {moment} and resumed, it drew a sample twice"
    )


def _same(again: Solution, whole: Solution, moment: int) -> None:
    same = (again.answer, again.vote_state) == (whole.answer, whole.vote_state)
    assert same, (
        f"cut off at {moment} and resumed, it answers {again.answer} and not {whole.answer}"
    )


def killed_at_any_event_it_resumes_to_the_same_result(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """Within its budget, with one ledger, and without drawing anything twice."""
    orders, kills = (10, 12) if wide else (1, 4)

    async def kill(budget: Budget | None, order: int) -> None:
        events: list[Event] = []
        whole = await _resumed(strategy, events, _fresh(order), budget=budget)
        cuts = range(len(events))
        for moment in sorted(
            {
                0,
                1,
                len(events) - 1,
                *random.Random(len(events)).sample(cuts, min(kills, len(cuts))),
            }
        ):
            after = events[:moment]
            again = await _resumed(strategy, after, _fresh(order + 1), budget=budget)
            cost, listed = again.cost, traced_cost(after)
            assert budget is None or cost.tokens <= 300, (
                f"cut off at {moment} and resumed, it exceeded 300 tokens: {cost}"
            )
            assert cost.taking(0) == listed.taking(0), (
                f"cut off at {moment}, {cost} is not what the trace says: {listed}"
            )
            _drawn_once(after, moment)
            starts = len({event.t for event in after if isinstance(event, Began)})
            assert starts <= 2, f"cut off once, it began {starts} times"
            if budget is None:
                _same(again, whole, moment)

    for budget, order in itertools.product((None, Budget(tokens=300)), range(orders)):
        asyncio.run(kill(budget, order))


def interrupted_it_resumes_and_pays_for_what_was_cut_off(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """Ctrl-C books what was in flight; resumed, that is drawn again, and both are paid for."""

    async def interrupt(moment: int, path: Path) -> bool:
        whole, events, engine = (
            await _resumed(strategy, [], _fresh(moment)),
            list[Event](),
            _fresh(moment),
        )
        work = asyncio.ensure_future(_resumed(strategy, events, engine))
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        if (
            not work.cancelled()
            or not events
            or read_histories(events)[QUESTION.id].finished
        ):
            return False
        second = _fresh(moment + 1)
        solution = await _resumed(strategy, events, second)
        _drawn_once(events, moment)
        cost, spent = (
            solution.cost,
            tuple(map(sum, zip(meter_of(engine), meter_of(second), strict=True))),
        )
        paid = (
            cost.prompt_tokens,
            cost.cached_tokens,
            cost.generated_tokens + cost.cancelled_tokens,
        )
        assert paid == spent, (
            f"interrupted at {moment}, it paid for {paid}, and the engines counted {spent}"
        )
        _same(solution, whole, moment)
        replay = ReplayEngine(str(write_trace(path, events)))
        await replay.start()
        _same(
            await _resumed(strategy, [], replay, verifier=replay.verifier()),
            solution,
            moment,
        )
        return True

    with TemporaryDirectory() as folder:
        moments = range(1, 60) if wide else (2, 3, 4, 5, 6, 8, 12, 16, 24, 33)
        cut = [
            asyncio.run(interrupt(moment, Path(folder) / f"{moment}.jsonl"))
            for moment in moments
        ]
    assert any(cut), "it could not be interrupted"


def what_is_finished_is_not_asked_again(
    strategy: Strategy, *, wide: bool = False
) -> None:
    """A failed question that is asked again draws only what it dropped."""

    async def ask_again() -> None:
        events: list[Event] = []
        await _resumed(strategy, events, _fresh(0))
        history = read_histories(events)[QUESTION.id]
        assert history.finished, "the trace of a finished question is not finished"
        assert not history.extent(QUESTION.prompt.digest), (
            "a finished question keeps what was drawn"
        )
        [ended] = [event for event in events if isinstance(event, Ended)]
        after: list[Event] = [
            *events[:-1],
            ended.model_copy(update={"ended_by": "error"}),
        ]
        engine, before = ScriptedEngine(varied), len(after)
        solution = await _resumed(strategy, after, engine)
        assert after[before].event == "began", "a failed question was not asked again"
        if not any(event.event == "dropped" for event in events):
            assert engine.usage == [], "what was drawn before was drawn again"
            assert [event.event for event in after[before:]] == ["began", "ended"], (
                "what was done was done again"
            )
            assert solution.cost.taking(0) == ended.cost.taking(0), (
                "what was paid for was paid for again"
            )

    asyncio.run(ask_again())


STRATEGY_LAWS: tuple[StrategyLaw, ...] = (
    equal_replies_lead_to_equal_operations,  # first, as no other law makes sense of a plan that breaks it
    no_budget_of_tokens_is_exceeded,
    no_budget_of_samples_is_exceeded,
    it_survives_a_refusal_at_every_operation,
    proposals_lead_to_the_answer,
    without_any_answer_it_abstains,
    when_all_answers_are_equal_that_is_the_answer,
    each_completion_is_read_once,
    a_verifier_that_always_fails_costs_no_answer,
    all_schedules_take_one_course,
    all_schedules_have_one_curve,
    the_seed_decides_the_samples,
    it_repeats_itself_from_its_trace,
    cancelled_at_any_moment_it_loses_no_cost,
    killed_at_any_event_it_resumes_to_the_same_result,
    interrupted_it_resumes_and_pays_for_what_was_cut_off,
    what_is_finished_is_not_asked_again,
)
"""The laws of strategies."""
