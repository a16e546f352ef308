"""The driver's side of a host: its calls, how they end and what they cost."""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from reasoner.engine import SampleRequest, Usage, UsageMeter
from reasoner.engines.ray.host import (
    Call,
    CallOutcome,
    RemoteLengths,
    RemotePiece,
    ToDriver,
    ToReplica,
    packed_request,
)
from reasoner.errors import ReasonerError


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
                        if call and call.request and call.request.progress:
                            call.request.progress.reached(tokens)
                case _:
                    outcome = CallOutcome(*message)
                    if pending := self._pending.pop(outcome.number, None):
                        pending.outcome.set_result(outcome)

    def lose(self, error: ReasonerError) -> None:
        """The host is gone: all calls end with an error."""
        pending, self._pending = self._pending, {}
        self._unsent, self._cancels = {}, []
        for lost in pending.values():
            if not lost.outcome.done():
                lost.outcome.set_exception(error)
