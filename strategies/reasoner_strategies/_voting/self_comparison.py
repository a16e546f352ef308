"""Comparisons of answers by the model itself: candidates, choices, pairs, tournaments."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import Plan, sample
from reasoner_strategies._prompts import shortened, verdict, with_text, without_reply
from reasoner_strategies._voting.pool import proposed, vote


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence to choose from: its index in launch order, its rank by votes, and the text that is shown."""

    index: int
    rank: int
    text: str


Pair = tuple[Candidate, Candidate]
"""Two candidates, the one with more votes first."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The drawn sequences, their majority, and one candidate per class of answers, the most votes first."""

    drawn: tuple[Completion, ...]
    majority: VoteState
    ranked: tuple[Candidate, ...]


Ballot = tuple[Prompt, Sequence[Candidate]]
"""One request to the model to choose, and the candidates that it shows."""
Choice = Callable[[Completion, int], int | None]
"""Which of the shown candidates, given their number, a reply chooses, from 0; None if it names none."""


def draw_candidates(
    question: Question, n: int, params: SamplingParams
) -> Plan[Candidates]:
    """Draw sequences and propose their majority; the first sequence of each class is its candidate."""
    drawn = yield from sample(question.prompt, n=n, params=params)
    majority = yield from proposed(vote(question, drawn))
    first: dict[Answer | None, int] = {}
    for index, completion in enumerate(drawn):
        first.setdefault(question.read(completion), index)
    indices = [first[each.answer] for each in majority.votes]
    ranked = tuple(
        Candidate(index, rank, shortened(drawn[index].chain))
        for rank, index in enumerate(indices)
    )
    return Candidates(drawn, majority, ranked)


def by_points(
    question: Question, drawn: Sequence[Completion], points: Mapping[int, float]
) -> Plan[VoteState]:
    """Propose the vote state by points, then votes: the weight of a class is its points plus, below 1, its share."""
    share = 1 / (len(drawn) + 1)
    weights = [points.get(index, 0.0) + share for index in range(len(drawn))]
    return (yield from proposed(vote(question, drawn, weights)))


def replies_to(
    prompts: Sequence[Prompt], params: SamplingParams, *, answers: bool = False
) -> Plan[list[Completion | None]]:
    """One reply to each prompt, all drawn at once; None where the budget refused it."""
    prompts = [prompt.at_level(params.thinking) for prompt in prompts]
    drawn = yield from sample(prompts, params=params, answers=answers)
    replies: defaultdict[Prompt, deque[Completion]] = defaultdict(deque)
    for completion in drawn:
        replies[completion.prompt].append(completion)
    return [
        replies[prompt].popleft() if replies[prompt] else None for prompt in prompts
    ]


def polled(
    ballots: Sequence[Ballot], choice: Choice, params: SamplingParams
) -> Plan[list[Candidate | None]]:
    """The candidate that each ballot chooses, all asked at once; None for a reply that names none or was refused."""
    replies = yield from replies_to([prompt for prompt, _ in ballots], params)
    chosen: list[Candidate | None] = []
    for reply, (_, shown) in zip(replies, ballots, strict=True):
        number = choice(reply, len(shown)) if reply else None
        chosen.append(None if number is None else shown[number])
    return chosen


def best(
    candidates: Sequence[Candidate], chosen: Counter[Candidate | None]
) -> Candidate:
    """The most often chosen; at a tie, the one with more votes."""
    return min(candidates, key=lambda candidate: (-chosen[candidate], candidate.rank))


@dataclass(frozen=True, slots=True)
class PairOptions(CheckedOptions):
    """The options of strategies that compare pairs of answers.

    A pair is compared `comparisons` times, every second time in the other order; a comparison without a verdict
    abstains, and a tie goes to the answer with more votes. `params` draw candidates and comparisons; of each text the
    last 4,000 characters are shown.
    """

    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True

    n: Samples = 8
    comparisons: Samples = 2
    params: SamplingParams = SamplingParams()

    def winners(
        self, question: Question, pairs: Sequence[Pair]
    ) -> Plan[tuple[Candidate, ...]]:
        """The winner of each pair."""
        orders = [
            (b, a) if turn % 2 else (a, b)
            for a, b in pairs
            for turn in range(self.comparisons)
        ]
        chosen = yield from polled(
            [
                (
                    pair_prompt(
                        question,
                        order,
                        "Compare them in a few sentences: which is more likely correct? End with a line that says "
                        '"Better: A" or "Better: B".',
                    ),
                    order,
                )
                for order in orders
            ],
            better,
            self.params,
        )
        starts = range(0, len(orders), self.comparisons)
        return tuple(
            best(pair, Counter(chosen[start : start + self.comparisons]))
            for pair, start in zip(pairs, starts, strict=True)
        )


def pair_prompt(question: Question, pair: Pair, instruction: str) -> Prompt:
    """The question, two answers, and what to say about them."""
    answers = listed("Answer", "AB", pair)
    return with_text(
        without_reply(question.prompt),
        f"Here are two proposed answers to the question above.\n\n{answers}\n\n{instruction}",
    )


def better(reply: Completion, size: int) -> int | None:
    """Which of the two a comparison prefers."""
    letter = verdict(reply, "better", "AB"[:size])
    return None if letter is None else "AB".index(letter)


def listed(kind: str, labels: Sequence[object], shown: Sequence[Candidate]) -> str:
    """Labelled texts."""
    return "\n\n".join(
        f"{kind} {label}:\n{each.text}"
        for label, each in zip(labels, shown, strict=True)
    )


Round = Callable[[Sequence[Candidate]], Plan[Sequence[Candidate]]]
"""Plays one round among the remaining candidates, which are sorted by rank; returns the winners."""


def tournament(
    question: Question, entered: Candidates, play: Round
) -> Plan[Answer | None]:
    """Rounds until one is left; the weight of a class is the rounds it won plus its share of votes."""
    left, vote_state, won = list(entered.ranked), entered.majority, Counter[int]()
    while len(left) > 1:
        winners = yield from play(left)
        left = sorted(winners, key=lambda candidate: candidate.rank)
        won.update(candidate.index for candidate in left)
        vote_state = yield from by_points(question, entered.drawn, won)
    return vote_state.leader
