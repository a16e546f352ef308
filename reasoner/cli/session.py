"""A command that runs an engine, from its streams to its exit code."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reasoner.cli import interrupts
from reasoner.cli.progress import Display
from reasoner.cli.terminal import (
    ANSWERED,
    ENGINE,
    ReaderLeft,
    code_of_run,
    engine_log,
    own_streams,
)
from reasoner.engine import Engine
from reasoner.errors import ReasonerError
from reasoner.strategy import CalibratedStrategy, Strategy
from reasoner.verifier import Verifier, claim_memory


@dataclass(slots=True)
class EngineRun(ABC):
    """One session of a command: a subclass says what it does (`work`) and what it shows at each end."""

    engine: Engine
    display: Display

    @abstractmethod
    async def work(self) -> None:
        """Do the work; a signal cancels it."""

    def finish(self) -> int:
        """Show the result of work that ended; the exit code."""
        return ANSWERED

    def interrupted(self, interrupt: KeyboardInterrupt) -> int:
        """Show what a signal ended; the exit code."""
        self.display.terminal.say("interrupted")
        return self.continued(interrupts.code_of(interrupt))

    def failed(self, error: ReasonerError) -> int:
        """Show an error in one line; the exit code."""
        self.display.terminal.fail(error)
        return self.continued(code_of_run(error))

    def continued(self, code: int) -> int:
        """Say how to continue what was interrupted or failed; the exit code."""
        return code

    def close(self, code: int) -> int:
        """Close what is open; the exit code."""
        return code

    def run(self) -> int:
        """Do the work with all output of the engine kept apart; the exit code."""
        log = engine_log(self.engine)
        with own_streams(log) as self.display.terminal:
            try:
                with self.display.shown():
                    interrupts.run(self.work)
                code = self.finish()
            except KeyboardInterrupt as interrupt:
                code = self.interrupted(interrupt)
            except ReaderLeft:
                return ANSWERED
            except ReasonerError as error:
                code = self.failed(error)
            code = self.close(code)
            if code == ENGINE:
                self.display.terminal.point_to(log)
            return code


def announce(engine: Engine, display: Display) -> None:
    """Say that an engine is about to start, and show what it says of itself."""
    display.follow(engine)
    display.begin(f"starting {engine.name}")


@asynccontextmanager
async def started(
    engine: Engine,
    verifier: Verifier | None,
    strategies: Iterable[Strategy],
    display: Display,
) -> AsyncIterator[None]:
    """Start both, and close both at the end.

    Warns of a strategy that was calibrated for another model. Raises as `Engine.start`.
    """
    announce(engine, display)
    try:
        # The engine takes all memory that the verifier has not reserved, so the verifier comes first.
        await claim_memory(engine, verifier)
        await engine.start()
        model = engine.model.name
        for strategy in strategies:
            measured = (
                strategy.measured_on if isinstance(strategy, CalibratedStrategy) else ""
            )
            if measured not in ("", model):
                display.note(
                    f"warning: the profile was measured on {measured}, and this is {model}: it may not apply"
                )
        if verifier:
            await verifier.start(engine)
        yield
    finally:
        if verifier:
            await verifier.close()
        await engine.close()
