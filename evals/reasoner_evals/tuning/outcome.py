"""The outcome of a race: in lines, as a document, as settings for other commands, and as a page."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from reasoner.calibration.profile import Profile
from reasoner.registry import build
from reasoner.system.printing import counted
from reasoner_evals.runs.naming import arm_names
from reasoner_evals.stats.intervals import Interval
from reasoner_evals.tasks.data import Source
from reasoner_evals.tuning.profile import promises
from reasoner_evals.tuning.race import Race
from reasoner_evals.tuning.verdict import (
    SINGLES,
    Forecast,
    JudgedStrategy,
    Point,
    StrategyComparison,
    TuningVerdict,
)

TUNED: Final = "tuned"
"""The name of the verifier in the settings."""


@dataclass(frozen=True)
class RaceOutcome:
    """The outcome of a race."""

    tuning: Mapping[str, Any]
    """What decided the race."""
    race: Race
    specs: tuple[str, ...]
    strategy: str
    """The spec of the chosen one."""
    verdict: TuningVerdict
    forecast: tuple[Forecast, ...]
    frontier: tuple[Point, ...]
    ended: str
    """Why the race ended."""
    spent: float
    """Tokens in all: sizes, race and judge."""
    everything: float
    """What all candidates on all questions would have cost, each by itself."""
    left_out: Mapping[str, str]
    """Strategies that did not race, with the reason."""
    errors: Mapping[int, str]
    model: str
    engine: Mapping[str, str]
    """The options that name the model and the engine."""
    source: Source
    judge: Source
    """The source of the questions that judge, often the same."""
    profile: Profile | None
    """What its samples say of votes of every size; None without a vote."""
    out: Path
    """The file of the settings."""

    @cached_property
    def date(self) -> str:
        """The day, in UTC."""
        return datetime.now(UTC).date().isoformat()

    @property
    def profile_path(self) -> Path:
        """The file of the profile, beside the settings."""
        return self.out.with_suffix(".profile.json")

    @property
    def budget(self) -> str:
        """What a question might take, as it was given."""
        return str(self.tuning["budget"])

    @property
    def verifier(self) -> str:
        """The spec of the verifier that the chosen strategy asks; empty without one."""
        asks = build("strategy", self.strategy).uses_verifier
        return str(self.tuning["verifier"]) if asks else ""

    @property
    def words(self) -> str:
        """The chosen strategy as reports name it, such as `vote of 8`."""
        key = self.verdict.chosen.spec, self.verifier
        return arm_names([(*key, self.verdict.single != SINGLES[0])])[key].at(None)

    @property
    def accuracy(self) -> str:
        """Of the chosen strategy, with the questions that it rests on."""
        return (
            f"{bounded(self.verdict.accuracy)} on {counted(self.verdict.questions, 'question')} "
            "that did not race"
        )

    @property
    def summary(self) -> Iterable[str]:
        """What was chosen, what it gains, what it costs, and where that is written."""
        verdict = self.verdict
        if not any(self.race.accuracy(who) for who in range(len(self.specs))):
            yield "note: no candidate answered a question rightly: check the reference answers and their kind"
        yield f"chosen     {self.words}"
        yield f"accuracy   {self.accuracy}: {' and '.join(map(gained, verdict.comparisons))}".rstrip(
            ": "
        )
        yield f"cost       {cost(verdict.chosen)}; tuning itself took {self.spent:,.0f} tokens"
        yield f"settings   {self.out}"

    @property
    def facts(self) -> Iterable[tuple[str, str]]:
        """What the page says of the chosen strategy beside its figures and tables, with titles."""
        verdict = self.verdict
        yield "strategy", verdict.chosen.spec
        yield "accuracy", self.accuracy
        for each in verdict.comparisons:
            yield "against", f"{gained(each)} ({each.other.spec}): {cost(each.other)}"
        yield "cost", cost(verdict.chosen)
        if self.profile:
            family = self.profile.family()
            yield (
                "profile",
                f"{self.profile_path}, {counted(family.questions, 'question')}",
            )
            yield from promises(family)
        share = self.spent / self.everything if self.everything else 1.0
        yield (
            "spent",
            f"{self.spent:,.0f} tokens, {share:.0%} of all candidates on all questions; {self.ended}",
        )

    @property
    def document(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        verdict = self.verdict
        return {
            "verdict": verdict.headline,
            "strategy": self.strategy,
            "verifier": self.verifier or None,
            "model": self.model,
            "questions": verdict.questions,
            "accuracy": _number(verdict.accuracy.mean),
            "low": _number(verdict.accuracy.low),
            "high": _number(verdict.accuracy.high),
            "tokens": _mean(verdict.chosen.tokens),
            "sequential_tokens": _mean(verdict.chosen.sequential),
            "seconds": _mean(verdict.chosen.seconds),
            "against": [
                {
                    "name": each.name,
                    "strategy": each.other.spec,
                    "accuracy": _mean(each.other.right),
                    "tokens": _mean(each.other.tokens),
                    "difference": _number(each.test.difference.mean),
                    "low": _number(each.test.difference.low),
                    "high": _number(each.test.difference.high),
                    "p_value": each.p_value,
                    "gain": each.gain,
                }
                for each in verdict.comparisons
            ],
            "forecast": [
                {name: _number(value) for name, value in each._asdict().items()}
                for each in self.forecast
            ],
            "frontier": [each._asdict() for each in self.frontier],
            "candidates": [self._candidate(who) for who in range(len(self.specs))],
            "left_out": dict(self.left_out),
            "profile": str(self.profile_path) if self.profile else None,
            "ended": self.ended,
            "spent": round(self.spent),
            "everything": round(self.everything),
        }

    def _candidate(self, who: int) -> dict[str, Any]:
        out = next((each for each in self.race.exits if each.who == who), None)
        return {
            "strategy": self.specs[who],
            "questions": self.race.asked(who),
            "accuracy": self.race.accuracy(who),
            "tokens": _number(self.race.cost(who)),
            "out": out.why if out else None,
            "against": self.specs[out.against]
            if out and out.against is not None
            else None,
        }

    @property
    def settings(self) -> str:
        """The settings as TOML."""
        chosen: dict[str, Any] = {"strategy": self.strategy}
        tables: list[tuple[str, dict[str, Any]]] = [("[default]", chosen)]
        if self.verifier:
            chosen["verifier"] = TUNED
            tables.append(("[verifiers]", {TUNED: self.verifier}))
        if self.engine:
            tables.append(("[model]", dict(self.engine)))
        verdict = self.verdict
        about = {
            "verdict": verdict.headline,
            "date": self.date,
            "model": self.model,
            "data": self.source.task,
            "data_hash": self.source.data_hash,
            "judged_on": self.judge.task if self.judge != self.source else None,
            "budget": self.budget or None,
            "profile": self.profile_path.name if self.profile else None,
            "questions": verdict.questions,
            "accuracy": verdict.accuracy.mean,
            "low": verdict.accuracy.low,
            "high": verdict.accuracy.high,
            "tokens": _mean(verdict.chosen.tokens),
            "sequential_tokens": _mean(verdict.chosen.sequential),
        }
        tables.append(("[tuned]", about))
        tables += [
            ("[[tuned.forecast]]", dict(each._asdict())) for each in self.forecast
        ]
        tables += [
            ("[[tuned.frontier]]", dict(each._asdict())) for each in self.frontier
        ]
        parts = [
            "# Written by `reasoner tune`; `reasoner solve`, `batch`, `serve` and `eval` read it with --settings.\n"
        ]
        for title, table in tables:
            rows = (
                f"{name} = {json.dumps(value)}\n"
                for name, value in table.items()
                if _number(value) is not None
            )
            parts.append(f"{title}\n{''.join(rows)}")
        return "\n".join(parts)


def bounded(estimate: Interval | Forecast) -> str:
    """A share with its interval, in percent; a dash where there is none."""
    share = estimate.mean if isinstance(estimate, Interval) else estimate.accuracy
    if math.isnan(share):
        return "–"
    if math.isnan(estimate.low):
        return f"{100 * share:.1f} %"
    return f"{100 * share:.1f} % ({100 * estimate.low:.0f}-{100 * estimate.high:.0f})"


def gained(comparison: StrategyComparison) -> str:
    """What the chosen strategy gains over a baseline, and whether chance explains it."""
    gap = comparison.test.difference
    shown = (
        "" if comparison.gain or comparison.loss else ", not statistically significant"
    )
    return (
        f"{100 * gap.mean:+z.1f} points ({100 * gap.low:+z.1f} to {100 * gap.high:+z.1f}, "
        f"p = {comparison.p_value:.2g}{shown}) over {comparison.name}"
    )


def cost(judged: JudgedStrategy) -> str:
    """What a question costs, in tokens and in waiting."""
    waited = _mean(judged.sequential)
    latency = f", {waited:,.0f} sequential" if waited else ""
    return f"{_mean(judged.tokens) or 0:,.0f} tokens{latency} a question"


def _mean(values: Any) -> float | None:
    known = values[values == values]  # noqa: PLR0124 nan is not equal to itself
    return float(known.mean()) if len(known) else None


def _number(value: Any) -> Any:
    """A value that JSON has; None for nan and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
