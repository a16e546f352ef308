"""What the author of a strategy imports: the interface, the operations of a plan, typed helpers, and `gather`.

A helper is used with `yield from` and returns the reply of its operation. Those that cost something raise
`BudgetExhausted` inside the plan if the budget admits none of it.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.errors import BudgetExhausted
from reasoner.models.info import ModelInfo
from reasoner.operations import (
    MAX_CHAINS,
    MAX_SAMPLES,
    Cancel,
    CheckEquivalent,
    ComparePair,
    DescribeModel,
    FindBlocks,
    Finished,
    Handle,
    LogLikelihood,
    Next,
    Note,
    Operation,
    Plan,
    Prefill,
    Propose,
    Sample,
    Score,
    Start,
    TextLikelihood,
    check_n,
)
from reasoner.stopping.rules import StopRule
from reasoner.types import Answer, Blocks, Completion, Prompt, Question, Rating, SamplingParams, VoteState
from reasoner.voting import Tally

__all__ = [
    "MAX_CHAINS",
    "MAX_SAMPLES",
    "BudgetExhausted",
    "CalibratedStrategy",
    "CalibrationSummary",
    "Cancel",
    "CheckEquivalent",
    "ComparePair",
    "DescribeModel",
    "FindBlocks",
    "Finished",
    "Handle",
    "LogLikelihood",
    "Next",
    "Note",
    "Operation",
    "Outcome",
    "Plan",
    "Prefill",
    "Propose",
    "Report",
    "Sample",
    "Score",
    "Start",
    "StopRule",
    "Strategy",
    "Tally",
    "TextLikelihood",
    "cancel",
    "check_n",
    "compare_pair",
    "count_votes",
    "gather",
    "loglikelihood",
    "model_info",
    "next_finished",
    "note",
    "note_stop",
    "prefill",
    "propose",
    "sample",
    "sample_each",
    "score",
    "start",
]


class Strategy(Protocol):
    """An algorithm as a plan: a frozen dataclass whose fields are its options. It has no state and does no I/O.

    A run resolves the sampling parameters in its fields before it plans: what is None there comes from the model, then
    from a class variable `sampling`, the strategy's own preference. `free_form`, a class variable or property, is true
    if it can choose among replies that all differ; one that counts equal answers does not have it.
    """

    @property
    def uses_verifier(self) -> bool:
        """Whether its plans ask for scores, so that a run needs a verifier."""

    def plan(self, question: Question) -> Plan[Answer | None]:
        """A new plan for one question. Given the same replies, it does the same.

        It returns the answer; after None, the answer is that of its last proposal.
        """


class CalibrationSummary(NamedTuple):
    """The data of a calibration: the model, and the number of questions.

    `agreement` is the mean share of the leader, smoothed as by `stopping.rules.smoothed`, 0 to 1; `spread` is its
    standard deviation. `accuracy` is the share of the questions that were answered rightly.
    """

    model: str
    questions: int
    agreement: float
    spread: float
    accuracy: float


@runtime_checkable
class CalibratedStrategy(Protocol):
    """A strategy that can tell, from a calibration, how likely its answer is right."""

    def confidence(self, vote_state: VoteState) -> float | None:
        """The probability that the leading answer is right, 0 to 1; None without a calibration."""

    @property
    def measured_on(self) -> "CalibrationSummary | None":
        """The data of the calibration; None without one."""


def sample(prompt: Prompt, *, n: int = 1, params: SamplingParams, answers: bool = True) -> Plan[tuple[Completion, ...]]:
    """Generate `n` sequences from one prompt and wait for all: they come in launch order.

    There are fewer if the budget admits only a part. `answers=False` says that they do not answer the question.
    """
    reply: tuple[Completion, ...] = yield Sample((prompt,), n, params, answers=answers)
    return reply


def sample_each(
    prompts: Sequence[Prompt], *, n: int = 1, params: SamplingParams, answers: bool = True
) -> Plan[tuple[Completion, ...]]:
    """Like `sample`, with `n` sequences from each of several prompts, prompt by prompt."""
    reply: tuple[Completion, ...] = yield Sample(tuple(prompts), n, params, answers=answers)
    return reply


def score(question: Question, candidates: Sequence[Completion]) -> Plan[tuple[Rating, ...]]:
    """Rate candidates with the run's verifier and wait for all: one rating each, which has a value or an error."""
    reply: tuple[Rating, ...] = yield Score(question, tuple(candidates))
    return reply


def compare_pair(question: Question, pairs: Sequence[tuple[Completion, Completion]]) -> Plan[tuple[Rating, ...]]:
    """Ask the run's verifier which candidate of each pair is better and wait for all.

    A rating's value is the probability that the first is better, 0 to 1.

    Raises:
        UsageError: the verifier does not compare pairs.
    """
    reply: tuple[Rating, ...] = yield ComparePair(question, tuple(pairs))
    return reply


def loglikelihood(prompt: Prompt, texts: Sequence[str]) -> Plan[tuple[TextLikelihood | None, ...]]:
    """Compute the log-likelihood of each text as the continuation of the prompt; None for one that does not fit.

    Raises:
        UsageError: the engine cannot encode texts or report the log-probabilities of chosen tokens.
    """
    reply: tuple[TextLikelihood | None, ...] = yield LogLikelihood(prompt, tuple(texts))
    return reply


def start(op: Sample | Score | ComparePair, times: int = 1, *, cancellable: bool = True) -> Plan[Handle]:
    """Run an operation without waiting for it, or a sample of one prompt `times` times, 1 to `MAX_SAMPLES`.

    Returns the first handle; those of the others follow it, one by one. `cancellable=False` promises to wait for the
    end. A refusal by the budget is raised by `next_finished`.
    """
    handle: Handle = yield Start(op, times, cancellable)
    return handle


def next_finished() -> Plan[Finished]:
    """Wait for any started operation.

    Raises:
        BudgetExhausted: all admitted operations were delivered, and others were refused; raised once.
        PlanError: nothing was started.
    """
    finished: Finished = yield Next()
    return finished


def cancel(handle: Handle) -> Plan[None]:
    """Abort a started operation; nothing happens if it has finished."""
    yield Cancel(handle)


def prefill(prompt: Prompt, text: str, *, thinking: Literal["", "open", "close"] = "") -> Plan[Prompt]:
    """The prompt with a text appended to the reply, as token ids where the engine knows them.

    With `thinking`, the model's own marker that opens or closes its thinking comes first, where it is needed.
    """
    extended: Prompt = yield Prefill(prompt, text, thinking)
    return extended


def model_info() -> Plan[ModelInfo]:
    """The model that answers."""
    info: ModelInfo = yield DescribeModel()
    return info


def note(text: str) -> Plan[None]:
    """Write a remark about the search into the trace."""
    yield Note(text)


def note_stop(reason: str) -> Plan[None]:
    """Record the reason why the plan is about to end by itself."""
    yield Note(reason, ends=True)


def count_votes(tally: Tally) -> Plan[VoteState]:
    """The vote state of the tally, after comparing answers that need slow work or a model, as far as budget is left."""
    try:
        if answers := tally.unplaced():
            blocks: tuple[Blocks | None, ...] = yield FindBlocks(answers)
            tally.set_blocks(answers, blocks)
        while pairs := tally.undecided():
            verdicts: tuple[bool | None, ...] = yield CheckEquivalent(pairs)
            tally.decide(pairs, verdicts)
    except BudgetExhausted:
        pass
    return tally.vote_state()


def propose(answer: Answer | None, vote_state: VoteState) -> Plan[None]:
    """Publish the best answer so far; None withdraws it. A stop rule of the run may end the plan here."""
    yield Propose(answer, vote_state)


class Outcome(NamedTuple):
    """How one of several plans ended.

    `evidence` is the last sequence it received that reads as its answer; None without one.
    """

    answer: Answer | None
    vote_state: VoteState
    evidence: Completion | None


Report = Callable[[int, Outcome], Plan[None]]
"""What `gather` runs when a plan ends, with the plan's number, from 0, and its outcome."""

ABREAST: Final = 256
"""How many plans are active at once: each generates at least one sequence, and engines compute that many at once."""


def gather(plans: Iterable[Plan[Answer | None]], question: Question, report: Report, *, among: int) -> Plan[None]:
    """Run up to `among` plans for one question side by side; `report(number, outcome)` is run as each of them ends.

    What a plan generates does not depend on the others. Their proposals are not passed on: `report` proposes for all.
    A refusal by the budget is raised into each plan that waits, and no further plan is started. At most `ABREAST` plans
    are active at once; the next one starts when one ends.
    """
    return _Gathering(enumerate(plans), question, report, among).run()


@dataclass(slots=True)
class _Part:
    """One active plan."""

    plan: Plan[Answer | None]
    started: list[range] = field(default_factory=list)
    """The handles of what the plan itself started and receives by `Next`."""
    gone: set[Handle] = field(default_factory=set)
    """Those of them that have come back or were cancelled."""
    arrived: deque[Finished] = field(default_factory=deque)
    blocked_on: Handle | None = None
    """The operation that the plan waits for and that was started in its place."""
    proposal: Propose | None = None
    completions: list[Completion] = field(default_factory=list)


@dataclass(slots=True)
class _Gathering:
    source: Iterator[tuple[int, Plan[Answer | None]]]
    question: Question
    report: Report
    among: int
    parts: dict[int, _Part] = field(default_factory=dict)
    first_handles: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    """The plan of each first handle. Handles count up, and several in a row may belong to one plan."""

    def run(self) -> Plan[None]:
        while True:
            while len(self.parts) < ABREAST and (following := next(self.source, None)):
                number, plan = following
                self.parts[number] = _Part(plan)
                yield from self._advance(number, None)
            if not self.parts:
                return
            try:
                finished: Finished = yield Next()
            except BudgetExhausted as refusal:
                self.source = iter(())
                for number, part in list(self.parts.items()):
                    # By now everything that was started has come back.
                    part.blocked_on, part.started = None, []
                    yield from self._advance(number, refusal)
                continue
            number = self.owners[bisect_right(self.first_handles, finished.handle) - 1]
            part = self.parts[number]
            part.completions += finished.completions
            if finished.handle == part.blocked_on:
                part.blocked_on = None
                yield from self._advance(number, finished.completions or finished.ratings)
            else:
                part.gone.add(finished.handle)
                part.arrived.append(finished)
                if part.blocked_on is None:
                    yield from self._advance(number, part.arrived.popleft())

    def _advance(self, number: int, reply: object) -> Plan[None]:
        """Run one plan until it has to wait or ends."""
        part = self.parts[number]
        while True:
            try:
                op = part.plan.throw(reply) if isinstance(reply, BudgetExhausted) else part.plan.send(reply)
            except (StopIteration, BudgetExhausted) as end:
                yield from self._end(number, end.value if isinstance(end, StopIteration) else None)
                return
            if isinstance(op, Start) and isinstance(op.op, Sample):
                op = replace(op, op=self._branched(op.op, number))
            if isinstance(op, Sample):
                op = self._branched(op, number)
            if isinstance(op, Sample | Score | ComparePair):
                part.blocked_on = yield Start(op, cancellable=False)
                self._own(part.blocked_on, number)
                return
            if isinstance(op, Next) and not part.arrived:
                return
            reply = part.arrived.popleft() if isinstance(op, Next) else (yield from self._perform(number, op))

    def _branched(self, op: Sample, number: int) -> Sample:
        """The operation in branches of its own, apart from those of the other plans."""
        return replace(op, branch=op.branch * self.among + number)

    def _own(self, handle: int, number: int) -> None:
        self.first_handles.append(handle)
        self.owners.append(number)

    def _perform(self, number: int, op: Operation) -> Plan[object]:
        """An operation that does not wait; a refusal is returned, for the plan that asked."""
        part = self.parts[number]
        if isinstance(op, Propose):
            part.proposal = op
            return None
        if isinstance(op, Note):
            # The reason why one plan ends is not a reason for all to end.
            op = replace(op, ends=False)
        try:
            reply: object = yield op
        except BudgetExhausted as refusal:
            return refusal
        if isinstance(op, Start):
            assert isinstance(reply, int)
            part.started.append(range(reply, reply + op.times))
            self._own(reply, number)
        if isinstance(op, Cancel):
            part.gone.add(op.handle)
            part.arrived = deque(finished for finished in part.arrived if finished.handle != op.handle)
        return reply

    def _end(self, number: int, answer: Answer | None) -> Plan[None]:
        """Cancel what the plan still has in flight, and report its outcome."""
        part = self.parts.pop(number)
        for handles in part.started:
            for handle in map(Handle, handles):
                if handle not in part.gone:
                    yield Cancel(handle)
        vote_state = part.proposal.vote_state if part.proposal else VoteState()
        if answer is None and part.proposal:
            answer = part.proposal.answer
        evidence = None
        if answer is not None:
            readings = ((completion, self.question.read(completion)) for completion in reversed(part.completions))
            evidence = next((completion for completion, read in readings if read and read.key == answer.key), None)
        yield from self.report(number, Outcome(answer, vote_state, evidence))
