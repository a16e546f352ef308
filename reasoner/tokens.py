"""Tokens of a sequence: their ids, their counts, their log-probabilities."""

from dataclasses import dataclass

from reasoner.system.foreign import fault_in

TokenIds = tuple[int, ...]
"""Token ids of the model's own vocabulary."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one sequence as the engine counted them; `cached_tokens` of the prompt were not computed.

    `thinking_tokens` are those of the generated ones that belong to thinking, its markers included.
    If one request that counts the prompt once generated several sequences, only the first has prompt tokens.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    thinking_tokens: int = 0

    @property
    def fault(self) -> str:
        """What is wrong with the counts, which an engine reported; empty if nothing is."""
        counts = (("prompt_tokens", self.prompt_tokens), ("cached_tokens", self.cached_tokens),
                  ("generated_tokens", self.generated_tokens), ("thinking_tokens", self.thinking_tokens))  # fmt: skip
        if fault := fault_in(counts):
            return fault
        if self.cached_tokens > self.prompt_tokens:
            return f"cached_tokens={self.cached_tokens} is more than prompt_tokens={self.prompt_tokens}"
        if self.thinking_tokens > self.generated_tokens:
            return f"thinking_tokens={self.thinking_tokens} is more than generated_tokens={self.generated_tokens}"
        return ""


NO_LOGPROB = -9999.0
"""Represents a log-probability of minus infinity, which JSON does not have. Only watched tokens can have it."""


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Natural-log probabilities, one entry per token.

    They are of the sampled token, of the best alternatives (best first), and of the token ids that the request watched.
    """

    sampled: tuple[float, ...] = ()
    top: tuple[tuple[float, ...], ...] = ()
    watched: tuple[tuple[float, ...], ...] = ()
