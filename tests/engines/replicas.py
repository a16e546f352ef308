"""Runs of a vote on servers that may die: what they answer, what they cost, and what the servers computed."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from reasoner import Question, Solution, solve_many
from reasoner.engines.openai import OpenAIEngine
from reasoner.testing.support import books
from reasoner.trace.events import Event, Sampled
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from tests.engines.fake_server import FakeServer
from tests.engines.fake_tokenizer import EOS

SAMPLES, LIMIT = 4, 12
VOTE = SelfConsistency(n=SAMPLES, params=SamplingParams(max_tokens=LIMIT))


class Replica(FakeServer):
    """A server that answers 0 to 2, by the seed; `computed` are the counts of its replies, also of those that nobody received."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cached=16, **options)
        self.computed: list[dict[str, Any]] = []

    def _drawn(
        self, body: dict[str, Any], *, chat: bool
    ) -> list[tuple[int, str, bool]]:
        words = ("The", " answer", " is", f" {body['seed'] % 3}")
        return [
            *((500 + at, word, False) for at, word in enumerate(words)),
            (EOS, "", False),
        ]

    def whole(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        reply = super().whole(body, chat=chat)
        self.computed.append(reply["usage"])
        return reply


class Ended(NamedTuple):
    """A run: its solutions, what its samples used, and what is in its ledgers, in tokens by kind."""

    solutions: Sequence[Solution]
    sampled: tuple[int, int, int]
    ledger: tuple[int, int, int]


def engine_at(url: str, **options: Any) -> OpenAIEngine:
    """An engine that waits in no time."""
    engine = OpenAIEngine(base_url=url, **options)
    engine._http.sleep = lambda _: asyncio.sleep(0)
    return engine


async def ended(engine: OpenAIEngine, count: int = 6) -> Ended:
    events: list[Event] = []
    asked: list[Question | str] = [
        Question.of(f"How many are {chr(97 + n)}?", id=f"q{n}") for n in range(count)
    ]
    solutions = await solve_many(asked, VOTE, engine, trace=events.append)
    await engine.close()
    samples = [books(event.cost) for event in events if isinstance(event, Sampled)]
    ledgers = [books(solution.cost) for solution in solutions]
    return Ended(solutions, _added(samples), _added(ledgers))


def _added(rows: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    prompt, cached, generated = (sum(column) for column in zip(*rows, strict=True))
    return prompt, cached, generated


def counted(*replicas: Replica) -> tuple[int, int, int]:
    usages = [usage for replica in replicas for usage in replica.computed]
    cached = replicas[0].cached
    return _added(
        [
            (usage["prompt_tokens"] - cached, cached, usage["completion_tokens"])
            for usage in usages
        ]
    )


def votes(run: Ended) -> list[object]:
    return [
        (solution.error, solution.answer, solution.vote_state)
        for solution in run.solutions
    ]


async def alone(count: int = 6) -> Ended:
    """The same run on one replica that lives."""
    with Replica() as replica:
        return await ended(engine_at(replica.url), count)
