"""Generated one-digit sums and products, sized for the embedded model: `What is 3 + 4?`, answer 7.

The 90 unordered pairs of 1 to 9 are split once: 50 for reporting and 40 for development. Verifiers are fitted on the
practice questions: development pairs in both orders, and larger or different problems, never a reported pair.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reasoner import Question
from reasoner_evals.tasks import PLAIN, GradedQuestion, TaskData, task_data

DEVELOPMENT = 40
Sign = Literal["+", "x", "-"]
_WORDINGS = ("What is {}?", "Compute {}.", "How much is {}?")


@dataclass(frozen=True, slots=True)
class Problem:
    """Two numbers and an operation on them."""

    sign: Sign
    a: int
    b: int

    @property
    def value(self) -> int:
        """The result."""
        return {"+": self.a + self.b, "x": self.a * self.b, "-": self.a - self.b}[
            self.sign
        ]

    def question(self, wording: str = _WORDINGS[0]) -> GradedQuestion:
        """The problem in words, with its reference answer; its group is the pair of numbers in either order."""
        question = Question.of(
            wording.format(f"{self.a} {self.sign} {self.b}"), space="number"
        )
        low, high = sorted((self.a, self.b))
        return GradedQuestion(
            question, str(self.value), group=f"{low} {self.sign} {high}"
        )


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Generated one-digit sums and products, sized for the embedded model; needs no data.

    `split` is 50 pairs of numbers to report, 40 others for development, or 800 questions to fit a verifier on, which
    are none of those to report. Each pair is asked in both orders and three wordings and is a group. The first 50
    questions to report are the pairs in one order and wording. `answer_options` are options of the kind of answer; see
    `docs/answers.md`.
    """

    split: Literal["reported", "development", "practice"] = "reported"
    answer_options: str = ""

    def load(self) -> TaskData:
        """The questions: all pairs in one wording and order, then in the other order, then in the other wordings."""
        return task_data(self, self._items(), "made on the spot", PLAIN, "Apache-2.0")

    def _items(self) -> list[GradedQuestion]:
        if self.split == "practice":
            return practice(800)
        development, reported = _split()
        pairs = reported if self.split == "reported" else development
        problems = [*pairs, *_swapped(pairs)]
        return [
            problem.question(wording) for wording in _WORDINGS for problem in problems
        ]


def _split() -> tuple[list[Problem], list[Problem]]:
    signs: tuple[Sign, Sign] = ("+", "x")
    pairs = [
        Problem(sign, a, b)
        for sign in signs
        for a in range(1, 10)
        for b in range(a, 10)
    ]
    random.Random(0).shuffle(pairs)
    return pairs[:DEVELOPMENT], pairs[DEVELOPMENT:]


def _swapped(pairs: list[Problem]) -> list[Problem]:
    return [Problem(pair.sign, pair.b, pair.a) for pair in pairs if pair.a != pair.b]


def reported() -> list[GradedQuestion]:
    """The 50 questions for reporting."""
    return [problem.question() for problem in _split()[1]]


def practice(count: int, *, seed: int = 0) -> list[GradedQuestion]:
    """Up to `count` different questions to fit a verifier on; no reported pair is among them, in either order."""
    source = random.Random(seed)
    questions: dict[str, GradedQuestion] = {}
    pairs = [ordered for pair in _split()[0] for ordered in (pair, *_swapped([pair]))]
    for problem in (*pairs, *_larger(source, count)):
        for wording in (
            _WORDINGS if max(problem.a, problem.b) < 10 else (source.choice(_WORDINGS),)
        ):
            item = problem.question(wording)
            questions.setdefault(item.question.id, item)
    return list(questions.values())[:count]


def _larger(source: random.Random, count: int) -> Iterator[Problem]:
    """Differences of digits, and sums and products with a number of 10 to 20."""
    yield from (Problem("-", a, b) for a in range(1, 10) for b in range(1, a + 1))
    for _ in range(count):
        sign: Sign = source.choice(("+", "x"))
        a, b = source.randint(10, 20), source.randint(1, 9)
        yield Problem(sign, a, b) if source.random() < 0.5 else Problem(sign, b, a)
