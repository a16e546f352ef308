"""Reports made by hand: whole ones, and with parts or texts of one's choice."""

from dataclasses import replace

from reasoner_evals.report.content import ArmState, Fact, Provenance, Report, TaskReport
from reasoner_evals.report.diagnoses import (
    Bin,
    BinRow,
    Calibration,
    Case,
    Difficulty,
    Drawn,
    Ended,
    Ending,
    Fit,
    FitPoint,
    HeldOut,
    Parameter,
    ReliabilityBin,
    RiskPoint,
    Scaling,
    VerifierQuality,
    VoteShare,
)
from reasoner_evals.report.points import (
    Curve,
    CurveKind,
    CurvePoint,
    Delta,
    Estimate,
    FrontMember,
    Point,
    Rates,
    Spent,
    Spread,
)
from reasoner_evals.runs.records import Machine, Source

SIZES = (1, 2, 4, 8)
GREEDY, VOTE, BEST = "single", "self_consistency", "best_of_n with orm"


def near(value: float) -> Estimate:
    return Estimate(value, max(0.0, value - 0.06), min(1.0, value + 0.06))


def a_point(series: str, *, size: int | None = None, accuracy: float = 0.5, model: str = "small", flops: float = 1e6,
            usd: float | None = 1e-5) -> Point:  # fmt: skip
    name = f"{series}, n={size}" if size else series
    times = size or 1
    tokens = 90.0 * times
    return Point(
        key=f"{model}|{name}",
        series=series,
        model=model,
        task="arithmetic",
        strategy=series.partition(" ")[0],
        verifier="orm" if "orm" in series else "",
        label=name,
        arms=("run:arm",),
        pooled=size is not None,
        few_subsets=size == max(SIZES),
        size=size,
        budget="",
        questions=120,
        seeds=1,
        accuracy=near(accuracy),
        strict=near(accuracy - 0.02) if size else None,
        coverage=near(min(1.0, accuracy + 0.1)) if size else None,
        gap=Estimate(0.1, 0.05, 0.15) if size else None,
        spent=Spent(40, 30, tokens - 40, 0, 0, Spread(tokens, tokens, tokens + 9, tokens + 20), flops * times,
                    times / 10, usd and usd * times),
        rates=Rates(0.1 if size else None, 0.02, 0.01, 0.0, 0.0, 0.03, None),
        errors=0,
        ungraded=0,
        overshoots=0,
    )  # fmt: skip


def some_points() -> tuple[Point, ...]:
    votes = (a_point(VOTE, size=k, accuracy=0.4 + 0.05 * place) for place, k in enumerate(SIZES))
    rated = (a_point(BEST, size=k, accuracy=0.4 + 0.08 * place) for place, k in enumerate(SIZES))
    return (a_point(GREEDY, accuracy=0.45), *votes, *rated)


def curves_of(points: tuple[Point, ...]) -> tuple[Curve, ...]:
    found = []
    kinds: tuple[CurveKind, ...] = ("measured", "oracle", "random")
    for series in dict.fromkeys(one.series for one in points):
        own = [one for one in points if one.series == series]
        for kind in kinds if own[0].pooled else kinds[:1]:
            marks = tuple(
                CurvePoint(one.size, one.spent.tokens.mean, one.spent.flops, one.spent.seconds, one.spent.usd,
                           (one.coverage or one.accuracy) if kind == "oracle" else one.accuracy,
                           one.key if kind == "measured" else "")
                for one in own
            )  # fmt: skip
            found.append(Curve(series, own[0].model, series, kind, marks))
    return tuple(found)


def a_delta(one: Point, baseline: Point, *, worse: int = 9) -> Delta:
    return Delta(one.key, baseline.key, "greedy", 120, Estimate(0.05, -0.01, 0.11), 0.03, 0.09, 4, "mcnemar", 15, worse,
                 0.11, resolvable=False, backfired=0.075)  # fmt: skip


def a_case(**changes: object) -> Case:
    case = Case(
        kind="missed",
        key=f"small|{VOTE}, n=8",
        run="nowhere",
        arm="arm",
        question_id="q7",
        shareable=True,
        text="What is 7 + 8?",
        gold="15",
        answer="16",
        outcome="wrong",
        confidence=0.6,
        votes=(VoteShare("16", 5, right=False), VoteShare("15", 3, right=True)),
        tokens=720,
        why="3 of 8 replies are right, another answer was chosen",
        ended_by="rule",
        reason="5 to 3 votes: enough",
        calibrated=0.71,
    )
    return replace(case, **changes)  # type: ignore[arg-type]


def _fit(ceiling: float, note: str = "") -> Fit:
    sizes = (*SIZES, 2 * SIZES[-1])
    points = tuple(
        FitPoint(k, near(ceiling - 0.3 / k), ceiling - 0.29 / k if k in SIZES else None) for k in sizes
    )  # fmt: skip
    return Fit("a law: c - d/k", (Parameter("c", Estimate(ceiling)),), points, HeldOut(4, 8, ceiling, ceiling), note)


def a_task(**changes: object) -> TaskReport:
    points = some_points()
    bins = tuple(ReliabilityBin(low / 5, low / 5 + 0.2, 20 + low, low / 5 + 0.1, low / 5 + 0.12) for low in range(5))
    risks = tuple(RiskPoint(step / 10, step / 25, 1 - step / 10) for step in range(1, 11))
    best = points[-1]
    task = TaskReport(
        task="arithmetic",
        source=a_source(),
        questions=120,
        groups=0,
        chance=0.25,
        findings=("The most accurate is best_of_n.", "Against greedy: +5 points."),
        warnings=("Fewer answers are right than promised.",),
        points=points,
        curves=curves_of(points),
        deltas=tuple(a_delta(one, points[0]) for one in points[1:]),
        front=tuple(FrontMember(one.key, on_front=one.series != VOTE, behind=None, significant=one.size == 8)
                    for one in points),
        front_by_flops=(),
        difficulty=(
            Difficulty(
                "run:arm",
                4,
                tuple(Bin(low / 5, low / 5 + 0.2, 24) for low in range(5)),
                tuple(BinRow(one.key, tuple(near(0.1 + low / 6) for low in range(5))) for one in points),
            ),
        ),
        endings=(an_ending(points[0].key), an_ending(best.key, confidence=0.8)),
        calibration=(Calibration(best.key, 120, 0.05, 0.8, 0.2, bins, risks),),
        scaling=(Scaling(BEST, BEST, _fit(0.9), _fit(0.7), 0.01, 8),),
        verifiers=(VerifierQuality("run:arm", BEST, "orm", 900, 3, near(0.7), 80, near(0.6), near(0.5), bins),),
        cases=(a_case(),),
    )  # fmt: skip
    return replace(task, **changes)  # type: ignore[arg-type]


def an_ending(key: str, *, confidence: float | None = None) -> Ending:
    by = (
        Ended("rule", 0.75, 300.0),
        Ended("price", 0.0, None),
        Ended("budget", 0.0, None),
        Ended("strategy", 0.25, 900.0),
    )
    drawn = (Drawn(3, 4, 0.75), Drawn(5, 8, 0.25))
    right = None if confidence is None else 0.7
    return Ending(key, 120, by, 4.25, 8.0, drawn, 0 if confidence is None else 110, confidence, right)


def a_source(*, shareable: bool = True) -> Source:
    return Source(task="arithmetic", origin="made on the spot", data_hash="ab12", prompt="plain@1", prompt_hash="cd34",
                  licence="CC0", items=120, subset="all", shareable=shareable)  # fmt: skip


def a_report(*tasks: TaskReport, title: str = "arithmetic: accuracy against compute") -> Report:
    arm = ArmState("run", "arm", "arithmetic", VOTE, "", "", 0, 8, 120, 118, 1, 1, 2, 0)
    machine = Machine(
        python="3.11", system="Linux", cores=2, memory_gib=8, accelerators=("One GPU",), packages={"a": "1"}
    )
    run = Provenance(
        run="run",
        folder="nowhere",
        created="2026-01-01T00:00:00Z",
        command="reasoner eval arithmetic",
        engine="simulated",
        facts=(Fact("model name", "small"),),
        sources=(a_source(),),
        prices=(Fact("prompt", "$0.1 a million tokens"),),
        machine=machine,
        notes=("a remark",),
        manifest_hash="f" * 64,
        arms=(arm,),
    )
    return Report(title, tasks or (a_task(),), (run,), ("The question is the unit.",), ("arithmetic: few questions.",))


def an_empty_task() -> TaskReport:
    """A run of which nothing is finished yet."""
    return a_task(findings=(), warnings=(), endings=(), points=(), curves=(), deltas=(), front=(), difficulty=(), calibration=(), scaling=(),
                  verifiers=(), cases=())  # fmt: skip


def two_models() -> TaskReport:
    """A small model with a vote, and a large one that is asked once."""
    small = tuple(a_point(f"small: {VOTE}", size=k, accuracy=0.4 + k / 40) for k in SIZES)
    large = a_point("large: single", accuracy=0.6, model="large", flops=6e6)
    points = (*small, large)
    delta = replace(a_delta(small[-1], large), against="larger_model")
    members = tuple(FrontMember(one.key, on_front=True, behind=None, significant=False) for one in points)
    bare = an_empty_task()
    return replace(bare, findings=("Two models.",), points=points, curves=curves_of(points), deltas=(delta,),
                   front=members, front_by_flops=members)  # fmt: skip
