"""Five strategies on 60 questions, accuracy against tokens, as a table and a plot. Runs without a model.

The questions are simulated, each with a known share of right samples, from nearly all to nearly none.
`python examples/compare.py [IMAGE]` writes the plot to IMAGE, by default compare.png.
"""

import random
import sys

import matplotlib as mpl

from reasoner import Question, Solution, solve_many_sync
from reasoner.engines.simulated import Law, SimulatedEngine

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen first

SPECS = {
    "single sample": ("single:temperature=0.7",),
    "self-consistency": tuple(f"self_consistency:n={n}" for n in (3, 5, 9, 17, 33)),
    "adaptive consistency": tuple(
        f"self_consistency(n=40,stop=beta(theta={theta}))"
        for theta in (0.8, 0.9, 0.95, 0.99)
    ),
    "early stopping": tuple(
        f"self_consistency(n=40,stop=esc(window={window}),order=launch,window={window})"
        for window in (2, 3, 5, 8)
    ),
    "short-1@k": tuple(f"short_m_at_k:k={k},m=1" for k in (2, 4, 8)),
}


def laws(count: int = 60) -> dict[str, Law]:
    """A population of questions: 7 is the right answer, with a different probability for each question."""
    source = random.Random(0)
    rights = [source.betavariate(1.2, 0.8) for _ in range(count)]
    return {
        f"q{n}": Law(("7", "8", "9"), (p, 0.6 * (1 - p), 0.4 * (1 - p)))
        for n, p in enumerate(rights)
    }


def right(solution: Solution) -> bool:
    """Whether the answer is right."""
    return solution.answer is not None and solution.answer.key == "7"


if __name__ == "__main__":
    population = laws()
    questions = [
        Question.of("How many?", space="number", id=name) for name in population
    ]
    for label, specs in SPECS.items():
        curve = []
        for spec in specs:
            solutions = solve_many_sync(
                questions, spec, SimulatedEngine(laws=population)
            )
            accuracy = sum(map(right, solutions)) / len(solutions)
            tokens = sum(solution.cost.tokens for solution in solutions) / len(
                solutions
            )
            curve.append((tokens, accuracy))
            print(f"{spec:42} {accuracy:.2f} right {tokens:6.0f} tokens per question")
        plt.plot(*zip(*sorted(curve), strict=True), marker="o", label=label)
    plt.xscale("log")
    plt.xlabel("computed tokens per question")
    plt.ylabel("accuracy")
    plt.legend()
    plt.savefig(sys.argv[1] if len(sys.argv) > 1 else "compare.png", dpi=120)
