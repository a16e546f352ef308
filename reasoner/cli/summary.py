"""A solution in a few lines for a person, and as JSON for a program."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from reasoner.answers.questions import Question
from reasoner.budget import UNITS, Budget, Cost, Ledger, Prices, cost_line
from reasoner.cli.terminal import one_line, printable
from reasoner.engine import Engine
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.types import samples_of
from reasoner.verifier import Verifier
from reasoner.voting import VoteSummary

MAX_REASON_LENGTH = 500
"""Characters of a reason or a choice that are shown."""
MAX_TOKENS_OPTION = "--max-tokens"
SHOWN_SECONDS = 0.1
"""The start of a verifier is shown if it took at least this long; most take no time."""


MAX_LINES: Final = 200
"""Lines of a reply that are shown."""
MAX_LINE: Final = 2000
"""Characters of such a line that are shown."""


class Times(NamedTuple):
    """Seconds: the start of the verifier, from the start of solving to the first sample, and in total."""

    verifier_start: float
    first_sample: float | None
    elapsed: float


def summary(
    solution: Solution, budget: Budget, prices: Prices | None, engine: Engine, times: Times
) -> list[tuple[str, str]]:
    """The vote, the cost, the budget, the time and the engine's notes, with a label each."""
    vote_state = solution.vote_state
    lines = [("vote", VoteSummary(vote_state).line)] if vote_state.samples or vote_state.votes else []
    if cut := solution.cut.line(MAX_TOKENS_OPTION):
        lines.append(("cut", cut))
    lines.append(("cost", cost_line(solution.cost, prices)))
    if str(budget):
        lines.append(("budget", f"{spent_of(budget, solution.cost, prices)}; {solution.reason}"))
    lines.append(("time", _time(engine, times, solution.cost.seconds)))
    return lines + [("note", note) for note in solution.notes]


def explanation(strategy: Strategy, solution: Solution) -> list[tuple[str, str]]:
    """What was run and why, what ended it, and how reliable the answer is, with a label each."""
    choice = next((remark for remark in solution.remarks if remark.startswith("chose ")), spec_of(strategy))
    cost = solution.cost
    return [
        ("ran", f"{printable(choice, limit=MAX_REASON_LENGTH)}; {samples_of(cost.samples)}, {cost.tokens:,} tokens"),
        ("stopped", f"{solution.ended_by}: {printable(solution.reason, limit=MAX_REASON_LENGTH)}"),
        ("trust", _trust(strategy, solution)),
    ]


def reasoning_lines(solution: Solution) -> Iterator[tuple[str, str]]:
    """The thinking that a server returned apart from the reply, and the reply, with a label each."""
    if not solution.text:
        yield "reply", "no single reply states the answer"
    thinking = (reply.completion.thinking for reply in solution.samples if reply.text == solution.text)
    for label, text in (("thinking", next(thinking, "")), ("reply", solution.text)):
        lines = text.strip().splitlines()
        for index, line in enumerate(lines[:MAX_LINES]):
            cut = "…" if len(line) > MAX_LINE else ""
            yield "" if index else label, one_line(line[:MAX_LINE]).rstrip() + cut
        if len(lines) > MAX_LINES:
            yield "", f"[{len(lines) - MAX_LINES:,} more lines; --json holds all]"


def _trust(strategy: Strategy, solution: Solution) -> str:
    if solution.confidence is not None:
        questions = getattr(strategy, "calibrated_on", 0)
        calibration = f", calibrated on {questions:,} question{'s' if questions != 1 else ''}" if questions else ""
        return f"right with a probability of {solution.confidence:.2f}{calibration}"
    votes = VoteSummary(solution.vote_state)
    return f"not calibrated: {votes.leading}" + (f"; {votes.tie}" if votes.tied else "")


def spent_of(budget: Budget, cost: Cost, prices: Prices | None) -> str:
    """What of each limit of a budget is spent."""
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
    parts.append(("other", times.elapsed - sum(seconds for _, seconds in parts)))
    return f"{times.elapsed:.1f} s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts)


def as_document(
    question: Question,
    strategy: Strategy,
    verifier: Verifier | None,
    engine: Engine,
    budget: Budget,
    seed: int,
    solution: Solution,
) -> str:
    """The whole solution as one JSON object in ASCII, which no terminal interprets."""
    document = {
        **solution.to_dict(),
        "question": question.text,
        "budget": {unit: limit for unit in UNITS if (limit := getattr(budget, unit)) is not None},
        "strategy": spec_of(strategy),
        "verifier": spec_of(verifier) if verifier else None,
        "engine": engine.name,
        "model": engine.model.name,
        "seed": seed,
    }
    return json.dumps(document)
