"""What was measured, question by question: each strategy at each size or budget, as arrays that means are taken of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reasoner.specs import Spec
from reasoner_evals.report.pools import Pool, pool_of
from reasoner_evals.report.spending import expected_costs, spent, usd
from reasoner_evals.runs.arrays import ERROR, OUTCOMES, RIGHT, SILENT, UNGRADED, UNKNOWN, ArmData, Bools, Floats
from reasoner_evals.runs.reading import RunData
from reasoner_evals.stats.estimators import best_of_k, coverage_at_k, majority_at_k, weighted_at_k

GRADER_FAILED = tuple(OUTCOMES.index(status) for status in ("too_complex", "grader_timeout", "grader_crash"))


class ArmRead(NamedTuple):
    """An arm's arrays, and the run that they are of."""

    run: RunData
    data: ArmData

    @property
    def name(self) -> str:
        """How a report refers to it."""
        return f"{self.run.name}:{self.data.arm.name}"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a point is of; the fields of `Point` of the same names."""

    key: str
    series: str
    model: str
    task: str
    strategy: str
    verifier: str
    label: str
    arms: tuple[str, ...]
    pooled: bool
    few_subsets: bool
    size: int | None
    budget: str
    seeds: int


@dataclass(frozen=True, slots=True)
class Values:
    """Every array is [Q]; nan where a question has no value. Of several seeds, the mean of those with one."""

    right: Floats
    strict: Floats
    """`right` had only answers in a stated form been answers; nan where that is not known."""
    covered: Floats
    tied: Floats
    no_answer: Floats
    truncated: Floats
    timed_out: Floats
    grader: Floats
    replies_without_answer: Floats
    replies_truncated: Floats
    prompt: Floats
    cached: Floats
    generated: Floats
    verifier: Floats
    cancelled: Floats
    flops: Floats
    seconds: Floats
    usd: Floats

    @property
    def tokens(self) -> Floats:
        """All that was computed."""
        return self.prompt + self.generated + self.verifier + self.cancelled


@dataclass(frozen=True, slots=True)
class Measured:
    """A point before its means are taken."""

    subject: Subject
    values: Values
    errors: int
    ungraded: int
    overshoots: int
    arms: tuple[ArmRead, ...]

    @property
    def tokens(self) -> float:
        """Tokens computed a question."""
        return mean(self.values.tokens)


def mean(values: Floats) -> float:
    """The mean over questions that have a value; nan where none has."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def greedy(strategy: str) -> bool:
    """Whether a spec asks for one sample of temperature 0."""
    spec = Spec.parse(strategy)
    return spec.name == "single" and float(str(spec.options.get("temperature", 0))) == 0


def ungraded_rows(data: ArmData) -> Bools:
    """[Q]: whether a verdict is missing without which a question's value is not known."""
    lacking = data.outcome == UNGRADED
    if data.arm.pool:
        lacking = lacking | _any_reply(data, UNGRADED)
    done: Bools = lacking & (data.outcome != ERROR)
    return done


def _any_reply(data: ArmData, code: int) -> Bools:
    return data.replies.per_question(data.replies.outcome == code) > 0


def as_run(one: ArmRead) -> Values:
    """The values of an arm as it was run: of a pool, at its whole size."""
    data = one.data
    costs = spent(data)
    known = ~np.isnan(costs["prompt"])
    outcome, replies = data.outcome, data.replies

    def share(hit: Bools) -> Floats:
        return np.where(known, hit.astype(np.float64), np.nan)

    drawn = replies.rows.length
    judged = known & ~_any_reply(data, UNGRADED) & ((drawn > 0) | (outcome != RIGHT))
    several = judged & bool((drawn > 1).any())
    right = np.where(ungraded_rows(data), np.nan, share(outcome == RIGHT))
    return Values(
        right=right,
        strict=np.where(data.stated == UNKNOWN, np.nan, right * (data.stated == 1)),
        covered=np.where(several, share(_any_reply(data, RIGHT)), np.nan),
        tied=np.full(len(outcome), np.nan),
        no_answer=share(outcome == OUTCOMES.index("no_answer")),
        truncated=share(outcome == OUTCOMES.index("truncated")),
        timed_out=share(outcome == OUTCOMES.index("timed_out")),
        grader=share(np.isin(outcome, GRADER_FAILED)),
        **_reply_rates(data, known & (drawn > 0)),
        **costs,
        usd=usd(one.run.manifest.prices, costs),
    )


def _reply_rates(data: ArmData, known: Bools) -> dict[str, Floats]:
    replies = data.replies
    rates = {}
    for name, status in (("replies_without_answer", "no_answer"), ("replies_truncated", "truncated")):
        hits = replies.per_question(replies.outcome == OUTCOMES.index(status))
        rates[name] = np.where(known, hits / np.maximum(replies.rows.length, 1), np.nan)
    return rates


def pooled(one: ArmRead, ks: Sequence[int]) -> list[Values]:
    """The values of a pool at each size, in expectation over which of its samples had been drawn."""
    data, pool = one.data, pool_of(one.data)
    right, tied = selected(data.arm.rule, pool, ks)
    strict = _strict(data.arm.rule, pool, right, ks)
    covered = coverage_at_k(pool.right, ks)
    # Nothing is read where no sample with an answer was drawn: coverage again, of answers rather than of right ones.
    answered = coverage_at_k(_as(pool, pool.answers >= 0), ks)
    whole = coverage_at_k(_as(pool, ~pool.truncated), ks)
    costs = expected_costs(one.run.manifest.model, data, spent(data), ks)
    usable: Bools = ~np.all(np.isnan(pool.right), axis=1)
    rates = _reply_rates(data, usable)
    failed = data.replies.per_question(np.isin(data.replies.outcome, GRADER_FAILED)) / np.maximum(
        data.replies.rows.length, 1
    )
    timed_out = np.where(usable, (data.outcome == OUTCOMES.index("timed_out")).astype(np.float64), np.nan)
    found = []
    for place in range(len(ks)):
        part = {name: column[:, place] for name, column in costs.items()}
        found.append(
            Values(
                right=np.clip(right[:, place], 0.0, 1.0),
                strict=np.clip(strict[:, place], 0.0, 1.0),
                covered=covered[:, place],
                tied=tied[:, place],
                no_answer=np.clip(whole[:, place] - answered[:, place], 0.0, 1.0),
                truncated=1 - whole[:, place],
                timed_out=timed_out,
                grader=np.where(usable, failed, np.nan),
                **rates,
                **part,
                usd=usd(one.run.manifest.prices, part),
            )
        )
    return found


def _as(pool: Pool, hit: Bools) -> Floats:
    return np.where(np.isnan(pool.right), np.nan, hit.astype(np.float64))


def _strict(rule: str, pool: Pool, right: Floats, ks: Sequence[int]) -> Floats:
    """[Q, K]: `right`, selected anew where a question has fallbacks, which neither vote nor are the best."""
    fallback = (pool.answers != SILENT) & (pool.stated == 0)
    changed = fallback.any(axis=1)
    masked = replace(
        pool,
        # The others keep their places, by which subsets are drawn, and cost nothing.
        right=np.where(changed[:, None], np.where(fallback & ~np.isnan(pool.right), 0.0, pool.right), np.nan),
        answers=np.where(fallback, SILENT, pool.answers),
        scores=np.where(fallback, np.nan, pool.scores),
    )
    found = np.where(changed[:, None], selected(rule, masked, ks)[0], right)
    return np.where((pool.stated == UNKNOWN).any(axis=1)[:, None], np.nan, found)


def selected(rule: str, pool: Pool, ks: Sequence[int]) -> tuple[Floats, Floats]:
    """[Q, K] each: how often the pool's rule selects a right answer, and how often it finds a tie."""
    if rule == "best":
        return best_of_k(pool.right, pool.scores, ks), np.full((len(pool.right), len(ks)), np.nan)
    if rule == "weighted":
        votes = weighted_at_k(pool.right, pool.answers, pool.scores, ks)
    else:
        votes = majority_at_k(pool.right, pool.answers, ks)
    return votes.right, votes.tied
