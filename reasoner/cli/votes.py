"""Who voted for what, counted and put into words in one place: for the progress line, the summary, `-v` and JSON."""

from typing import Any, NamedTuple

from reasoner.cli.terminal import printable
from reasoner.types import Standing

SHOWN = 6
"""Answers that the vote line names."""
LONGEST = 32
"""Characters of an answer that are shown."""
MOST_TIED = 3
"""Answers that a tie names."""


class VoteSummary(NamedTuple):
    """The votes of a question: a vote is a sample that holds an answer.

    `lead` counts the votes for the first answer, `share` is its part of all the weight that was cast, 0 to 1.
    `tied` are all answers of the greatest weight where there are several, the one that was chosen first.
    """

    standing: Standing
    samples: int
    votes: int
    lead: int
    share: float
    weighted: bool
    tied: tuple[str, ...]

    @classmethod
    def of(cls, standing: Standing) -> "VoteSummary":
        """What a standing says."""
        votes = standing.votes
        return cls(
            standing,
            standing.samples,
            standing.cast,
            votes[0].count if votes else 0,
            standing.share,
            any(vote.weight != vote.count for vote in votes),
            tuple(vote.answer.text for vote in votes if vote.weight == votes[0].weight) if standing.tied else (),
        )

    @property
    def leading(self) -> str:
        """How far ahead the first answer is, as in `4 of 6 votes`."""
        weight = f"{self.share:.0%} of the weight"
        if not self.samples:
            return weight
        counted = f"{self.lead} of {self.votes} vote{'s' if self.votes != 1 else ''}"
        return f"{counted}, {weight}" if self.weighted else counted

    @property
    def short(self) -> str:
        """`leading`, and whether there is a tie."""
        return f"{self.leading}, a tie" if self.tied else self.leading

    @property
    def counted(self) -> str:
        """How many samples there were, and how many did not vote."""
        return f"{samples_of(self.samples)}, {self.samples - self.votes} without an answer"

    @property
    def rule(self) -> str:
        """What decided a tie; empty where there is none."""
        if not self.tied:
            return ""
        return "drawn first" if self.samples else "listed first"

    @property
    def tie(self) -> str:
        """Which answers tie, and why the first of them was chosen; empty where none do."""
        if not self.tied:
            return ""
        others = [printable(text, limit=LONGEST) for text in self.tied[1:MOST_TIED]]
        more = [f"{len(self.tied) - MOST_TIED} more"] if len(self.tied) > MOST_TIED else []
        first = printable(self.tied[0], limit=LONGEST)
        return f"tie of {' and '.join([first, *others, *more])}: {first} was {self.rule}"

    @property
    def line(self) -> str:
        """The vote in one line: the answers with their votes, what did not vote, and a tie."""
        votes = self.standing.votes
        classes = len(votes) + self.standing.tail.classes
        more = [f"{classes - SHOWN:,} more"] if classes > SHOWN else []
        named = " · ".join([*map(self._named, votes[:SHOWN]), *more])
        if self.samples:
            named = f"{named} ({self.counted})" if votes else self.counted
        return f"{named}; {self.tie}" if self.tied else named

    def _named(self, vote: Any) -> str:
        text = printable(vote.answer.text, limit=LONGEST)
        if not self.samples:
            return f"{text} {vote.weight:.2f}"
        return f"{text} ×{vote.count}" + (f" (weight {vote.weight:.2f})" if self.weighted else "")

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "votes": [
                {"answer": vote.answer.text, "weight": vote.weight, "count": vote.count} for vote in self.standing.votes
            ],
            "samples": self.samples,
            "answered": self.votes,
            "share": self.share,
            "tied": bool(self.tied),
            "tie": {"answers": list(self.tied), "decided_by": self.rule} if self.tied else None,
        }


def samples_of(number: int) -> str:
    """A number of samples in words."""
    return f"{number:,} sample{'s' if number != 1 else ''}"
