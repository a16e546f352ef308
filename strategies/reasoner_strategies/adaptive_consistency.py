"""Adaptive-Consistency: vote until the leader is unlikely to be overtaken."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import Answer, Question, SamplingParams
from reasoner.specs import Chance, CheckedOptions, Count, Samples
from reasoner.stopping.rules import BetaRule, DirichletRule, Order
from reasoner.strategy import Plan
from reasoner_strategies._voting.stopping_vote import stopping_vote


@dataclass(frozen=True, slots=True)
class AdaptiveConsistency(CheckedOptions):
    """Majority vote that stops once its leader is likely ahead (Aggarwal 2023, 2305.11860).

    The probability is `theta`. `rule` "beta" compares the leader with the runner-up in closed form; "dirichlet" with
    every answer seen. `n` is the maximum of samples. They are counted by length or in launch order, with up to `window`
    in flight, as `self_consistency` counts them with a rule. The paper draws one after the other: `order=launch,
    window=1`.

    A high `theta` does not guarantee the right mode: see `BetaRule`. If all answers are equally likely it draws all
    `n`.
    """

    listed_under: ClassVar[str] = "Votes that stop early"
    uses_verifier: ClassVar[bool] = False

    n: Samples = 40
    theta: Chance = 0.95
    order: Order = "length"
    window: Count | None = None
    rule: Literal["beta", "dirichlet"] = "beta"
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Count sample by sample; stop when the rule says so."""
        rule = (
            BetaRule(self.theta) if self.rule == "beta" else DirichletRule(self.theta)
        )
        return (
            yield from stopping_vote(
                question,
                self.params,
                n=self.n,
                rule=rule,
                order=self.order,
                window=self.window,
            )
        )
