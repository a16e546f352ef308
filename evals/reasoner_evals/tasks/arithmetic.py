"""One-digit sums and products, made on the spot and sized for the embedded model: `What is 3 + 4?`, answer 7.

The 90 unordered pairs of 1 to 9 are split once. 50 are for reporting and are nowhere else; 40 are for development, and
only these, in both orders, and larger or different sums make up the practice questions, which verifiers are fitted on.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import ask
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import collected
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.task import TaskData

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

    @property
    def turned(self) -> "Problem":
        """The same with its numbers exchanged."""
        return Problem(self.sign, self.b, self.a)

    def question(self, wording: str = REPORTED_WORDING) -> GradedQuestion:
        """The problem in words, with its reference answer; its group is the pair of numbers in either order."""
        asked = ask(wording.format(f"{self.a} {self.sign} {self.b}"), space="number")
        low, high = sorted((self.a, self.b))
        return GradedQuestion(asked, str(self.value), group=f"{low} {self.sign} {high}")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One-digit sums and products, made on the spot; sized for the embedded model, and always there.

    Each pair of `split` is asked in both orders and three wordings, which are a group of their own: 50 pairs to report,
    40 for development, and none in both. The first 50 of those to report are the pairs in one order and wording.
    """

    split: Literal["reported", "development"] = "reported"

    template: ClassVar[Template] = Template("plain", 1)

    def load(self) -> TaskData:
        """The questions: all pairs in one wording and order, then in the other order, then in the other wordings."""
        development, reported = _split()
        pairs = reported if self.split == "reported" else development
        turned = [pair.turned for pair in pairs if pair.a != pair.b]
        items = [problem.question(wording) for wording in _WORDINGS for problem in (*pairs, *turned)]
        return collected(self, items, "made on the spot", self.template, "Apache-2.0")


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
            yield problem.turned


def _larger(source: random.Random, count: int) -> Iterator[Problem]:
    """Differences of digits, and sums and products with a number of 10 to 20."""
    yield from (Problem("-", a, b) for a in range(1, 10) for b in range(1, a + 1))
    for _ in range(count):
        sign: Sign = source.choice(("+", "x"))
        a, b = source.randint(10, 20), source.randint(1, 9)
        yield Problem(sign, a, b) if source.random() < 0.5 else Problem(sign, b, a)
