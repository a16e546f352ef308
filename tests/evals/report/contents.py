"""Parts of a report made by hand, where what a run would have measured does not matter."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from reasoner.budget import Cost
from reasoner_evals.report.comparisons import groups_of
from reasoner_evals.report.content import (
    BoundedValue,
    Delta,
    EvalReport,
    FailureExample,
    TaskReport,
)
from reasoner_evals.report.narrative import verdict
from reasoner_evals.report.table import COLUMNS
from reasoner_evals.runs.measures import ArmReading, Measurement, measure
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_evals.runs.records import AskedItem, ItemRecord, RunFolder
from reasoner_evals.stats.intervals import Groups
from reasoner_evals.tasks.data import Source
from tests.evals.fabricated import TASK

SIZES = (1, 2, 4, 8)
GREEDY, VOTE, BEST = "single", "self_consistency", "best_of_n with orm"
Row = dict[str, Any]


def measured(*paths: Path) -> tuple[list[Measurement], Groups | None]:
    """The points of runs of one task, and the groups of its questions."""
    runs = [open_run(path) for path in paths]
    arms = [
        ArmReading(run, read_arm(run, arm.name))
        for run in runs
        for arm in run.manifest.arms
    ]
    several = len({run.manifest.model.name for run in runs}) > 1
    return list(measure(arms, several_models=several)), groups_of(runs[0].tasks[TASK])


def near(value: float) -> BoundedValue:
    return BoundedValue(value, max(0.0, value - 0.06), min(1.0, value + 0.06))


def with_bounds(name: str, estimate: BoundedValue) -> Row:
    return dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))


def a_point(
    series: str,
    *,
    size: int | None = None,
    accuracy: float = 0.5,
    model: str = "small",
    flops: float = 1e6,
    usd: float | None = 1e-5,
    **cells: Any,
) -> Row:
    name, times = f"{series}, n={size}" if size else series, size or 1
    pooled = {
        **with_bounds("coverage", near(min(1.0, accuracy + 0.1))),
        **with_bounds("gap", BoundedValue(0.1, 0.05, 0.15)),
    }
    counts = dict.fromkeys(
        (
            "errors",
            "ungraded",
            "no_answer",
            "prompt_tokens",
            "cached_tokens",
            "generated_tokens",
            "verifier_tokens",
            "cancelled_tokens",
        ),
        0,
    )
    return {
        "key": f"{model}|{name}",
        "series": series,
        "model": model,
        "task": "arithmetic",
        "strategy": series.split(maxsplit=1)[0].rstrip(","),
        "verifier": "orm" if "orm" in series else "",
        "label": name,
        "pooled": size is not None,
        "few_subsets": size == max(SIZES),
        "size": size,
        "budget": "",
        "questions": 120,
        "seeds": 1,
        **with_bounds("acc", near(accuracy)),
        **(pooled if size else {}),
        **counts,
        "tokens": 90.0 * times,
        "tokens_p50": 90.0 * times,
        "tokens_p95": 99.0 * times,
        "tokens_max": 120.0 * times,
        **with_bounds(
            "sequential_tokens", BoundedValue(70.0 + times, 65.0 + times, 75.0 + times)
        ),
        "flops": flops * times,
        "seconds": times / 10,
        "usd": usd and usd * times,
        "tokens_front": "front",
        "deltas": {},
    } | cells


def a_curve(
    series: str, low: float = 0.4, step: float = 0.05, **cells: Any
) -> list[Row]:
    return [
        a_point(series, size=size, accuracy=low + step * row, **cells)
        for row, size in enumerate(SIZES)
    ]


def table(rows: Iterable[Row]) -> pd.DataFrame:
    made = pd.DataFrame(list(rows), columns=COLUMNS, dtype=object)
    return made.where(made.notna(), None)


def a_delta(baseline: Row, **changes: Any) -> Delta:
    delta = Delta(
        baseline=baseline["key"],
        questions=120,
        difference=BoundedValue(0.05, -0.01, 0.11),
        p=0.03,
        p_holm=0.09,
        family=4,
        test="mcnemar",
        better=15,
        worse=9,
        detectable=0.11,
        resolvable=False,
        backfired=0.075,
    )
    return replace(delta, **changes)


def a_failure(
    *,
    shareable: bool = True,
    text: str = "What is 7 + 8?",
    answer: str = "16",
    gold: str = "15",
    question_id: str = "q7",
    run: Path = Path("nowhere"),
) -> FailureExample:
    record = ItemRecord(
        question_id=question_id,
        status="answered",
        answer=answer,
        share=0.6,
        ended_by="rule",
        reason="5 to 3 votes: enough",
        cost=Cost(generated_tokens=720),
    )
    item = (
        AskedItem(task="arithmetic", question_id=question_id, text=text, gold=gold)
        if shareable
        else None
    )
    return FailureExample(
        "missed",
        f"small|{GREEDY}",
        RunFolder(run).arm("arm").trace,
        record,
        item,
        "wrong",
        "3 of 8 replies are right, another answer was chosen",
    )


def a_task(rows: Iterable[Row], **changes: Any) -> TaskReport:
    source = Source(
        task="arithmetic",
        origin="made on the spot",
        data_hash="ab12",
        prompt="plain@1",
        prompt_hash="cd34",
        licence="CC0",
        items=120,
        subset="all",
    )
    points = table(rows)
    task = TaskReport(
        id="t1",
        task="arithmetic",
        source=source,
        questions=120,
        groups=0,
        shared="",
        verdict=verdict(list(points.itertuples())),
        points=points,
        verifiers=(),
        failures=(),
    )
    return replace(task, **changes)


def a_report(
    *tasks: TaskReport, title: str = "arithmetic: accuracy against compute"
) -> EvalReport:
    return EvalReport(
        title,
        tasks,
        (),
        ("The question is the unit.",),
    )
