"""One pool for all arms that select from the same samples: what one arm has drawn, the next begins with."""

from collections.abc import Iterator, Sequence
from typing import Any

from reasoner.catalog import build
from reasoner.protocols import Strategy, Verifier
from reasoner.trace import Began, Event, Prompted, Sampled, read_trace
from reasoner_evals.runs.folder import ArmFolder, RunFolder
from reasoner_evals.runs.records import Arm


def shared(folder: RunFolder, arm: Arm, earlier: Sequence[Arm], verifier: Verifier | None) -> Iterator[Event]:
    """What an earlier arm drew that this one would draw too, as the beginning of its own trace; often nothing.

    They are the same where task, seed and the way of drawing are, and log-probabilities were kept if its verifier reads
    them. Each arm pays for them in full, as if it had been run alone.
    """
    lender = next((other for other in earlier if _lends(other, arm, verifier)), None)
    if lender is not None:
        yield from _draws(folder.arm(lender.name), arm)


def _lends(lender: Arm, arm: Arm, verifier: Verifier | None) -> bool:
    if not arm.pool or lender.pool < arm.pool or (lender.task, lender.seed) != (arm.task, arm.seed):
        return False
    one, other = build("strategy", lender.strategy), build("strategy", arm.strategy)
    return bool(one.params == other.params and _kept(one, verifier) >= _kept(other, verifier))


def _kept(strategy: Any, verifier: Verifier | None) -> int:
    """How many log-probabilities a sequence is drawn with: -1 for none, 0 for the sampled token's own."""
    asked: Strategy = strategy
    needs = verifier.logprobs if verifier and asked.uses_verifier else None
    return max(-1 if kept is None else kept for kept in (strategy.params.logprobs, needs))


def _draws(lender: ArmFolder, arm: Arm) -> Iterator[Event]:
    for event in read_trace(lender.trace):
        match event:
            case Began():
                yield event.model_copy(update={"strategy": arm.strategy, "verifier": arm.verifier})
            case Sampled() if event.index < arm.pool:
                yield event
            case Prompted():
                yield event
            case _:
                pass
