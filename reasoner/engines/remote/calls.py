"""The driver's side of hosts: calls, how they end and what they cost, and what engines in other processes share."""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from reasoner.engine import (
    Continuation,
    EngineError,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    TokenIds,
    Usage,
    UsageMeter,
)
from reasoner.engines import SharedHeads, say_nothing
from reasoner.engines.remote.host import (
    Call,
    CallOutcome,
    HostFacts,
    RemoteLengths,
    RemotePiece,
    ToDriver,
    ToReplica,
    packed_request,
)
from reasoner.errors import ReasonerError
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


class _Pending(NamedTuple):
    """A call that waits for its outcome, and the request that it samples, if any."""

    outcome: "asyncio.Future[CallOutcome]"
    request: SampleRequest | None


class HostCalls:
    """The calls to one host; `wake` is called when there is something to send."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._numbers = itertools.count(1)
        self._unsent: dict[int, Call] = {}
        self._cancels: list[int] = []
        self._pending: dict[int, _Pending] = {}
        self.lengths: dict[int, int] = {}
        """The tokens of the replies to calls that still run, as far as the host has said."""

    @property
    def unsent(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent or self._cancels)

    @property
    def pending(self) -> bool:
        """Whether calls wait for their outcomes."""
        return bool(self._pending)

    def take(self) -> list[ToReplica]:
        """What there is to send."""
        batch: list[ToReplica] = [*self._unsent.values(), *self._cancels]
        self._unsent, self._cancels = {}, []
        return batch

    async def send(
        self, method: str, *arguments: Any, request: SampleRequest | None = None
    ) -> CallOutcome:
        """How a call of a method ended. A call of `sample` takes a request instead of arguments, and fills its meter.

        A cancelled call is cancelled in the host too.

        Raises:
            ReasonerError: the host was lost.
        """
        number, ended, meter = (
            next(self._numbers),
            asyncio.get_running_loop().create_future(),
            UsageMeter(),
        )
        if request:
            arguments = (
                packed_request(request),
                request.on_text is not None,
            )
            meter = request.meter
        self._pending[number] = _Pending(ended, request)
        self._unsent[number] = number, method, arguments
        self._wake()
        try:
            outcome: CallOutcome = await asyncio.shield(ended)
        except asyncio.CancelledError:
            await self._cancel(number, ended, meter)
            raise
        meter.usage, meter.preemptions = outcome.usage, outcome.preemptions
        return outcome

    async def _cancel(
        self, number: int, ended: "asyncio.Future[CallOutcome]", meter: UsageMeter
    ) -> None:
        """Cancel a call in the host and write what it has cost, unless that stays unknown."""
        if self._unsent.pop(number, None):
            del self._pending[number]
            meter.usage = Usage()
            return
        if number in self._pending:
            self._cancels.append(number)
            self._wake()
        # Else it ended before the cancellation arrived here.
        with suppress(ReasonerError):
            outcome = await asyncio.shield(ended)
            meter.usage, meter.preemptions = outcome.usage, outcome.preemptions

    def receive(self, messages: list[ToDriver]) -> None:
        """Take the news of a host."""
        for message in messages:
            match message:
                case RemotePiece():
                    call = self._pending.get(message.number)
                    if call and call.request and call.request.on_text:
                        call.request.on_text(message.piece)
                case RemoteLengths():
                    for number, tokens in message.tokens:
                        call = self._pending.get(number)
                        if call and call.request:
                            self.lengths[number] = tokens
                            if call.request.progress:
                                call.request.progress.reached(tokens)
                case _:
                    outcome = CallOutcome(*message)
                    self.lengths.pop(outcome.number, None)
                    if pending := self._pending.pop(outcome.number, None):
                        pending.outcome.set_result(outcome)

    def lose(self, error: ReasonerError) -> None:
        """The host is gone: all calls end with an error."""
        pending, self._pending, self.lengths = self._pending, {}, {}
        self._unsent, self._cancels = {}, []
        for lost in pending.values():
            if not lost.outcome.done():
                lost.outcome.set_exception(error)
