"""Operations and the helpers around them."""

from collections.abc import Generator

import pytest

from reasoner.strategy import (
    Cancel,
    Finished,
    Handle,
    Next,
    Operation,
    Propose,
    Sample,
    Score,
    Start,
    cancel,
    next_finished,
    propose,
    sample,
    score,
    start,
)
from reasoner.types import Prompt, SamplingParams, VoteState
from tests.helpers import PROMPT, answer, completion, number_question

PARAMS = SamplingParams(max_tokens=9)
OTHER = Prompt(raw="other")


def step(plan: Generator[Operation, object, object], reply: object) -> tuple[Operation, object]:
    """The operation a helper yields, and what it returns for the reply."""
    op = next(plan)
    with pytest.raises(StopIteration) as finished:
        plan.send(reply)
    return op, finished.value.value


def test_each_helper_yields_its_operation_and_returns_the_reply() -> None:
    question, drawn = number_question(), (completion("7"),)
    assert step(sample(PROMPT, n=3, params=PARAMS), drawn) == (Sample((PROMPT,), 3, PARAMS), drawn)
    assert step(sample([PROMPT, OTHER], n=2, params=PARAMS), drawn) == (Sample((PROMPT, OTHER), 2, PARAMS), drawn)
    assert step(score(question, list(drawn)), ()) == (Score(question, drawn), ())
    assert step(start(Sample((PROMPT,))), Handle(4)) == (Start(Sample((PROMPT,))), 4)
    assert step(next_finished(), Finished(Handle(4), drawn)) == (Next(), Finished(Handle(4), drawn))
    assert step(cancel(Handle(4)), None) == (Cancel(Handle(4)), None)
    assert step(propose(answer("7"), VoteState()), None) == (Propose(answer("7"), VoteState()), None)
