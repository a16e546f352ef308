"""What a report says in words: findings, methods and limits, each sentence made from the numbers it is about."""

from collections.abc import Iterator, Sequence

from reasoner_evals.report.content import Provenance, TaskReport
from reasoner_evals.report.measures import greedy
from reasoner_evals.report.points import Delta, Estimate, FrontMember, Point
from reasoner_evals.report.spending import COST_RULE
from reasoner_evals.stats.comparison import minimum_detectable

DISCORDANT = 0.2
"""The share of questions on which two strategies differ, for what a number of questions can show in general."""

NAMED = 6
"""Points of the frontier that are named in its sentence."""

_METHODS = (
    """The question is the unit. Intervals are 95 %, over questions like these; where questions share a source, whole
sources are resampled.""",
    """Sizes below a pool are estimated from all of it, in expectation over which samples had been drawn, ties averaged:
coverage and the best rated exactly, votes over 200 random subsets where there are more.""",
    f"""Tokens are all that were computed: uncached prompt, generated, verifier and cancelled ones. Of a pool,
{COST_RULE}.""",
    """FLOPs of a request, with P parameters, prompt C of which C0 cached, T generated, d = layers x heads x head size:
2P[(C-C0)+T] + 2d[(C^2-C0^2) + (2C+T)T].""",
    "Differences are paired by question; p-values are adjusted by Holm's rule within each baseline and model.",
    """Self-consistency at matched compute is a lot drawn, question by question, between the two sizes around a point's
tokens, so that both cost the same in expectation.""",
    """A wrong, missing or cut answer counts 0, and so does one that the grader could not judge. Errors of the engine
are in no accuracy.""",
    """Strict accuracy is the accuracy had only answers in a stated form (a box, ####, `the answer is`, ...) been
answers: what was found by its place or shape, such as the last number, counts as no answer and does not vote.""",
    "Difficulty is told by half of a pool's samples and measured on the other half.",
    """What ended a question is as its run recorded it; a pool is not run at its sizes and has no such row. The warning
that confidences do not hold is an exact test of how many answers are right, at 1 % for all arms of a task together.""",
)


def findings(points: Sequence[Point], deltas: Sequence[Delta], front: Sequence[FrontMember]) -> Iterator[str]:
    """The result of a task: the most accurate point of the table, what it costs and gains, and what it leaves.

    Of equally accurate points it is the cheapest. Where that one is above half of its pool, the most accurate of the
    others is named as well.
    """
    if not points:
        return
    best = max(points, key=_rank)
    narrow = "; it is above half of its pool, so its interval is too narrow" if best.few_subsets else ""
    yield f"The most accurate is {_told(best)}, over {best.questions:,} questions{narrow}."
    sound = [one for one in points if not one.few_subsets]
    if best.few_subsets and sound:
        yield f"Of the points at up to half of their pool, the most accurate is {_told(max(sound, key=_rank))}."
    for delta in deltas:
        if delta.key == best.key:
            yield _gain(delta, points)
    if best.gap and best.coverage and best.gap.value > 0:
        yield (
            f"A right answer is among its samples for {best.coverage.value:.1%} of the questions: perfect selection "
            f"would gain {100 * best.gap.value:.1f} points more."
        )
    by_key = {one.key: one for one in points}
    names = [by_key[one.key].label for one in front if one.on_front and one.key in by_key]
    if len(names) > 1:
        more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"On the frontier of tokens and accuracy, cheapest first: {'; '.join(names[:NAMED])}{more}."


def _rank(one: Point) -> tuple[float, float]:
    """Points by accuracy; the cheaper of two that are equally accurate is the greater."""
    return one.accuracy.value, -one.spent.tokens.mean


def _told(one: Point) -> str:
    return f"{one.label}: {shown(one.accuracy)} at {one.spent.tokens.mean:,.0f} tokens a question"


def _gain(delta: Delta, points: Sequence[Point]) -> str:
    against = next((one.label for one in points if one.key == delta.baseline), delta.baseline)
    verdict = f"p = {delta.p_holm:.2g} after Holm's adjustment over {delta.family}"
    if not delta.resolvable:
        verdict += f"; not resolvable with {delta.questions:,} questions"
    return f"Against {delta.against_label(against)}: {signed(delta.difference)}, {verdict}."


def shown(one: Estimate) -> str:
    """A share with its interval, in percent."""
    bounds = "" if one.low is None or one.high is None else f" ({one.low:.1%} to {one.high:.1%})"
    return f"{one.value:.1%}{bounds}"


def signed(one: Estimate) -> str:
    """A difference of shares with its interval, in points."""
    bounds = "" if one.low is None or one.high is None else f" ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
    return f"{100 * one.value:+.1f} points{bounds}"


def methods() -> tuple[str, ...]:
    """How the numbers are made."""
    return tuple(line.replace("\n", " ") for line in _METHODS)


def limits(tasks: Sequence[TaskReport], runs: Sequence[Provenance]) -> tuple[str, ...]:
    """What the numbers do not say."""
    return (*(line for task in tasks for line in _of_task(task)), *_of_runs(runs), *_always())


def _of_task(task: TaskReport) -> Iterator[str]:
    if not task.points:
        yield f"{task.task}: no question has been finished and graded."
        return
    n = min(one.questions for one in task.points)
    least = minimum_detectable(n, DISCORDANT)
    yield (
        f"{task.task}: with {n:,} questions, two strategies that differ on {DISCORDANT:.0%} of them have to lie "
        f"{100 * least:.1f} points apart to be told apart."
    )
    if {delta.against for delta in task.deltas}.isdisjoint({"greedy"}) and len(task.points) > 1:
        yield f"{task.task}: no greedy sample to compare with; add the strategy single."
    if once := sorted(
        {one.series for one in task.points if not one.pooled and one.seeds == 1 and not greedy(one.strategy)}
    ):
        yield f"{task.task}: run with one seed, so that luck of sampling is not averaged out: {', '.join(once)}."
    if few := sorted({one.series for one in task.points if one.few_subsets}):
        yield (
            f"{task.task}: above half of a pool, subsets share most of their samples and intervals are too narrow: "
            f"the largest size of {', '.join(few)}."
        )
    if over := sum(one.overshoots for one in task.points):
        yield f"{task.task}: {over:,} questions spent more than their budget, which is a defect."
    if any(one.rates.grader for one in task.points):
        yield f"{task.task}: the grader failed on some answers, which count as wrong; see the table."
    if any(one.spent.flops is None for one in task.points):
        yield f"{task.task}: FLOPs are not known for every point, as a model's geometry is not."
    if len({one.model for one in task.points}) > 1:
        yield f"{task.task}: models have tokenizers of their own; compare them by FLOPs, not by tokens."
    if not task.source.shareable:
        yield f"{task.task}: its questions and answers may not be shown, so none are."


def _of_runs(runs: Sequence[Provenance]) -> Iterator[str]:
    for run in runs:
        for arm in run.arms:
            name = f"{run.run}, {arm.arm}"
            if arm.finished < arm.asked:
                yield f"{name}: {arm.finished:,} of {arm.asked:,} questions finished; go on with --resume."
            if arm.errors:
                yield f"{name}: {arm.errors:,} questions ended in an error, in no accuracy; --resume tries again."
            if arm.left_out:
                few = ", ".join(repr(one)[:80] for one in arm.left_out[:NAMED])
                more = f" and {len(arm.left_out) - NAMED:,} more" if len(arm.left_out) > NAMED else ""
                yield f"{name}: the journal holds token counts that are impossible; left out: {few}{more}."
            if arm.ungraded:
                yield f"{name}: {arm.ungraded:,} questions lack a verdict and are in no accuracy: run `reasoner grade`."
            if arm.duplicates:
                yield f"{name}: {arm.duplicates:,} further lines on finished questions were not counted."


def _always() -> tuple[str, ...]:
    return (
        "Estimates from a pool ignore scheduling and samples in flight; their seconds go in proportion to tokens.",
        "The best of a table was chosen on the questions it is reported on; confirm it on others.",
        "Reference answers are taken as they are, and models may have seen the questions in training.",
    )
