"""How a sequence is sampled, and how much a model is asked to think."""

from dataclasses import dataclass
from typing import Final, Literal

from reasoner.errors import UsageError, require, shown
from reasoner.tokens import TokenIds

ThinkingLevel = Literal["none", "low", "medium", "high"] | int
"""How much a model is asked to think: not at all, by its own levels, or at most so many tokens."""
NO_THINKING: Final = "none"
"""The thinking level that asks for an answer without thinking."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a sequence is sampled.

    `top_k` 0 and `top_p` 1 mean no cut. `logprobs` is the number of alternatives per token: 0 keeps only the sampled
    token's log-probability, None keeps nothing. `stop` strings end only what follows the thinking, unless
    `stop_in_thinking` is set. `lora` is an adapter of the model: a folder or a Hugging Face id; on a server the name
    that it has there.
    """

    temperature: float = 0.7
    max_tokens: int = 512
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: TokenIds = ()
    logprobs: int | None = None
    stop_in_thinking: bool = False
    lora: str = ""

    def __post_init__(self) -> None:
        require(self.temperature, "temperature", at_least=0, at_most=10)
        require(self.max_tokens, "max_tokens", at_least=1, whole=True)
        require(self.top_p, "top_p", above=0, at_most=1)
        require(self.top_k, "top_k", at_least=0, whole=True)
        require(self.min_p, "min_p", at_least=0, at_most=1)
        require(self.logprobs, "logprobs", at_least=0, at_most=20, whole=True)
        if isinstance(self.stop, str):
            raise UsageError(f"stop must be a tuple of strings (got {shown(self.stop)}): write stop=({self.stop!r},)")
        if "" in self.stop:
            raise UsageError("stop='' is empty: a stop string must have at least one character")
