"""Sequential tokens: where work ends on the virtual clock of its question, and what counts towards it."""

import asyncio

from reasoner import Answer, Question, SamplingParams
from reasoner.budget import Cost
from reasoner.engine import Engine, SampleRequest
from reasoner.strategy import (
    BRANCH,
    Plan,
    Sample,
    cancel,
    next_finished,
    propose,
    sample,
    score,
    start,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge
from reasoner.trace.events import Ended, Sampled, Scored
from reasoner.types import Completion, Rating, VoteState
from reasoner.verifier import CostMeter
from tests.execution.one_question import PROMPT, Run

LENGTHS = (4, 9, 6)
"""The tokens of the first sequences of a prompt, the end included."""


def of_length(request: SampleRequest) -> str:
    return " ".join(["word"] * (LENGTHS[request.index % BRANCH % 3] - 1))


def drawn(branch: int) -> Sample:
    """One sequence of 4 tokens."""
    return Sample((PROMPT,), params=SamplingParams(max_tokens=40), branch=branch)


class Speaking(Judge):
    """A judge that generates two tokens, as it says itself."""

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        return Cost(verifier_tokens=20, sequential_tokens=2)

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        await asyncio.sleep(0)
        return Rating(0.5, Cost(verifier_tokens=9, sequential_tokens=2))


def test_the_longest_path_that_was_waited_for_counts() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        replies = yield from sample(
            PROMPT, n=3, params=SamplingParams(max_tokens=40)
        )  # until 9
        yield from score(question, replies)  # until 11
        yield from propose(None, VoteState())
        yield from start(drawn(1))  # until 15
        yield from start(
            Sample((PROMPT,), 2, SamplingParams(max_tokens=40), branch=2)
        )  # until 20
        stopped = yield from start(
            Sample((PROMPT,), 1000, SamplingParams(max_tokens=40), branch=3)
        )
        yield from cancel(stopped)
        first, second = (
            (yield from next_finished()).end,
            (yield from next_finished()).end,
        )
        assert (first, second) == (15, 20)
        yield from start(drawn(4), at=first)  # until 19
        assert (yield from next_finished()).end == 19
        yield from sample(
            PROMPT, params=SamplingParams(max_tokens=2)
        )  # the fourth of its prompt, until 22
        return None

    run = Run(plan, ScriptedEngine(of_length), uses_verifier=True, verifier=Speaking())
    assert run.error is None
    assert [proposal.cost.sequential_tokens for proposal in run.solution.proposals] == [
        11
    ]
    assert run.solution.cost.sequential_tokens == 22
    assert "22 sequential" in str(run.solution)
    assert [event.cost.sequential_tokens for event in run.seen(Ended)] == [22]
    assert {event.cost.sequential_tokens for event in run.seen(Scored)} == {11}
    assert [event.cost.sequential_tokens for event in run.seen(Sampled)][:3] == [
        *LENGTHS
    ]
