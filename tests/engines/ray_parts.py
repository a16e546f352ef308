"""An engine and a verifier that tests run in Ray actors: they wait for a file, die of a question, and write a log."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine, SampleRequest, TextPiece
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied
from reasoner.types import ONE_TOKEN, Completion, Rating, Usage
from reasoner.verifier import CostMeter

POISON, BROKEN, DOOMED = "poison", "broken", "doomed"
"""Questions of which the process dies, the engine raises a foreign exception, or gives up."""


@dataclass(slots=True)
class Gated(SimulatedEngine):
    """Samples from index `free` on wait for the file `gate`, one token a turn. The log has a line for each one."""

    folder: str = ""
    free: int = 1 << 62
    odd: bool = False
    """Whether each process says that it serves another model."""

    async def start(self) -> None:
        self.name = f"pid {os.getpid()}"
        if self.odd:
            self.model = replace(self.model, name=self.name)

    def log(self, *words: object) -> None:
        with (Path(self.folder) / "log").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    async def sample(self, request: SampleRequest) -> Completion:
        match request.question_id:
            case "poison":
                os._exit(1)
            case "broken":
                raise ZeroDivisionError("one over nothing")
            case "doomed":
                raise EngineDied("the core died again")
        prompt, generated = request.rendered.tokens, 0
        try:
            while request.index >= self.free and not (Path(self.folder) / "gate").exists():
                generated += 1
                request.meter.usage = Usage(prompt, 0, generated)
                if request.on_text:
                    request.on_text(TextPiece(f"{generated} "))
                if generated == 1:
                    self.log("waits", request.question_id, request.index)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.log("cancelled", request.question_id, prompt, generated)
            raise
        completion = await SimulatedEngine.sample(self, request)
        self.log("drawn", request.question_id, request.index, os.getpid())
        return completion


@dataclass(frozen=True, slots=True)
class Asking:
    """Rates by how the policy renders and encodes; it claims to have a model of its own."""

    sampling: bool = False

    logprobs = None

    async def claim_memory(self, policy: Engine) -> None:
        raise AssertionError("replicas have GPUs of their own")

    async def start(self, policy: Engine) -> None:
        await policy.start()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        return Cost(verifier_tokens=(await policy.render(candidate.prompt)).tokens, requests=1)

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        rendered = await policy.render(candidate.prompt)
        if self.sampling:
            await policy.sample(SampleRequest(question.id, candidate.prompt, rendered, ONE_TOKEN, 0, 0))
        assert await policy.encode("a text") is None
        assert policy.model.name == "simulated"
        cost_meter.cost = Cost(verifier_tokens=rendered.tokens, requests=1)
        return Rating(1 / (1 + len(candidate.token_ids)), cost_meter.cost)

    async def close(self) -> None:
        pass
