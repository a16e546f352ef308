"""Votes and costs in words: the same on a terminal, in a notebook and in JSON."""

from dataclasses import dataclass
from typing import Any

from reasoner.budget import Cost, Prices
from reasoner.system.printing import printable
from reasoner.types import Vote, VoteState

MAX_ANSWERS = 6
"""Answers that the vote line names."""
MAX_TIED = 3
"""Answers that a tie names."""
MAX_ANSWER_LENGTH = 32
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class CutSamples:
    """How many samples of a question were cut at `max_tokens`, and how many of these were still thinking.

    `option` is what limited them, where a strategy has an option of its own for that.
    """

    cut: int = 0
    samples: int = 0
    thinking: int = 0
    max_tokens: int = 0
    option: str = "max_tokens"

    def line(self, option: str = "max_tokens") -> str:
        """The numbers in words, with the option to raise; empty where nothing was cut."""
        if not self.cut:
            return ""
        counted = f"{self.cut:,} of {samples_of(self.samples)} {'was' if self.cut == 1 else 'were'} cut"
        thinking = f", {self.thinking:,} of them while thinking" if self.thinking else ""
        raised = option if self.option == "max_tokens" else self.option
        return f"{counted} at max_tokens={self.max_tokens}{thinking}: raise {raised}"


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


def cost_line(cost: Cost, prices: Prices | None = None) -> str:
    """The tokens by kind, the floating-point operations and the price."""
    parts = [f"{cost.prompt_tokens:,} prompt", f"{cost.generated_tokens:,} generated"]
    parts += [f"{cost.verifier_tokens:,} verifier"] if cost.verifier_tokens else []
    parts += [f"{cost.cancelled_tokens:,} cancelled"] if cost.cancelled_tokens else []
    thinking = f", {cost.thinking_tokens:,} of them thinking" if cost.thinking_tokens else ""
    computed = f"{cost.tokens:,} tokens computed ({' + '.join(parts)}{thinking})"
    text = f"{computed}, {cost.cached_tokens:,} prompt tokens from cache"
    if cost.flops:
        text += f", {cost.flops / 1e12:.3g} TFLOP"
    return text + (f", ${prices.usd(cost):.6f}" if prices else "")
