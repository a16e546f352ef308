"""Tree of thoughts, driven without an engine and on the step world."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from reasoner.strategy import Sample
from reasoner.types import Completion, SamplingParams
from reasoner_strategies.tree_of_thoughts import JUDGEMENT_TOKENS, TreeOfThoughts
from tests.helpers import completion, number_question
from tests.strategies.driving import REFUSED, Course, follow

QUESTION = number_question()
_SHOWN = re.compile(r"not be finished yet:\n\n(.*)\n\nDo not continue (?:it|them)\.", re.DOTALL)
_ATTEMPT = re.compile(r"Attempt \d+:\n(.*?)(?=\n\nAttempt \d+:\n|\Z)", re.DOTALL)

Grow = Callable[[str, int], str]
"""The thought of so much a place in a state: an answer ends its chain."""
Judge = Callable[[str, int], str]
"""What the model says of a state when it is asked for the so-manieth time."""


def letters(depth: int, answers: Callable[[str], str] = lambda state: "7", width: int = 9) -> Grow:
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
    """A course, and what the model was asked to judge."""

    judged: list[str] = field(default_factory=list)
    """The states asked about, one entry a judgement."""
    polls: list[list[str]] = field(default_factory=list)

    @property
    def grown(self) -> list[Sample]:
        return [op for op in self.samples if op.answers]

    @property
    def asked(self) -> list[Sample]:
        return [op for op in self.samples if not op.answers]

    @property
    def visited(self) -> list[str]:
        return [path_of(op.prompts[0].text) for op in self.grown]


def drive(
    strategy: TreeOfThoughts,
    grow: Grow,
    judge: Judge = lambda state, _: "Verdict: likely",
    *,
    refuse_after: int | None = None,
) -> Thoughts:
    """Run a plan; after some expansions all but the closing sample are refused. The last of a level comes first."""
    course, expanded = Thoughts(), 0

    def reply(op: Sample) -> object:
        nonlocal expanded
        if not op.answers:
            return judgements(op, judge, course)
        if refuse_after is not None and expanded >= refuse_after and op.reserve:
            return REFUSED
        expanded += 1
        return thoughts(op, grow)

    return follow(strategy.plan(QUESTION), reply, course, which=lambda running: len(running) - 1)


def thoughts(op: Sample, grow: Grow) -> tuple[Completion, ...]:
    [prompt] = op.prompts
    made = []
    for place in range(op.n):
        text = grow(prompt.text, place)
        ids = tuple(map(ord, text))
        ended = "answer" in text or "nothing" in text
        made.append(completion(text, index=place, prompt=prompt, token_ids=ids, stop=None if ended else "\n\n"))
    return tuple(made)


def judgements(op: Sample, judge: Judge, course: Thoughts) -> tuple[Completion, ...]:
    made = []
    for prompt in op.prompts:
        [shown] = _SHOWN.findall(prompt.messages[-1].content)
        listed = _ATTEMPT.findall(shown)
        for time in range(op.n):
            if listed:
                course.polls.append(listed)
                said = judge("|".join(map(path_of, listed)), len(course.polls) - 1)
            else:
                course.judged.append(path_of(shown))
                said = judge(path_of(shown), time)
            made.append(completion(said, index=time, prompt=prompt))
    return tuple(made)


def by_worth(worth: Callable[[str], float]) -> Judge:
    """The verdict whose value is nearest."""
    named = {"sure": 1.0, "likely": 0.5, "impossible": 0.0}
    return lambda state, _: f"Verdict: {min(named, key=lambda one: abs(named[one] - worth(state)))}"


# Breadth


def test_the_best_b_of_a_level_go_on_whoever_their_parent_is() -> None:
    worth = {"a": 1.0, "c": 0.5, "ca": 1.0, "cb": 1.0}
    course = drive(TreeOfThoughts(b=2, k=3), letters(3), by_worth(lambda state: worth.get(state, 0.0)))
    assert course.visited == ["", "a", "c", "ca", "cb"]


def ends_early(state: str, place: int) -> str:
    """The first thought is an answer, the others go on to others."""
    if not state:
        return "a The answer is 7" if place == 0 else "bc"[place - 1]
    return f"d{place} The answer is 8"


def test_a_shallow_finished_state_stays_in_the_choice() -> None:
    judge = by_worth(lambda state: 1.0 if state == "a" else 0.5)
    for b in (1, 2):
        course = drive(TreeOfThoughts(b=b, k=3), ends_early, judge)
        assert course.key == "7"
        assert course.visited == ["", "b"][:b]
    # And one that is no longer among the best still votes.
    low = by_worth(lambda state: 0.0 if state == "a" else 0.5)
    course = drive(TreeOfThoughts(b=2, k=3), ends_early, low)
    assert (course.key, course.vote_states[-1].samples) == ("8", 7)
    assert {vote.answer.key for vote in course.vote_states[-1].votes} == {"7", "8"}


# Values


def test_values_are_asked_once_for_each_distinct_state() -> None:
    """Every second thought repeats the one before."""
    course = drive(TreeOfThoughts(k=4, n_eval=3), letters(3, width=2))
    counts = Counter(course.judged)
    assert set(counts.values()) == {3}
    assert len(counts) == 2 + 4 + 8
    assert len(course.visited) == len(set(course.visited)) == 7
    assert course.vote_states[-1].samples == 8


def test_a_state_is_worth_the_sum_of_its_verdicts() -> None:
    said = {"a": ["sure", "impossible", "likely"], "b": ["likely"] * 3, "c": ["impossible"] * 3}
    course = drive(
        TreeOfThoughts(k=3, b=1),
        letters(1, lambda path: path.replace("a", "7").replace("b", "8").replace("c", "9")),
        lambda s, t: f"Verdict: {said[s][t]}",
    )
    weights = {vote.answer.key: vote.weight for vote in course.vote_states[-1].votes}
    assert weights == pytest.approx({"7": 21.001, "8": 3.0, "9": 0.003})


def test_a_judgement_that_cannot_be_read_abstains_and_is_no_0() -> None:
    said = {"a": ["Verdict: likely", "hm", "Verdict: maybe"], "b": ["Verdict: impossible"] * 3, "c": ["no"] * 3}
    keys = {"a": "7", "b": "8", "c": "9"}
    level = drive(
        TreeOfThoughts(k=3),
        letters(1, lambda path: keys[path]),
        lambda state, time: said[state][time],
    )
    assert {vote.answer.key: vote.weight for vote in level.vote_states[-1].votes} == pytest.approx({"7": 3, "8": 0.003})
    course = drive(TreeOfThoughts(k=3, b=3), letters(2), lambda state, time: said.get(state, ["?"] * 3)[time])
    # `a` is worth 3 by its one verdict, of `c` nothing is known.
    assert course.visited == ["", "a", "b"]


def test_where_nothing_can_be_read_launch_order_and_the_majority_decide() -> None:
    for evaluate in ("value", "vote"):
        grow = letters(2, lambda path: "7" if path == "aa" else "8")
        course = drive(TreeOfThoughts(b=2, k=3, evaluate=evaluate), grow, lambda state, _: "who knows")
        assert course.visited == ["", "a", "b"]
        assert (course.key, course.vote_states[-1].votes[0].weight) == ("8", 5)


# Votes


def favour(*liked: str) -> Judge:
    """Votes for the first of these that is shown, in turn with the next."""

    def judge(shown: str, poll: int) -> str:
        listed = shown.split("|")
        at = next((listed.index(one) for one in liked if one in listed), None)
        return "none" if at is None else f"They differ.\nBest: {at + 1}"

    return judge


def test_a_vote_shows_all_candidates_each_time_in_another_order() -> None:
    course = drive(TreeOfThoughts(k=4, b=2, n_eval=6, evaluate="vote"), letters(2), favour("c", "cb", "ca"))
    assert course.visited == ["", "c", "a"]
    first = [tuple(map(path_of, poll)) for poll in course.polls[:6]]
    assert {tuple(sorted(poll)) for poll in first} == {("a", "b", "c", "d")}
    assert len(set(first)) > 2
    assert len(course.polls[6]) == 8
    assert course.judged == []
    again = drive(TreeOfThoughts(k=4, b=2, n_eval=6, evaluate="vote"), letters(2), favour("c", "cb", "ca"))
    assert again.polls == course.polls


def test_a_state_is_worth_its_votes_and_a_number_out_of_range_is_none() -> None:
    def judge(shown: str, poll: int) -> str:
        wanted = ["b", "b", "a", "x"][poll]
        return f"Best: {1 + shown.split('|').index(wanted)}" if wanted in shown else "Best: 9"

    course = drive(
        TreeOfThoughts(k=3, n_eval=4, evaluate="vote"),
        letters(1, lambda path: {"a": "7", "b": "8", "c": "9"}[path]),
        judge,
    )
    assert {vote.answer.key: vote.weight for vote in course.vote_states[-1].votes} == {"7": 1, "8": 2, "9": 0}


# The choice, limits and the step world


def test_a_judgement_keeps_the_question_in_front_and_is_bounded() -> None:
    params = SamplingParams(temperature=0.4, top_p=0.9, stop=("@",), max_tokens=9000)
    strategy = TreeOfThoughts(k=2, b=1, n_eval=2, params=params)
    course = drive(strategy, lambda state, place: "ab"[place] * 5000 if not state else "The answer is 7")
    asked = course.asked[0]
    assert (asked.n, asked.params) == (2, replace(params, max_tokens=JUDGEMENT_TOKENS))
    for prompt in asked.prompts:
        assert prompt.messages[0].content.startswith(QUESTION.prompt.messages[0].content)
        assert len(prompt.messages) == 1
        assert 4000 < len(prompt.messages[0].content) < 5000
    assert {one.reserve for one in (*course.grown, *course.asked)} == {128}
    assert {one.params.temperature for one in course.grown} == {0.4}


def test_when_the_budget_ends_the_reserve_brings_the_best_open_state_to_its_end() -> None:
    judge = by_worth(lambda state: float(state == "b"))
    course = drive(TreeOfThoughts(k=3, b=2), letters(9), judge, refuse_after=1)
    assert course.visited == ["", "b", "a", "b"]
    assert course.grown[-1].n == 1


def test_max_steps_ends_every_chain() -> None:
    course = drive(TreeOfThoughts(k=2, b=2, max_steps=2), letters(2))
    assert [op.params.stop for op in course.grown] == [("\n\n",), (), ()]
