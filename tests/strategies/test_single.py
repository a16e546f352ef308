"""One sample, as a pure plan."""

from dataclasses import replace

import pytest

from reasoner.errors import BudgetExhausted
from reasoner.registry import build
from reasoner.strategy import Propose, Sample
from reasoner.types import FALLBACK, Message, VoteState
from reasoner_strategies import Single
from tests.helpers import as_run, completion, finish, number_question

QUESTION = number_question()
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)


def test_it_draws_one_greedy_sample_and_proposes_its_answer() -> None:
    plan = as_run(Single()).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), 1, replace(FALLBACK, temperature=0))
    proposed = plan.send((completion("The answer is 7"),))
    assert isinstance(proposed, Propose)
    assert proposed.answer is not None
    assert (proposed.answer.key, proposed.vote_state.samples, proposed.vote_state.share) == ("7", 1, 1.0)
    assert finish(plan) == proposed.answer


@pytest.mark.parametrize(
    "drawn", [completion("no idea"), completion("The answer is 7", finish="length"), completion("", finish="abort")]
)
def test_no_answer_and_a_cut_one_are_proposed_as_none(drawn: object) -> None:
    plan = Single().plan(QUESTION)
    next(plan)
    assert plan.send((drawn,)) == Propose(None, VoteState((), samples=1))
    assert finish(plan) is None


def test_an_instruction_ends_the_user_turn() -> None:
    [message] = QUESTION.prompt.messages
    single = build("strategy", "single:instruction=Let's think step by step.")
    [prompt] = sampled(single).prompts
    assert prompt.messages == (Message("user", f"{message.content}\n\nLet's think step by step."),)


def test_examples_are_earlier_turns() -> None:
    single = build("strategy", 'single:shots=[1+1?,2,"What, then?",3]')
    [prompt] = sampled(single).prompts
    turns = [(message.role, message.content) for message in prompt.messages[:-1]]
    assert turns == [("user", "1+1?"), ("assistant", "2"), ("user", "What, then?"), ("assistant", "3")]
    assert prompt.messages[-1] == QUESTION.prompt.messages[-1]


def sampled(single: Single) -> Sample:
    op = next(single.plan(QUESTION))
    assert isinstance(op, Sample)
    return op
