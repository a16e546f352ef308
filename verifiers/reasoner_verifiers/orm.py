"""An outcome reward model: one score for a whole candidate, read at its end."""

from dataclasses import dataclass, field
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import require_choice
from reasoner.models.dtype import DType
from reasoner.protocols import Engine, Tab
from reasoner.types import Completion, Question, Rating
from reasoner_verifiers.reward.model import Options, Running


@dataclass(frozen=True, slots=True)
class Orm:
    """Rates a candidate by a reward model in a process of its own.

    `model` "embedded" is the head that comes with the embedded model; otherwise it is a head's file, the folder of a
    model or a Hugging Face id. `recipe` says how it is read, "auto" by what it is. A head reads the policy's own token
    ids, at the last one before the end-of-sequence token. `max_model_len`, `kv_gib`, `gpu_memory_utilization` and
    `dtype` are those of its engine.
    """

    model: str = "embedded"
    recipe: Literal["auto", "head", "sequence_classification"] = "auto"
    max_model_len: int = 0
    kv_gib: float = 0.5
    gpu_memory_utilization: float = 0.0
    dtype: DType = "auto"
    running: Running = field(default_factory=Running, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_choice(self.recipe, "recipe", ("auto", "head", "sequence_classification"))

    @property
    def logprobs(self) -> None:
        """None: it reads tokens, not their probabilities."""

    @property
    def _options(self) -> Options:
        return Options(
            self.model,
            self.recipe,
            "outcome",
            "",
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
        """Every token of the prompt and the candidate, none of them cached."""
        await self.start(policy)
        model = self.running.started
        return model.bound(await model.lay(question, candidate, policy))

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """The score of one candidate; free where it was scored before.

        Raises:
            VerifierError: it cannot be read by this model.
            EngineError: the reward model failed.
        """
        await self.start(policy)
        model = self.running.started
        [value] = await model.scores(await model.lay(question, candidate, policy), (question, candidate), tab)
        assert tab.cost is not None
        return Rating(value, tab.cost)

    async def forget(self) -> None:
        """Forget all scores, and the reward model's prefixes."""
        await self.running.forget()

    async def close(self) -> None:
        """Stop the reward model."""
        await self.running.close()
