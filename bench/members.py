"""AB-MCTS that chooses its members beside one member and a mixture in turn, at equal money, on scripted models.

    python bench/members.py [QUESTIONS]

Each law states how often two members are right on the two halves of the questions, and the price of a generation. Each
generation has 20 tokens, and a refinement is as often right as a fresh answer. Wrong answers are spread over four. The
verifier rates a right answer by a normal law around 0.7, a wrong one around 0.3, of a deviation of 0.1 (AUROC 0.998) or
0.3 (0.83), cut to 0 to 1. The one that chooses makes 16 generations with prices and as many as cost the same without;
the others have as many as cost about the same. Prints points against the one with prices, with 95 % bootstrap intervals
over the questions. Seed 0.
"""

import asyncio
import random
import sys
from typing import NamedTuple

import numpy as np
from aggregation import interval

from reasoner import Cost, Question, solve_many
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.mixture import MixtureEngine
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, FreeVerifier

N, TOKENS = 16, 20


class Law(NamedTuple):
    """How often the members are right on the first and on the second half, and what a generation of each costs."""

    name: str
    cheap: tuple[float, float]
    strong: tuple[float, float]
    prices: tuple[float, float]


LAWS = (
    Law("near equals", (0.35, 0.35), (0.4, 0.4), (1, 10)),
    Law("a weak one", (0.03, 0.03), (0.5, 0.5), (1, 4)),
    Law("specialists", (0.4, 0.02), (0.02, 0.4), (1, 1)),
    Law("easy and hard", (0.5, 0.0), (0.6, 0.3), (1, 5)),
)


class Ratings(FreeVerifier):
    """A rating of known quality."""

    logprobs = None

    def __init__(self, deviation: float) -> None:
        self.deviation = deviation

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        source = random.Random(f"{question.id}\0{candidate.seed}\0{candidate.text}")
        center = 0.7 if candidate.text.endswith(" 0") else 0.3
        return Rating(min(max(source.gauss(center, self.deviation), 0.0), 1.0), Cost())


def member(chances: tuple[float, float], name: str) -> ScriptedEngine:
    def reply(request: SampleRequest) -> str:
        source = random.Random(f"{name}{request.seed}")
        key = (
            0
            if source.random() < chances[int(request.question_id) % 2]
            else source.randint(1, 4)
        )
        return "so " * (TOKENS - 5) + f"\nThe answer is {key}"

    return ScriptedEngine(reply)


async def run(
    strategy: str, law: Law, which: str, deviation: float, questions: int
) -> tuple[np.ndarray, float, float]:
    """Which questions were right, the mean money of one, and the share of generations of the cheap member."""
    cheap, strong = member(law.cheap, "cheap"), member(law.strong, "strong")
    engines: dict[str, Engine] = {
        "cheap": cheap,
        "strong": strong,
        "in turn": MixtureEngine((cheap, strong)),
        "chosen": MixtureEngine((cheap, strong), ("none",)),
    }
    asked = [
        Question.of(f"What is it {index}?", space="number", id=str(index))
        for index in range(questions)
    ]
    solutions = await solve_many(
        asked,
        build("strategy", strategy),
        engines[which],
        verifier=Ratings(deviation),
        concurrency=8,
    )
    assert not any(each.error for each in solutions), next(
        each.error for each in solutions if each.error
    )
    right = [each.answer is not None and each.answer.key == "0" for each in solutions]
    counts = len(cheap.usage), len(strong.usage)
    money = (
        sum(count * price for count, price in zip(counts, law.prices, strict=True))
        / questions
    )
    return np.array(right, dtype=float), money, counts[0] / sum(counts)


async def main() -> None:
    questions = int(sys.argv[1]) if sys.argv[1:] else 400
    print(
        "| law, prices | deviation | members | n | money | cheap, % | right, % | against it, points |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for law in LAWS:
        for deviation in (0.1, 0.3):
            options = f"levels=[none],prices=[{law.prices[0]},{law.prices[1]}]"
            ours, money, share = await run(
                f"ab_mcts:n={N},{options}", law, "chosen", deviation, questions
            )
            head = f"| {law.name}, {law.prices[0]} and {law.prices[1]} | {deviation} |"
            print(
                f"{head} chosen, prices | {N} | {money:.1f} | {100 * share:.0f} | {100 * ours.mean():.1f} | |"
            )
            each = {
                "cheap": law.prices[0],
                "strong": law.prices[1],
                "in turn": sum(law.prices) / 2,
            }
            _, free, _ = await run(
                f"ab_mcts:n={N},levels=[none]", law, "chosen", deviation, questions
            )
            rows = [
                ("chosen", ",levels=[none]", free / N),
                *((which, "", price) for which, price in each.items()),
            ]
            for which, more, price in rows:
                for name in (
                    ("ab_mcts", "best_of_n") if which == "in turn" else ("ab_mcts",)
                ):
                    n = max(1, round(money / price))
                    right, spent, share = await run(
                        f"{name}:n={n}{more}", law, which, deviation, questions
                    )
                    print(
                        f"{head} {which}, `{name}` | {n} | {spent:.1f} | {100 * share:.0f} | "
                        f"{100 * right.mean():.1f} | {interval(100 * (right - ours))} |",
                        flush=True,
                    )


if __name__ == "__main__":
    asyncio.run(main())
