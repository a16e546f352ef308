"""Auto: what a calibrated profile says pays on this kind of question; without one, a vote that ends when it is safe."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeGuard

from reasoner.catalog import build
from reasoner.controller.choosing import choose
from reasoner.controller.profile import ArmRow, Family, Profile, read_profile
from reasoner.controller.stopping import LockIn, Lossless
from reasoner.controller.worth import EFFORTS, FirstOf, smoothed
from reasoner.errors import BudgetExhausted, ReasonerError, UsageError, require, require_choice
from reasoner.plan import Plan, Propose, check_n, note, propose, sample, stopped
from reasoner.protocols import Calibrated, Strategy
from reasoner.specs import Spec
from reasoner.types import Answer, Completion, Question, SamplingParams, Standing
from reasoner_strategies._voting.pool import vote
from reasoner_strategies.self_consistency import SelfConsistency

Effort = Literal["low", "medium", "high"]
DELTAS: Mapping[Effort, float] = {"low": 0.1, "medium": 0.05, "high": 0.01}
"""Where nothing is calibrated: the chance that all `n` samples would have given another answer, at which to stop."""
SPLIT = 4
"""Samples whose agreement tells how hard a question is, where the profile says so."""


class _Arm(NamedTuple):
    """One way to spend, and why it is the one."""

    strategy: Strategy
    spec: str
    why: str
    row: ArmRow | None = None


@dataclass(frozen=True, slots=True)
class Auto:
    """Chooses by a calibrated profile how to spend on a question; without one, votes until the lead is safe.

    With a `profile` (a file that `reasoner calibrate` wrote; `task` says which of its families, where there are more
    than one) the question's difficulty is told by what the family found to tell it: its length, or its first sample or
    four. Of the arms measured on such questions that one is chosen which loses an answer of the baseline's with a risk
    of `epsilon` at most, and beyond which no gain is worth the price of `effort`. Only arms without a budget of their
    own take part. Sequences are drawn as they were when it was measured. A vote goes on from the samples drawn so far.

    Without one it is self-consistency of `n` with the rules `lossless` and `lock_in`, whose delta is 0.1, 0.05 or 0.01
    with `effort` low, medium or high.

    Where the calibrated chance that the answer is right is below `abstain_below`, it says nothing instead.
    """

    profile: str = ""
    task: str = ""
    effort: Effort = "medium"
    n: int = 16
    epsilon: float = 0.02
    abstain_below: float = 0.0
    params: SamplingParams = SamplingParams()
    _model: str = field(init=False, repr=False, compare=False)
    _family: Family | None = field(init=False, repr=False, compare=False)
    _drawing: SamplingParams = field(init=False, repr=False, compare=False)
    """How sequences are drawn: as those of the baseline were, where there is one."""
    _arms: tuple[_Arm, ...] = field(init=False, repr=False, compare=False)
    """What is chosen in each bin."""

    def __post_init__(self) -> None:
        self._check()
        profile = read_profile(Path(self.profile)) if self.profile else None
        family = _family(profile, self.task) if profile else None
        object.__setattr__(self, "_model", profile.model if profile else "")
        object.__setattr__(self, "_family", family)
        object.__setattr__(self, "_drawing", self._as_measured(family) if family else self.params)
        object.__setattr__(self, "_arms", self._choose(family) if family else (self._voting("nothing is calibrated"),))

    def _check(self) -> None:
        check_n(self.n)
        require_choice(self.effort, "effort", DELTAS)
        require(self.epsilon, "epsilon", at_least=0, at_most=1)
        require(self.abstain_below, "abstain_below", at_least=0, at_most=1)
        if not self.profile and (self.task or self.abstain_below):
            given = f"task={self.task}" if self.task else f"abstain_below={self.abstain_below}"
            raise UsageError(f"{given} needs a profile: write one with `reasoner calibrate`, and give its file")

    def _choose(self, family: Family) -> tuple[_Arm, ...]:
        servable = family.model_copy(update={"arms": tuple(row for row in family.arms if _servable(row))})
        chosen = []
        for place in range(family.bins.count):
            choice = choose(servable, place, price=EFFORTS[self.effort], epsilon=self.epsilon)
            if (row := choice.row) is None:
                chosen.append(self._voting(choice.why))
            else:
                chosen.append(_Arm(build("strategy", row.strategy), row.strategy, choice.why, row))
        return tuple(chosen)

    def _voting(self, why: str) -> _Arm:
        stop = FirstOf((Lossless(), LockIn(delta=DELTAS[self.effort])))
        voting = SelfConsistency(self.n, self._drawing, stop=stop)
        return _Arm(voting, f"a vote of up to {self.n} until its lead is safe", why)

    def _as_measured(self, family: Family) -> SamplingParams:
        baseline = build("strategy", family.baseline)
        measured = baseline.params if isinstance(baseline, SelfConsistency) else self.params
        if self.params not in (SamplingParams(), measured):
            raise UsageError("with a profile, sequences are drawn as it was measured: leave out how, or calibrate anew")
        return measured

    @property
    def uses_verifier(self) -> bool:
        """Only where a strategy that may be chosen does."""
        return any(arm.strategy.uses_verifier for arm in self._arms)

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The specs of the verifiers with which the strategies that may be chosen were measured."""
        rows = [arm.row for arm in self._arms if arm.row and arm.strategy.uses_verifier]
        return tuple(sorted({row.verifier for row in rows} - {""}))

    @property
    def price(self) -> float | None:
        """What a mean sample has to gain in the chance of a right answer; None where nothing is calibrated."""
        return EFFORTS[self.effort] if self._family else None

    @property
    def measured_on(self) -> Calibrated | None:
        """What the calibration saw of the arms that may be chosen; None without a profile, or where it decides none."""
        rows = [arm.row for arm in self._arms if arm.row]
        if self._family is None or len(rows) < len(self._arms):
            return None
        total = sum(row.questions for row in rows)
        mean = sum(row.share * row.questions for row in rows) / total
        square = sum((row.share_sd**2 + (row.share - mean) ** 2) * row.questions for row in rows) / total
        return Calibrated(self._model, total, mean, math.sqrt(square))

    @property
    def calibrated_on(self) -> int:
        """How many questions its confidence was calibrated on; 0 without a profile."""
        return self._family.trust.questions if self._family else 0

    def confidence(self, standing: Standing) -> float | None:
        """The calibrated chance that the leader is right; None without a profile, and where nothing leads."""
        if self._family is None or standing.leader is None:
            return None
        return self._family.trust.chance(smoothed(standing))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Tell how hard it is, choose, do that; say nothing where that is not sure enough."""
        arm, drawn = yield from self._look(question)
        standing = Standing()
        yield from note(f"chose {arm.spec}: {arm.why}")
        if drawn and _goes_on(arm.strategy, self._drawing):
            plan = arm.strategy.continued(question, drawn)
        else:
            if drawn:
                yield from note(f"the {len(drawn)} drawn to tell how hard it is are spent: what was chosen draws anew")
                standing = yield from vote(question, drawn)
                yield from propose(standing.leader, standing)
            plan = arm.strategy.plan(question)
        answer, standing = yield from _followed(plan, standing)
        sure = self.confidence(standing)
        if sure is not None and sure < self.abstain_below:
            yield from stopped(f"not sure: right with a chance of {sure:.2f}, and {self.abstain_below:g} is asked for")
            yield from propose(None, standing)
            return None
        return answer

    def _look(self, question: Question) -> Plan[tuple[_Arm, Sequence[Completion]]]:
        """The arm of the question's bin, and the samples that it took to tell which that is."""
        bins = self._family.bins if self._family else None
        if bins is None or bins.signal == "none":
            return self._arms[0], ()
        if bins.signal == "prompt":
            return self._arms[bins.place(len(question.text))], ()
        params = self._drawing
        if bins.signal == "split":
            drawn = yield from sample(question.prompt, n=SPLIT, params=params)
            standing = yield from vote(question, drawn)
            return self._arms[bins.place(standing.share)], drawn
        drawn = yield from sample(question.prompt, params=replace(params, logprobs=params.logprobs or 0))
        logprobs = drawn[0].logprobs.sampled if drawn[0].logprobs else ()
        if not logprobs:
            return self._voting("the first sample tells no log-probabilities"), drawn
        return self._arms[bins.place(-sum(logprobs) / len(logprobs))], drawn


def _family(profile: Profile, task: str) -> Family:
    if not task and len(profile.families) == 1:
        return profile.families[0]
    if not task:
        names = ", ".join(family.task for family in profile.families)
        raise UsageError(f"the profile was measured on several tasks: add task=NAME, one of {names}")
    return profile.family(task)


def _servable(row: ArmRow) -> bool:
    """Whether a plan can do it: it has no budget to keep to, and it chooses nothing itself."""
    return not row.budget and Spec.parse(row.strategy).name != "auto"


def _goes_on(strategy: Strategy, drawn_as: SamplingParams) -> TypeGuard[SelfConsistency]:
    """Whether samples drawn so may have their vote in it; keeping log-probabilities changes no sample."""
    if not isinstance(strategy, SelfConsistency) or strategy.of is not None:
        return False
    return replace(strategy.params, logprobs=None) == replace(drawn_as, logprobs=None)


def _followed(plan: Plan[Answer | None], standing: Standing) -> Plan[tuple[Answer | None, Standing]]:
    """The plan as it is, after this standing; what it answers, and where the votes stood in the end."""
    told, step = Propose(standing.leader, standing), partial(plan.send, None)
    while True:
        try:
            op = step()
        except StopIteration as end:
            return end.value or told.answer, told.standing
        except BudgetExhausted:
            return told.answer, told.standing
        told = op if isinstance(op, Propose) else told
        try:
            step = partial(plan.send, (yield op))
        except ReasonerError as error:
            step = partial(plan.throw, error)
