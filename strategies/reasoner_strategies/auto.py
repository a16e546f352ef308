"""Auto: the strategy that a calibrated profile chooses for the question; without one, a vote with a safe stop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from reasoner import Answer, Completion, Question, SamplingParams, VoteState
from reasoner.calibration.arm_selection import Prefer, promised, worthwhile
from reasoner.calibration.profile import ArmRow, Family, read_profile
from reasoner.calibration.promises import fewest, least_share
from reasoner.errors import ReasonerError, UsageError
from reasoner.registry import build
from reasoner.specs import CheckedOptions, FilePath, Samples, Share, Spec
from reasoner.stopping.rules import (
    RISKS,
    BetaRule,
    FirstOf,
    LockIn,
    Lossless,
    Order,
    smoothed,
)
from reasoner.stopping.vote_posteriors import most_lost
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Propose,
    StopRule,
    Strategy,
    note,
    note_stop,
    sample,
)
from reasoner.system.printing import counted
from reasoner_strategies._voting.pool import proposed, vote
from reasoner_strategies.self_consistency import SelfConsistency

Effort = Literal["low", "medium", "high"]
DELTAS: Mapping[Effort, float] = {"low": 0.1, "medium": 0.05, "high": 0.01}
"""Without a profile: the vote stops when all `n` samples would give another answer with at most this probability."""
THETAS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""With a risk and without a profile: the vote stops when its lead is this probable, the first that keeps the risk."""
SPLIT = 4
"""The number of samples that are drawn to measure difficulty by their agreement, if the profile's bins use it."""


class _Arm(NamedTuple):
    """A chosen strategy, and the reason."""

    strategy: Strategy
    spec: str
    why: str
    row: ArmRow | None = None


@dataclass(frozen=True, slots=True)
class Auto(CheckedOptions):
    """Best strategy for each question, chosen by a profile.

    Without a profile, it votes until the lead is safe.

    With a `profile` (a file that `reasoner tune` writes; `task` chooses one of its families, if it has several) the
    difficulty of a question is measured as the family's bins do: by its length or its first four samples. Only arms
    without a budget of their own are considered. Sequences are drawn with the sampling options of the calibration. A
    vote continues from the samples drawn so far.

    With `risk`, it is the cheapest vote that loses at most this much accuracy against the vote of all samples, with 95
    % confidence: 0.01 is one point. It holds at any size of the calibration, and without one. Without `risk` it is the
    arm that is expected to be worth most, of those expected to lose at most 5, 2 or 1 points with `effort` low, medium
    or high; a sample must gain a fifth of that. It is expected by what was lost on the questions, however few, and 30
    more like those of other models; what is promised is in the trace. The cheapest takes the fewest tokens, or with
    `prefer` latency the fewest sequential tokens.

    Without a profile and a risk it is self-consistency of `n` with the rules `lossless` and `lock_in`; its delta is
    0.1, 0.05 or 0.01 with `effort` low, medium or high. Samples are counted in launch order, few at a time. With
    `prefer` latency they are counted by length, many at a time, and the rules are `lossless` and `beta` with theta 0.9,
    0.95 or 0.99; with a `risk` it is `lossless` alone.

    It abstains if the calibrated probability that the answer is right is below `abstain_below`, and with `abstain_risk`
    so often that at most this share of its answers is wrong, with 95 % confidence. Arms that draw only one sample are
    then not considered, as one sample does not show how sure a model is.
    """

    listed_under: ClassVar[str] = "Votes that stop early"

    profile: FilePath = ""
    task: str = ""
    effort: Effort = "medium"
    prefer: Prefer = "tokens"
    n: Samples = 16
    risk: Share = 0.0
    abstain_below: Share = 0.0
    abstain_risk: Share = 0.0
    params: SamplingParams = SamplingParams()
    _content: int = field(init=False, repr=False)
    """The hash of the family: with another content of the file it is another strategy."""
    _model: str = field(init=False, repr=False, compare=False)
    _family: Family | None = field(init=False, repr=False, compare=False)
    _sampling: SamplingParams = field(init=False, repr=False, compare=False)
    """The sampling options: those of the baseline, if there is one."""
    _arms: tuple[_Arm, ...] = field(init=False, repr=False, compare=False)
    """The chosen arm of each bin."""
    _least: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """The smoothed share of the vote below which it abstains, of each bin."""

    def complete(self) -> None:
        needing = {
            name: getattr(self, name)
            for name in ("task", "abstain_below", "abstain_risk")
        }
        if not self.profile and (
            given := next((f"{name}={x}" for name, x in needing.items() if x), "")
        ):
            raise UsageError(
                f"{given} needs a profile: write one with `reasoner tune` and set profile=FILE"
            )
        profile = read_profile(Path(self.profile)) if self.profile else None
        family = profile.family(self.task) if profile else None
        object.__setattr__(self, "_content", hash(family))
        object.__setattr__(self, "_model", profile.model if profile else "")
        object.__setattr__(self, "_family", family)
        object.__setattr__(
            self, "_sampling", self._as_measured(family) if family else self.params
        )
        object.__setattr__(
            self, "_arms", self._choose(family) if family else (self._voting(),)
        )
        object.__setattr__(self, "_least", tuple(map(self._least_share, self._arms)))

    def _choose(self, family: Family) -> tuple[_Arm, ...]:
        # A plan can follow arms without a budget of their own, but not `auto` itself.
        rows = [
            row
            for row in family.arms
            if not row.budget and Spec.parse(row.strategy).name != "auto"
        ]
        if self.abstain_below:
            rows = [
                row
                for row in rows
                if row.samples > 1 or row.strategy in (family.baseline, family.safe)
            ]
        if self.abstain_risk:
            # The arm must not depend on the answers that the promise counts.
            rows = [
                row for row in rows if row.strategy in (family.baseline, family.safe)
            ]
        servable = family.model_copy(update={"arms": tuple(rows)})
        if self.prefer == "latency" and all(
            row.sequential_tokens is None for row in rows
        ):
            raise UsageError(
                "prefer=latency needs sequential tokens, and this profile has none: calibrate again"
            )
        chosen, risk = (
            (promised, self.risk) if self.risk else (worthwhile, RISKS[self.effort])
        )
        choices = (
            chosen(servable, index, risk, self.prefer)
            for index in range(family.bins.count)
        )
        return tuple(
            _Arm(build("strategy", c.row.strategy), c.row.strategy, c.why, c.row)
            for c in choices
        )

    def _least_share(self, arm: _Arm) -> float:
        if not (self.abstain_risk and arm.row and self._family):
            return 0.0
        bins, trust = self._family.bins, arm.row.trust
        least = least_share(
            trust.shares, trust.answered, trust.right, self.abstain_risk, bins.count
        )
        if least is None and bins.count == 1:
            raise UsageError(
                f"abstain_risk={self.abstain_risk:g} cannot be promised by {counted(arm.row.questions, 'question')}: "
                f"calibrate on more (at least {fewest(self.abstain_risk)} answers that are all right), or allow more"
            )
        return 1.0 if least is None else least

    def _voting(self) -> _Arm:
        delta, why = DELTAS[self.effort], "nothing is calibrated"
        order: Order = "launch"
        rules: tuple[StopRule, ...] = (LockIn(delta),)
        if self.risk:
            why = f"it loses at most {100 * self.risk:g} points against the vote of all, by its rule"
            rules = tuple(
                BetaRule(theta)
                for theta in THETAS
                if most_lost(theta, self.n) <= self.risk
            )[:1]
        if self.prefer == "latency":
            # By length the short samples come first; no law but `lossless` knows how the long ones differ.
            rules, order = () if self.risk else (BetaRule(1 - delta),), "length"
        voting = SelfConsistency(
            self.n, self._sampling, stop=FirstOf((Lossless(), *rules)), order=order
        )
        return _Arm(voting, f"a vote of up to {self.n} until its lead is safe", why)

    def _as_measured(self, family: Family) -> SamplingParams:
        baseline = build("strategy", family.baseline)
        measured = (
            baseline.params if isinstance(baseline, SelfConsistency) else self.params
        )
        if self.params not in (SamplingParams(), measured):
            raise UsageError(
                "a profile sets the sampling options: leave them out, or calibrate again with these"
            )
        return measured

    @property
    def uses_verifier(self) -> bool:
        """Only if a strategy that may be chosen does."""
        return any(arm.strategy.uses_verifier for arm in self._arms)

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The specs of the verifiers used in the calibration of the strategies that may be chosen."""
        rows = [arm.row for arm in self._arms if arm.row and arm.strategy.uses_verifier]
        return tuple(sorted({row.verifier for row in rows} - {""}))

    @property
    def measured_on(self) -> str:
        """The model of the calibration; empty without a profile."""
        return self._model if any(arm.row for arm in self._arms) else ""

    @property
    def calibrated_on(self) -> int:
        """The number of questions its confidence was calibrated on; 0 without a profile."""
        return self._family.questions if self._family else 0

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Measure the difficulty, choose a strategy, follow it; abstain if its answer is not sure enough."""
        arm, drawn = yield from self._chosen(question)
        yield from note(f"chose {arm.spec}: {arm.why}")
        answer, last = yield from _followed(
            self._continued(arm, question, drawn), arm.row
        )
        if last.confidence is not None and (doubt := self._doubt(arm, last)):
            yield from note_stop(
                f"not sure: right with probability {last.confidence:.2f}, {doubt}"
            )
            yield replace(last, answer=None)
            return None
        return answer

    def _doubt(self, arm: _Arm, last: Propose) -> str:
        """Why it abstains from its last proposal; empty where it does not."""
        if (last.confidence or 0.0) < self.abstain_below:
            return f"below {self.abstain_below:g}"
        if smoothed(last.vote_state) < self._least[self._arms.index(arm)]:
            return f"and with less sure answers more than {100 * self.abstain_risk:g} % may be wrong"
        return ""

    def _continued(
        self, arm: _Arm, question: Question, drawn: Sequence[Completion]
    ) -> Plan[Answer | None]:
        """The plan of an arm, which votes over the samples drawn so far if it can."""
        strategy = arm.strategy
        voting = (
            strategy
            if isinstance(strategy, SelfConsistency) and strategy.of is None
            else None
        )
        # Keeping log-probabilities changes no sample.
        if (
            drawn
            and voting
            and replace(voting.params, logprobs=None)
            == replace(self._sampling, logprobs=None)
        ):
            return (yield from voting.continued(question, drawn))
        if drawn:
            yield from note(
                f"not used by this strategy: {counted(len(drawn), 'sample')} drawn to measure difficulty"
            )
            yield from proposed(vote(question, drawn))
        return (yield from strategy.plan(question))

    def _chosen(self, question: Question) -> Plan[tuple[_Arm, Sequence[Completion]]]:
        """The arm of the question's bin, and the samples that were drawn to find the bin."""
        bins = self._family.bins if self._family else None
        if bins is None or bins.signal == "none":
            return self._arms[0], ()
        if bins.signal == "prompt":
            return self._arms[bins.index(len(question.text))], ()
        drawn = yield from sample(question.prompt, n=SPLIT, params=self._sampling)
        vote_state = yield from vote(question, drawn)
        return self._arms[bins.index(vote_state.share)], drawn


def _followed(
    plan: Plan[Answer | None], row: ArmRow | None
) -> Plan[tuple[Answer | None, Propose]]:
    """Follow a plan and add to its proposals how sure they are by the profile; its answer and its last proposal."""
    proposal, step = Propose(None, VoteState()), partial(plan.send, None)
    while True:
        try:
            op = step()
        except StopIteration as end:
            return end.value or proposal.answer, proposal
        except BudgetExhausted:
            return proposal.answer, proposal
        if isinstance(op, Propose):
            if row and op.vote_state.leader is not None:
                op = replace(
                    op,
                    confidence=row.trust.chance(
                        smoothed(op.vote_state), op.vote_state.length
                    ),
                )
            proposal = op
        try:
            step = partial(plan.send, (yield op))
        except ReasonerError as error:
            step = partial(plan.throw, error)
