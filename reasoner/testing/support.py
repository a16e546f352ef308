"""What the laws need: a question, scripts, paces, a verifier, and the books of a run."""

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine, SampleRequest
from reasoner.errors import RequestLost
from reasoner.solution import Solution
from reasoner.strategy import BRANCH, Plan, Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.trace.events import Ended, Event, TraceWriter, Work
from reasoner.types import (
    Answer,
    Completion,
    FinishReason,
    Logprobs,
    Prompt,
    Rating,
    SamplingParams,
    Usage,
)
from reasoner.verifier import CostMeter, FreeVerifier, Verifier

PROMPT = Prompt.chat("How many?")
LAST_NUMBER = r"number:pattern=(?<![\w.])-?\d+(?:\.\d+)?\b"
"""A kind of answer of scripted replies: their last number, whatever is around it."""


def number_question(id: str = "q") -> Question:
    """A question with a number for its answer."""
    return Question.of("How many?", space=LAST_NUMBER, id=id)


def completion(
    text: str = "",
    *,
    index: int = 0,
    finish: FinishReason = "stop",
    stop: str | int | None = None,
    logprobs: Logprobs | None = None,
    prompt: Prompt = PROMPT,
    token_ids: tuple[int, ...] = (1, 2, -1),
) -> Completion:
    """A sequence with this text, as an engine returns it."""
    usage = Usage(5, 0, len(token_ids))
    return Completion(prompt, text, token_ids, finish, stop, usage, logprobs, index)


QUESTION = number_question()
"""What the laws ask."""


def says(*replies: str) -> Callable[[SampleRequest], str]:
    """A script that gives the replies to the samples of a prompt in launch order, over and over, in each branch."""
    return lambda request: (
        f"The answer is {replies[request.index % BRANCH % len(replies)]}"
    )


def varied(request: SampleRequest) -> str:
    """A script whose answer and length are a function of the request's seed alone."""
    source = random.Random(request.seed)
    thoughts = "so it goes " * source.randint(0, 4)
    closing = source.choice(
        [
            "The answer is 7",
            "The answer is 7",
            "The answer is 8",
            "The answer is 9",
            "No idea",
        ]
    )
    # A chain that has started is completed.
    return closing if request.prompt.text else f"Let us see. {thoughts}\n\n{closing}"


Pause = Callable[[SampleRequest], Awaitable[None]]


def jumbled(
    seed: int,
    *,
    lost: float = 0.0,
    losses: int | None = None,
    minimum: int = 0,
    maximum: int = 12,
) -> Pause:
    """A pause of a random number of turns of the event loop, after which some requests are lost part-way.

    No sequence is lost more often than `losses`, where that is given.
    """
    source = random.Random(seed)
    counts = Counter[tuple[str, int]]()

    async def pause(request: SampleRequest) -> None:
        sequence = request.prompt.digest, request.index
        dies = source.random() < lost and (losses is None or counts[sequence] < losses)
        counts[sequence] += dies
        for _ in range(source.randint(minimum, maximum)):
            await asyncio.sleep(0)
            usage = request.meter.usage
            if usage and usage.generated_tokens < request.params.limit:
                request.meter.usage = Usage(
                    usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens + 1
                )
        if dies:
            raise RequestLost("the connection broke")

    return pause


def unsteady(seed: int) -> Callable[[SampleRequest, int], Awaitable[None]]:
    """Sequences that grow at random paces: some tell their length beforehand, some as they grow, some never."""
    source = random.Random(seed)

    async def growing(request: SampleRequest, tokens: int) -> None:
        progress, way = (
            request.progress,
            source.choice(["beforehand", "as they grow", "never"]),
        )
        if progress and way == "beforehand":
            await progress.until(tokens)
            return
        at = 0
        while at < tokens and (at or way != "never"):
            at = min(tokens, at + source.randint(1, 4))
            if progress:
                progress.reached(at)
            await turns(source.randint(0, 3))
        await turns(source.randint(0, 9))

    return growing


async def turns(count: int = 60) -> None:
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Planned:
    """A strategy whose plan is any generator function."""

    make: Callable[[Question], Plan[Answer | None]] = field(repr=False)
    uses_verifier: bool = False

    def plan(self, question: Question) -> Plan[Answer | None]:
        return self.make(question)


@dataclass(slots=True)
class Judge(FreeVerifier):
    """A verifier that costs up to 10 tokens a candidate and says what `verdict` says."""

    verdict: Callable[[Completion], float] = lambda candidate: random.Random(
        candidate.text
    ).random()
    logprobs: int | None = None
    bound_tokens: int = 10
    spent: list[int] = field(default_factory=list)

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        return Cost(verifier_tokens=self.bound_tokens, requests=1)

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        await asyncio.sleep(0)
        used = 3 + len(candidate.text) % 8
        self.spent.append(used)
        return Rating(self.verdict(candidate), Cost(verifier_tokens=used, requests=1))


def books(cost: Cost) -> tuple[int, int, int]:
    """Computed prompt tokens, cached ones, and all that were generated, cancelled ones among them."""
    return (
        cost.prompt_tokens,
        cost.cached_tokens,
        cost.generated_tokens + cost.cancelled_tokens,
    )


def meter_of(engine: ScriptedEngine) -> tuple[int, int, int]:
    """The same three sums, as the engine counted them."""
    return (
        sum(usage.prompt_tokens - usage.cached_tokens for usage in engine.usage),
        sum(usage.cached_tokens for usage in engine.usage),
        sum(usage.generated_tokens for usage in engine.usage),
    )


def traced_cost(events: Iterable[Event]) -> Cost:
    """What the events of a trace say was spent, and how many sequential tokens they say were waited for."""
    listed = list(events)
    ends = [
        event.cost.sequential_tokens for event in listed if isinstance(event, Ended)
    ]
    return sum((e.cost for e in listed if isinstance(e, Work)), Cost()).until(
        max(ends, default=0)
    )


def course(solution: Solution) -> tuple[object, ...]:
    """All of a solution that a replay has to repeat."""
    curve = tuple(
        (p.answer, p.vote_state, p.cost.taking(0)) for p in solution.proposals
    )
    return (
        solution.answer,
        solution.vote_state,
        solution.cost.taking(0),
        curve,
        solution.ended_by,
    )


def write_trace(path: Path, events: Iterable[Event]) -> Path:
    """The events as a file."""
    writer = TraceWriter(path, overwrite=True)
    for event in events:
        writer(event)
    writer.close()
    return path


def verifier_for(
    strategy: Strategy, verifier: Verifier | None = None
) -> Verifier | None:
    """A verifier for a strategy that uses one."""
    return (verifier or Judge()) if strategy.uses_verifier else None


def short(strategy: Strategy) -> Strategy:
    """The strategy with replies of at most 40 tokens, where it draws samples itself and sets no other length."""
    made: Any = strategy
    params = (
        made.params
        if any(field.name == "params" for field in dataclasses.fields(made))
        else None
    )
    if not isinstance(params, SamplingParams) or params.max_tokens is not None:
        return strategy
    shortened: Strategy = dataclasses.replace(
        made, params=dataclasses.replace(params, max_tokens=40)
    )
    return shortened
