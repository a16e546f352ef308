"""The gate: work enters the ledgers of its question at once, or waits and holds nothing."""

import asyncio
import heapq
import math
from dataclasses import dataclass

from reasoner.budget import Ledger
from reasoner.execution.admission import Admission, LedgerClaim
from reasoner.execution.launching import STARTS


@dataclass(slots=True, eq=False)
class Ticket:
    """One that waits, in the queue of the ledger that is short."""

    number: int
    claim: LedgerClaim
    admission: Admission
    entered: "asyncio.Future[None]"
    short: Ledger


class Gate:
    """Where work waits for room in ledgers.

    Whoever asks enters all ledgers of its question at once, or waits in the queue of the first that is short. There the
    first come is the first served, whichever question it is of, and nobody overtakes one that waits, however little it
    needs. When that ledger has room and another one is short, it moves to the queue of that one.
    """

    def __init__(self) -> None:
        self.queues: dict[Ledger, list[tuple[int, Ticket]]] = {}
        """What waits for each ledger, in heaps by number."""
        self._number = 0

    def enter(
        self, claim: LedgerClaim, admission: Admission, number: float = math.inf
    ) -> Ledger | None:
        """Enter; not where the ledger that is returned is short, or others wait for it who came before this `number`.

        Raises:
            BudgetExhausted: as `Admission.short`.
        """
        if self.queues:
            for ledger in admission.lineage:
                if ledger in self.queues and self.queues[ledger][0][0] < number:
                    return ledger
        short = admission.short(claim)
        if short is None:
            admission.take(claim)
        return short

    async def wait(
        self, claim: LedgerClaim, admission: Admission, short: Ledger
    ) -> None:
        """Enter once the ledger that is `short` has room. Raises as `enter`."""
        self._number += 1
        entered = asyncio.get_running_loop().create_future()
        ticket = Ticket(self._number, claim, admission, entered, short)
        self._queue(ticket)
        try:
            await entered
        except asyncio.CancelledError:
            if entered.cancelled():
                self.advance(ticket.short)
            elif not entered.exception():
                self.leave(claim, admission)
            raise

    def leave(self, claim: LedgerClaim, admission: Admission) -> None:
        """Settle, and let those enter that wait for these ledgers. Raises as `Ledger.settle`."""
        try:
            admission.give(claim)
        finally:
            if self.queues:
                self.advance(*admission.lineage)

    def advance(self, *ledgers: Ledger) -> None:
        """Let all enter that have waited longest for these ledgers and find room."""
        for ledger in ledgers:
            if ledger in self.queues:
                self._advance(ledger, self.queues[ledger])

    def _advance(self, ledger: Ledger, queue: list[tuple[int, Ticket]]) -> None:
        while queue:
            ticket, short = queue[0][1], None
            # One that was cancelled may not have run yet when others leave: it is skipped.
            if not ticket.entered.done():
                try:
                    short = self.enter(ticket.claim, ticket.admission, ticket.number)
                except Exception as refusal:
                    ticket.entered.set_exception(refusal)
                else:
                    if short is ledger:
                        break
                    if short is None:
                        ticket.entered.set_result(None)
            heapq.heappop(queue)
            if short:
                ticket.short = short
                self._queue(ticket)
        if not queue:
            del self.queues[ledger]

    def _queue(self, ticket: Ticket) -> None:
        heapq.heappush(
            self.queues.setdefault(ticket.short, []), (ticket.number, ticket)
        )


class Turns:
    """Lets `STARTS` questions and requests start in each turn of the event loop.

    So whatever else it serves has its turn too. The lowest rank comes first, and of one rank those that came first.
    """

    def __init__(self) -> None:
        self._left = STARTS
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0

    def take(self) -> bool:
        """Whether this turn has room, which is then taken."""
        if self._left == STARTS:
            asyncio.get_running_loop().call_soon(self._next)
        if not self._left:
            return False
        self._left -= 1
        return True

    async def wait(self, rank: int) -> None:
        """Wait for a turn with room, and take it."""
        if self.take():
            return
        self._number += 1
        entered = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, self._number, entered))
        await entered

    def _next(self) -> None:
        self._left = STARTS
        while self._left and self._waiting:
            entered = heapq.heappop(self._waiting)[-1]
            if not entered.done():
                entered.set_result(None)
                self._left -= 1
        if self._left < STARTS:
            asyncio.get_running_loop().call_soon(self._next)


class EngineLimits:
    """What the questions on one engine share: the gate and the turns of the event loop."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.turns = Turns()
