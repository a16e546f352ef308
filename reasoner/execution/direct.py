"""One sequence that is its own reply, as a request that passes through asks for it: no run, and events only if read."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from reasoner.answers.questions import Question
from reasoner.budget import NO_COST, Budget, Ledger
from reasoner.engine import Engine, TextPiece
from reasoner.errors import BudgetExhausted
from reasoner.execution.admission import Admission, EngineLimits
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
OTHER_BYTES: Final = 16_384
"""More than the events of one sequence have besides the texts of the question, the reply and the strategy."""
TOKEN_BYTES: Final = 32
"""More than a token id and its log-probability have in JSON."""


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


@dataclass(frozen=True, slots=True)
class DeferredRecorder(Recorder):
    """Keeps what happened to a question, and makes its events when they are read."""

    _kept: list[tuple[float, Callable[..., None], tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def write(self, *arguments: Any, **values: Any) -> None:
        self._keep(Recorder.write, *arguments, **values)

    def began(self, *arguments: Any) -> None:
        self._keep(Recorder.began, *arguments)

    def head(self, *arguments: Any) -> None:
        self._keep(Recorder.head, *arguments)

    def sampled(self, *arguments: Any) -> None:
        self._keep(Recorder.sampled, *arguments)

    def thought(self, *arguments: Any) -> None:
        self._keep(Recorder.thought, *arguments)

    def dropped(self, *arguments: Any) -> None:
        self._keep(Recorder.dropped, *arguments)

    def _keep(self, write: Callable[..., None], *arguments: Any, **values: Any) -> None:
        self._kept.append((time.monotonic(), write, arguments, values))

    @property
    def bound(self) -> int:
        """A bound on the bytes of its events as JSON: a text is in four of them at most, a character has six."""
        prompt, size = self.question.prompt, OTHER_BYTES
        texts = [prompt.raw, prompt.tools, *(part for turn in prompt.messages for part in (turn.content, turn.extra))]
        for _, _, arguments, _ in self._kept:
            for part in arguments:
                if isinstance(part, Completion):
                    size += TOKEN_BYTES * (1 + 21 * (part.logprobs is not None)) * len(part.token_ids)
                    texts += [part.text, part.thinking]
                elif isinstance(part, RunFacts):
                    texts += [part.strategy, part.resolved]
        return size + 24 * sum(map(len, texts))

    def events(self) -> list[Event]:
        """What a recorder would have written."""
        events: list[Event] = []
        for at, write, arguments, values in self._kept:
            made: list[Event] = []
            write(Recorder(self.question, made.append, self.started), *arguments, **values)
            events += [event.model_copy(update={"t": round(at - self.started, 6)}) for event in made]
        return events


class Drawn(NamedTuple):
    """The solution of a question that one sequence answers, the sequence where there is one, and its events."""

    solution: Solution
    completion: Completion | None
    recorder: DeferredRecorder


async def draw_directly(
    question: Question,
    strategy: Strategy,
    engine: Engine,
    *,
    limits: EngineLimits,
    number: int,
    engine_spec: str,
    budget: Budget | None,
    seed: int,
    ledger: Ledger,
    on_text: Callable[[TextPiece], None] | None,
) -> Drawn | None:
    """What a run would make of a strategy that draws once; None where its plan does not begin with one sequence.

    The question has no stop rule and no deadline, and any text is its answer.
    """
    ready = prepared(strategy, engine.model)
    try:
        plan = ready.strategy.plan(question)
        op = next(plan)
        plan.close()
    except Exception:  # a run says what is wrong
        return None
    if not (isinstance(op, Sample) and op.n == len(op.prompts) == 1):
        return None
    recorder, notes = DeferredRecorder(question, None, time.monotonic()), list(ready.notes)
    admission = Admission(ledger.child(budget), limits.queues)
    executor = OperationExecutor(
        question, engine, admission, limits.kv_limiter(engine, question), limits.pace, recorder, seed, number,
        notes=notes, on_text=on_text,
    )  # fmt: skip
    stated = f"each {budget}" if budget else ""
    recorder.began(
        RunFacts(
            strategy=ready.spec, resolved=ready.resolved, verifier="", engine=engine.name, engine_spec=engine_spec,
            model=engine.model, notes=(*engine.notes, *ready.notes), budget=stated, seed=seed,
        )
    )  # fmt: skip
    replies = Replies(ready.limits)
    by: EndedBy = "strategy"
    reason, error, completion, answer, seen = "the strategy finished", None, None, None, NO_COST
    proposals: tuple[Proposal, ...] = ()
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
        votes = (Vote(answer, 1.0, 1),) if answer else ()
        state = VoteState(votes, 1, streak=len(votes))
        proposals = (Proposal(answer, state, seen),)
        recorder.write(Proposed, answer=answer, vote_state=state, cost=seen)
    cost = admission.ledger.settled.until(seen.sequential_tokens)
    all_notes = (*engine.notes, *notes)
    recorder.write(Ended, answer=answer, ended_by=by, reason=reason, cost=cost, notes=all_notes, cut=replies.cut)
    text = completion.chain if completion else ""
    solution = Solution(
        question.id, answer, cost, proposals, by, reason, error, all_notes, text=text, cut=replies.cut
    )  # fmt: skip
    return Drawn(solution, completion, recorder)
