"""A solution in a few lines for a person, and as JSON for a program."""

import json
from dataclasses import asdict
from typing import NamedTuple

from reasoner.budget import UNITS, Budget, Cost, Ledger, Prices
from reasoner.catalog import spec_of
from reasoner.cli.terminal import printable
from reasoner.cli.votes import VoteSummary, samples_of
from reasoner.protocols import Engine, Strategy, Verifier
from reasoner.solution import Solution
from reasoner.types import Question

LABEL = 9
"""Characters that the name of a line takes."""
SHOWN_SECONDS = 0.1
"""Getting a verifier ready is told of from here on; most need no time."""
LONGEST_REASON = 500
"""Characters of a reason or a choice that are shown."""


class Times(NamedTuple):
    """Seconds: what getting the verifier ready took, from the start of solving to the first sample, and all in all."""

    verifier_start: float
    first_sample: float | None
    elapsed: float


def summary(
    solution: Solution,
    budget: Budget,
    prices: Prices | None,
    engine: Engine,
    times: Times,
) -> list[str]:
    """The vote, the cost, the budget and the time, a line each."""
    standing = solution.standing
    lines = [f"vote     {VoteSummary(standing).line}"] if standing.samples or standing.votes else []
    lines.append(f"cost     {_cost(solution.cost, prices)}")
    if str(budget):
        lines.append(f"budget   {_budget(budget, solution.cost, prices)}; {solution.reason}")
    lines.append(f"time     {_time(engine, times, solution.cost.seconds)}")
    lines += [f"note     {note}" for note in solution.notes]
    return lines


def abstained(solution: Solution) -> bool:
    """Whether there was an answer that the strategy was not sure enough of to give."""
    return solution.answer is None and solution.confidence is not None and solution.standing.leader is not None


def explanation(strategy: Strategy, solution: Solution) -> list[str]:
    """What was bought and why, what ended it, and how far to trust the answer, a line each."""
    chosen = next((remark for remark in solution.remarks if remark.startswith("chose ")), spec_of(strategy))
    cost = solution.cost
    bought = f"{printable(chosen, limit=LONGEST_REASON)}; {samples_of(cost.samples)}, {cost.tokens:,} tokens"
    stopped = f"{solution.ended_by}: {printable(solution.reason, limit=LONGEST_REASON)}"
    if (price := getattr(strategy, "price", None)) is not None:
        stopped += f"; the price of a sample is a gain of {price:g} in the chance of a right answer"
    return [f"bought   {bought}", f"stopped  {stopped}", f"trust    {_trust(strategy, solution)}"]


def _trust(strategy: Strategy, solution: Solution) -> str:
    if solution.confidence is not None:
        questions = getattr(strategy, "calibrated_on", 0)
        return f"right with a chance of {solution.confidence:.2f}" + (
            f", calibrated on {questions:,} question{'s' if questions != 1 else ''}" if questions else ""
        )
    votes = VoteSummary(solution.standing)
    return f"not calibrated: {votes.leading}" + (f"; {votes.tie}" if votes.tied else "")


def _cost(cost: Cost, prices: Prices | None) -> str:
    parts = [f"{cost.prompt_tokens:,} prompt", f"{cost.generated_tokens:,} generated"]
    parts += [f"{cost.verifier_tokens:,} verifier"] if cost.verifier_tokens else []
    parts += [f"{cost.cancelled_tokens:,} cancelled"] if cost.cancelled_tokens else []
    text = f"{cost.tokens:,} tokens computed ({' + '.join(parts)}), {cost.cached_tokens:,} prompt tokens from cache"
    if cost.flops:
        text += f", {cost.flops / 1e12:.3g} TFLOP"
    return text + (f", ${prices.usd(cost):.6f}" if prices else "")


def _budget(budget: Budget, cost: Cost, prices: Prices | None) -> str:
    ledger = Ledger(budget, prices=prices)
    shown = []
    for unit in UNITS:
        limit = getattr(budget, unit)
        if limit is not None:
            spent = cost.seconds if unit == "seconds" else ledger.measure(unit, cost)
            shown.append(f"{unit} {_number(spent)} of {_number(limit)}")
    return ", ".join(shown)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _time(engine: Engine, times: Times, solving: float) -> str:
    parts: list[tuple[str, float]] = []
    timing = getattr(engine, "timing", None)
    if timing:
        parts += [("model files", timing.model), ("import vLLM", timing.imports), ("start engine", timing.engine)]
    if times.verifier_start >= SHOWN_SECONDS:
        parts.append(("start verifier", times.verifier_start))
    if times.first_sample is not None:
        parts += [("first sample", times.first_sample), ("other samples", solving - times.first_sample)]
    rest = times.elapsed - sum(seconds for _, seconds in parts)
    return f"{times.elapsed:.1f} s: " + ", ".join(
        f"{name} {seconds:.1f}" for name, seconds in [*parts, ("all else", rest)]
    )


def as_document(
    question: Question,
    strategy: Strategy,
    verifier: Verifier | None,
    engine: Engine,
    budget: Budget,
    seed: int,
    solution: Solution,
) -> str:
    """The whole solution as one JSON object, in ASCII: what a terminal might obey is escaped."""
    document = {
        "question_id": question.id,
        "question": question.text,
        "answer": asdict(solution.answer) if solution.answer else None,
        **VoteSummary(solution.standing).document(),
        "cost": {**asdict(solution.cost), "tokens": solution.cost.tokens},
        "budget": {unit: limit for unit in UNITS if (limit := getattr(budget, unit)) is not None},
        "ended_by": solution.ended_by,
        "reason": solution.reason,
        "error": str(solution.error) if solution.error else None,
        "strategy": spec_of(strategy),
        "verifier": spec_of(verifier) if verifier else None,
        "engine": engine.name,
        "model": engine.model.name,
        "notes": list(solution.notes),
        "remarks": list(solution.remarks),
        "confidence": solution.confidence,
        "seed": seed,
        "proposals": [
            {"answer": p.answer.text if p.answer else None, "samples": p.standing.samples, "tokens": p.cost.tokens}
            for p in solution.proposals
        ],
    }
    return json.dumps(document)
