"""One sequence that is its own reply, as a request that passes through asks for it: no run, and events only if read."""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from reasoner.answers.questions import Question
from reasoner.budget import NO_COST
from reasoner.errors import BudgetExhausted
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.replies import Replies
from reasoner.execution.sampling import resolved, sample_sequence
from reasoner.models.defaults import limits_of, resolve
from reasoner.models.info import ModelInfo
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import Sample, Strategy
from reasoner.system.foreign import ErrorsFrom, is_cancellation
from reasoner.trace.events import Ended, Event, Proposed, Refused, RunFacts
from reasoner.trace.recorder import Recorder, SequenceId
from reasoner.types import Completion, EndedBy, Proposal, Usage, Vote, VoteState

QUESTION_ERRORS = ErrorsFrom("answering this question")


class Prepared(NamedTuple):
    """A strategy with the sampling parameters that apply to a model, notes on them, and the specs of both."""

    strategy: Strategy
    notes: tuple[str, ...]
    spec: str
    resolved: str
    limits: frozenset[int]
    """The most tokens of its sequences."""


def prepared(strategy: Any, model: ModelInfo) -> Prepared:
    """A strategy for a model; done once for each that is a value, which cannot change.

    Raises:
        UsageError: an option does not fit the model.
    """
    value = getattr(type(strategy), "__dataclass_params__", None)
    if value is not None and value.frozen:
        try:
            return _prepared_once(strategy, model)
        except TypeError:  # what it holds may have no hash
            pass
    return _prepare(strategy, model)


def _prepare(strategy: Any, model: ModelInfo) -> Prepared:
    noted: dict[str, None] = {}
    fitted = resolve(strategy, model, lambda line: noted.update({line: None}))
    return Prepared(fitted, tuple(noted), spec_of(strategy), spec_of(fitted), frozenset(limits_of(fitted)))


_prepared_once = lru_cache(maxsize=256)(_prepare)


class DeferredRecorder:
    """A recorder that keeps what it is to write, and makes the events when they are read."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._started = time.monotonic()
        self._kept: list[tuple[float, str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return partial(self._keep, name)

    def _keep(self, name: str, *arguments: Any, **values: Any) -> None:
        self._kept.append((time.monotonic(), name, arguments, values))

    def events(self) -> list[Event]:
        """What a recorder writes."""
        events: list[Event] = []
        for at, name, arguments, values in self._kept:
            made: list[Event] = []
            getattr(Recorder(self.question, made.append, 0.0), name)(*arguments, **values)
            events += [event.model_copy(update={"t": round(at - self._started, 6)}) for event in made]
        return events


class Drawn(NamedTuple):
    """The solution of a question that one sequence answers, the sequence where there is one, and its events."""

    solution: Solution
    completion: Completion | None
    recorder: DeferredRecorder


async def draw_directly(ready: Prepared, facts: RunFacts, executor: OperationExecutor) -> Drawn | None:
    """What a run makes of a strategy that draws once; None where its plan does not begin with one sequence.

    The question has no stop rule and no deadline, and any text is its answer. The executor has a `DeferredRecorder`.
    """
    question, engine, recorder = executor.question, executor.engine, cast("DeferredRecorder", executor.recorder)
    try:
        plan = ready.strategy.plan(question)
        op = next(plan)
        plan.close()
    except Exception:  # a run says what is wrong
        return None
    if not (isinstance(op, Sample) and op.n == len(op.prompts) == 1):
        return None
    replies, proposals = Replies(ready.limits), list[Proposal]()
    by: EndedBy = "strategy"
    reason, error, completion, answer, seen = "the strategy finished", None, None, None, NO_COST
    recorder.began(facts)
    try:
        op = resolved(op, executor)
        sequence = SequenceId(1, op.prompts[0], op.prompts[0].digest, 0)
        completion = await sample_sequence(executor, op, sequence, interruptible=False)
    except BudgetExhausted as refusal:
        recorder.write(Refused, op=1, unit=refusal.unit, needed=refusal.needed, free=refusal.free, limit=refusal.limit)
        by, reason = "budget", str(refusal)
    except BaseException as failure:
        if is_cancellation(failure):
            raise
        error = QUESTION_ERRORS.error(failure)
        by, reason = "error", str(error)
    finally:
        executor.done()
    if completion:
        answer = question.read(completion)
        replies.count(op.params.limit, completion, op.limited_by)
        if completion.usage != Usage():
            seen = executor.cost_of(completion, at=0)
        state = VoteState((Vote(answer, 1.0, 1),), 1, streak=1) if answer else VoteState((), 1)
        proposals.append(Proposal(answer, state, seen))
        recorder.write(Proposed, answer=answer, vote_state=state, cost=seen)
    cost, notes = executor.admission.ledger.settled.until(seen.sequential_tokens), (*engine.notes, *executor.notes)
    recorder.write(Ended, answer=answer, ended_by=by, reason=reason, cost=cost, notes=notes, cut=replies.cut)
    text = completion.chain if completion else ""
    solution = Solution(
        question.id, answer, cost, tuple(proposals), by, reason, error, notes, text=text, cut=replies.cut
    )  # fmt: skip
    return Drawn(solution, completion, recorder)
