"""A solution in a few lines for a person, and as JSON for a program."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.budget import UNITS, Budget, Cost, Ledger, Prices
from reasoner.cli.terminal import printable
from reasoner.engine import Engine
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.types import Question, Vote, VoteState
from reasoner.verifier import Verifier

if TYPE_CHECKING:
    from reasoner.cli.reasoning import Reasoning

MAX_ANSWERS = 6
"""Answers that the vote line names."""
MAX_TIED = 3
"""Answers that a tie names."""
MAX_ANSWER_LENGTH = 32
"""Characters of an answer that are shown."""
MAX_REASON_LENGTH = 500
"""Characters of a reason or a choice that are shown."""
SHOWN_SECONDS = 0.1
"""The start of a verifier is shown if it took at least this long; most take no time."""


@dataclass(frozen=True, slots=True)
class VoteSummary:
    """The votes of a question in words, for the progress line, the summary and JSON. A vote is a sample's answer."""

    vote_state: VoteState

    @property
    def tied(self) -> tuple[str, ...]:
        """All answers of the highest weight if there are several, the chosen one first."""
        votes = self.vote_state.votes
        return (
            tuple(vote.answer.text for vote in votes if vote.weight == votes[0].weight) if self.vote_state.tied else ()
        )

    @property
    def weighted(self) -> bool:
        """Whether any vote has a weight other than 1."""
        return any(vote.weight != vote.count for vote in self.vote_state.votes)

    @property
    def leading(self) -> str:
        """The share of the first answer, as in `4 of 6 votes`."""
        weight = f"{self.vote_state.share:.0%} of the weight"
        if not self.vote_state.samples:
            return weight
        votes, cast = self.vote_state.votes, self.vote_state.cast
        counted = f"{votes[0].count if votes else 0} of {cast} vote{'s' if cast != 1 else ''}"
        return f"{counted}, {weight}" if self.weighted else counted

    @property
    def short(self) -> str:
        """`leading`, and whether there is a tie."""
        return f"{self.leading}, a tie" if self.tied else self.leading

    @property
    def rule(self) -> str:
        """What decided a tie; empty where there is none."""
        return ("sampled first" if self.vote_state.samples else "listed first") if self.tied else ""

    @property
    def tie(self) -> str:
        """Which answers tie, and why the first of them was chosen; empty where there is no tie."""
        if not self.tied:
            return ""
        names = [printable(text, limit=MAX_ANSWER_LENGTH) for text in self.tied[:MAX_TIED]]
        more = [f"{len(self.tied) - MAX_TIED} more"] if len(self.tied) > MAX_TIED else []
        return f"tie of {' and '.join([*names, *more])}: {names[0]} was {self.rule}"

    @property
    def line(self) -> str:
        """The answers with their votes, the samples without an answer, and a tie."""
        votes = self.vote_state.votes
        answers = len(votes) + self.vote_state.tail.classes
        more = [f"{answers - MAX_ANSWERS:,} more"] if answers > MAX_ANSWERS else []
        line = " · ".join([*map(self._named, votes[:MAX_ANSWERS]), *more])
        if self.vote_state.samples:
            missing = self.vote_state.samples - self.vote_state.cast
            counted = f"{samples_of(self.vote_state.samples)}, {missing} without an answer"
            line = f"{line} ({counted})" if votes else counted
        return f"{line}; {self.tie}" if self.tied else line

    def _named(self, vote: Vote) -> str:
        text = printable(vote.answer.text, limit=MAX_ANSWER_LENGTH)
        if not self.vote_state.samples:
            return f"{text} {vote.weight:.2f}"
        return f"{text} ×{vote.count}" + (f" (weight {vote.weight:.2f})" if self.weighted else "")

    def document(self) -> dict[str, Any]:
        """The votes for JSON."""
        return {
            "votes": [
                {"answer": vote.answer.text, "weight": vote.weight, "count": vote.count}
                for vote in self.vote_state.votes
            ],
            "samples": self.vote_state.samples,
            "answered": self.vote_state.cast,
            "share": self.vote_state.share,
            "tied": bool(self.tied),
            "tie": {"answers": list(self.tied), "decided_by": self.rule} if self.tied else None,
        }


def samples_of(number: int) -> str:
    """A number of samples in words."""
    return f"{number:,} sample{'s' if number != 1 else ''}"


class Times(NamedTuple):
    """Seconds: the start of the verifier, from the start of solving to the first sample, and in total."""

    verifier_start: float
    first_sample: float | None
    elapsed: float


def summary(
    solution: Solution, budget: Budget, prices: Prices | None, engine: Engine, times: Times
) -> list[tuple[str, str]]:
    """The vote, the cost, the budget, the time and the engine's notes, with a label each."""
    vote_state = solution.vote_state
    lines = [("vote", VoteSummary(vote_state).line)] if vote_state.samples or vote_state.votes else []
    lines.append(("cost", _cost(solution.cost, prices)))
    if str(budget):
        lines.append(("budget", f"{_budget(budget, solution.cost, prices)}; {solution.reason}"))
    lines.append(("time", _time(engine, times, solution.cost.seconds)))
    return lines + [("note", note) for note in solution.notes]


def abstained(solution: Solution) -> bool:
    """Whether there was an answer that the strategy was not sure enough of to give."""
    return solution.answer is None and solution.confidence is not None and solution.vote_state.leader is not None


def explanation(strategy: Strategy, solution: Solution) -> list[tuple[str, str]]:
    """What was run and why, what ended it, and how reliable the answer is, with a label each."""
    choice = next((remark for remark in solution.remarks if remark.startswith("chose ")), spec_of(strategy))
    cost = solution.cost
    stopped = f"{solution.ended_by}: {printable(solution.reason, limit=MAX_REASON_LENGTH)}"
    if (price := getattr(strategy, "price", None)) is not None:
        stopped += f"; the price of a sample is a gain of {price:g} in the chance of a right answer"
    return [
        ("ran", f"{printable(choice, limit=MAX_REASON_LENGTH)}; {samples_of(cost.samples)}, {cost.tokens:,} tokens"),
        ("stopped", stopped),
        ("trust", _trust(strategy, solution)),
    ]


def _trust(strategy: Strategy, solution: Solution) -> str:
    if solution.confidence is not None:
        questions = getattr(strategy, "calibrated_on", 0)
        calibration = f", calibrated on {questions:,} question{'s' if questions != 1 else ''}" if questions else ""
        return f"right with a probability of {solution.confidence:.2f}{calibration}"
    votes = VoteSummary(solution.vote_state)
    return f"not calibrated: {votes.leading}" + (f"; {votes.tie}" if votes.tied else "")


def _cost(cost: Cost, prices: Prices | None) -> str:
    parts = [f"{cost.prompt_tokens:,} prompt", f"{cost.generated_tokens:,} generated"]
    parts += [f"{cost.verifier_tokens:,} verifier"] if cost.verifier_tokens else []
    parts += [f"{cost.cancelled_tokens:,} cancelled"] if cost.cancelled_tokens else []
    text = f"{cost.tokens:,} tokens computed ({' + '.join(parts)}), {cost.cached_tokens:,} prompt tokens from cache"
    if cost.flops:
        text += f", {cost.flops / 1e12:.3g} TFLOP"
    return text + (f", ${prices.usd(cost):.6f}" if prices else "")


def _budget(budget: Budget, cost: Cost, prices: Prices | None) -> str:
    ledger = Ledger(budget, prices=prices)
    shown = []
    for unit in UNITS:
        limit = getattr(budget, unit)
        if limit is not None:
            spent = cost.seconds if unit == "seconds" else ledger.measure(unit, cost)
            shown.append(f"{unit} {_number(spent)} of {_number(limit)}")
    return ", ".join(shown)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _time(engine: Engine, times: Times, solving: float) -> str:
    parts: list[tuple[str, float]] = []
    timing = getattr(engine, "timing", None)
    if timing:
        parts += [("model files", timing.model), ("import vLLM", timing.imports), ("start engine", timing.engine)]
    if times.verifier_start >= SHOWN_SECONDS:
        parts.append(("start verifier", times.verifier_start))
    if times.first_sample is not None:
        parts += [("first sample", times.first_sample), ("other samples", solving - times.first_sample)]
    parts.append(("other", times.elapsed - sum(seconds for _, seconds in parts)))
    return f"{times.elapsed:.1f} s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts)


def as_document(
    question: Question,
    strategy: Strategy,
    verifier: Verifier | None,
    engine: Engine,
    budget: Budget,
    seed: int,
    solution: Solution,
    reasoning: "Reasoning | None" = None,
) -> str:
    """The whole solution as one JSON object in ASCII, which no terminal interprets."""
    document = {
        "question_id": question.id,
        "question": question.text,
        "answer": asdict(solution.answer) if solution.answer else None,
        **VoteSummary(solution.vote_state).document(),
        "cost": {**asdict(solution.cost), "tokens": solution.cost.tokens},
        "budget": {unit: limit for unit in UNITS if (limit := getattr(budget, unit)) is not None},
        "ended_by": solution.ended_by,
        "reason": solution.reason,
        "error": str(solution.error) if solution.error else None,
        "strategy": spec_of(strategy),
        "verifier": spec_of(verifier) if verifier else None,
        "engine": engine.name,
        "model": engine.model.name,
        "notes": list(solution.notes),
        "remarks": list(solution.remarks),
        "confidence": solution.confidence,
        "seed": seed,
        "reasoning": reasoning._asdict() if reasoning else None,
        "proposals": [
            {
                "answer": proposal.answer.text if proposal.answer else None,
                "samples": proposal.vote_state.samples,
                "tokens": proposal.cost.tokens,
            }
            for proposal in solution.proposals
        ],
    }
    return json.dumps(document)
