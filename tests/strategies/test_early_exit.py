"""Early exit: where a chain is asked for its answer, what ends it, and what it answers where nothing does."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from reasoner import Budget, Question, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import MODEL, THINKER, ScriptedEngine
from reasoner.testing.support import books, meter_of, traced_cost
from reasoner.trace.events import Event
from reasoner.types import TokenIds
from reasoner_strategies.early_exit import EarlyExit
from tests.execution.asked_model import AskedModel

QUESTION = Question.of("How many?", space="number", id="q")


class Unsure(ScriptedEngine):
    """It reports no log-probabilities."""

    def _logprobs(self, request: SampleRequest, ids: TokenIds) -> None:
        return None


def solved(
    strategy: Any,
    trials: Sequence[str],
    chances: Sequence[float] = (1.0,),
    *,
    thinks: bool = True,
    continues: Any = "exact",
    **options: Any,
) -> tuple[Solution, list[str]]:
    """A chain of 60 words with a Wait at each tenth; it answers the trials in turn, with these probabilities.

    Returns the solution, and the chains that were asked.
    """
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
    engine = (ScriptedEngine if chances else Unsure)(
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
    return solution, model.probes


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


@pytest.mark.parametrize("thinks", [True, False])
def test_a_sure_trial_answer_ends_the_chain(thinks: bool) -> None:
    solution, asked = solved(
        EarlyExit(), ("7", "8", "7"), (0.8, 0.85, 0.95), thinks=thinks
    )
    # Of two tokens, the digit and the end of its line, only one is unsure; the root of 0.95 is the first above 0.95.
    assert len(asked) == 3
    # A model that thinks writes its reply, which counts.
    assert (key(solution), solution.ended_by) == ("5" if thinks else "7", "rule")
    assert solution.text == "The answer is 5" or not thinks
    assert solution.reason.startswith(
        "a trial answer has probability 0.975 a token, threshold is 0.95, after "
    )
    assert solution.cost.generated_tokens < 50


def test_it_is_asked_at_each_wait_and_after_so_many_tokens() -> None:
    def lengths(**options: Any) -> list[int]:
        _, asked = solved(EarlyExit(threshold=1.0, **options), ("7",), (0.5,))
        ends = [len(chain.split()) for chain in asked]
        return [end - begin for begin, end in pairwise(ends)]

    assert lengths(at="") == []
    assert set(lengths(at="", every=7)) == {7}
    assert len(lengths(at="Wait", every=7)) > len(lengths(at="Wait")) == 4


@pytest.mark.parametrize(
    ("continues", "certain"), [(None, True), ("never", True), ("exact", False)]
)
def test_where_no_trial_answer_is_sure_or_not_the_chain_runs_to_its_end(
    continues: Any, certain: bool
) -> None:
    solution, asked = solved(
        EarlyExit(), ("7",), (1.0,) if certain else (), continues=continues
    )
    assert (key(solution), solution.ended_by) == ("9", "strategy")
    assert len(asked) == (not certain)


@pytest.mark.parametrize("tokens", range(60, 400, 40))
def test_the_end_of_a_budget_leaves_the_latest_trial_answer(tokens: int) -> None:
    solution, asked = solved(
        EarlyExit(threshold=1.0), ("7",), (0.5,), budget=Budget(tokens=tokens)
    )
    assert solution.cost.tokens <= tokens
    assert (key(solution) is not None) == bool(asked)


def test_chains_that_end_early_vote() -> None:
    strategy = build("strategy", "self_consistency:n=4,of=early_exit")
    solution, asked = solved(strategy, ("7",), (1.0,))
    assert (key(solution), solution.vote_state.cast, len(asked)) == ("5", 4, 4)
    # Chains side by side overlap: four wait no longer than one.
    alone, _ = solved(EarlyExit(), ("7",), (1.0,))
    assert solution.cost.sequential_tokens == alone.cost.sequential_tokens
