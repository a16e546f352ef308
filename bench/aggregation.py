"""Strategies that show replies to the model beside a vote at equal total tokens, on scripted models of known strength.

    python bench/aggregation.py [STRATEGY...]

A model answers question q rightly with chance p, which is uniform over 0 to 0.8; of its wrong answers 60 % are one, the
others are spread over three. Shown several answers, it solves the question again with chance 0.3, and otherwise takes
one of them: each right one is `odds` times as likely as each wrong one. Of a pair it rates the right one higher with
chance odds / (1 + odds), the first of two that are equally right with chance 0.6; as often it finds a right answer
right when it reviews one, and a wrong one wrong. A final part has 60 tokens, after 0 or 600 tokens of thinking, which
no prompt shows. Each strategy answers 300 questions; the vote beside it has as many samples as cost the same. Prints
points against that vote with 95 % bootstrap intervals over the questions. Seed 0.
"""

import asyncio
import random
import re
import sys
from typing import NamedTuple

import numpy as np

from reasoner import Question, solve_many
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import MODEL, THINKER, ScriptedEngine

QUESTIONS, FINAL, NEW_PATH = 300, 60, 0.3
STRATEGIES = (
    "aggregate:n=8,rounds=1",
    "aggregate:n=8,rounds=2",
    "aggregate:n=8,rounds=4",
    "tournament:n=8",
    "tournament:n=8,pairing=all",
    "tournament:n=8,pairing=swiss",
    "gen_select:n=8",
    "universal:n=8",
    "refine:critic=self",
    "tree_of_thoughts",
)
_SHOWN = re.compile(r"(?:The answer is |(?:Candidate|Answer) \w+:\n)(\d+)")


class Law(NamedTuple):
    """How well a model tells right from wrong answers, and how long it thinks."""

    odds: float
    thinking: int

    def chance(self, question_id: str) -> float:
        """How often a sample is right."""
        return 0.8 * random.Random(f"p{question_id}").random()

    def fresh(self, question_id: str, source: random.Random) -> int:
        """0 is right."""
        if source.random() < self.chance(question_id):
            return 0
        return 1 if source.random() < 0.6 else source.randint(2, 4)

    def reply(self, request: SampleRequest) -> str:
        """A final part of the same length whatever it says."""
        source, content = (
            random.Random(request.seed),
            request.prompt.messages[-1].content,
        )
        shown = [
            int(key)
            for message in request.prompt.messages
            for key in _SHOWN.findall(message.content)
        ]
        if end := self.judgement(content, shown, source):
            return " so" * (FINAL - len(end.split())) + "\n" + end
        key = self.fresh(request.question_id, source)
        if shown and source.random() >= NEW_PATH:
            key = shown[self.liked(shown, source)]
        return "so " * (FINAL - 4) + f"\nThe answer is {key}"

    def liked(self, shown: list[int], source: random.Random) -> int:
        """The place of the answer that is taken."""
        return source.choices(
            range(len(shown)), [self.odds if each == 0 else 1.0 for each in shown]
        )[0]

    def judgement(self, content: str, shown: list[int], source: random.Random) -> str:
        """The end of a reply that compares or reviews; nothing if it is to answer."""
        if "Score A" in content or "Better: A" in content:
            first, second = shown
            one_is_right = (first == 0) != (second == 0)
            likes_right = source.random() < (
                self.odds / (1 + self.odds) if one_is_right else 0.6
            )
            better = (
                int(likes_right == (second == 0))
                if one_is_right
                else int(not likes_right)
            )
            low, high = source.randint(1, 6), source.randint(7, 10)
            scores = (low, high) if better else (high, low)
            return f"Score A: {scores[0]}\nScore B: {scores[1]}\nBetter: {'AB'[better]}"
        if '"Best:"' in content:
            return f"Best: {self.liked(shown, source) + 1}"
        if "most consistent response" in content:
            return f"The most consistent response is Response {self.liked(shown, source) + 1}"
        if verdicts := re.findall(r"Verdict: (\w+)", content):
            finds_it_right = (source.random() < self.odds / (1 + self.odds)) == (
                shown[-1] == 0
            )
            return f"Verdict: {verdicts[0 if finds_it_right else -1]}"
        return ""


async def run(spec: str, law: Law) -> tuple[np.ndarray, float]:
    """Which questions were right, and the mean tokens of one."""
    thoughts = "hm " * (law.thinking - 1)
    engine = ScriptedEngine(
        law.reply, model=THINKER if law.thinking else MODEL, thoughts=lambda _: thoughts
    )
    questions = [
        Question.of(f"What is it {index}?", space="number", id=str(index))
        for index in range(QUESTIONS)
    ]
    solutions = await solve_many(
        questions, build("strategy", spec), engine, concurrency=8
    )
    assert not any(each.error for each in solutions)
    right = [each.answer is not None and each.answer.key == "0" for each in solutions]
    return np.array(right, dtype=float), float(
        np.mean([each.cost.tokens for each in solutions])
    )


def vote(law: Law, n: int) -> np.ndarray:
    """Which questions the vote of `n` samples answers rightly; ties go to the earliest."""
    right = []
    for index in range(QUESTIONS):
        source = random.Random(f"vote{index}")
        keys = [law.fresh(str(index), source) for _ in range(n)]
        right.append(max(keys, key=keys.count) == 0)
    return np.array(right, dtype=float)


async def main() -> None:
    print(
        "| odds, thinking | strategy | right, % | tokens | vote of | right, % | against it, points |"
    )
    print("|---|---|---|---|---|---|---|")
    for law in (Law(1.0, 0), Law(3.0, 0), Law(1.0, 600), Law(3.0, 600)):
        _, alone = await run("self_consistency:n=1,max_tokens=2000", law)
        for spec in sys.argv[1:] or STRATEGIES:
            right, tokens = await run(
                f"{spec}{',' if ':' in spec else ':'}max_tokens=2000", law
            )
            n = max(1, round(tokens / alone))
            beside = vote(law, n)
            print(
                f"| {law.odds:g}, {law.thinking} | `{spec}` | {100 * right.mean():.1f} | {tokens:,.0f} | {n} | "
                f"{100 * beside.mean():.1f} | {interval(100 * (right - beside))} |",
                flush=True,
            )


def interval(values: np.ndarray) -> str:
    """The mean with a 95 % bootstrap interval."""
    source = np.random.default_rng(0)
    means = source.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    asyncio.run(main())
