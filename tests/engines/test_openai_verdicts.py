"""Verdicts of a served model on answers: read from its words, and booked as the server counts them."""

import pytest

from reasoner import Answer, Question, VoteState, solve_sync
from reasoner.engines.openai import OpenAIEngine
from reasoner.strategy import CheckEquivalent, Plan, propose
from reasoner.trace.events import AnswersCompared, Event
from tests.engines.fake_server import FakeServer, text_only
from tests.helpers import Planned, answer

QUESTION = Question.of("Which fruit?", space="text:equal=model")


def comparing(question: Question) -> Plan[Answer | None]:
    """Answers yes or no: whether two fruits are the same."""
    [same] = yield CheckEquivalent(((answer("apple"), answer("big apple")),))
    yield from propose(answer(str(same)), VoteState())
    return answer(str(same))


@pytest.mark.parametrize("vllm", [True, False])
@pytest.mark.parametrize(
    ("reply", "same", "requests"),
    [(("Yes", ", both"), True, 2), ((" No", "."), False, 1), (("They", " do"), None, 1)],
)
def test_a_served_model_says_it_in_words(vllm: bool, reply: tuple[str, ...], same: bool | None, requests: int) -> None:
    events: list[Event] = []
    with FakeServer(reply=reply) if vllm else text_only(reply=reply) as server:
        solution = solve_sync(QUESTION, Planned(comparing), OpenAIEngine(base_url=server.url), trace=events.append)
        drawn = [body for path in ("/v1/chat/completions", "/v1/completions") for body in server.sent(path)]
    assert solution.answer == answer(str(same))
    [event] = [event for event in events if isinstance(event, AnswersCompared)]
    assert (event.same, len(drawn), event.cost.requests) == (same, requests, requests)
    assert bool(event.error) == (same is None)
    assert solution.cost.verifier_tokens == event.cost.verifier_tokens == solution.cost.tokens > 0
