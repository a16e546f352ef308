"""Tree of thoughts as a plan: which states are kept, and what judgements are worth."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reasoner.strategy import Sample
from reasoner.testing.support import completion, number_question
from reasoner.types import Completion, SamplingParams
from reasoner_strategies.tree_of_thoughts import JUDGEMENT_TOKENS, TreeOfThoughts
from tests.strategies.driving import REFUSED, Course, follow

QUESTION = number_question()
_SHOWN = re.compile(r"not be finished yet:\n\n(.*)\n\nDo not continue it\.", re.DOTALL)

Grow = Callable[[str, int], str]
"""The thought at a place in a state: an answer ends its chain."""
Judge = Callable[[str, int], str]
"""What the model says of a state when it is asked for the nth time."""


def letters(
    depth: int, answers: Callable[[str], str] = lambda state: "7", width: int = 9
) -> Grow:
    """A finite tree: states are paths of letters, ended by an answer at some depth."""

    def grow(state: str, place: int) -> str:
        here = "abcdefghi"[place % width]
        path = state.replace("\n\n", "") + here
        return f"{here} The answer is {answers(path)}" if len(path) == depth else here

    return grow


def path_of(shown: str) -> str:
    return "".join(part[0] for part in shown.split("\n\n") if part)


@dataclass(slots=True)
class Thoughts(Course):
    """A course, and the states that the model was asked about."""

    judged: list[str] = field(default_factory=list)

    @property
    def grown(self) -> list[Sample]:
        return [op for op in self.samples if op.answers]

    @property
    def visited(self) -> list[str]:
        return [path_of(op.prompts[0].text) for op in self.grown]

    @property
    def weights(self) -> dict[str, float]:
        return {vote.answer.key: vote.weight for vote in self.vote_states[-1].votes}


def drive(
    grow: Grow, judge: Judge, *, refuse_after: int = 99, **options: Any
) -> Thoughts:
    """Run a plan; after some expansions all but the closing sample are refused. The last of a level comes first."""
    course = Thoughts()

    def judgements(op: Sample) -> list[Completion]:
        made = []
        for prompt in op.prompts:
            [shown] = _SHOWN.findall(prompt.messages[-1].content)
            for time in range(op.n):
                course.judged.append(path_of(shown))
                said = judge(path_of(shown), time)
                made.append(completion(said, index=time, prompt=prompt))
        return made

    def reply(op: Sample) -> object:
        if not op.answers:
            return tuple(judgements(op))
        if len(course.grown) > refuse_after and op.reserve:
            return REFUSED
        [prompt], made = op.prompts, []
        for place in range(op.n):
            text = grow(prompt.text, place)
            stop = None if "answer" in text else "\n\n"
            made.append(
                completion(
                    text,
                    index=place,
                    prompt=prompt,
                    token_ids=tuple(map(ord, text)),
                    stop=stop,
                )
            )
        return tuple(made)

    plan = TreeOfThoughts(**options).plan(QUESTION)
    return follow(plan, reply, course, which=lambda running: len(running) - 1)


def verdicts(default: str = "likely", **of: str) -> Judge:
    """The verdicts on states; several words are for the first judgement, the second and so on."""
    return lambda state, time: f"Verdict: {(of.get(state, default).split() * 9)[time]}"


def keyed(path: str) -> str:
    return {"a": "7", "b": "8", "c": "9"}[path]


def test_the_best_b_of_a_level_are_kept_whatever_their_parent_is() -> None:
    course = drive(
        letters(3),
        verdicts("impossible", a="sure", c="likely", ca="sure", cb="sure"),
        b=2,
        k=3,
    )
    assert course.visited == ["", "a", "c", "ca", "cb"]


def ends_early(state: str, place: int) -> str:
    """The first thought is an answer, the others lead to others."""
    if not state:
        return "a The answer is 7" if place == 0 else "bc"[place - 1]
    return f"d{place} The answer is 8"


def test_a_shallow_finished_state_stays_in_the_choice() -> None:
    for b in (1, 2):
        course = drive(ends_early, verdicts(a="sure"), b=b, k=3)
        assert (course.key, course.visited) == ("7", ["", "b"][:b])
    # And one that is no longer among the best still votes.
    course = drive(ends_early, verdicts(a="impossible"), b=2, k=3)
    assert (course.key, course.vote_states[-1].samples, set(course.weights)) == (
        "8",
        7,
        {"7", "8"},
    )


def test_values_are_asked_once_for_each_distinct_state() -> None:
    """Every second thought repeats the one before."""
    course = drive(letters(3, width=2), verdicts(), k=4, n_eval=3)
    counts = Counter(course.judged)
    assert (set(counts.values()), len(counts)) == ({3}, 2 + 4 + 8)
    assert len(course.visited) == len(set(course.visited)) == 7
    assert course.vote_states[-1].samples == 8


@pytest.mark.parametrize(
    ("of", "weights"),
    [
        (
            {"a": "sure impossible likely", "b": "likely", "c": "impossible"},
            {"7": 21.001, "8": 3.0, "9": 0.003},
        ),
        # A judgement that cannot be read abstains, and is no 0.
        ({"a": "likely hm maybe", "b": "impossible", "c": "no"}, {"7": 3, "8": 0.003}),
        ({"a": "?", "b": "?", "c": "?"}, {"7": 1, "8": 1, "9": 1}),
    ],
)
def test_a_state_is_worth_the_sum_of_its_verdicts(
    of: dict[str, str], weights: dict[str, float]
) -> None:
    course = drive(letters(1, keyed), verdicts(**of), k=3, n_eval=3)
    assert course.weights == pytest.approx(weights)
    valued = drive(letters(2), verdicts("?", **of), k=3, b=3)
    # Of the others nothing is known: they are dropped, unless nothing is known of any.
    assert valued.visited == [
        "",
        *sorted("abc"[: len(weights)], key=lambda state: -weights[keyed(state)]),
    ]


def test_a_judgement_keeps_the_question_in_front_and_is_bounded() -> None:
    params = SamplingParams(temperature=0.4, top_p=0.9, stop=("@",), max_tokens=9000)
    course = drive(
        lambda state, place: "ab"[place] * 5000 if not state else "The answer is 7",
        verdicts(),
        k=2,
        b=1,
        n_eval=2,
        params=params,
    )
    asked = [op for op in course.samples if not op.answers]
    assert (asked[0].n, asked[0].params) == (
        2,
        replace(params, max_tokens=JUDGEMENT_TOKENS),
    )
    for prompt in asked[0].prompts:
        [message] = prompt.messages
        assert message.content.startswith(QUESTION.prompt.messages[0].content)
        assert 4000 < len(message.content) < 5000
    assert {op.reserve for op in course.samples} == {128}
    assert {op.params.temperature for op in course.grown} == {0.4}
