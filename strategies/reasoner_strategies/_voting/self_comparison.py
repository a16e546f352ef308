"""Answers put to a vote of the model itself: who stands, what the model is shown, what its choices come to."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reasoner.errors import UsageError, require, require_choice
from reasoner.plan import Plan, check_n, prefer, propose, sample, sample_each
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams, Standing
from reasoner_strategies._prompts import bare, quoted, said, verdict
from reasoner_strategies._voting.pool import vote


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that stands for election: its place in launch order, its rank by votes, and what is shown of it."""

    place: int
    seed: int
    text: str


@dataclass(frozen=True, slots=True)
class Ballot:
    """One question to the model: which of these is it? `race` names the election it counts for."""

    race: int
    shown: tuple[Candidate, ...]
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Field:
    """What was drawn, where its votes stand, and one candidate for each class of answers, the most votes first."""

    drawn: tuple[Completion, ...]
    majority: Standing
    seeds: tuple[Candidate, ...]


Choice = Callable[[Completion, int], int | None]
"""Which of so many shown ones a reply chooses, from 0; None where it does not say."""


def field(question: Question, n: int, params: SamplingParams) -> Plan[Field]:
    """Draw sequences, propose their majority, and let the first of each class stand."""
    drawn = yield from sample(question.prompt, n=n, params=params)
    majority = yield from vote(question, drawn)
    yield from propose(majority.leader, majority)
    first: dict[Answer | None, int] = {}
    for place, one in enumerate(drawn):
        first.setdefault(question.read(one), place)
    places = [first[each.answer] for each in majority.votes]
    seeds = tuple(Candidate(place, seed, quoted(drawn[place].chain)) for seed, place in enumerate(places))
    return Field(drawn, majority, seeds)


def standing_of(question: Question, drawn: Sequence[Completion], points: Mapping[int, float]) -> Plan[Standing]:
    """The standing in which points decide, then votes: a class weighs its points and, below 1, its share of votes."""
    share = 1 / (len(drawn) + 1)
    return (yield from vote(question, drawn, [points.get(place, 0.0) + share for place in range(len(drawn))]))


def polled(ballots: Sequence[Ballot], choice: Choice, params: SamplingParams) -> Plan[dict[int, Counter[int]]]:
    """How often each place was chosen in each race, all asked at once; a reply that does not say abstains."""
    chosen: dict[int, Counter[int]] = {ballot.race: Counter() for ballot in ballots}
    drawn = yield from sample_each([ballot.prompt for ballot in ballots], params=params)
    replies: defaultdict[Prompt, list[Completion]] = defaultdict(list)
    for one in drawn:
        replies[one.prompt].append(one)
    for ballot in ballots:
        reply = replies[ballot.prompt].pop(0) if replies[ballot.prompt] else None
        at = None if reply is None else choice(reply, len(ballot.shown))
        if at is not None:
            chosen[ballot.race][ballot.shown[at].place] += 1
    return chosen


def best(entered: Sequence[Candidate], chosen: Counter[int]) -> Candidate:
    """The most often chosen; of several, the one whose answer has more votes."""
    return min(entered, key=lambda one: (-chosen[one.place], one.seed))


Pair = tuple[Candidate, Candidate]


def compared(
    question: Question, pairs: Sequence[Pair], comparisons: int, params: SamplingParams
) -> Plan[tuple[Candidate, ...]]:
    """The winner of each pair: each is compared so many times, every second time in the other order."""
    ballots = [
        Ballot(race, order, pair_prompt(question, order))
        for race, (a, b) in enumerate(pairs)
        for turn in range(comparisons)
        for order in [(b, a) if turn % 2 else (a, b)]
    ]
    chosen = yield from polled(ballots, better, params)
    return tuple(best(pair, chosen[race]) for race, pair in enumerate(pairs))


By = Literal["policy", "verifier"]
COMPARISONS = 2


def check(n: int, comparisons: int, by: By) -> None:
    """Refuse options of a strategy of pairs that are out of range, or have no effect together."""
    check_n(n)
    require(comparisons, "comparisons", at_least=1)
    require_choice(by, "by", get_args(By))
    if by == "verifier" and comparisons != COMPARISONS:
        raise UsageError(f"comparisons={comparisons} has no effect with by=verifier, which compares once: leave it out")


def preferred(question: Question, entered: Field, pairs: Sequence[Pair]) -> Plan[tuple[Candidate, ...]]:
    """The winner of each pair by the run's verifier; the one with more votes where it cannot say."""
    ratings = yield from prefer(question, [(entered.drawn[a.place], entered.drawn[b.place]) for a, b in pairs])
    return tuple(
        best(pair, Counter() if rating.value in {None, 0.5} else Counter({pair[(rating.value or 0.0) < 0.5].place: 1}))
        for pair, rating in zip(pairs, ratings, strict=True)
    )


def pair_prompt(question: Question, pair: Pair) -> Prompt:
    """The question, two answers, and what to say about them."""
    return said(
        bare(question.prompt),
        f"Here are two proposed answers to the question above.\n\n{listed('Answer', 'AB', pair)}\n\nCompare them in a "
        'few sentences: which is more likely correct? End with a line that says "Better: A" or "Better: B".',
    )


def better(reply: Completion, size: int) -> int | None:
    """Which of the two a comparison prefers."""
    said = verdict(reply, "better", "AB"[:size])
    return None if said is None else "AB".index(said)


def listed(kind: str, labels: Sequence[object], entered: Sequence[Candidate]) -> str:
    """Labelled texts."""
    return "\n\n".join(f"{kind} {label}:\n{one.text}" for label, one in zip(labels, entered, strict=True))


Round = Callable[[Sequence[Candidate]], Plan[Sequence[Candidate]]]
"""Plays one round among those left in, who come by seed; the winners."""


def tournament(question: Question, entered: Field, play: Round) -> Plan[Answer | None]:
    """Rounds until one is left; a class weighs the rounds it won and its share of votes, proposed after each round."""
    left, standing, won = list(entered.seeds), entered.majority, Counter[int]()
    while len(left) > 1:
        winners = yield from play(left)
        left = sorted(winners, key=lambda one: one.seed)
        won.update(one.place for one in left)
        standing = yield from standing_of(question, entered.drawn, won)
        yield from propose(standing.leader, standing)
    return standing.leader
