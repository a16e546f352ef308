"""A world in which search can be checked against closed forms: chains of steps, each right with a known probability.

Step simulator of the algorithm reference: `depth` steps, each right with probability `right` where all before it were,
never to recover from a wrong one. The last step says 7 where all were right, and otherwise 8.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from reasoner.answers.questions import Question
from reasoner.engine import Engine, SampleRequest
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter

SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class StepWorld:
    """What the engine says: a function of the request's seed and of the steps before."""

    right: float = 0.5
    depth: int = 3
    words: int = 4
    """The length of a step."""

    def engine(self, **options: object) -> ScriptedEngine:
        return ScriptedEngine(self.say, **options)  # type: ignore[arg-type]

    def say(self, request: SampleRequest) -> str:
        """The steps from here to the end of the chain; a stop string cuts them after the first."""
        source = random.Random(request.seed)
        before = request.prompt.text.split(SEPARATOR)[:-1]
        good = "wrong" not in request.prompt.text
        steps = []
        for _ in range(len(before), self.depth):
            good = good and source.random() < self.right
            steps.append(
                " ".join(["right" if good else "wrong", *("so",) * (self.words - 1)])
            )
        return (
            SEPARATOR.join(
                [*steps[:-1], f"{steps[-1]} The answer is {7 if good else 8}"]
            )
            if steps
            else ""
        )


def perfect(candidate: Completion) -> float:
    """1 where every step so far is right, else 0."""
    return float("wrong" not in candidate.chain)


def noisy(spread: float) -> Callable[[Completion], float]:
    """0.75 or 0.25, give or take: the same for the same chain."""

    def verdict(candidate: Completion) -> float:
        source = random.Random(candidate.chain + repr(candidate.token_ids))
        return min(
            1.0, max(0.0, 0.25 + 0.5 * perfect(candidate) + source.gauss(0, spread))
        )

    return verdict


@dataclass(slots=True)
class StepJudge(Judge):
    """A process reward model of this world; `seen` are the chains that it was asked about, in order."""

    verdict: Callable[[Completion], float] = perfect
    seen: list[str] = field(default_factory=list)

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        self.seen.append(candidate.chain)
        return await Judge.score(self, question, candidate, policy, cost_meter)
