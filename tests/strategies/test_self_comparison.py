"""Strategies in which the model compares its own answers: tournament, GenSelect and universal."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from reasoner import SamplingParams
from reasoner.answers.questions import Question
from reasoner.strategy import Plan, Propose, Sample, Strategy
from reasoner.testing.support import completion, number_question
from reasoner.types import Answer, Completion, Prompt
from reasoner_strategies import GenSelect, Tournament, Universal, universal
from reasoner_strategies.tournament import TOGETHER
from reasoner_strategies.universal import named
from tests.strategies.driving import Course, follow

QUESTION = number_question()
_LISTED = re.compile(
    r"^(?:Answer|Response) (\w+):\n(.*?)(?=\n\n(?:(?:Answer|Response) \w+:\n|Compare|Evaluate))",
    re.MULTILINE | re.DOTALL,
)

Judging = Callable[[list[str]], str]
"""What the model replies, given the texts that it is shown."""


def texts_in(prompt: Prompt) -> list[str]:
    """The texts that a prompt lists."""
    return [text for _, text in _LISTED.findall(prompt.messages[-1].content)]


def key_of(text: str) -> str:
    answer = QUESTION.space.read(text)
    assert answer is not None
    return answer.key


def pool(*keys: str | None) -> tuple[Completion, ...]:
    """Candidates with these answers, each in other words."""
    return tuple(
        completion(
            "no idea" if key is None else f"Thought {index}. The answer is {key}",
            index=index,
        )
        for index, key in enumerate(keys)
    )


def prefers(*keys: str) -> Judging:
    """A judge with an order of preference, whatever the positions, that replies in the form of each strategy."""

    def judge(texts: list[str]) -> str:
        at = min(range(len(texts)), key=lambda place: keys.index(key_of(texts[place])))
        return f"{names(at)}\nBest: {at + 1}\nBetter: {'AB'[at] if at < 2 else 'none'}"

    return judge


def names(place: int) -> str:
    return f"The most consistent response is Response {place + 1}"


class Judged(Course):
    """A course in which every sample but the first is a request that judges."""

    __slots__ = ()

    @property
    def asked(self) -> list[list[str]]:
        """The texts shown in each request that judges."""
        return [texts_in(prompt) for op in self.samples[1:] for prompt in op.prompts]

    @property
    def rounds(self) -> list[int]:
        """How many requests each operation had."""
        return [len(op.prompts) for op in self.samples[1:]]


def judged(
    plan: Plan[Answer | None],
    drawn: Sequence[Completion],
    judge: Judging,
    *,
    question: Question = QUESTION,
) -> Judged:
    """Send a plan its candidates, then the judge's replies."""

    def reply(op: Sample) -> tuple[Completion, ...]:
        if op.prompts == (question.prompt,):
            return tuple(drawn)
        prompts = [prompt.at_level(op.params.thinking) for prompt in op.prompts]
        return tuple(
            completion(judge(texts_in(prompt)), prompt=prompt) for prompt in prompts
        )

    return follow(plan, reply, Judged())


PARAMS = SamplingParams(temperature=0.4, max_tokens=99, thinking="low")
MANY = [str(100 + key) for key in range(20)]
all_pairs = partial(Tournament, pairing="all")
swiss = partial(Tournament, pairing="swiss")
KINDS: dict[str, Callable[..., Strategy]] = {
    "gen_select": GenSelect,
    "knockout": Tournament,
    "all": all_pairs,
    "swiss": swiss,
    "universal": Universal,
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def course(
    kind: Callable[..., Strategy],
    keys: Sequence[str | None],
    judge: Judging,
    **options: Any,
) -> Judged:
    drawn = pool(*keys)
    return judged(
        kind(len(drawn), params=PARAMS, **options).plan(QUESTION), drawn, judge
    )


# Laws of all


@kinds
def test_it_draws_proposes_the_majority_and_then_the_preferred_answer(
    kind: Callable[..., Strategy],
) -> None:
    played = course(kind, ["7", "8", "8", None], prefers("7", "8"))
    assert played.samples[0] == Sample((QUESTION.prompt,), 4, PARAMS)
    assert played.key == "7"
    assert [state.leader and state.leader.key for state in played.vote_states] == [
        "8",
        "7",
    ]
    assert [state.samples for state in played.vote_states] == [4, 4]
    content = played.samples[1].prompts[0].messages[0].content
    assert content.startswith(QUESTION.prompt.messages[0].content)
    if kind is not Universal:
        assert played.samples[1].params == PARAMS


@kinds
@pytest.mark.parametrize("keys", [["7"], ["7", "7", None], [None, None]])
def test_with_one_class_nothing_is_asked(
    kind: Callable[..., Strategy], keys: list[str | None]
) -> None:
    played = course(kind, keys, prefers())
    assert (played.asked, len(played.vote_states), played.key) == ([], 1, keys[0])


@kinds
@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Best: 0",
        "Best: 4",
        "Best: 1 or 2",
        "Better: neither",
        "Better: A or B",
        "1 or 2",
    ],
)
def test_an_unreadable_reply_abstains(
    kind: Callable[..., Strategy], reply: str
) -> None:
    assert course(kind, ["7", "8", "8", "9"], lambda _: reply).key == "8"


# All pairs

FOUR = ("7", "8", "8", "9", "9", "9", "5")
"""Classes by votes: 9, 8, 7, 5."""


@pytest.mark.parametrize("place", ["A", "B"])
@pytest.mark.parametrize("comparisons", [2, 4])
def test_a_judge_with_a_preferred_position_leaves_every_pair_at_one_half(
    place: str, comparisons: int
) -> None:
    wins = Counter[tuple[frozenset[str], str]]()

    def judge(texts: list[str]) -> str:
        wins[frozenset(map(key_of, texts)), key_of(texts["AB".index(place)])] += 1
        return f"Better: {place}"

    played = course(all_pairs, FOUR, judge, comparisons=comparisons)
    assert len(wins) == 2 * 6
    assert set(wins.values()) == {comparisons / 2}
    assert [vote.answer.key for vote in played.vote_states[-1].votes] == [
        "9",
        "8",
        "7",
        "5",
    ]


def test_pairs_won_decide_and_the_weight_is_pairs_plus_share() -> None:
    votes = course(all_pairs, FOUR, prefers("5", "7", "8", "9")).vote_states[-1].votes
    assert [vote.answer.key for vote in votes] == ["5", "7", "8", "9"]
    assert [vote.weight for vote in votes] == pytest.approx(
        [3 + 1 / 8, 2 + 1 / 8, 1 + 2 / 8, 3 / 8]
    )


def test_every_pair_is_compared_so_often_and_an_odd_one_shows_more_votes_first() -> (
    None
):
    for comparisons in (1, 2, 3, 5):
        played = course(
            all_pairs, FOUR, prefers("7", "8", "9", "5"), comparisons=comparisons
        )
        assert (played.rounds, played.key) == ([comparisons * 6], "7")
        shown = Counter(tuple(map(key_of, texts)) for texts in played.asked)
        assert (shown["9", "7"], shown["7", "9"]) == (
            comparisons - comparisons // 2,
            comparisons // 2,
        )


def test_very_many_pairs_are_compared_part_by_part_and_each_part_is_proposed() -> None:
    classes = 50
    keys = [str(key) for key in range(1, classes + 1)]
    played = course(all_pairs, by_votes(classes), prefers("3", *keys), comparisons=1)
    pairs = classes * (classes - 1) // 2
    assert played.rounds == [TOGETHER, pairs - TOGETHER]
    assert [state.leader and state.leader.key for state in played.vote_states] == [
        "1",
        "3",
        "3",
    ]


@pytest.mark.parametrize(
    ("first", "reply", "answer"), [(True, "Better: B", "8"), (False, "Better: A", "7")]
)
def test_cut_comparisons_abstain_and_refused_ones_do_not_shift_the_others(
    first: bool, reply: str, answer: str
) -> None:
    """Of two requests only one gets a reply: the first, which is cut, or the second, which shows 7 first."""
    plan = all_pairs(3, params=PARAMS).plan(QUESTION)
    next(plan)
    plan.send(pool("7", "8", "8"))
    op = plan.send(None)
    assert isinstance(op, Sample)
    prompt = op.prompts[0 if first else 1]
    last = plan.send(
        (completion(reply, prompt=prompt, finish="length" if first else "stop"),)
    )
    assert isinstance(last, Propose)
    assert (last.answer and last.answer.key) == answer


# Knockout


def by_votes(classes: int) -> list[str]:
    """A pool with this number of classes; 1 has the most votes, and the last one."""
    return [
        str(seed) for seed in range(1, classes + 1) for _ in range(classes + 1 - seed)
    ]


def test_the_best_seeds_meet_last_and_the_first_of_an_odd_number_is_unopposed() -> None:
    won = course(
        Tournament, by_votes(5), prefers("1", "2", "3", "4", "5"), comparisons=1
    )
    assert [[key_of(text) for text in texts] for texts in won.asked] == [
        ["2", "5"],
        ["3", "4"],
        ["2", "3"],
        ["1", "2"],
    ]
    assert won.rounds == [2, 1, 1]
    votes = won.vote_states[-1].votes
    assert [(vote.answer.key, int(vote.weight)) for vote in votes] == [
        ("1", 3),
        ("2", 2),
        ("3", 1),
        ("4", 0),
        ("5", 0),
    ]


@pytest.mark.parametrize("classes", [1, 2, 3, 8, 17])
def test_rounds_and_requests_are_bounded(classes: int) -> None:
    source = random.Random(classes)
    for comparisons in (1, 2, 3):
        played = course(
            Tournament,
            by_votes(classes),
            lambda _: f"Better: {source.choice('AB')}",
            comparisons=comparisons,
        )
        assert len(played.rounds) == math.ceil(math.log2(classes))
        assert sum(played.rounds) == comparisons * (classes - 1)


# Swiss


def test_those_with_equally_many_wins_meet_and_no_pair_twice() -> None:
    order = ["3", "1", "2", "4"]
    played = course(swiss, by_votes(4), prefers(*order), comparisons=1)
    assert [[key_of(text) for text in texts] for texts in played.asked] == [
        ["1", "2"],
        ["3", "4"],
        ["1", "3"],
        ["2", "4"],
    ]
    votes = played.vote_states[-1].votes
    assert [(vote.answer.key, int(vote.weight)) for vote in votes] == [
        ("3", 2),
        ("1", 1),
        ("2", 1),
        ("4", 0),
    ]


@pytest.mark.parametrize("classes", [2, 3, 5, 9, 16])
def test_it_has_as_many_rounds_as_a_knockout(classes: int) -> None:
    source = random.Random(classes)
    played = course(
        swiss,
        by_votes(classes),
        lambda _: f"Better: {source.choice('AB')}",
        comparisons=1,
    )
    assert len(played.rounds) == math.ceil(math.log2(classes))
    pairs = [frozenset(map(key_of, texts)) for texts in played.asked]
    assert len(set(pairs)) == len(pairs)


# GenSelect


def test_choices_count_by_candidate_and_never_by_position() -> None:
    first = Counter[str]()

    def judge(texts: list[str]) -> str:
        first[key_of(texts[0])] += 1
        return "Best: 1"

    played = course(GenSelect, MANY[:4], judge, repeats=400)
    # A judge that always takes the first is spread evenly: 100 each, and 4 standard errors are 35.
    assert all(abs(count - 100) < 35 for count in first.values())
    assert played.key == max(MANY[:4], key=lambda key: first[key])


def test_most_choices_win_and_ties_go_to_votes() -> None:
    def turns(*keys: str) -> Judging:
        wanted = iter(keys)
        return lambda texts: f"Best: {list(map(key_of, texts)).index(next(wanted)) + 1}"

    assert course(GenSelect, ["7", "8", "9", "9"], turns("7", "8", "8")).key == "8"
    assert course(GenSelect, ["7", "8", "9", "9", "8"], turns("7", "9", "8")).key == "8"
    assert (
        course(GenSelect, ["7", "8", "9", "9"], turns("7", "8"), repeats=2).key == "7"
    )


def test_more_than_a_group_makes_a_tournament() -> None:
    played = course(GenSelect, MANY, prefers("119", *MANY[:-1]), group=4, repeats=2)
    # 20 in 5 groups of 4, 5 in groups of 3 and 2, then the last 2.
    assert [len(texts) for texts in played.asked] == [4] * 10 + [3, 3, 2, 2] + [2, 2]
    assert (played.rounds, played.key) == ([10, 4, 2], "119")
    weights = {
        vote.answer.key: int(vote.weight) for vote in played.vote_states[-1].votes
    }
    assert weights["119"] == 3
    for group in (2, 3, 16):
        for winner in MANY[::6]:
            others = [key for key in MANY if key != winner]
            assert (
                course(
                    GenSelect, MANY, prefers(winner, *others), group=group, repeats=1
                ).key
                == winner
            )


@pytest.mark.parametrize(("kind", "repeats"), [(GenSelect, 3), (Universal, 1)])
def test_the_orders_depend_on_the_question_alone(
    kind: Callable[..., Strategy], repeats: int
) -> None:
    def orders(id: str) -> list[list[str]]:
        question, drawn = number_question(id), pool(*MANY[:8])
        return judged(
            kind(8).plan(question), drawn, lambda _: "", question=question
        ).asked

    assert orders("q") == orders("q") != orders("p")
    assert len(set(map(tuple, orders("q")))) == repeats


# Universal


def test_it_shows_all_responses_with_an_answer_and_asks_greedily() -> None:
    played = course(Universal, ["7", "8", None, "8"], lambda _: names(0))
    assert played.samples[1].params == SamplingParams(temperature=0, max_tokens=64)
    [texts] = played.asked
    assert sorted(map(key_of, texts)) == ["7", "8", "8"]
    assert played.key == key_of(texts[0])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (names(1), 1),
        ("The most consistent response is **Response 3**, as 1 and 2 are alone.", 2),
        ("the most consistent response is: 2.", 1),
        ("Response 2", 1),
        ("**3**", 2),
        (" 3\n", 2),
        ("The most consistent response is Response 4", None),
        ("The most consistent response is Response 0", None),
        ("3 responses agree", None),
        ("The most consistent response is Response -1", None),
        ("-1", None),
    ],
)
def test_what_a_reply_names(text: str, place: int | None) -> None:
    assert named(completion(text), 3) == place


def test_half_a_number_is_none() -> None:
    assert named(completion(names(0), finish="length"), 12) is None
    assert named(completion(f"{names(0)}, because", finish="length"), 12) == 0


def test_what_does_not_fit_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = (
        completion("so " * 9000 + "The answer is 7", index=0),
        *pool(None, "8", "9")[1:],
    )
    [texts] = judged(Universal(4).plan(QUESTION), drawn, lambda _: names(0)).asked
    assert sorted(map(key_of, texts)) == ["8", "9"]
    size = len("Thought 0. The answer is 7")
    for fitting in (1, 2, 3):
        monkeypatch.setattr(universal, "MAX_SHOWN", fitting * size + size - 1)
        played = course(Universal, ["7", "8", "9", "9"], lambda _: names(0))
        assert [len(texts) for texts in played.asked] == (
            [fitting] if fitting > 1 else []
        )
