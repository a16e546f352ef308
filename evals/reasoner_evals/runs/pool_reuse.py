"""One pool for all arms that select from the same samples: an arm starts with the samples of an earlier one."""

from collections.abc import Iterator, Sequence
from typing import Any

from reasoner.registry import build
from reasoner.strategy import Strategy
from reasoner.trace.events import Began, Event, Prompted, Sampled, read_trace
from reasoner.verifier import Verifier
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.records import Arm


def reused(folder: RunFolder, arm: Arm, earlier: Sequence[Arm], verifier: Verifier | None) -> Iterator[Event]:
    """The samples of an earlier arm that this one would draw too, as the beginning of its own trace; often none.

    Samples are the same if task, seed and sampling options are, and if log-probabilities were kept where the verifier
    reads them. Each arm pays for them in full, as if it had been run alone.
    """
    source = next((other for other in earlier if _has_samples_of(other, arm, verifier)), None)
    for event in read_trace(folder.arm(source.name).trace) if source else ():
        if isinstance(event, Began):
            yield event.model_copy(update={"strategy": arm.strategy, "verifier": arm.verifier})
        elif isinstance(event, Prompted) or (isinstance(event, Sampled) and event.index < arm.pool):
            yield event


def _has_samples_of(source: Arm, arm: Arm, verifier: Verifier | None) -> bool:
    if not arm.pool or source.pool < arm.pool or (source.task, source.seed) != (arm.task, arm.seed):
        return False
    theirs, ours = build("strategy", source.strategy), build("strategy", arm.strategy)
    return bool(theirs.params == ours.params and _logprobs(theirs, verifier) >= _logprobs(ours, verifier))


def _logprobs(strategy: Any, verifier: Verifier | None) -> int:
    """How many log-probabilities are kept per token: -1 for none, 0 for the sampled token's own."""
    typed: Strategy = strategy
    needs = verifier.logprobs if verifier and typed.uses_verifier else None
    return max(-1 if count is None else count for count in (strategy.params.logprobs, needs))
