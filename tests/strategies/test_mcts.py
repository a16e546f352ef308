"""Monte-Carlo tree search as a plan: the textbook, priors, ratings, budgets."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from reasoner.strategy import Propose, Sample, Score
from reasoner.testing.support import completion, number_question
from reasoner.types import Answer, Completion, Logprobs, VoteState
from reasoner_strategies._search.steps import Path
from reasoner_strategies._voting.pool import RunningVote
from reasoner_strategies.mcts import C_BASE, Mcts, Node, prior
from tests.strategies.driving import REFUSED, Course, Running, follow, rating
from tests.sweeps import widths

QUESTION = number_question()
Place = tuple[int, ...]
"""Where a step is: the choices that lead to it."""


def chance(what: str, place: Place) -> float:
    return random.Random(f"{what}{place}").random()


@dataclass(frozen=True, slots=True)
class World:
    """A tree of steps; values, log-probabilities and ends are functions of the place."""

    k: int = 3
    ends: float = 0.3
    depth: int = 5
    name: str = ""

    def ended(self, place: Place) -> bool:
        return len(place) >= self.depth or chance(f"end{self.name}", place) < self.ends

    def value(self, place: Place) -> float:
        return chance(f"value{self.name}", place)

    def logprob(self, place: Place) -> float:
        return -3 * chance(f"logprob{self.name}", place)

    def answer(self, place: Place) -> str:
        return str(7 + (chance(f"answer{self.name}", place) < 0.4))

    def step(self, sample: Sample, index: int) -> Completion:
        [prompt] = sample.prompts
        place = (*place_of(prompt.text), index)
        ended = self.ended(place)
        text = f"{index}. The answer is {self.answer(place)}" if ended else f"{index}"
        ids = (100 + index, *((200,) * (index % 2)), *((-1,) if ended else ()))
        logprobs = Logprobs((self.logprob(place),) * len(ids))
        return completion(
            text,
            index=index,
            prompt=prompt,
            token_ids=ids,
            stop=None if ended else "\n\n",
            logprobs=logprobs,
        )


def place_of(text: str) -> Place:
    return tuple(int(part.split(".")[0]) for part in text.split("\n\n") if part)


class Search(Course):
    """A course over the world."""

    __slots__ = ()

    @property
    def expanded(self) -> list[Place]:
        return [place_of(sample.prompts[0].text) for sample in self.samples]

    @property
    def vote_state(self) -> VoteState:
        return self.vote_states[-1]


def drive(
    strategy: Mcts,
    world: World,
    *,
    which: Callable[[Running], int] = lambda running: 0,
    rate: Callable[[Place], float | None] | None = None,
    refuse_after: int | None = None,
) -> Search:
    """Run a plan; after this many samples all but the closing one are refused."""
    drawn = 0

    def reply(op: Sample | Score) -> object:
        nonlocal drawn
        if isinstance(op, Score):
            return tuple(
                rating((rate or world.value)(place_of(each.chain)))
                for each in op.candidates
            )
        if refuse_after is not None and drawn >= refuse_after and op.reserve:
            return REFUSED
        drawn += 1
        return tuple(world.step(op, at) for at in range(op.n))

    return follow(strategy.plan(QUESTION), reply, Search(), which=which)


# The textbook


def textbook(options: Mcts, world: World) -> tuple[list[Place], dict[str, float]]:
    """The serial search, each figure counted again: what is expanded in turn, and the votes."""
    kids: dict[Place, list[Place]] = {}
    visits: dict[Place, list[float]] = {(): []}
    done: set[Place] = set()
    expanded: list[Place] = []

    def exhausted(place: Place) -> bool:
        return place in done or (place in kids and all(map(exhausted, kids[place])))

    def pick(above: Place) -> Place:
        count = len(visits[above])
        weight = math.log((1 + count + C_BASE) / C_BASE) + options.c_init
        odds = [math.exp(world.logprob(place)) for place in kids[above]]

        def score(place: Place) -> float:
            seen = visits[place]
            q = sum(seen) / len(seen) if seen else world.value(place)
            return q + weight * odds[kids[above].index(place)] / sum(odds) * math.sqrt(
                count
            ) / (1 + len(seen))

        return max((place for place in kids[above] if not exhausted(place)), key=score)

    while not exhausted(()) and len(expanded) < options.simulations:
        place: Place = ()
        while place in kids:
            place = pick(place)
        if not (place and world.ended(place)):
            expanded.append(place)
            kids[place] = [(*place, at) for at in range(options.k)]
            visits |= {one: [] for one in kids[place]}
            place = pick(place)
        for length in range(len(place) + 1):
            visits[place[:length]].append(world.value(place))
        if world.ended(place):
            done.add(place)
    votes: dict[str, float] = {}
    for place in visits:
        if place and world.ended(place):
            votes[world.answer(place)] = votes.get(
                world.answer(place), 0.0
            ) + world.value(place)
    return expanded, votes


@widths("seeds", 16, 300)
def test_with_one_simulation_at_a_time_it_is_the_textbooks_sequence(seeds: int) -> None:
    for seed in range(seeds):
        world = World(k=2 + seed % 3, ends=0.1 + 0.1 * (seed % 4), name=str(seed))
        options = Mcts(simulations=60, k=world.k, concurrency=1, c_init=0.5 + seed % 2)
        course = drive(options, world)
        expanded, votes = textbook(options, world)
        assert course.expanded[: len(expanded)] == expanded
        if votes:
            assert course.expanded == expanded
            found = {vote.answer.key: vote.weight for vote in course.vote_state.votes}
            assert found == pytest.approx(votes)
            assert course.answer == course.vote_state.leader


# The rules of the tree


C_INIT = 1.25


def node(parent: Node | None, value: float, prior: float = 1.0, **counts: Any) -> Node:
    return Node(Path(QUESTION.prompt), parent, value, prior, **counts)


def published() -> tuple[Node, list[Node]]:
    """Ten visits, and three children: (visits, mean, prior)."""
    root = node(None, 0.5, visits=10, total=5.5)
    rows = ((5, 0.6, 0.5), (4, 0.5, 0.3), (0, 0.0, 0.2))
    children = [
        node(root, 0.55, prior, visits=n, total=n * mean) for n, mean, prior in rows
    ]
    root.children = children
    return root, children


def score_of(root: Node, child: Node) -> float:
    """What the rules give a child: the mean at which a rival without a prior ties with it."""
    low, high = 0.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        root.children = (node(root, 0, 0.0, visits=1, total=middle), child)
        low, high = (middle, high) if root.best(C_INIT) is child else (low, middle)
    return low


def test_the_published_scores_and_the_pick() -> None:
    root, children = published()
    assert root.leaf(C_INIT) is children[2]
    assert [score_of(root, child) for child in children] == pytest.approx(
        [0.92955, 0.73728, 1.34092], abs=1e-5
    )
    children[2].value = 0.0
    assert score_of(root, children[2]) == pytest.approx(0.79092, abs=1e-5)


def test_a_simulation_that_runs_counts_as_a_visit_of_value_0() -> None:
    root, [first, *_] = published()
    first.back_up(1)
    assert (root.visits, root.total, first.visits, first.total) == (11, 5.5, 6, 3.0)
    assert score_of(root, first) == pytest.approx(0.79627, abs=1e-5)


def test_equal_children_are_visited_in_launch_order() -> None:
    root, _ = published()
    root.children, root.visits = [node(root, 0.5, 0.25) for _ in range(4)], 0
    assert root.leaf(C_INIT) is root.children[0]
    root.children[0].ready = False
    assert root.leaf(C_INIT) is root.children[1]


# In flight


def test_no_leaf_is_expanded_twice_and_the_whole_tree_once_in_any_order() -> None:
    world = World(k=3, ends=0.4, depth=4)
    whole = set(drive(Mcts(simulations=1000, k=3, concurrency=1), world).expanded)
    votes = set()
    for seed in range(20):
        source = random.Random(seed)
        options = Mcts(simulations=1000, k=3, concurrency=1 + seed % 8)
        course = drive(
            options,
            world,
            which=lambda running, source=source: source.randrange(len(running)),  # type: ignore[misc]
        )
        assert len(course.expanded) == len(set(course.expanded))
        assert set(course.expanded) == whole
        votes.add(
            frozenset(
                (vote.answer.key, vote.weight, vote.count)
                for vote in course.vote_state.votes
            )
        )
    assert len(votes) == 1


# Priors, siblings, ratings


def steps(*logprobs: Sequence[float] | None) -> list[Completion]:
    return [
        completion(logprobs=None if each is None else Logprobs(tuple(each)))
        for each in logprobs
    ]


def test_the_prior_is_the_softmax_of_mean_logprobs_so_that_length_does_not_count() -> (
    None
):
    assert prior(steps([-1.0] * 5, [-1.0] * 50)) == pytest.approx([0.5, 0.5])
    odds = math.exp(-0.5), math.exp(-1.5)
    assert prior(steps([-0.5], [-1.0, -2.0])) == pytest.approx(
        [odd / sum(odds) for odd in odds]
    )
    assert prior(steps([-900.0], [-901.0]))[0] == pytest.approx(1 / (1 + math.exp(-1)))
    for silent in (None, [], [-math.inf]):
        assert prior(steps([-0.5], silent)) == [0.5, 0.5]
    assert prior([]) == []


def test_equal_siblings_are_one_step_and_dead_ends_are_not_rated() -> None:
    drawn = [
        completion("a", index=0, stop="\n\n", token_ids=(1, 2)),
        completion("a", index=1, stop="\n\n", token_ids=(1, 2)),
        completion("no idea", index=2, token_ids=(3, -1)),
        completion("The answer is 9", index=3, token_ids=(4,) * 600, finish="length"),
        completion("The answer is 7", index=4, token_ids=(5, -1)),
        completion("The answer is 7", index=5, token_ids=(5, -1)),
    ]

    def reply(op: Sample | Score) -> object:
        return (
            tuple(drawn)
            if isinstance(op, Sample)
            else [rating(0.5)] * len(op.candidates)
        )

    course = follow(Mcts(simulations=1, k=6).plan(QUESTION), reply, Search())
    assert [one.index for one in course.scores[0].candidates] == [0, 4]
    assert (course.vote_state.samples, course.vote_state.votes[0].count) == (3, 1)


def test_a_step_that_could_not_be_rated_counts_as_its_parent() -> None:
    world = World(k=3, ends=0.0, depth=9)
    options = Mcts(simulations=20, k=3, concurrency=1, c_init=0)
    same = drive(options, world, rate=lambda _: 0.6)
    some = drive(options, world, rate=lambda place: 0.6 if len(place) < 3 else None)
    assert some.expanded == same.expanded


# Budgets and the reserve


def test_proposals_are_few_where_chains_are_many_and_the_last_holds_all() -> None:
    votes, proposed = RunningVote(QUESTION.space), list[Propose]()
    for at in range(5000):
        votes.count(Answer(str(at % 3), str(at % 3)), order=at)
        proposed += [op for op in votes.publish_sometimes() if isinstance(op, Propose)]
    proposed += [op for op in votes.publish() if isinstance(op, Propose)]
    samples = [op.vote_state.samples for op in proposed]
    assert samples[:17] == list(range(1, 18))
    assert (samples[-1], len(samples) < 200) == (5000, True)
