"""One question driven to its end by a plan of the test's own, with all that was seen on the way."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

from reasoner import Answer, Question, SamplingParams, Solution, solve
from reasoner.engine import SampleRequest
from reasoner.strategy import Plan, Sample
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, number_question, says, traced_cost
from reasoner.trace.events import Event

QUESTION = number_question()
PROMPT = QUESTION.prompt
TOKENS = 9
"""What rendering the question takes."""
REPLY = 5
"""What a reply of `says` takes."""
PARAMS = SamplingParams(max_tokens=40)
ONE = Sample((PROMPT,), 1, PARAMS)

Script = Callable[[Question], Plan[Answer | None]]


class Run:
    """One question driven to its end, with all that was seen on the way."""

    def __init__(
        self,
        plan: Script,
        engine: ScriptedEngine | None = None,
        *,
        uses_verifier: bool = False,
        **options: Any,
    ) -> None:
        self.engine = engine or ScriptedEngine(says("7"))
        self.events: list[Event] = []
        self.complaints: list[dict[str, Any]] = []
        # So that the collection below walks what this run made, and not all that was imported.
        gc.freeze()
        self.solution = asyncio.run(
            self._solve(Planned(plan, uses_verifier=uses_verifier), options)
        )
        self.error = self.solution.error

    async def _solve(self, strategy: Planned, options: dict[str, Any]) -> Solution:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.complaints.append(context)
        )
        solution = await solve(
            QUESTION, strategy, self.engine, trace=self.events.append, **options
        )
        gc.collect()
        assert self.complaints == []
        assert [event.event for event in self.events].count("ended") == 1
        assert traced_cost(self.events).taking(0) == solution.cost.taking(0)
        return solution

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def waits_for(*indices: int) -> Callable[[SampleRequest], Awaitable[None]]:
    """A pause in which samples finish in this order of their indices."""
    places, gates = list(indices), [asyncio.Event() for _ in indices]
    gates[0].set()

    async def pause(request: SampleRequest) -> None:
        place = places.index(request.index)
        places[place] = -1
        await gates[place].wait()
        for following in gates[place + 1 : place + 2]:
            following.set()

    return pause


async def hang(request: SampleRequest) -> None:
    await asyncio.get_running_loop().create_future()
