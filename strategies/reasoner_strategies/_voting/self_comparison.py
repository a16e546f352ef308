"""Comparisons of answers by the model itself: candidates and choices."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
from reasoner.strategy import Plan, sample
from reasoner_strategies._prompts import shortened
from reasoner_strategies._voting.pool import proposed, vote


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence to choose from: its index in launch order, its rank by votes, and the text that is shown."""

    index: int
    rank: int
    text: str


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


def listed(kind: str, labels: Sequence[object], shown: Sequence[Candidate]) -> str:
    """Labelled texts."""
    return "\n\n".join(
        f"{kind} {label}:\n{each.text}"
        for label, each in zip(labels, shown, strict=True)
    )
