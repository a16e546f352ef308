"""One-digit sums and products, made on the spot and sized for the embedded model: `What is 3 + 4?`, answer 7.

The 90 unordered pairs of 1 to 9 are split once. 50 are for reporting and are nowhere else; 40 are for development, and
only these, in both orders, and larger or different sums make up the practice questions, which verifiers are fitted on.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reasoner import ask
from reasoner_evals.grading import GradedQuestion

DEVELOPMENT = 40
Sign = Literal["+", "x", "-"]
_WORDINGS = ("What is {}?", "Compute {}.", "How much is {}?")
REPORTED_WORDING = _WORDINGS[0]


@dataclass(frozen=True, slots=True)
class Problem:
    """Two numbers and what to do with them."""

    sign: Sign
    a: int
    b: int

    @property
    def value(self) -> int:
        """What it comes to."""
        return {"+": self.a + self.b, "x": self.a * self.b, "-": self.a - self.b}[self.sign]

    def question(self, wording: str = REPORTED_WORDING) -> GradedQuestion:
        """The problem in words, with its reference answer."""
        return GradedQuestion(ask(wording.format(f"{self.a} {self.sign} {self.b}"), space="number"), str(self.value))


def _split() -> tuple[list[Problem], list[Problem]]:
    signs: tuple[Sign, Sign] = ("+", "x")
    pairs = [Problem(sign, a, b) for sign in signs for a in range(1, 10) for b in range(a, 10)]
    random.Random(0).shuffle(pairs)
    return pairs[:DEVELOPMENT], pairs[DEVELOPMENT:]


def reported() -> list[GradedQuestion]:
    """The 50 questions for reporting."""
    return [problem.question() for problem in _split()[1]]


def development() -> list[GradedQuestion]:
    """The 40 questions for choosing settings."""
    return [problem.question() for problem in _split()[0]]


def practice(count: int, *, seed: int = 0) -> list[GradedQuestion]:
    """Up to `count` different questions to fit a verifier on; no reported pair is among them, in no order."""
    source = random.Random(seed)
    found: dict[str, GradedQuestion] = {}
    for problem in (*_development_orders(), *_larger(source, count)):
        for wording in _WORDINGS if max(problem.a, problem.b) < 10 else (source.choice(_WORDINGS),):
            made = problem.question(wording)
            found.setdefault(made.question.id, made)
    return list(found.values())[:count]


def _development_orders() -> Iterator[Problem]:
    for problem in _split()[0]:
        yield problem
        if problem.a != problem.b:
            yield Problem(problem.sign, problem.b, problem.a)


def _larger(source: random.Random, count: int) -> Iterator[Problem]:
    """Differences of digits, and sums and products with a number of 10 to 20."""
    yield from (Problem("-", a, b) for a in range(1, 10) for b in range(1, a + 1))
    for _ in range(count):
        sign: Sign = source.choice(("+", "x"))
        a, b = source.randint(10, 20), source.randint(1, 9)
        yield Problem(sign, a, b) if source.random() < 0.5 else Problem(sign, b, a)
