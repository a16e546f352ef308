"""What the tests of step searches share: worlds, and what a search did in them."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from reasoner import SamplingParams, Solution, solve_many_sync, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import VerifierError
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, number_question
from reasoner.trace.events import Event, Noted, Sampled
from reasoner.types import Completion, Rating
from tests.stepping import SEPARATOR, StepJudge, StepWorld

SHORT = SamplingParams(temperature=0.8, max_tokens=400)


@dataclass(frozen=True, slots=True)
class Distinct(StepWorld):
    """No two steps read the same: what is right can be said in many ways."""

    def say(self, request: SampleRequest) -> str:
        plain = StepWorld.say(self, request).split(SEPARATOR)
        source = random.Random(-request.seed)
        return SEPARATOR.join(
            step.replace("so", f"so{source.getrandbits(40)}", 1) for step in plain
        )


@dataclass(frozen=True, slots=True)
class Uneven:
    """Each step ends the chain with probability `ends`, with an answer from 0 to 9."""

    ends: float = 0.4

    def engine(self, **options: Any) -> ScriptedEngine:
        return ScriptedEngine(self.say, **options)

    def say(self, request: SampleRequest) -> str:
        source = random.Random(request.seed)
        steps: list[str] = []
        while source.random() >= self.ends:
            steps.append(f"step {source.getrandbits(40)}")
        return SEPARATOR.join(
            [*steps, f"{source.getrandbits(40)}: The answer is {source.randint(0, 9)}"]
        )


@dataclass(slots=True)
class Rater(StepJudge):
    """A process reward model that keeps what it said of each chain, and cannot rate those that `fails` says."""

    fails: Callable[[Completion], bool] = lambda candidate: False
    rated: dict[str, float] = field(default_factory=dict)

    async def score(
        self,
        question: object,
        candidate: Completion,
        policy: object,
        cost_meter: object,
    ) -> Rating:
        self.seen.append(candidate.chain)
        if self.fails(candidate):
            raise VerifierError("out of order")
        self.rated[candidate.chain] = self.verdict(candidate)
        return await Judge.score(self, question, candidate, policy, cost_meter)  # type: ignore[arg-type]


@dataclass(slots=True)
class SearchTree:
    """One run, and what it did in order of time."""

    solution: Solution
    judge: Rater
    requests: list[SampleRequest]
    events: list[Event]

    @property
    def levels(self) -> dict[int, int]:
        """How many sequences began after this many steps."""
        return dict(
            sorted(Counter(depth(request) for request in self.requests).items())
        )

    @property
    def seeds(self) -> list[int]:
        return sorted(event.seed for event in self.events if isinstance(event, Sampled))

    def parents(self, level: int) -> Counter[str]:
        """How many children were drawn of each chain of this many steps."""
        return Counter(
            request.prompt.text for request in self.requests if depth(request) == level
        )

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Noted)]

    @property
    def key(self) -> str | None:
        return self.solution.answer.key if self.solution.answer else None


def depth(request: SampleRequest) -> int:
    return request.prompt.text.count(SEPARATOR)


def search(
    strategy: Strategy,
    engine: ScriptedEngine,
    judge: Rater | None = None,
    *,
    id: str = "q",
    **options: Any,
) -> SearchTree:
    """A run that must not fail."""
    judge, requests, events = judge or Rater(), list[SampleRequest](), list[Event]()

    def script(request: SampleRequest) -> str:
        requests.append(request)
        return engine.script(request)

    watched = replace(engine, script=script)
    solution = solve_sync(
        number_question(id),
        strategy,
        watched,
        verifier=judge,
        trace=events.append,
        **options,
    )
    assert solution.error is None
    return SearchTree(solution, judge, requests, events)


def many(
    strategy: Strategy,
    engine: ScriptedEngine,
    judge: StepJudge | None = None,
    *,
    questions: int,
) -> list[Solution]:
    """Runs of many questions, none of which fails."""
    asked = [number_question(f"q{number}") for number in range(questions)]
    solutions = solve_many_sync(asked, strategy, engine, verifier=judge or StepJudge())
    assert all(solution.error is None for solution in solutions)
    return solutions
