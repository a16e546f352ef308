"""Orm: rates a whole candidate by the score of an outcome reward model at its end."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine
from reasoner.types import Part
from reasoner.verifier import CostMeter
from reasoner_verifiers.reward.model import RewardVerifier


@dataclass(frozen=True, slots=True)
class Orm(RewardVerifier):
    """Rates a candidate by a reward model in a separate process.

    `model` is "embedded" (the head that comes with the embedded model), a head's file, the folder of a model or a
    Hugging Face id. `recipe` says how the model is read; "auto" recognises it. A head reads the policy's own token ids,
    at the last one before the end-of-sequence token. Of a model that thinks, only the final part is read.
    `max_model_len`, `kv_gib`, `gpu_memory_utilization` and `dtype` are options of its engine, as is any other argument
    of vLLM, such as `device_ids`. `args` is a YAML or JSON file of vLLM's arguments.
    """

    rates: ClassVar[Literal["outcome"]] = "outcome"
    separator: ClassVar[str] = ""
    part: ClassVar[Part] = "final"

    model: str = "embedded"
    recipe: Literal["auto", "head", "sequence_classification"] = "auto"

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The score of one candidate; free if it was scored before."""
        [value] = await self._scores(question, candidate, policy, cost_meter)
        return Rating(value, cost_meter.cost or Cost())
