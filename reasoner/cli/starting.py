"""Getting an engine and a verifier ready for a command, and closing them at its end."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from reasoner.cli.choosing import another_model
from reasoner.protocols import Engine, Strategy, Verifier, claim


class Stages(Protocol):
    """What a command shows while it starts: `Progress` of `solve`, `Live` of `eval`."""

    def note(self, line: str) -> None:
        """Show a line that stays."""
        ...

    def begin(self, stage: str) -> None:
        """Show that a stage begins."""
        ...


@asynccontextmanager
async def started(
    engine: Engine, verifier: Verifier | None, strategies: Iterable[Strategy], shown: Stages
) -> AsyncIterator[float]:
    """Start both, yield the seconds that the verifier took, and close both at the end.

    A strategy that was calibrated for another model is named in a warning. Raises as `Engine.start`.
    """
    if hasattr(engine, "notify"):
        engine.notify = shown.note
    if hasattr(engine, "stage"):
        engine.stage = shown.begin
    try:
        shown.begin(f"starting {engine.name}")
        # The policy takes the memory that its verifier leaves, so the verifier claims its part first.
        await claim(engine, verifier)
        await engine.start()
        for strategy in strategies:
            if line := another_model(strategy, engine):
                shown.note(f"warning: {line}")
        began = time.perf_counter()
        if verifier:
            await verifier.start(engine)
        yield time.perf_counter() - began
    finally:
        if verifier:
            await verifier.close()
        await engine.close()
