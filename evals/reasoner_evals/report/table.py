"""The table of results: a row for each strategy at each size or budget."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from reasoner.types import EndedBy
from reasoner_evals.report.comparisons import estimate, known
from reasoner_evals.report.content import BoundedValue
from reasoner_evals.runs.measures import TOKENS, Measurement, ungraded_rows
from reasoner_evals.runs.reading import ENDS, ERROR, RIGHT, UNGRADED, ArmData
from reasoner_evals.stats import Floats, mean_of
from reasoner_evals.stats.intervals import (
    Groups,
    amount,
    difference,
    interval,
    standard_error,
)

STOP_REASONS: Final[tuple[EndedBy, ...]] = ("rule", "price", "budget", "strategy")
"""Who ends a question that has a result, in the order of a report."""
_RATES: Final = (
    "no_answer",
    "truncated",
    "timed_out",
    "grader_failed",
    "replies_read_by_form",
    "replies_read_by_probe",
    "replies_without_answer",
    "replies_truncated",
    "samples_cut",
    "samples_cut_thinking",
)
_COUNTS: Final = ("errors", "ungraded")


def _with_bounds(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


CSV_COLUMNS: Final = (
    "task",
    "model",
    "label",
    "strategy",
    "verifier",
    "size",
    "budget",
    "pooled",
    "few_subsets",
    "questions",
    "seeds",
    *_with_bounds("acc"),
    "acc_stderr",
    *_with_bounds("coverage"),
    *_with_bounds("gap"),
    "tokens",
    "tokens_p50",
    "tokens_p95",
    "tokens_max",
    *(f"{name}_tokens" for name in TOKENS),
    "sequential_tokens_low",
    "sequential_tokens_high",
    "sequential_tokens_p95",
    "flops",
    "seconds",
    "usd",
    *_RATES,
    *_COUNTS,
    "on_front",
    *(f"ended_by_{reason}" for reason in STOP_REASONS),
    *(f"tokens_by_{reason}" for reason in STOP_REASONS),
    "samples",
    "samples_p95",
    "confidence",
    "confidence_accuracy",
    "confidence_questions",
)
"""The columns of results.csv without those of differences. `acc` is the accuracy, `acc_stderr` its standard error, both
named as in lm-evaluation-harness. `questions` are those behind it, without errors and ungraded ones. `coverage` is the
chance that any sample is right, an oracle; `gap` coverage minus `acc`. `tokens` are computed tokens per question,
without `cached_tokens`; `thinking_tokens` are a part of the generated and cancelled ones, and `probe_tokens` of all,
`probe_prompt_tokens` of those; probes read `probe_cached_tokens` of the cached ones. `sequential_tokens` are those of a
question, with the interval of their mean. `seconds` are at the run's concurrency; of a part of a pool, in proportion to
its tokens. Rates are shares of the questions, or of replies."""
COLUMNS: Final = (
    *CSV_COLUMNS,
    "key",
    "series",
    "ended",
    "tokens_front",
    "sequential_front",
    "flops_front",
    "deltas",
)
"""Also `key`, unique in the report; `series`, the curve of the point; `ended`, the questions behind the stop reasons;
its status on each Pareto frontier: "front", "level" (not significantly behind it) or "behind"; `deltas`, a `Delta` by
its kind of baseline."""


def points_table(
    measured: Sequence[Measurement], groups: Groups | None, /, **more: Mapping[str, Any]
) -> pd.DataFrame:
    """The rows of all points that have a value; `more` has further columns by key of a point.

    Cells are Python values; None is unknown.
    """
    measured = [point for point in measured if point.questions]
    reasons = {
        point.key: row
        for point in measured
        if not point.pooled and (row := _stop_reasons(point))
    }
    worth_showing = (
        "confidence_questions",
        *(f"ended_by_{reason}" for reason in STOP_REASONS if reason != "strategy"),
    )
    if not any(row[name] for row in reasons.values() for name in worth_showing):
        reasons = {}
    rows = []
    for point in measured:
        row = _measured_row(point, groups) | reasons.get(point.key, {})
        row |= {name: cells.get(point.key) for name, cells in more.items()}
        status = row.get("flops_front") or row.get("tokens_front")
        rows.append(
            row
            | {
                "on_front": status and status == "front",
                "deltas": row.get("deltas") or {},
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    return table.where(table.notna(), None)


def _measured_row(point: Measurement, groups: Groups | None) -> dict[str, Any]:
    values = point.values  # noqa: PD011 not a data frame
    right, covered, arm = values["right"], values["covered"], point.arm
    tokens = values["tokens"][~np.isnan(values["tokens"])]
    percentiles = {"tokens_p50": 50, "tokens_p95": 95, "tokens_max": 100}
    charged = ~np.isnan(values["prompt"])
    # A mean is unknown if the value of a question that was charged is.
    complete = [
        name
        for name in ("flops", "usd")
        if not np.any(np.isnan(values[name]) & charged)
    ]
    row: dict[str, Any] = {
        **{name: getattr(arm, name) for name in ("task", "strategy", "verifier")},
        **{
            name: getattr(point, name)
            for name in (
                "key",
                "series",
                "model",
                "label",
                "size",
                "pooled",
                "questions",
            )
        },
        "budget": arm.limit,
        "few_subsets": (point.size or 0) > arm.pool / 2,
        "seeds": len({read.data.arm.seed for read in point.arms}),
        "errors": sum(int((read.data.outcome == ERROR).sum()) for read in point.arms),
        "ungraded": sum(int(ungraded_rows(read.data).sum()) for read in point.arms),
        **estimate(interval(right, groups)).cells("acc"),
        "acc_stderr": known(standard_error(right, groups)),
        "tokens": float(tokens.mean()),
        **{
            name: float(np.percentile(tokens, percent))
            for name, percent in percentiles.items()
        },
        **{f"{name}_tokens": known(mean_of(values[name])) for name in TOKENS},
        **{
            name: known(mean_of(values[name]))
            for name in (*complete, "seconds", *_RATES)
        },
    }
    if np.any(~np.isnan(covered)):
        # Rounding leaves a tiny difference where there is none.
        gap = np.clip(np.round(covered - right, 12) + 0.0, -1.0, 1.0)
        row |= estimate(interval(covered, groups)).cells("coverage")
        value, low, high = estimate(difference(gap, groups)[0])
        # A right choice is a right sample, so only the noise of subsets is below 0.
        least = None if low is None else max(low, min(value, 0.0))
        row |= BoundedValue(value, least, high).cells("gap")
    sequential = values["sequential"][~np.isnan(values["sequential"])]
    if len(sequential):
        spent = estimate(amount(values["sequential"], groups))
        row |= spent.cells("sequential_tokens")
        row["sequential_tokens_p95"] = float(np.percentile(sequential, 95))
    return row


def _stop_reasons(point: Measurement) -> dict[str, Any] | None:
    """What ended the questions of a point that was run, what they cost, and whether their confidences hold."""
    done = [(arm.data, arm.data.has_result) for arm in point.arms]
    ended = np.concatenate([data.ended[rows] for data, rows in done])
    if not len(ended):
        return None
    tokens = np.concatenate([data.tokens[rows] for data, rows in done])
    samples = np.concatenate([data.costs["samples"][rows] for data, rows in done])
    confidence, right = map(
        np.concatenate,
        zip(*(_confidences(arm.data) for arm in point.arms), strict=True),
    )
    by_reason = {reason: tokens[ended == ENDS.index(reason)] for reason in STOP_REASONS}
    return {
        "ended": len(ended),
        **{
            f"ended_by_{reason}": len(own) / len(ended)
            for reason, own in by_reason.items()
        },
        **{
            f"tokens_by_{reason}": known(mean_of(own))
            for reason, own in by_reason.items()
        },
        "samples": float(samples.mean()),
        "samples_p95": float(np.percentile(samples, 95)),
        "confidence": known(mean_of(confidence)),
        "confidence_accuracy": known(mean_of(right)),
        "confidence_questions": len(right),
    }


def _confidences(data: ArmData) -> tuple[Floats, Floats]:
    """The calibrated confidences of the graded questions that have one, and which are right; no answer is wrong."""
    rows = data.has_result & (data.outcome != UNGRADED) & ~np.isnan(data.confidence)
    return data.confidence[rows], (data.outcome[rows] == RIGHT).astype(np.float64)
