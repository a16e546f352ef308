"""One rating from start to end: reserve its bound, ask the verifier, settle, record."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from reasoner.blame import described, from_outside
from reasoner.budget import Cost, Reservation
from reasoner.catalog import spec_of
from reasoner.errors import BudgetExhausted, LedgerViolation, ReasonerError, TraceError, UsageError, VerifierError
from reasoner.origin import where
from reasoner.protocols import PairVerifier, Tab, Verifier
from reasoner.types import CANCELLED, NOT_RATED, Completion, Rating
from reasoner.work import Worker, until_cancelled


async def rated(
    worker: Worker,
    op: int,
    verifier: Verifier,
    candidate: Completion,
    *,
    other: Completion | None = None,
    reserve: int = 0,
) -> Rating:
    """Rate one candidate, or how much better it is than the other; what the verifier raises becomes an error.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
        UsageError: the verifier compares no pairs.
    """
    if other and not isinstance(verifier, PairVerifier):
        raise UsageError(f"the verifier {spec_of(verifier)} rates candidates and compares none: use one such as judge")
    against = (other.prompt.digest, other.index) if other else None
    if op in worker.past.cancelled:
        return await until_cancelled()
    if known := worker.past.rating(op, (candidate.prompt.digest, candidate.index, against)):
        return known
    record = partial(worker.recorder.scored, op, candidate, other)
    try:
        worst = bound = await _bound(worker, verifier, candidate, other)
        if reserve:
            grown = await worker.render(candidate.prompt.then(candidate))
            worst += worker.held_back(grown.tokens, reserve)
        reservation, _ = await worker.admission.admit(lambda _: worst, most=1)
    except BudgetExhausted as refusal:
        record(Rating(None, Cost(), error=f"{NOT_RATED}: {refusal}"), Cost())
        raise
    except (LedgerViolation, TraceError):
        raise
    except BaseException as failure:
        if from_outside(failure):
            raise
        rating = Rating(None, Cost(), error=_told(failure))
        record(rating, Cost())
        return rating
    return await _settled(worker, partial(_verdict, worker, verifier, candidate, other), bound, reservation, record)


async def _bound(worker: Worker, verifier: Verifier, candidate: Completion, other: Completion | None) -> Cost:
    if other is None:
        bound = await verifier.bound(worker.question, candidate, worker.engine)
    else:
        assert isinstance(verifier, PairVerifier)
        bound = await verifier.bound_pair(worker.question, candidate, other, worker.engine)
    return _checked(bound)


async def _verdict(
    worker: Worker, verifier: Verifier, candidate: Completion, other: Completion | None, tab: Tab
) -> Rating:
    if other is None:
        return await verifier.score(worker.question, candidate, worker.engine, tab)
    assert isinstance(verifier, PairVerifier)
    return await verifier.prefer(worker.question, candidate, other, worker.engine, tab)


async def _settled(
    worker: Worker,
    verdict: Callable[[Tab], Awaitable[Rating]],
    bound: Cost,
    reservation: Reservation,
    record: Callable[[Rating, Cost], None],
) -> Rating:
    """The verdict, booked and recorded; one that does not come to an end is booked as its tab says, or at its bound."""
    began = time.monotonic()
    deadline, too_late = worker.deadline()
    tab = Tab()
    cost = bound
    rating = Rating(None, cost, error=CANCELLED)
    try:
        async with deadline:
            rating = await verdict(tab)
        cost = _checked(rating.cost).taking(time.monotonic() - began)
    except TraceError:
        raise
    except BaseException as failure:
        spent = bound if tab.cost is None or tab.cost.fault() else tab.cost
        cost = spent.taking(time.monotonic() - began)
        rating = Rating(None, cost, error=CANCELLED)
        if from_outside(failure):
            raise
        if deadline.expired():
            rating = Rating(None, cost, error=f"{NOT_RATED}: {too_late}")
            raise too_late from None
        rating = Rating(None, cost, error=_told(failure))
    finally:
        worker.settle(reservation, cost, lambda: record(rating, cost))
    return rating


def _checked(cost: Cost) -> Cost:
    """What a verifier says of its cost.

    Raises:
        VerifierError: no rating can have cost that.
    """
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost


def _told(failure: BaseException) -> str:
    """The failure of a verifier in one line, with its place in foreign code."""
    return described(failure) + ("" if isinstance(failure, ReasonerError) else where(failure))
