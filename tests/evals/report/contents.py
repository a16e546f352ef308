"""Reports made by hand: whole ones, and with parts or texts of one's choice."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reasoner.budget import Cost
from reasoner.models.info import ModelInfo
from reasoner_evals.report.content import (
    ArmState,
    Calibration,
    Delta,
    Difficulty,
    DifficultyBin,
    Estimate,
    Failure,
    Fit,
    Number,
    Provenance,
    Report,
    RiskPoint,
    SampleCount,
    Scaling,
    TaskReport,
    Verdict,
    VerifierQuality,
    VoteShare,
)
from reasoner_evals.report.data.table import COLUMNS, STOP_REASONS
from reasoner_evals.report.verdict import verdict
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.records import Arm, Item, ItemRecord, Machine, Manifest, Source
from reasoner_evals.stats.calibration import Bin as ReliabilityBin
from reasoner_evals.stats.scaling import Band, HeldOut

SIZES = (1, 2, 4, 8)
GREEDY, VOTE, BEST = "single", "self_consistency", "best_of_n with orm"


def near(value: float) -> Estimate:
    return Estimate(value, max(0.0, value - 0.06), min(1.0, value + 0.06))


Row = dict[str, Any]


def with_bounds(name: str, estimate: Estimate | None) -> Row:
    return dict(zip((name, f"{name}_low", f"{name}_high"), estimate or (None, None, None), strict=True))


def a_point(series: str, *, size: int | None = None, accuracy: float = 0.5, model: str = "small", flops: float = 1e6,
            usd: float | None = 1e-5) -> Row:  # fmt: skip
    name = f"{series}, n={size}" if size else series
    times = size or 1
    tokens = 90.0 * times
    return {
        "key": f"{model}|{name}", "series": series, "name": series, "words": name, "model": model, "task": "arithmetic",
        "strategy": series.split(maxsplit=1)[0].rstrip(","), "verifier": "orm" if "orm" in series else "", "label": name,
        "pooled": size is not None, "few_subsets": size == max(SIZES), "size": size, "budget": "", "questions": 120,
        "seeds": 1,
        **with_bounds("accuracy", near(accuracy)),
        **with_bounds("strict_accuracy", near(accuracy - 0.02) if size else None),
        **with_bounds("coverage", near(min(1.0, accuracy + 0.1)) if size else None),
        **with_bounds("gap", Estimate(0.1, 0.05, 0.15) if size else None),
        "tokens": tokens, "tokens_p50": tokens, "tokens_p95": tokens + 9, "tokens_max": tokens + 20,
        "prompt_tokens": 40, "cached_tokens": 30, "generated_tokens": tokens - 40, "verifier_tokens": 0,
        "cancelled_tokens": 0, "flops": flops * times, "seconds": times / 10, "usd": usd and usd * times,
        "tied": 0.1 if size else None, "no_answer": 0.02, "truncated": 0.01, "timed_out": 0.0, "grader_failed": 0.0,
        "replies_without_answer": 0.03, "errors": 0, "ungraded": 0, "overshoots": 0,
    }  # fmt: skip


def table(rows: Iterable[Row]) -> pd.DataFrame:
    made = pd.DataFrame(list(rows), columns=COLUMNS, dtype=object)
    return made.where(made.notna(), None)


def some_points() -> list[Row]:
    votes = [a_point(VOTE, size=k, accuracy=0.4 + 0.05 * place) for place, k in enumerate(SIZES)]
    rated = [a_point(BEST, size=k, accuracy=0.4 + 0.08 * place) for place, k in enumerate(SIZES)]
    return [a_point(GREEDY, accuracy=0.45), *votes, *rated]


def a_delta(point: Row, baseline: Row, *, worse: int = 9) -> Delta:
    return Delta(key=point["key"], baseline=baseline["key"], against="greedy", questions=120,
                 difference=Estimate(0.05, -0.01, 0.11), p=0.03, p_holm=0.09, family=4, test="mcnemar", better=15,
                 worse=worse, detectable=0.11, resolvable=False, backfired=0.075)  # fmt: skip


def a_failure(
    *,
    shareable: bool = True,
    text: str = "What is 7 + 8?",
    gold: str = "15",
    answer: str = "16",
    question_id: str = "q7",
    run: Path = Path("nowhere"),
) -> Failure:
    record = ItemRecord(
        question_id=question_id,
        status="answered",
        answer=answer,
        share=0.6,
        confidence=0.71,
        ended_by="rule",
        reason="5 to 3 votes: enough",
        cost=Cost(generated_tokens=720),
    )
    return Failure(
        kind="missed",
        key=f"small|{VOTE}, n=8",
        trace=RunFolder(run).arm("arm").trace,
        record=record,
        item=Item(task="arithmetic", question_id=question_id, text=text, gold=gold) if shareable else None,
        outcome="wrong",
        votes=(VoteShare("16", 5, right=False), VoteShare("15", 3, right=True)),
        why="3 of 8 replies are right, another answer was chosen",
    )


def _fit(ceiling: float, note: str = "") -> Fit:
    def band(*sizes: int) -> Band:
        value = ceiling - 0.3 / np.array(sizes)
        return Band(sizes, value, np.maximum(0.0, value - 0.06), np.minimum(1.0, value + 0.06))

    measured = tuple(ceiling - 0.29 / k for k in SIZES)
    check = HeldOut(4, band(8), np.array([ceiling]))
    return Fit("a law: c - d/k", (("c", ceiling),), band(*SIZES, 2 * SIZES[-1]), measured, check, note)


def a_task(*, rows: Iterable[Row] | None = None, **changes: object) -> TaskReport:
    points = some_points()
    bins = tuple(ReliabilityBin(low / 5, low / 5 + 0.2, low / 5 + 0.1, low / 5 + 0.12, 20 + low) for low in range(5))
    risks = tuple(RiskPoint(step / 10, step / 25) for step in range(1, 11))
    best = points[-1]
    for point in points:
        behind = "behind" if point["size"] == max(SIZES) else "level"
        point["tokens_front"] = behind if point["series"] == VOTE else "front"
    points[0] |= stop_reasons()
    best |= stop_reasons(confidence=0.8)
    task = TaskReport(
        task="arithmetic",
        source=a_source(),
        questions=120,
        groups=0,
        chance=0.25,
        verdict=Verdict(
            "gain",
            "Best of 8 samples wins.",
            best["key"],
            points[0]["key"],
            (Number("64.0 %", "right: best of 8 samples", "95 % interval 58.0 to 70.0"),),
        ),
        findings=("The most accurate is best_of_n.", "Against greedy: +5 points."),
        shared=("max_tokens=200",),
        warnings=("Fewer answers are right than promised.",),
        points=table(points if rows is None else rows),
        anytime=(),
        deltas=tuple(a_delta(point, points[0]) for point in points[1:]),
        difficulty=(
            Difficulty(
                best["key"],
                4,
                tuple(DifficultyBin(low / 5, low / 5 + 0.2, 24) for low in range(5)),
                {point["key"]: tuple(near(0.1 + low / 6) for low in range(5)) for point in points},
            ),
        ),
        calibration=(Calibration(best["key"], 120, 0.05, 0.8, 0.2, bins, risks),),
        scaling=(Scaling(BEST, _fit(0.9), _fit(0.7), 0.01, 8),),
        verifiers=(VerifierQuality("run:arm", BEST, "orm", 900, 3, near(0.7), 80, near(0.6), near(0.5), bins),),
        failures=(a_failure(),),
    )
    return replace(task, **changes)  # type: ignore[arg-type]


BARE: Mapping[str, Any] = dict.fromkeys(
    ("deltas", "difficulty", "calibration", "scaling", "verifiers", "failures", "warnings"), ()
)
"""What `a_task` takes to be about its points alone."""


def stop_reasons(*, confidence: float | None = None) -> Row:
    shares, tokens = (0.75, 0.0, 0.0, 0.25), (300.0, None, None, 900.0)
    judged = {} if confidence is None else {"confidence_accuracy": 0.7, "confidence": confidence}
    return {
        "ended": 120,
        **{f"ended_by_{name}": share for name, share in zip(STOP_REASONS, shares, strict=True)},
        **{f"tokens_by_{name}": amount for name, amount in zip(STOP_REASONS, tokens, strict=True)},
        "samples": 4.25,
        "samples_p95": 8.0,
        "sample_counts": (SampleCount(3, 4, 0.75), SampleCount(5, 8, 0.25)),
        "confidence_questions": 110 if judged else 0,
        **judged,
    }


def a_source(*, shareable: bool = True) -> Source:
    return Source(task="arithmetic", origin="made on the spot", data_hash="ab12", prompt="plain@1", prompt_hash="cd34",
                  licence="CC0", items=120, subset="all", shareable=shareable)  # fmt: skip


def a_report(*tasks: TaskReport, title: str = "arithmetic: accuracy against compute") -> Report:
    arm = Arm(name="arm", task="arithmetic", strategy=VOTE, verifier="", budget="", seed=0, pool=8)
    machine = Machine(
        python="3.11", system="Linux", cores=2, memory_gib=8, accelerators=("One GPU",), packages={"a": "1"}
    )
    manifest = Manifest(
        created="2026-01-01T00:00:00Z",
        command="reasoner eval arithmetic",
        engine="simulated",
        model=ModelInfo("small", context=2048, parameters=1, layers=1, heads=1, kv_heads=1, head_dim=1),
        sources=(a_source(),),
        arms=(arm,),
        prices={"prompt": 0.1},
        machine=machine,
        notes=("a remark",),
    )
    states = (ArmState(arm, 120, 118, 1, 1, 2, 0),)
    run = Provenance("run", "nowhere", manifest, "f" * 64, (("model name", "small"),), states)
    return Report(title, tasks or (a_task(),), (run,), ("The question is the unit.",), ("arithmetic: few questions.",))


def an_empty_task() -> TaskReport:
    """A run of which nothing is finished yet."""
    return a_task(rows=(), findings=(), verdict=verdict(table(()), ()), **BARE)


def two_models() -> TaskReport:
    """A small model with a vote, and one greedy sample of a large one."""
    small = [a_point(f"small: {VOTE}", size=k, accuracy=0.4 + k / 40) for k in SIZES]
    large = a_point("large: single", accuracy=0.6, model="large", flops=6e6)
    points = [point | {"tokens_front": "front", "flops_front": "front"} for point in (*small, large)]
    delta = replace(a_delta(small[-1], large), against="larger_model")
    return a_task(rows=points, **{**BARE, "findings": ("Two models.",), "deltas": (delta,)})
