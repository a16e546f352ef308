"""An engine that tests run in Ray actors: it waits for a file, dies of a question, and writes a log."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied
from reasoner.types import Completion, Usage
from tests.waiting import until

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
            while (
                request.index >= self.free and not (Path(self.folder) / "gate").exists()
            ):
                generated += 1
                request.meter.usage = Usage(prompt, 0, generated)
                if request.on_text:
                    request.on_text(TextPiece(f"{generated} "))
                if request.progress:
                    request.progress.reached(generated)
                if generated == 1:
                    self.log("waits", request.question_id, request.index)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.log("cancelled", request.question_id, prompt, generated)
            raise
        completion = await SimulatedEngine.sample(self, request)
        self.log("drawn", request.question_id, request.index, os.getpid())
        return completion


async def logged(engine: Gated, word: str, count: int) -> list[list[str]]:
    """The lines of the log that begin with a word, once there are this many."""
    log = Path(engine.folder) / "log"

    def lines() -> list[list[str]]:
        split = map(str.split, log.read_text().splitlines() if log.exists() else ())
        return [line for line in split if line[0] == word]

    await until(lambda: len(lines()) >= count)
    return lines()
