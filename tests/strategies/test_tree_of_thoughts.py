"""Tree of thoughts, driven without an engine and on the step world."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from reasoner.errors import BudgetExhausted, ReasonerError
from reasoner.strategy import Finished, Handle, Next, Note, Plan, Propose, Sample, Start
from reasoner.types import Answer, Completion, VoteState
from reasoner_strategies.tree_of_thoughts import TreeOfThoughts
from tests.helpers import completion, number_question

QUESTION = number_question()
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)
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
class SearchTree:
    """What a plan did."""

    answer: Answer | None = None
    grown: list[Sample] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    """The states asked about, one entry a judgement."""
    polls: list[list[str]] = field(default_factory=list)
    asked: list[Sample] = field(default_factory=list)
    vote_states: list[VoteState] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def visited(self) -> list[str]:
        return [path_of(one.prompts[0].text) for one in self.grown]

    @property
    def key(self) -> str | None:
        return self.answer.key if self.answer else None


def drive(
    strategy: TreeOfThoughts,
    grow: Grow,
    judge: Judge | ReasonerError = lambda state, _: "Verdict: likely",
    *,
    refuse_after: int | None = None,
) -> SearchTree:
    """Run a plan; from some number of expansions on all is refused."""
    course, running = SearchTree(), list[tuple[Handle, Sample]]()
    plan: Plan[Answer | None] = strategy.plan(QUESTION)
    reply: Any = None
    while True:
        try:
            op = plan.throw(reply) if isinstance(reply, Exception) else plan.send(reply)
        except StopIteration as end:
            course.answer = end.value
            return course
        reply = None
        match op:
            case Start(op=Sample() as begun):
                reply = Handle(len(course.grown) + 1)
                course.grown.append(begun)
                running.append((reply, begun))
            case Next():
                handle, begun = running.pop()
                if refuse_after is not None and handle > refuse_after:
                    running.clear()
                    reply = REFUSED
                else:
                    reply = Finished(handle, completions=thoughts(begun, grow))
            case Sample() if op.prompts[0].text or op.prompts == (QUESTION.prompt,):
                course.grown.append(op)
                reply = thoughts(op, grow)
            case Sample():
                course.asked.append(op)
                reply = judge if isinstance(judge, ReasonerError) else judgements(op, judge, course)
            case Propose():
                course.vote_states.append(op.vote_state)
                assert op.answer == op.vote_state.leader
            case Note():
                course.notes.append(op.text)
            case _:
                raise AssertionError(op)


def thoughts(op: Sample, grow: Grow) -> tuple[Completion, ...]:
    [prompt] = op.prompts
    made = []
    for place in range(op.n):
        text = grow(prompt.text, place)
        ids = tuple(map(ord, text))
        ended = "answer" in text or "nothing" in text
        made.append(completion(text, index=place, prompt=prompt, token_ids=ids, stop=None if ended else "\n\n"))
    return tuple(made)


def judgements(op: Sample, judge: Judge, course: SearchTree) -> tuple[Completion, ...]:
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


def test_with_b_1_it_follows_the_best_thought_of_each_level() -> None:
    course = drive(TreeOfThoughts(b=1, k=3), letters(3), by_worth(lambda state: state.count("b") / len(state)))
    assert course.visited == ["", "b", "bb"]


def test_the_best_b_of_a_level_go_on_whoever_their_parent_is() -> None:
    worth = {"a": 1.0, "c": 0.5, "ca": 1.0, "cb": 1.0}
    course = drive(TreeOfThoughts(b=2, k=3), letters(3), by_worth(lambda state: worth.get(state, 0.0)))
    assert course.visited == ["", "a", "c", "ca", "cb"]


def test_the_first_of_equals_go_on() -> None:
    assert drive(TreeOfThoughts(b=2, k=3), letters(2)).visited == ["", "a", "b"]


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


def test_a_finished_state_takes_the_place_of_an_open_one_and_is_not_judged_again() -> None:
    def grow(state: str, place: int) -> str:
        return "a The answer is 7" if place == 0 and not state else letters(3)(state, place)

    course = drive(TreeOfThoughts(b=2, k=3), grow, by_worth(lambda state: 1.0 if state == "a" else 0.5))
    assert course.visited == ["", "b", "ba"]
    assert course.judged.count("a") == 3


# Depth


def test_dfs_without_a_threshold_visits_the_whole_tree_once() -> None:
    course = drive(TreeOfThoughts(mode="dfs", k=3), letters(3))
    paths = [a + b for a in ("", *"abc") for b in ("", *"abc") if a or not b]
    assert sorted(course.visited) == sorted(paths)
    assert course.visited == ["", "a", "aa", "ab", "ac", "b", "ba", "bb", "bc", "c", "ca", "cb", "cc"]
    assert course.vote_states[-1].samples == 27


def test_dfs_goes_on_from_the_best_child_and_back_to_the_others() -> None:
    worth = {"a": 0.5, "b": 1.0, "bb": 0.5}
    course = drive(TreeOfThoughts(mode="dfs", k=2), letters(3), by_worth(lambda state: worth.get(state, 0.0)))
    assert course.visited == ["", "b", "bb", "ba", "a", "aa", "ab"]


def test_dfs_leaves_what_is_below_the_threshold_and_ends_at_the_first_it_accepts() -> None:
    judge = by_worth(lambda state: 0.0 if state in ("a", "ba") else 1.0 if "b" in state else 0.5)
    course = drive(TreeOfThoughts(mode="dfs", k=2, v_th=2.0), letters(3), judge)
    assert course.visited == ["", "b", "bb"]
    course = drive(
        TreeOfThoughts(mode="dfs", k=2, v_th=0.5), letters(3, lambda path: "8" if "b" in path else "7"), judge
    )
    assert course.visited == ["", "b", "bb"]
    assert course.key == "8"


def test_dfs_goes_back_where_all_that_finished_is_below_the_threshold() -> None:
    judge = by_worth(lambda state: 0.5 if state in ("b", "ba", "bb") else 0.0)
    course = drive(TreeOfThoughts(mode="dfs", k=2, v_th=2.0), letters(3), judge)
    assert course.visited == ["", "b", "ba", "bb"]
    assert course.vote_states[-1].samples == 4


def test_a_threshold_holds_in_bfs_too() -> None:
    judge = by_worth(lambda state: 0.0 if state.endswith("a") else 0.5)
    assert drive(TreeOfThoughts(b=5, k=2, v_th=1.0), letters(3), judge).visited == ["", "b", "bb"]
    assert len(drive(TreeOfThoughts(b=5, k=2), letters(3), judge).visited) == 7


def test_where_the_threshold_leaves_nothing_the_best_open_state_is_brought_to_its_end() -> None:
    course = drive(
        TreeOfThoughts(k=2, v_th=50.0),
        letters(2),
        by_worth(lambda state: float(state == "b")),
    )
    assert course.visited == ["", "b"]
    none = drive(TreeOfThoughts(k=2, v_th=70.0), letters(2), by_worth(lambda state: float(state == "b")))
    assert none.visited == ["", "b"]
    assert (none.grown[-1].n, none.grown[-1].reserve, none.grown[-1].params.stop) == (1, 0, ())
    assert none.key == "7"


# Values


def test_values_are_asked_once_for_each_distinct_state() -> None:
    """Every second thought repeats the one before."""
    for mode in ("bfs", "dfs"):
        course = drive(TreeOfThoughts(mode=mode, k=4, n_eval=3), letters(3, width=2))
        counts = Counter(course.judged)
        assert set(counts.values()) == {3}
        assert len(counts) == 2 + 4 + 8
        assert len(course.visited) == len(set(course.visited)) == 7
        assert course.vote_states[-1].samples == 8


def test_a_state_is_worth_the_sum_of_its_verdicts() -> None:
    said = {"a": ["sure", "impossible", "likely"], "b": ["likely"] * 3, "c": ["impossible"] * 3}
    strategy = TreeOfThoughts(k=3, b=1, selector="weighted")
    course = drive(
        strategy,
        letters(1, lambda path: path.replace("a", "7").replace("b", "8").replace("c", "9")),
        lambda s, t: f"Verdict: {said[s][t]}",
    )
    weights = {vote.answer.key: vote.weight for vote in course.vote_states[-1].votes}
    assert weights == pytest.approx({"7": 21.001, "8": 3.0, "9": 0.003})


def test_a_judgement_that_cannot_be_read_abstains_and_is_no_0() -> None:
    said = {"a": ["Verdict: likely", "hm", "Verdict: maybe"], "b": ["Verdict: impossible"] * 3, "c": ["no"] * 3}
    keys = {"a": "7", "b": "8", "c": "9"}
    level = drive(
        TreeOfThoughts(k=3, selector="weighted"),
        letters(1, lambda path: keys[path]),
        lambda state, time: said[state][time],
    )
    assert {vote.answer.key: vote.weight for vote in level.vote_states[-1].votes} == pytest.approx({"7": 3, "8": 0.003})
    strategy = TreeOfThoughts(k=3, b=3, selector="weighted")
    course = drive(strategy, letters(2), lambda state, time: said.get(state, ["?"] * 3)[time])
    # `a` is worth 3 by its one verdict, of `c` nothing is known.
    assert course.visited == ["", "a", "b"]
    assert course.vote_states[-1].votes[0].weight == 6


def test_where_nothing_can_be_read_launch_order_and_the_majority_decide() -> None:
    for evaluate in ("value", "vote"):
        grow = letters(2, lambda path: "7" if path == "aa" else "8")
        course = drive(TreeOfThoughts(b=2, k=3, evaluate=evaluate), grow, lambda state, _: "who knows")
        assert course.visited == ["", "a", "b"]
        assert (course.key, course.vote_states[-1].votes[0].weight) == ("8", 5)


def test_dfs_goes_on_last_from_a_state_of_which_nothing_is_known() -> None:
    judge = by_worth(lambda state: 0.0)
    course = drive(
        TreeOfThoughts(mode="dfs", k=3), letters(2), lambda state, time: "?" if state == "a" else judge(state, time)
    )
    assert course.visited == ["", "b", "c", "a"]


def test_the_last_verdict_of_a_whole_reply_counts() -> None:
    def judge(state: str, time: int) -> str:
        return {"a": "It is not sure.\nVerdict: impossible", "b": "Verdict: sure\nNo.\nVerdict: likely."}.get(state, "")

    assert drive(TreeOfThoughts(k=2, b=1), letters(2), judge).visited == ["", "b"]


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
        TreeOfThoughts(k=3, n_eval=4, evaluate="vote", selector="weighted"),
        letters(1, lambda path: {"a": "7", "b": "8", "c": "9"}[path]),
        judge,
    )
    assert {vote.answer.key: vote.weight for vote in course.vote_states[-1].votes} == {"7": 1, "8": 2, "9": 0}


def test_one_candidate_needs_no_vote() -> None:
    course = drive(TreeOfThoughts(k=1, evaluate="vote"), letters(3))
    assert (course.polls, course.visited, course.key) == ([], ["", "a", "aa"], "7")


def test_a_finished_state_keeps_its_votes_where_the_next_poll_says_nothing() -> None:
    course = drive(
        TreeOfThoughts(k=3, b=2, n_eval=3, evaluate="vote"),
        ends_early,
        lambda shown, poll: favour("a")(shown, poll) if poll < 3 else "?",
    )
    assert course.key == "7"
