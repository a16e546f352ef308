"""Early exit: where a chain is probed, what ends it, and what it answers where nothing does."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from reasoner import Budget, Question, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.testing.scripted import MODEL, THINKER, ScriptedEngine
from reasoner.testing.support import books, meter_of, traced_cost
from reasoner.trace.events import AnswerExtracted, Event, Noted, Sampled
from reasoner.types import SamplingParams
from reasoner_strategies.early_exit import EarlyExit
from tests.execution.asked_model import AskedModel

QUESTION = Question.of("How many?", space="number", id="q")


def solved(
    strategy: Any,
    trials: Sequence[str],
    chances: Sequence[float] = (1.0,),
    *,
    thinks: bool = True,
    continues: Any = "exact",
    **options: Any,
) -> tuple[Solution, list[Event]]:
    """A chain of 60 words with a Wait at each tenth; its probes say the trials in turn, with these probabilities."""
    chain = " ".join("Wait," if at % 10 == 0 else f"w{at}" for at in range(1, 60))

    def said(reply: str) -> str:
        return trials[min(len(reply.split()) // 10, len(trials)) - 1]

    def certain(request: SampleRequest) -> Sequence[float]:
        place = len((request.prompt.text + request.prompt.thinking).split()) // 10 - 1
        return [chances[min(max(place, 0), len(chances) - 1)], 1.0]

    def says(request: SampleRequest) -> str:
        # Thinking that was closed early continues with another answer than the one at its own end.
        conclusion = f"The answer is {'5' if thinks and not request.rendered.in_thinking else '9'}"
        whole = conclusion if thinks else f"{chain} {conclusion}"
        return whole[len(request.prompt.text) :]

    model = AskedModel(
        says, extract=said, model=THINKER if thinks else MODEL, continues=continues
    )
    engine = ScriptedEngine(
        model,
        certain,
        model=model.model,
        continues=continues,
        thoughts=lambda request: chain[len(request.prompt.thinking) :],
    )
    events: list[Event] = []
    solution = solve_sync(QUESTION, strategy, engine, trace=events.append, **options)
    assert solution.error is None
    assert books(solution.cost) == books(traced_cost(events)) == meter_of(engine)
    return solution, events


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


def probes(events: Sequence[Event]) -> list[tuple[str, float | None]]:
    return [
        (e.answer.key if e.answer else "", e.confidence)
        for e in events
        if isinstance(e, AnswerExtracted)
    ]


@pytest.mark.parametrize("thinks", [True, False])
def test_a_sure_trial_answer_ends_the_chain(thinks: bool) -> None:
    solution, events = solved(
        EarlyExit(), ("7", "8", "7"), (0.8, 0.85, 0.95), thinks=thinks
    )
    # Of two tokens, the digit and the end of its box, only one is unsure; the root of 0.95 is the first above 0.95.
    assert [(answer, sure and round(sure, 4)) for answer, sure in probes(events)] == [
        ("7", round(math.sqrt(0.8), 4)),
        ("8", round(math.sqrt(0.85), 4)),
        ("7", round(math.sqrt(0.95), 4)),
    ]
    # A model that thinks writes its reply, which counts.
    assert (key(solution), solution.ended_by) == ("5" if thinks else "7", "rule")
    assert solution.text == "The answer is 5" or not thinks
    assert solution.reason.startswith(
        "a trial answer has probability 0.975 a token, threshold is 0.95, after "
    )
    assert solution.cost.generated_tokens < 50


def test_equal_trial_answers_in_a_row_end_the_chain() -> None:
    rule = EarlyExit(rule="agreement", agree=3)
    solution, events = solved(rule, ("7", "8", "8", "none", "8"))
    assert (key(solution), solution.ended_by, len(probes(events))) == (
        "9",
        "strategy",
        5,
    )
    solution, events = solved(rule, ("7", "8", "8.0", "8", "6"))
    assert (key(solution), solution.ended_by, len(probes(events))) == ("5", "rule", 4)


def test_it_is_probed_at_each_wait_and_after_so_many_tokens() -> None:
    def lengths(**options: Any) -> list[int]:
        _, events = solved(EarlyExit(threshold=1.0, **options), ("7",), (0.5,))
        return [
            event.usage.generated_tokens
            for event in events
            if isinstance(event, Sampled)
        ][:-1]

    assert lengths(at="")[:1] == []
    assert len(set(lengths(at="", every=7)[:-1])) == 1
    assert len(lengths(at="Wait", every=7)) > len(lengths(at="Wait")) > 4


@pytest.mark.parametrize(
    ("continues", "chances", "why"),
    [
        (None, (1.0,), "no chain could be probed"),
        ("never", (1.0,), "the engine reports no probabilities"),
    ],
)
def test_without_a_probe_or_its_probability_the_chain_runs_to_its_end(
    continues: Any, chances: Sequence[float], why: str
) -> None:
    solution, events = solved(EarlyExit(), ("7",), chances, continues=continues)
    assert (key(solution), solution.ended_by) == ("9", "strategy")
    assert [event.text for event in events if isinstance(event, Noted)] == [why]


@pytest.mark.parametrize("tokens", range(60, 400, 40))
def test_the_end_of_a_budget_leaves_the_latest_trial_answer(tokens: int) -> None:
    solution, events = solved(
        EarlyExit(threshold=1.0), ("7",), (0.5,), budget=Budget(tokens=tokens)
    )
    assert solution.cost.tokens <= tokens
    assert (key(solution) is not None) == bool(
        [answer for answer, _ in probes(events) if answer]
    )


def test_chains_that_end_early_vote() -> None:
    strategy = build("strategy", "self_consistency:n=4,of=early_exit")
    solution, events = solved(strategy, ("7",), (1.0,))
    assert (key(solution), solution.vote_state.cast, len(probes(events))) == ("5", 4, 4)
    # The probes of chains side by side overlap: four chains wait no longer than one.
    alone, _ = solved(EarlyExit(), ("7",), (1.0,))
    assert solution.cost.sequential_tokens == alone.cost.sequential_tokens
    with pytest.raises(UsageError, match="agree=3 has no effect"):
        EarlyExit(agree=3)
    with pytest.raises(UsageError, match=r"threshold=0\.5 has no effect"):
        EarlyExit(rule="agreement", threshold=0.5, params=SamplingParams())
