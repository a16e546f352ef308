"""What engines that run in other processes have in common."""

from dataclasses import dataclass, field, replace
from typing import Any

from reasoner.engine import (
    Continuation,
    EngineError,
    ModelInfo,
    RenderedPrompt,
    TokenIds,
)
from reasoner.engines import SharedHeads, say_nothing
from reasoner.engines.remote.host import HostFacts
from reasoner.models.thinking import still_thinking
from reasoner.types import Notify, Prompt


@dataclass(slots=True)
class RemoteEngine:
    """An engine in other processes: what its hosts say of it, and heads that are rendered there, each once."""

    notify: Notify = field(default=say_nothing, init=False, repr=False)
    stage: Notify = field(default=say_nothing, init=False, repr=False)
    """Receives the name of each stage of the start as it begins."""
    _facts: tuple[HostFacts, ...] = field(
        default=(), init=False, repr=False, compare=False
    )
    """What each host said when its engine had started; empty before the start."""
    _heads: SharedHeads[RenderedPrompt] = field(
        default_factory=SharedHeads, init=False, repr=False, compare=False
    )

    @property
    def model(self) -> ModelInfo:
        """The model that the hosts serve."""
        if not self._facts:
            raise EngineError("the engine is not started")
        return self._facts[0].model

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the hosted engine."""
        return self._facts[0].notes if self._facts else ()

    @property
    def capacity(self) -> int | None:
        """Tokens in the smallest KV cache of a host."""
        return min(
            (facts.capacity for facts in self._facts if facts.capacity is not None),
            default=None,
        )

    @property
    def continues(self) -> Continuation | None:
        """As the hosted engine does."""
        return self._facts[0].continues if self._facts else None

    @property
    def limits_thinking(self) -> bool:
        """Whether the hosted engine ends thinking itself at a number of tokens."""
        return bool(self._facts) and self._facts[0].limits_thinking

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The head as a host renders it, once; then the generated ids."""
        bare = (
            replace(prompt, token_ids=(), text="", thinking="")
            if _grown(prompt)
            else prompt
        )
        # The samples of a question begin at once, and one asks for all.
        head = await self._heads.get(
            bare.head_digest, lambda: self._call(bare, "render", bare)
        )
        if not _grown(prompt):
            return head
        if head.token_ids is None:
            rendered: RenderedPrompt = await self._call(prompt, "render", prompt)
            return rendered
        ids = head.token_ids + prompt.token_ids
        in_thinking = still_thinking(
            prompt, self.model.thinking, opened=head.in_thinking
        )
        return RenderedPrompt(ids, len(ids), in_thinking)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a piece of text that continues a reply."""
        ids: TokenIds | None = await self._call(Prompt(raw=text or "-"), "encode", text)
        return ids

    async def _call(self, prompt: Prompt, method: str, *arguments: Any) -> Any:
        """What a method returns that any host can run."""
        raise NotImplementedError


def _grown(prompt: Prompt) -> bool:
    return bool(prompt.token_ids or prompt.text or prompt.thinking)
