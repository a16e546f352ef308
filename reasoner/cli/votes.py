"""Who voted for what, counted and put into words in one place: for the progress line, the summary, `-v` and JSON."""

from dataclasses import dataclass
from typing import Any

from reasoner.cli.terminal import printable
from reasoner.types import Standing, Vote

SHOWN = 6
"""Answers that the vote line names."""
LONGEST = 32
"""Characters of an answer that are shown."""
MOST_TIED = 3
"""Answers that a tie names."""


@dataclass(frozen=True, slots=True)
class VoteSummary:
    """The votes of a question: a vote is a sample that holds an answer."""

    standing: Standing

    @property
    def tied(self) -> tuple[str, ...]:
        """All answers of the greatest weight, if there are several, the chosen one first."""
        votes = self.standing.votes
        return tuple(one.answer.text for one in votes if one.weight == votes[0].weight) if self.standing.tied else ()

    @property
    def weighted(self) -> bool:
        """Whether a vote weighs anything but 1."""
        return any(vote.weight != vote.count for vote in self.standing.votes)

    @property
    def leading(self) -> str:
        """How far ahead the first answer is, as in `4 of 6 votes`."""
        weight = f"{self.standing.share:.0%} of the weight"
        if not self.standing.samples:
            return weight
        votes, cast = self.standing.votes, self.standing.cast
        counted = f"{votes[0].count if votes else 0} of {cast} vote{'s' if cast != 1 else ''}"
        return f"{counted}, {weight}" if self.weighted else counted

    @property
    def short(self) -> str:
        """`leading`, and whether there is a tie."""
        return f"{self.leading}, a tie" if self.tied else self.leading

    @property
    def counted(self) -> str:
        """How many samples there were, and how many did not vote."""
        return f"{samples_of(self.standing.samples)}, {self.standing.samples - self.standing.cast} without an answer"

    @property
    def rule(self) -> str:
        """What decided a tie; empty where there is none."""
        if not self.tied:
            return ""
        return "drawn first" if self.standing.samples else "listed first"

    @property
    def tie(self) -> str:
        """Which answers tie, and why the first of them was chosen; empty where none do."""
        if not self.tied:
            return ""
        first, *others = [printable(text, limit=LONGEST) for text in self.tied[:MOST_TIED]]
        more = [f"{len(self.tied) - MOST_TIED} more"] if len(self.tied) > MOST_TIED else []
        return f"tie of {' and '.join([first, *others, *more])}: {first} was {self.rule}"

    @property
    def line(self) -> str:
        """The vote in one line: the answers with their votes, what did not vote, and a tie."""
        votes = self.standing.votes
        classes = len(votes) + self.standing.tail.classes
        more = [f"{classes - SHOWN:,} more"] if classes > SHOWN else []
        named = " · ".join([*map(self._named, votes[:SHOWN]), *more])
        if self.standing.samples:
            named = f"{named} ({self.counted})" if votes else self.counted
        return f"{named}; {self.tie}" if self.tied else named

    def _named(self, vote: Vote) -> str:
        text = printable(vote.answer.text, limit=LONGEST)
        if not self.standing.samples:
            return f"{text} {vote.weight:.2f}"
        return f"{text} ×{vote.count}" + (f" (weight {vote.weight:.2f})" if self.weighted else "")

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "votes": [
                {"answer": vote.answer.text, "weight": vote.weight, "count": vote.count} for vote in self.standing.votes
            ],
            "samples": self.standing.samples,
            "answered": self.standing.cast,
            "share": self.standing.share,
            "tied": bool(self.tied),
            "tie": {"answers": list(self.tied), "decided_by": self.rule} if self.tied else None,
        }


def samples_of(number: int) -> str:
    """A number of samples in words."""
    return f"{number:,} sample{'s' if number != 1 else ''}"
