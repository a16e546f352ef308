"""A process reward model: a score for every step of a candidate, and one of them all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import UsageError, require_choice
from reasoner.models.dtype import DType
from reasoner.protocols import Engine, Tab
from reasoner.types import Completion, Question, Rating
from reasoner_verifiers.reward.model import Options, Running
from reasoner_verifiers.reward.recipes import RECIPES

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "mean": lambda steps: math.fsum(steps) / len(steps),
    "product": math.prod,
}
"""How the scores of steps become one: what prunes a search is what chooses the answer."""


@dataclass(frozen=True, slots=True)
class Prm:
    """Rates every step of a candidate by a reward model, and never a step twice.

    Steps end at `separator` in what was generated. The rating's value is the
    `aggregate` of its steps. `model` "embedded" is the head that comes with the embedded model; else it is a head's
    file, the folder of a model or a Hugging Face id; one that the policy serves as well is not loaded again. `recipe`
    says how it is read, "auto" by what it is. `max_model_len`, `kv_gib`, `gpu_memory_utilization` and `dtype` are
    those of its engine.
    """

    model: str = "embedded"
    recipe: Literal["auto", "head", "qwen_math_prm", "skywork_prm", "rlhflow", "math_shepherd"] = "auto"
    aggregate: Literal["last", "min", "mean", "product"] = "last"
    separator: str = "\n\n"
    max_model_len: int = 0
    kv_gib: float = 0.5
    gpu_memory_utilization: float = 0.0
    dtype: DType = "auto"
    running: Running = field(default_factory=Running, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_choice(self.aggregate, "aggregate", AGGREGATES)
        step_recipes = (name for name, recipe in RECIPES.items() if recipe.rates != "outcome")
        require_choice(self.recipe, "recipe", ("auto", *step_recipes))
        if not self.separator:
            raise UsageError(
                r'separator must not be empty: give one, as in separator="\n\n", or use the verifier `orm`'
            )

    @property
    def logprobs(self) -> None:
        """None: it reads tokens, not their probabilities."""

    @property
    def _options(self) -> Options:
        return Options(
            self.model,
            self.recipe,
            "steps",
            self.separator,
            self.max_model_len,
            self.kv_gib,
            self.gpu_memory_utilization,
            self.dtype,
        )

    async def claim(self, policy: Engine) -> None:
        """Claim the reward model's part of the policy's GPU, before the policy starts."""
        await self.running.claim(self._options, policy)

    async def start(self, policy: Engine) -> None:
        """Start the reward model beside the policy."""
        await self.running.start(self._options, policy)

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """Every token that may have to be read, none of them cached."""
        await self.start(policy)
        model = self.running.started
        return model.bound(await model.lay(question, candidate, policy))

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """The scores of all steps and their aggregate; only the steps that were not scored before cost anything.

        Raises:
            VerifierError: it cannot be read by this model, or scores and steps differ in number.
            EngineError: the reward model failed.
        """
        await self.start(policy)
        model = self.running.started
        steps = await model.scores(await model.lay(question, candidate, policy), (question, candidate), tab)
        assert tab.cost is not None
        return Rating(AGGREGATES[self.aggregate](steps), tab.cost, steps)

    async def forget(self) -> None:
        """Forget all scores, and the reward model's prefixes."""
        await self.running.forget()

    async def close(self) -> None:
        """Stop the reward model."""
        await self.running.close()
