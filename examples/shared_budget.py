"""One budget for 60 questions: equal shares against the controller's allocation. Runs without a model.

The questions are simulated: the samples of some nearly always agree, those of others rarely.
"""

import random

from reasoner import Allocation, Budget, Question, Solution, solve_many_sync
from reasoner.engines.simulated import Law, SimulatedEngine
from reasoner_strategies import SelfConsistency


def laws(count: int = 60) -> dict[str, Law]:
    """A population of questions: 7 is the right answer, with a different probability for each question."""
    source = random.Random(0)
    rights = [source.choice((0.99, 0.95, 0.6, 0.55)) for _ in range(count)]
    return {f"q{n}": Law(("7", "8"), (p, 1 - p)) for n, p in enumerate(rights)}


def report(name: str, solutions: list[Solution]) -> None:
    """Print how many answers are right, and their cost."""
    right = sum(
        solution.answer is not None and solution.answer.key == "7"
        for solution in solutions
    )
    tokens = sum(solution.cost.tokens for solution in solutions)
    samples = sorted(solution.cost.samples for solution in solutions)
    print(
        f"{name:22} {right} of {len(solutions)} right, {tokens:,} tokens, {samples[0]} to {samples[-1]} samples each"
    )


if __name__ == "__main__":
    population = laws()
    questions = [
        Question.of("How many?", space="number", id=name) for name in population
    ]
    engine = SimulatedEngine(laws=population)
    for n in (4, 8):
        report(
            f"{n} samples each", solve_many_sync(questions, SelfConsistency(n), engine)
        )
    vote = SelfConsistency(40)
    for tokens in (24_000, 48_000):
        report(
            f"{tokens:,} for all",
            solve_many_sync(questions, vote, engine, budget=Budget(tokens=tokens)),
        )
    priced = Allocation(price=0.002)
    report(
        "no budget, a price",
        solve_many_sync(questions, vote, engine, allocation=priced),
    )
