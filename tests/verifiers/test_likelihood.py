"""Likelihood: the chain rule over the tokens of an answer, and the option that it chooses."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Budget, Prompt, Question, Solution, solve_sync
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.texts import YesNoSpace
from reasoner.engine import SampleRequest
from reasoner.testing.scripted import MODEL, ScriptedEngine
from reasoner.testing.support import meter_of, number_question, says
from reasoner.trace.events import Event, Sampled, Scored
from reasoner.types import AnswerSpace, Completion, Logprobs, TokenIds
from reasoner_strategies import BestOfN
from reasoner_verifiers import Likelihood

OPTIONS = ("a cow", "a trout", "a very long bee")


def chance(before: TokenIds, token: int) -> float:
    """The probability of a letter after these ids, which is any number below 1."""
    drawn = hashlib.blake2b(f"{before} {token}".encode(), digest_size=2).digest()
    return (1 + int.from_bytes(drawn, "big")) / 65537


class Known(ScriptedEngine):
    """Spells a text letter by letter, and tells the chance of each watched token."""

    asked: Sequence[SampleRequest] = ()

    async def encode(self, text: str) -> TokenIds | None:
        return tuple(map(ord, text))

    async def sample(self, request: SampleRequest) -> Completion:
        self.asked = [*self.asked, request]
        drawn = await ScriptedEngine.sample(self, request)
        if not request.watch:
            return drawn
        before = request.rendered.token_ids or ()
        row = tuple(math.log(chance(before, token)) for token in request.watch)
        return replace(drawn, logprobs=Logprobs((0.0,), watched=(row,)))


def question(
    space: AnswerSpace | None = None, prompt: Prompt | None = None
) -> Question:
    asked = replace(
        Question.of("Which is a fish?"), space=space or ChoiceSpace(OPTIONS)
    )
    return replace(asked, prompt=prompt) if prompt else asked


def solved(
    asked: Question,
    engine: ScriptedEngine | None = None,
    *,
    options: dict[str, Any] | None = None,
    budget: Budget | None = None,
    **choosing: Any,
) -> tuple[Solution, list[Event]]:
    events: list[Event] = []
    solution = solve_sync(
        asked,
        BestOfN(**({"candidates": "options"} | choosing)),
        engine or Known(says("7")),
        verifier=Likelihood(**(options or {})),
        trace=events.append,
        budget=budget,
    )
    assert solution.error is None
    return solution, events


def by_hand(before: TokenIds, text: str) -> float:
    ids = (*before, *map(ord, text))
    return math.fsum(
        math.log(chance(ids[:place], ids[place]))
        for place in range(len(before), len(ids))
    )


@pytest.mark.parametrize("raw", [False, True])
def test_the_likeliest_option_is_the_answer_and_nothing_is_drawn(raw: bool) -> None:
    prompt = Prompt(raw="Which is a fish?\nAnswer:") if raw else None
    engine = Known(says("7"))
    solution, events = solved(question(prompt=prompt), engine)
    first = min(engine.asked, key=lambda request: request.rendered.tokens)
    before = first.rendered.token_ids or ()
    assert (first.prompt.text == "The answer is") == (not raw)
    known = {label: math.exp(by_hand(before, f" {label}")) for label in "ABC"}
    weights = {vote.answer.key: vote.weight for vote in solution.vote_state.votes}
    assert weights == pytest.approx(known)
    assert solution.answer is not None
    assert solution.answer.key == max(known, key=known.__getitem__)
    assert [event for event in events if isinstance(event, Sampled)] == []
    assert solution.cost.samples == 0
    assert solution.cost.requests == 3 * 2
    prompt_tokens, _, generated = meter_of(engine)
    assert solution.cost.tokens == prompt_tokens + generated


@pytest.mark.parametrize("normalize", ["none", "tokens", "characters"])
def test_the_text_of_an_option_may_be_rated_and_the_label_is_still_the_answer(
    normalize: str,
) -> None:
    engine = Known(says("7"))
    solution, _ = solved(
        question(), engine, options={"of": "text", "normalize": normalize}
    )
    first = min(engine.asked, key=lambda request: request.rendered.tokens)
    before = first.rendered.token_ids or ()
    size = {
        "none": lambda _: 1,
        "tokens": lambda text: len(text) + 1,
        "characters": len,
    }[normalize]
    known = {
        label: math.exp(by_hand(before, f" {text}") / size(text))
        for label, text in zip("ABC", OPTIONS, strict=True)
    }
    weights = {vote.answer.key: vote.weight for vote in solution.vote_state.votes}
    assert weights == pytest.approx(known)


def test_yes_and_no_are_options_and_elsewhere_answers_of_samples_are_rated() -> None:
    solution, _ = solved(question(YesNoSpace()))
    assert {vote.answer.key for vote in solution.vote_state.votes} == {"yes", "no"}
    solution, events = solved(number_question(), Known(says(*"7789")), n=4)
    assert len([event for event in events if isinstance(event, Sampled)]) == 4
    assert {vote.answer.key for vote in solution.vote_state.votes} == {"7", "8", "9"}


def test_an_option_that_does_not_fit_has_no_rating() -> None:
    free, _ = solved(question(), options={"of": "text"})
    tokens = max(request.rendered.tokens for request in _engine_of(question()).asked)
    engine = Known(says("7"), model=replace(MODEL, context=tokens))
    solution, events = solved(question(), engine, options={"of": "text"})
    failed = [event for event in events if isinstance(event, Scored) and event.error]
    assert len(failed) == 1
    assert len(solution.vote_state.votes) == len(free.vote_state.votes) - 1


def _engine_of(asked: Question) -> Known:
    engine = Known(says("7"))
    solved(asked, engine, options={"of": "text"})
    return engine


@pytest.mark.parametrize("tokens", [1, 40, 90])
def test_without_a_rating_no_option_is_the_answer(tokens: int) -> None:
    solution, events = solved(question(), budget=Budget(tokens=tokens))
    rated = [event for event in events if isinstance(event, Scored) and not event.error]
    assert solution.cost.tokens <= tokens
    assert (solution.answer is not None) == bool(rated)


class Blind(Known):
    """An engine that does not tell of watched tokens."""

    async def sample(self, request: SampleRequest) -> Completion:
        return replace(await Known.sample(self, request), logprobs=None)


class Unspelled(Known):
    """An engine without a tokenizer."""

    async def encode(self, text: str) -> None:
        return None


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (Blind, "does not report the log-prob"),
        (Unspelled, "no access to its tokenizer"),
    ],
)
def test_an_engine_that_cannot_tell_is_an_error_of_each_rating(
    engine: type[Known], why: str
) -> None:
    solution, _ = solved(question(), engine(says("7")))
    assert why in solution.unrated
    assert solution.answer is None


def test_what_is_too_unlikely_for_a_number_is_an_error_and_not_a_zero() -> None:
    space = ChoiceSpace(("so it goes " * 100, "a cow"))
    solution, events = solved(question(space), options={"of": "text"})
    assert solution.answer is not None
    assert solution.answer.key == "B"
    errors = {event.index: event.error for event in events if isinstance(event, Scored)}
    assert errors[0].endswith("set normalize=tokens")
