"""Rules: the user's own function or pattern, over text that may be anything."""

import asyncio
from typing import Any

import pytest

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Rules, rules


def polite(question: Question, candidate: Completion) -> Any:
    assert question.text == "How many?"
    return {"please": True, "hm": 0.25, "two": 2.0, "text": "much"}[candidate.text]


def rated(verifier: Rules, text: str) -> Rating:
    return asyncio.run(
        verifier.score(
            number_question(), completion(text), ScriptedEngine(says("7")), CostMeter()
        )
    )


def test_a_pattern_is_searched_in_what_was_generated() -> None:
    verifier = Rules(pattern=r"\bseven\b")
    assert rated(verifier, "it is seven") == Rating(1.0, Cost())
    assert rated(verifier, "seventeen") == Rating(0.0, Cost())


def test_a_pattern_that_runs_away_is_an_error_and_not_a_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "SECONDS", 0.1)
    with pytest.raises(VerifierError, match=r"took over 0\.1 s: make it simpler"):
        rated(Rules(pattern=r"^(a|a|aa)+$"), "a" * 5000 + "b")


def test_a_function_is_called_with_question_and_candidate() -> None:
    verifier = Rules(call=f"{__name__}:polite")
    assert rated(verifier, "please").value == 1.0
    assert rated(verifier, "hm").value == 0.25


@pytest.mark.parametrize(
    ("text", "error"),
    [("two", "returned 2.0"), ("text", "returned 'much'"), ("?", "KeyError")],
)
def test_a_function_that_fails_or_returns_no_rating_is_an_error(
    text: str, error: str
) -> None:
    with pytest.raises(VerifierError, match=error):
        rated(Rules(call=f"{__name__}:polite"), text)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pattern": "x", "call": "os:getcwd"}, "either a pattern or a call"),
        ({"pattern": "("}, "is not a regular expression"),
        ({"call": "no.such.module:f"}, "cannot be imported"),
        ({"call": "os:sep"}, "is not a function but str"),
    ],
)
def test_rules_that_cannot_work_are_refused(
    options: dict[str, str], error: str
) -> None:
    with pytest.raises(UsageError, match=error):
        Rules(**options)
