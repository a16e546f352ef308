"""One sample, as a pure plan."""

from dataclasses import replace

from reasoner.errors import BudgetExhausted
from reasoner.registry import build
from reasoner.strategy import Propose, Sample
from reasoner.types import FALLBACK, Message
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


def test_examples_are_earlier_turns_and_an_instruction_ends_the_user_turn() -> None:
    op = next(build("strategy", 'single:shots=[1+1?,2],instruction="Think, then answer."').plan(QUESTION))
    assert isinstance(op, Sample)
    [prompt], [message] = op.prompts, QUESTION.prompt.messages
    asked = Message("user", f"{message.content}\n\nThink, then answer.")
    assert prompt.messages == (Message("user", "1+1?"), Message("assistant", "2"), asked)
