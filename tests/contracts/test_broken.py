"""A plug-in that breaks a law fails its check, with a sentence that says what is wrong."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from reasoner import (
    Answer,
    Completion,
    Cost,
    Question,
    Rating,
    SamplingParams,
    VoteState,
)
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.strategy import Plan, propose, sample
from reasoner.testing import (
    check_engine,
    check_rule,
    check_strategy,
    check_task,
    check_verifier,
)
from reasoner.testing.support import Planned
from reasoner.types import Message
from reasoner.verifier import FreeVerifier
from reasoner_evals.tasks import GradedQuestion


@dataclass
class Ruled:
    stop: Callable[[VoteState, Cost], str | None]


@dataclass
class Rated(FreeVerifier):
    value: float
    cost: Cost = Cost()

    async def score(self, *args: Any) -> Rating:
        return Rating(self.value, self.cost)


class Miscounting(SimulatedEngine):
    async def sample(self, request: SampleRequest) -> Completion:
        drawn = await SimulatedEngine.sample(self, request)
        return replace(drawn, usage=replace(drawn.usage, prompt_tokens=1))


class Unmetered(SimulatedEngine):
    async def sample(self, request: SampleRequest) -> Completion:
        return await SimulatedEngine.sample(
            self,
            replace(request, meter=SimpleNamespace()),  # type: ignore[arg-type]
        )


def silent(question: Question) -> Plan[Answer | None]:
    [drawn] = yield from sample(question.prompt, params=SamplingParams(max_tokens=40))
    return question.read(drawn)


def at_random(question: Question) -> Plan[Answer | None]:
    prompt = replace(
        question.prompt,
        messages=(*question.prompt.messages, Message("user", str(random.random()))),
    )
    [drawn] = yield from sample(prompt, params=SamplingParams(max_tokens=40))
    yield from propose(question.read(drawn), VoteState())
    return question.read(drawn)


class Remembering:
    asked: ClassVar[list[VoteState]] = []

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        self.asked.append(vote_state)
        return f"asked {len(self.asked)} times"


def loading(gold: str, text: str = "What is 3 + 4?") -> Any:
    data = SimpleNamespace(
        items=[GradedQuestion(Question.of(text, space="number"), gold)]
    )
    return SimpleNamespace(load=lambda: data)


@pytest.mark.parametrize(
    ("check", "plug_in", "sentence"),
    [
        (
            check_strategy,
            Planned(at_random),
            "differ at event 1, prompted '0.* the same after the same replies; take",
        ),
        (check_engine, Miscounting(tokens=2), "tokens, and the usage is"),
        (
            check_engine,
            Unmetered(tokens=2),
            "a cancelled request has an unknown cost: write its meter",
        ),
        (
            check_verifier,
            Rated(0.5, Cost(verifier_tokens=3)),
            "has verifier_tokens=0, and it cost 3",
        ),
        (
            check_rule,
            Ruled(lambda state, cost: "stop\nhere"),
            "a reason is one printable line",
        ),
        (
            check_rule,
            Ruled(lambda state, cost: "enough" if state.max_samples < 9 else None),
            "that looks ahead never",
        ),
        (check_rule, Remembering(), "the verdict is|asked twice"),
        (
            check_task,
            loading("7", "The answer is 7.\nWhat is 3 + 4?"),
            "states its reference answer",
        ),
    ],
)
def test_what_breaks_a_law_is_told_which(
    check: Callable[[Any], None], plug_in: Any, sentence: str
) -> None:
    with pytest.raises((AssertionError, ValueError), match=sentence):
        check(plug_in)
