"""The points of a report as flat rows: every number once, for tables that programs and people read."""

from collections.abc import Iterator, Mapping
from typing import Final

from reasoner_evals.report.content import Report, TaskReport
from reasoner_evals.report.diagnoses import Ending
from reasoner_evals.report.endings import TOLD
from reasoner_evals.report.points import Delta, Estimate, Point

Cell = str | int | float | bool | None

AGAINST: Final = ("greedy", "self_consistency", "larger_model")


def point_rows(report: Report) -> Iterator[dict[str, Cell]]:
    """A row a point; the columns are the same for all. Unknown numbers are None."""
    for task in report.tasks:
        front = {one.key: one.on_front for one in (*task.front, *task.front_by_flops)}
        ended = {one.key: one for one in task.endings}
        for point in task.points:
            yield {
                **_point(point),
                "on_front": front.get(point.key),
                **_ending(ended.get(point.key)),
                **_deltas(task, point),
            }


def _point(one: Point) -> dict[str, Cell]:
    spent, rates = one.spent, one.rates
    return {
        "task": one.task,
        "model": one.model,
        "label": one.label,
        "strategy": one.strategy,
        "verifier": one.verifier,
        "size": one.size,
        "budget": one.budget,
        "pooled": one.pooled,
        "few_subsets": one.few_subsets,
        "questions": one.questions,
        "seeds": one.seeds,
        **_estimate("accuracy", one.accuracy),
        **_estimate("strict_accuracy", one.strict),
        **_estimate("coverage", one.coverage),
        **_estimate("gap", one.gap),
        "tokens": spent.tokens.mean,
        "tokens_p50": spent.tokens.median,
        "tokens_p95": spent.tokens.p95,
        "tokens_max": spent.tokens.most,
        "prompt_tokens": spent.prompt,
        "cached_tokens": spent.cached,
        "generated_tokens": spent.generated,
        "verifier_tokens": spent.verifier,
        "cancelled_tokens": spent.cancelled,
        "flops": spent.flops,
        "seconds": spent.seconds,
        "usd": spent.usd,
        "tied": rates.tied,
        "no_answer": rates.no_answer,
        "truncated": rates.truncated,
        "timed_out": rates.timed_out,
        "grader_failed": rates.grader,
        "replies_without_answer": rates.replies_without_answer,
        "replies_truncated": rates.replies_truncated,
        "errors": one.errors,
        "ungraded": one.ungraded,
        "overshoots": one.overshoots,
    }


def _estimate(name: str, one: Estimate | None) -> dict[str, Cell]:
    value, low, high = one or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _ending(one: Ending | None) -> dict[str, Cell]:
    parts = {part.by: part for part in one.by} if one else {}
    return {
        **{f"ended_by_{by}": parts[by].share if by in parts else None for by in TOLD},
        **{f"tokens_by_{by}": parts[by].tokens if by in parts else None for by in TOLD},
        "samples": one.samples if one else None,
        "samples_p95": one.samples_p95 if one else None,
        "confidence": one.confidence if one else None,
        "confidence_accuracy": one.accuracy if one else None,
        "confidence_questions": one.judged if one else None,
    }


def _deltas(task: TaskReport, point: Point) -> dict[str, Cell]:
    found: Mapping[str, Delta] = {one.against: one for one in task.deltas if one.key == point.key}
    labels = {one.key: one.label for one in task.points}
    row: dict[str, Cell] = {}
    for against in AGAINST:
        one = found.get(against)
        row |= {f"{against}_baseline": one.against_label(labels.get(one.baseline, one.baseline)) if one else None}
        row |= _estimate(f"{against}_delta", one.difference if one else None)
        row |= {
            f"{against}_p": one.p if one else None,
            f"{against}_p_holm": one.p_holm if one else None,
            f"{against}_family": one.family if one else None,
            f"{against}_better": one.better if one else None,
            f"{against}_worse": one.worse if one else None,
            f"{against}_detectable": one.detectable if one else None,
            f"{against}_resolvable": one.resolvable if one else None,
            f"{against}_backfired": one.backfired if one else None,
        }
    return row
