"""Prm: rates every step of a candidate by a process reward model, and the candidate by an aggregate of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine
from reasoner.errors import UsageError
from reasoner.types import Part
from reasoner.verifier import CostMeter
from reasoner_verifiers.reward.model import RewardVerifier

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "mean": lambda steps: math.fsum(steps) / len(steps),
    "product": math.prod,
}
"""How the scores of steps become one score, both for pruning a search and for choosing an answer."""


@dataclass(frozen=True, slots=True)
class Prm(RewardVerifier):
    """Rates every step of a candidate by a reward model, and never a step twice.

    Steps end at `separator` in the generated text. The rating's value is the `aggregate` of its steps. `model` is
    "embedded" (the head that comes with the embedded model), a head's file, the folder of a model or a Hugging Face id;
    `recipe` says how the model is read; "auto" recognises it.
    If the model of a candidate thinks, `part` says what is read: its "final" part, its "thinking", or "all".
    `max_model_len`, `kv_gib`, `gpu_memory_utilization` and `dtype` are options of its engine, as is any other argument
    of vLLM, such as `device_ids`. `args` is a YAML or JSON file of vLLM's arguments.
    """

    rates: ClassVar[Literal["steps"]] = "steps"

    model: str = "embedded"
    recipe: Literal["auto", "head", "qwen_math_prm"] = "auto"
    aggregate: Literal["last", "min", "mean", "product"] = "last"
    separator: str = "\n\n"
    part: Part = "final"

    def complete(self) -> None:
        RewardVerifier.complete(self)
        if not self.separator:
            raise UsageError(
                r'separator must not be empty: give one, as in separator="\n\n", or use the verifier `orm`'
            )

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The scores of all steps and their aggregate; only steps that were not scored before cost anything."""
        steps = await self._scores(question, candidate, policy, cost_meter)
        return Rating(
            AGGREGATES[self.aggregate](steps), cost_meter.cost or Cost(), steps
        )
