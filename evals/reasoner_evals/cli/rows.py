"""The rows of a profile for people and for programs."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from reasoner.cli.terminal import printable
from reasoner.controller.profile import LEAST_QUESTIONS, ArmRow, Family
from reasoner_evals.cli.live import shown_accuracy

WIDEST = 80
"""Characters of a spec that are shown."""


def lines(families: Sequence[Family]) -> Iterator[str]:
    """One line a row: task, bin, arm, accuracy with its 95 % interval, tokens, and why it will not be chosen."""
    names = [printable(row.strategy, limit=WIDEST) for family in families for row in family.arms]
    width = max(map(len, names))
    for family in families:
        for row in (row for place in range(family.bins.count) for row in family.rows(place)):
            where = "  ".join(filter(None, (printable(family.task), family.bins.words(row.bin))))
            extra = "".join(f", {printable(part)}" for part in (row.verifier, row.budget) if part)
            why = _why(row)
            yield (
                f"{where}  {printable(row.strategy, limit=WIDEST):<{width}}  {shown_accuracy(accuracy(row))}, "
                f"{row.tokens:,.0f} tokens a question{extra}, {f'not eligible: {why}' if why else 'eligible'}"
            )


def document(path: Path, families: Sequence[Family]) -> str:
    """The profile's path and the rows that were measured now, as one JSON object, in ASCII."""
    rows = []
    for family in families:
        for row in (row for place in range(family.bins.count) for row in family.rows(place)):
            share, low, high = accuracy(row)
            shown = {"accuracy": share, "low": low, "high": high, "eligible": row.eligible, "why": _why(row)}
            rows.append({"task": family.task, **row.model_dump(), **shown})
    return json.dumps({"profile": str(path), "rows": rows})


def accuracy(row: ArmRow) -> tuple[float, float, float]:
    """The share of right answers and its 95 % interval; expectations vary less than outcomes, and are told so."""
    from reasoner_evals.stats.intervals import TRACE, wilson

    n = row.questions
    mean = row.right / n
    size, share = n + 2 * TRACE, (row.right + TRACE) / (n + 2 * TRACE)
    # As `stats.intervals` weighs shares: so many single outcomes would vary as much.
    spread = row.squares - 2 * share * row.right + n * share**2 + TRACE * (share**2 + (1 - share) ** 2)
    outcomes = max(share * (1 - share) * (size - 1) / spread, 1.0) * n
    low, high = wilson(min(mean, 1.0) * outcomes, outcomes)
    return mean, low, high


def _why(row: ArmRow) -> str:
    """Why a row will not be chosen; empty where it may."""
    return "" if row.eligible else f"{row.questions} questions, it takes {LEAST_QUESTIONS}"
