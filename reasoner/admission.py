"""Who may start next: a queue in front of the ledger, and one in front of the KV cache."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from reasoner.budget import MIN_USEFUL_TOKENS, Cost, Ledger, Reservation, Shortfall

Lines = defaultdict[Ledger, deque[asyncio.Future[None]]]


def new_lines() -> Lines:
    """The waiting lines of one run, one in front of each ledger that is short."""
    return defaultdict(deque)


class Admission:
    """Turns a question's operations into reservations, in the order they were asked for.

    An operation whose worst case does not fit waits while work in flight may still settle for less than it reserved;
    only then is it clamped to what is free, and refused where too little is left to be useful.
    """

    def __init__(self, ledger: Ledger, lines: Lines) -> None:
        self.ledger = ledger
        self._lines = lines
        self._turn = asyncio.Lock()

    async def admit(self, price: Callable[[int], Cost], *, most: int) -> tuple[Reservation, int]:
        """A reservation for up to `most` tokens, and how many were granted.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and nothing in flight could change that.
        """
        async with self._turn:
            waited = False
            try:
                while (node := self._obstacle(price, most, waited)) is not None:
                    await self._wait(node, front=waited)
                    waited = True
                granted = self.ledger.fit(price, most=most)
                return self.ledger.reserve(price(granted)), granted
            finally:
                if waited:
                    self._wake()

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Book what an operation really cost, and let the next in line try."""
        try:
            self.ledger.settle(reservation, actual)
        finally:
            self._wake()

    def _obstacle(self, price: Callable[[int], Cost], most: int, waited: bool) -> Ledger | None:
        if not waited and self._lines:
            for ledger in self.ledger.lineage():
                if self._lines.get(ledger):
                    return ledger
        short: Shortfall | None = self.ledger.shortfall(price(most))
        if short and not short.may_ease:
            short = self.ledger.shortfall(price(min(most, MIN_USEFUL_TOKENS)))
        return short.ledger if short and short.may_ease else None

    async def _wait(self, node: Ledger, *, front: bool) -> None:
        line = self._lines[node]
        ticket = asyncio.get_running_loop().create_future()
        if front:
            line.appendleft(ticket)
        else:
            line.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            self._leave(node, ticket)
            self._wake()
            raise
        self._leave(node, ticket)

    def _leave(self, node: Ledger, ticket: asyncio.Future[None]) -> None:
        line = self._lines[node]
        line.remove(ticket)
        if not line:
            del self._lines[node]

    def _wake(self) -> None:
        if not self._lines:
            return
        for ledger in self.ledger.lineage():
            line = self._lines.get(ledger)
            if line and not line[0].done():
                line[0].set_result(None)


class KvGate:
    """Keeps the unique tokens in flight within the KV cache, first come first served.

    More would be preempted and computed again. Sequences of one prompt share it, so it counts once. A sequence too long
    for the whole gate goes alone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._used = 0
        self._sharing: dict[str, int] = {}
        self._line: deque[tuple[str, int, int, asyncio.Future[None]]] = deque()

    async def enter(self, prompt: str, *, shared: int, own: int) -> None:
        """Wait until `own` tokens fit, and the `shared` ones of the prompt unless a sibling holds them."""
        if not self._line and self._fits(prompt, shared, own):
            self._take(prompt, shared, own)
            return
        ticket = asyncio.get_running_loop().create_future()
        self._line.append((prompt, shared, own, ticket))
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self.leave(prompt, shared=shared, own=own)
            else:
                self._advance()
            raise

    def leave(self, prompt: str, *, shared: int, own: int) -> None:
        """Give back what `enter` took."""
        self._used -= own
        self._sharing[prompt] -= 1
        if not self._sharing[prompt]:
            del self._sharing[prompt]
            self._used -= shared
        self._advance()

    def _fits(self, prompt: str, shared: int, own: int) -> bool:
        need = own + (0 if prompt in self._sharing else shared)
        return self._used == 0 or self._used + need <= self.capacity

    def _take(self, prompt: str, shared: int, own: int) -> None:
        self._used += own + (0 if prompt in self._sharing else shared)
        self._sharing[prompt] = self._sharing.get(prompt, 0) + 1

    def _advance(self) -> None:
        # A cancelled waiter has not run yet when others leave before it does: it is passed over.
        while self._line and (self._line[0][3].cancelled() or self._fits(*self._line[0][:3])):
            prompt, shared, own, ticket = self._line.popleft()
            if not ticket.cancelled():
                self._take(prompt, shared, own)
                ticket.set_result(None)
