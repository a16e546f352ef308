"""Rates candidates by the verifier of the run: reserve its bound, run it, book and record what it cost."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from reasoner.budget import Cost, Reservation
from reasoner.errors import BudgetExhausted, LedgerViolation, ReasonerError, TraceError, UsageError, VerifierError
from reasoner.execution.executor import OperationExecutor
from reasoner.registry import spec_of
from reasoner.system.foreign import described, is_cancellation, where
from reasoner.trace.events import Scored
from reasoner.types import CANCELLED, NOT_RATED, Completion, Rating
from reasoner.verifier import CostMeter, PairVerifier, Verifier


async def rate(
    executor: OperationExecutor,
    op: int,
    verifier: Verifier,
    candidate: Completion,
    *,
    other: Completion | None = None,
    reserve: int = 0,
) -> Rating:
    """Rate one candidate, or how much better it is than `other`. What the verifier raises becomes an error.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
        UsageError: the verifier does not compare pairs.
    """
    if other is None:
        bound_of = partial(verifier.bound, executor.question, candidate, executor.engine)
        run = partial(verifier.score, executor.question, candidate, executor.engine)
    elif isinstance(verifier, PairVerifier):
        bound_of = partial(verifier.bound_pair, executor.question, candidate, other, executor.engine)
        run = partial(verifier.compare_pair, executor.question, candidate, other, executor.engine)
    else:
        raise UsageError(
            f"the verifier {spec_of(verifier)} rates candidates and does not compare pairs: use one such as judge"
        )
    digest, against = candidate.prompt.digest, (other.prompt.digest, other.index) if other else None
    if event := executor.recorded(op, Scored, digest, candidate.index, against):
        return event.rating

    record = partial(executor.recorder.scored, op, candidate, digest, against)
    try:
        worst = bound = _checked(await bound_of())
        if reserve:
            grown = await executor.render(candidate.prompt.then(candidate))
            worst += executor.reserved_cost(grown.tokens, reserve)
        reservation, _ = await executor.admission.admit(lambda _: worst, max_tokens=1)
    except BudgetExhausted as refusal:
        record(Rating(None, Cost(), error=f"{NOT_RATED}: {refusal}"), Cost())
        raise
    except (LedgerViolation, TraceError):
        raise
    except BaseException as failure:
        if is_cancellation(failure):
            raise
        rating = Rating(None, Cost(), error=_failure(failure))
        record(rating, Cost())
        return rating
    return await _rate(executor, run, bound, reservation, record)


async def _rate(
    executor: OperationExecutor,
    run: Callable[[CostMeter], Awaitable[Rating]],
    bound: Cost,
    reservation: Reservation,
    record: Callable[[Rating, Cost], None],
) -> Rating:
    """Run, book and record one rating; one that does not complete is booked at its meter, or else at its bound."""
    began = time.monotonic()
    deadline = executor.admission.deadline()
    cost_meter, cost = CostMeter(), bound
    rating = Rating(None, cost, error=CANCELLED)
    try:
        async with deadline:
            rating = await run(cost_meter)
        cost = _checked(rating.cost).taking(time.monotonic() - began)
    except TraceError:
        raise
    except BaseException as failure:
        spent = bound if cost_meter.cost is None or cost_meter.cost.fault() else cost_meter.cost
        cost = spent.taking(time.monotonic() - began)
        rating = Rating(None, cost, error=CANCELLED)
        if is_cancellation(failure):
            raise
        if deadline.expired():
            refusal = executor.admission.too_late()
            rating = Rating(None, cost, error=f"{NOT_RATED}: {refusal}")
            raise refusal from None
        rating = Rating(None, cost, error=_failure(failure))
    finally:
        executor.settle(reservation, cost, lambda: record(rating, cost))
    return rating


def _checked(cost: Cost) -> Cost:
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost


def _failure(failure: BaseException) -> str:
    """The failure of a verifier in one line, with its location in foreign code."""
    return described(failure) + ("" if isinstance(failure, ReasonerError) else where(failure))
