"""What the author of a strategy imports: the interface, the operations of a plan, and typed helpers.

A plan is a synchronous generator: it yields an operation and is sent the reply. It does no I/O. Plans are composed with
`yield from`. The runner raises `BudgetExhausted` *into* a plan when the ledger refuses an operation. The plan may then
return its best answer; otherwise its last proposal is the answer.

A helper is used with `yield from` and returns the reply of its operation. Those that cost something raise
`BudgetExhausted` inside the plan if the budget admits none of it.
"""

from collections.abc import Generator, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    NewType,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted, UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.specs import MAX_SAMPLES, CheckedOptions, Range
from reasoner.stopping.rules import StopRule
from reasoner.system.values import value
from reasoner.types import (
    Answer,
    Blocks,
    Completion,
    Prompt,
    Rating,
    SamplingParams,
    VoteState,
)
from reasoner.voting import Tally

__all__ = [
    "MAX_CHAINS",
    "MAX_SAMPLES",
    "BudgetExhausted",
    "CalibratedStrategy",
    "Cancel",
    "CheckEquivalent",
    "DescribeModel",
    "Execute",
    "Execution",
    "FindBlocks",
    "Finished",
    "Handle",
    "Next",
    "Note",
    "Operation",
    "Plan",
    "Prefill",
    "Propose",
    "Sample",
    "Score",
    "SingleDrawStrategy",
    "Start",
    "Startable",
    "StopRule",
    "Strategy",
    "Tally",
    "cancel",
    "check_n",
    "count_votes",
    "execute",
    "model_info",
    "next_finished",
    "note",
    "note_stop",
    "prefill",
    "propose",
    "sample",
    "score",
    "start",
]


Handle = NewType("Handle", int)
"""Identifies a started operation."""


MAX_CHAINS: Final = 10_000
"""The most separate chains that a strategy grows side by side."""


BRANCH = 1 << 20
"""How far apart the first indices of a prompt's sequences are in two branches."""


def check_n(n: int) -> None:
    """Refuse a number of samples outside 1 to `MAX_SAMPLES` with a UsageError."""
    require(n, "n", at_least=1, at_most=MAX_SAMPLES, whole=True)


@value(frozen=True, slots=True)
class Sample:
    """Generate `n` sequences from each prompt.

    Reply: the completions in launch order, prompt by prompt. If the budget admits only some of them, the reply is
    shorter; if it admits none, `BudgetExhausted` is raised. `reserve` is a number of tokens that the
    budget must still allow to be generated after each sequence, such as for a closing answer. Sequences of each
    `branch`, 0 to 2^40, are numbered separately, and so are their seeds: what a branch generates does not depend on
    which branch uses a prompt first. `answers` says whether the sequences answer the question; in others, such as a
    review or a choice, a model is never asked for an answer. `limited_by` is the option that a user must raise where a
    sequence reaches its limit; "" for a step, which ends at one of its own.
    """

    prompts: tuple[Prompt, ...]
    n: int = 1
    params: SamplingParams = SamplingParams()
    reserve: int = 0
    branch: int = 0
    answers: bool = True
    limited_by: str = ""

    def __post_init__(self) -> None:
        check_n(self.n)
        require(self.branch, "branch", at_least=0, at_most=1 << 40)
        require(self.reserve, "reserve", at_least=0)
        if not self.prompts:
            raise UsageError("nothing to sample from: give at least one prompt")


@value(frozen=True, slots=True)
class Score:
    """Rate each candidate with the run's verifier.

    Reply: one rating per candidate, in order. A candidate that could not be rated has a rating with an `error`.
    `reserve` is a number of tokens that the budget must still allow to be generated after each candidate.
    """

    question: Question
    candidates: tuple[Completion, ...]
    reserve: int = 0


class Execution(NamedTuple):
    """What came of a program: the end of what it printed, and why it did not end by itself; empty where it did.

    A line at the end of `output` names an exception that ended it.
    """

    output: str
    failure: str = ""


@value(frozen=True, slots=True)
class Execute(CheckedOptions):
    """Run a Python program that a model wrote, in the sandbox, for at most `seconds` of processor time.

    Reply: its `Execution`. It costs no tokens and takes no virtual time; its seconds are counted. A replay and a
    resumed run take the outcome from the trace. With the `reply` that the program was read in, the text of an answer is
    that reply with its output. It raises a `UsageError` on a machine without a sandbox, and
    `BudgetExhausted` at the deadline.
    """

    code: str
    seconds: Annotated[float, Range(above=0, at_most=3600)] = 5.0
    reply: Completion | None = None


Startable = Sample | Score | Execute
"""What can run without the plan waiting for it."""


@value(frozen=True, slots=True)
class Start:
    """Run an operation without waiting for it. Reply: its handle.

    With `times`, a sample of one prompt is started that many times, in order, as there is room. The handles of the
    others follow the first, one by one. After one of them is refused by the budget, the rest is not tried.

    On the virtual clock of the question it starts now, which is where the latest of all results so far has ended; with
    `at`, the `Finished.end` of one of them, it waited only for that one.

    With `cancellable=False` the plan promises to wait for its end, so that an engine may wait for the whole reply. If
    it is cancelled nevertheless, it is booked at its worst case.
    """

    op: Startable
    times: int = 1
    cancellable: bool = True
    at: int | None = None

    def __post_init__(self) -> None:
        check_n(self.times)
        if self.times > 1 and not (
            isinstance(self.op, Sample) and len(self.op.prompts) == 1
        ):
            raise UsageError(
                f"times={self.times} is for samples of one prompt: start other operations one by one"
            )


@value(frozen=True, slots=True)
class Next:
    """Wait for any started operation. Reply: the next `Finished`.

    When all admitted operations have been delivered and others were refused, `BudgetExhausted` is raised once. If
    nothing was started, waiting is a `PlanError`.
    """


@value(frozen=True, slots=True)
class Cancel:
    """Abort a started operation; its tokens are booked as cancelled. Reply: None, also if it had finished."""

    handle: Handle


@value(frozen=True, slots=True)
class Propose:
    """Publish the best answer so far. Reply: None. A stop rule may end the plan at this point.

    `confidence` is the calibrated probability that the leading answer is right, 0 to 1; None without a calibration.
    """

    answer: Answer | None
    vote_state: VoteState
    confidence: float | None = None


@value(frozen=True, slots=True)
class FindBlocks:
    """Find the blocks of answers if the answer space needs slow work for it. Only answers that meet can be the same.

    Reply: the `Blocks` of each answer, in order; None if they were not found in time. It costs no tokens.
    """

    answers: tuple[Answer, ...]


@value(frozen=True, slots=True)
class CheckEquivalent:
    """Check which of the question's answers are the same if the answer space needs slow work or a model for it.

    Reply: a bool for each pair, in order: whether each accepts the other; None if that was not decided, and then they
    count as different. It costs no tokens, unless the space lets the run's model decide: then it costs verifier tokens,
    and a pair that the budget refuses is not decided.
    """

    pairs: tuple[tuple[Answer, Answer], ...]


@value(frozen=True, slots=True)
class Prefill:
    """Append a text to the reply: a prefill, a forced word, a closing.

    Reply: the prompt with the text's own token ids appended, so that what follows is exact at token level. It costs no
    tokens until the prompt is used. With `thinking`, the model's own marker comes first: "open" begins its thinking,
    "close" ends it. The marker is left out where the model is in that state already, or does not think.
    """

    prompt: Prompt
    text: str
    thinking: Literal["", "open", "close"] = ""


@value(frozen=True, slots=True)
class DescribeModel:
    """Ask which model answers. Reply: its `ModelInfo`, with its thinking profile. It costs no tokens."""


@value(frozen=True, slots=True)
class Note:
    """Write a remark about the search into the trace, such as the effective sample size. Reply: None.

    With `ends`, it is the reason why the plan is about to end by itself, such as the reason of its stop rule.
    """

    text: str
    ends: bool = False


@value(frozen=True, slots=True)
class Finished:
    """A started operation that ended, with the reply of its kind; `end` is when, in sequential tokens."""

    handle: Handle
    completions: tuple[Completion, ...] = ()
    ratings: tuple[Rating, ...] = ()
    end: int = 0
    execution: Execution | None = None


Operation: TypeAlias = (
    Sample
    | Score
    | Start
    | Next
    | Cancel
    | Propose
    | FindBlocks
    | CheckEquivalent
    | Prefill
    | Execute
    | DescribeModel
    | Note
)
"""What a plan may yield."""


NOT_ASKED = "not asked"
"""The beginning of the error of a verdict of the model on answers that the ledger refused, in whole or in part."""
NOT_RUN = "not run"
"""The beginning of the error of an `Execute` that the ledger refused."""


T = TypeVar("T")


Plan: TypeAlias = Generator[Operation, Any, T]
"""A generator that yields operations, is sent their replies, and returns a T."""


class Strategy(Protocol):
    """An algorithm as a plan: a frozen dataclass; its fields are its options. It has no state and does no I/O.

    A run resolves the sampling parameters in its fields before it plans: what is None there comes from the model, then
    from a class variable `sampling`, the strategy's own preference. `free_form`, a class variable or property, is true
    if it can choose among replies that all differ; one that counts equal answers does not have it. `default_verifier`
    is the spec of the verifier that suits it, if that is not certainty.
    """

    @property
    def uses_verifier(self) -> bool:
        """Whether its plans ask for scores, so that a run needs a verifier."""

    def plan(self, question: Question) -> Plan[Answer | None]:
        """A new plan for one question. Given the same replies, it does the same.

        It returns the answer; after None, the last proposal is the answer.
        """


@runtime_checkable
class SingleDrawStrategy(Protocol):
    """A strategy that may draw one sequence only, which is then its reply: its text can be passed on as it comes."""

    def draws_once(self, model: ModelInfo) -> bool:
        """Whether it does so with this model."""


@runtime_checkable
class CalibratedStrategy(Protocol):
    """A strategy with calibrated proposals: each tells how likely it is right."""

    @property
    def measured_on(self) -> str:
        """The model of the calibration; empty without one."""


def sample(
    prompts: Prompt | Sequence[Prompt],
    *,
    n: int = 1,
    params: SamplingParams,
    answers: bool = True,
) -> Plan[tuple[Completion, ...]]:
    """Generate `n` sequences from each prompt and wait for all: they come in launch order, prompt by prompt.

        first, second = yield from sample(question.prompt, n=2, params=self.params)

    There are fewer if the budget admits only a part. `answers=False` says that they do not answer the question.
    """
    several = (prompts,) if isinstance(prompts, Prompt) else tuple(prompts)
    reply: tuple[Completion, ...] = yield Sample(several, n, params, answers=answers)
    return reply


def score(
    question: Question, candidates: Sequence[Completion]
) -> Plan[tuple[Rating, ...]]:
    """Rate candidates with the run's verifier and wait for all: one rating each, which has a value or an error."""
    reply: tuple[Rating, ...] = yield Score(question, tuple(candidates))
    return reply


def start(
    op: Startable, times: int = 1, *, cancellable: bool = True, at: int | None = None
) -> Plan[Handle]:
    """Run an operation without waiting for it, as `Start` does; returns its handle, the first of `times`.

    A refusal by the budget is raised by `next_finished`.
    """
    handle: Handle = yield Start(op, times, cancellable, at)
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


def prefill(
    prompt: Prompt, text: str, *, thinking: Literal["", "open", "close"] = ""
) -> Plan[Prompt]:
    """The prompt with a text appended to the reply, as `Prefill` does."""
    extended: Prompt = yield Prefill(prompt, text, thinking)
    return extended


def execute(
    code: str, *, seconds: float = 5.0, reply: Completion | None = None
) -> Plan[Execution]:
    """What comes of a Python program, which is run in the sandbox, as `Execute` does."""
    execution: Execution = yield Execute(code, seconds, reply)
    return execution


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
    """The vote state of the tally, after comparing answers that need slow work, as far as budget is left."""
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
