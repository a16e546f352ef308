"""What a strategy may ask for, and typed helpers around it.

A plan is a synchronous generator: it yields an operation and is sent the reply. It does no I/O. Composition is
`yield from`. The runner raises `BudgetExhausted` *into* a plan when the ledger refuses an operation; the plan may
return its best, otherwise its last proposal is the answer.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType, TypeAlias, TypeVar

from reasoner.confidence import ConfidenceFloor
from reasoner.errors import BudgetExhausted, UsageError, require
from reasoner.types import Answer, Blocks, Completion, Prompt, Question, Rating, SamplingParams, Standing
from reasoner.votes import Tally

Handle = NewType("Handle", int)
"""Names an operation that was started and runs on its own."""


MOST_SAMPLES: Final = 1_000_000
"""The most sequences that are drawn from one prompt at once, and so for one question by most strategies."""

MOST_CHAINS: Final = 10_000
"""The most chains that a strategy grows side by side where it keeps each of them apart from its first step."""


def check_n(n: int) -> None:
    """Refuse a number of samples outside 1 to `MOST_SAMPLES` with a UsageError."""
    require(n, "n", at_least=1, at_most=MOST_SAMPLES)


@dataclass(frozen=True, slots=True)
class Sample:
    """Draw `n` sequences from each prompt.

    Reply: the completions in launch order, prompt by prompt. Where the budget admits only some of them the reply is
    shorter; where it admits none, `BudgetExhausted` is raised. A sequence that falls below the `floor` is cut while it
    is drawn: it ends with "abort" and what it generated is booked as cancelled. `reserve` is a number of tokens that
    the budget must still allow to be generated after each sequence, as for a closing answer. Sequences of one `branch`
    are numbered, and so seeded, apart from those of another: what a branch draws does not depend on who came first to
    the same prompt. 0 to 2^40.
    """

    prompts: tuple[Prompt, ...]
    n: int = 1
    params: SamplingParams = SamplingParams()
    floor: ConfidenceFloor | None = None
    reserve: int = 0
    branch: int = 0

    def __post_init__(self) -> None:
        check_n(self.n)
        if self.floor and (self.params.logprobs or 0) < self.floor.top_k:
            raise UsageError(
                f"a confidence floor over {self.floor.top_k} alternatives needs logprobs={self.floor.top_k}"
            )
        require(self.branch, "branch", at_least=0, at_most=1 << 40)
        require(self.reserve, "reserve", at_least=0)
        if not self.prompts:
            raise UsageError("nothing to sample from: give at least one prompt")


@dataclass(frozen=True, slots=True)
class Score:
    """Rate each candidate with the run's verifier.

    Reply: one rating a candidate, in order. A candidate that could not be rated has a rating with an `error`.
    `reserve` is a number of tokens that the budget must still allow to be generated after each candidate.
    """

    question: Question
    candidates: tuple[Completion, ...]
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class Prefer:
    """Ask the run's verifier which of two candidates is better, pair by pair.

    Reply: one rating a pair, in order: the probability that the first is better. Not every verifier compares pairs.
    """

    question: Question
    pairs: tuple[tuple[Completion, Completion], ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """How likely a reply is to go on with a text: the natural log of the probability of its `tokens` token ids."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Weigh:
    """Ask the model how likely each text is to be what comes next after the prompt.

    Reply: a `Weight` a text, in order; None for one that does not fit the context window. A text is spelled as the
    engine encodes it by itself, so one that begins a word begins with the blank before it; that the reply ends after it
    is no part of its probability. All or nothing: where the budget does not admit a part of it, `BudgetExhausted` is
    raised. It is waited for and cannot be started. It costs one request of one token for each place where texts go on,
    more where over 128 tokens follow, and draws no sequence: the budget's `samples` do not bound it, its tokens and
    requests count. It raises a `UsageError` where the engine cannot spell texts or tell the log-probabilities of chosen
    tokens.
    """

    prompt: Prompt
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.texts:
            raise UsageError("nothing to weigh: give at least one text")
        if "" in self.texts:
            raise UsageError("a text to weigh is empty: it has no token that could be likely")


@dataclass(frozen=True, slots=True)
class Start:
    """Run an operation without waiting for it. Reply: its handle.

    With `times` a sample of one prompt is started so many times, as that many of these would, however many they are:
    they are launched in order as there is room for them. The handles of the others follow the first, one by one. What
    the budget refuses to one of them is not asked for by those after it.

    With `cancellable=False` the plan promises to wait for its end, so that an engine may draw it in one request with
    others. If it is cancelled all the same, it is booked at its worst case.
    """

    op: Sample | Score | Prefer
    times: int = 1
    cancellable: bool = True

    def __post_init__(self) -> None:
        check_n(self.times)
        if self.times > 1 and not (isinstance(self.op, Sample) and len(self.op.prompts) == 1):
            raise UsageError(f"times={self.times} is for samples of one prompt: start other operations one by one")


@dataclass(frozen=True, slots=True)
class Next:
    """Wait for any started operation. Reply: the next `Finished`.

    Refused operations are told last and once: when all that were admitted have been delivered, `BudgetExhausted` is
    raised. With nothing started at all, waiting is a `PlanError`.
    """


@dataclass(frozen=True, slots=True)
class Cancel:
    """Abort a started operation; what it computed is booked as cancelled. Reply: None, also for a finished one."""

    handle: Handle


@dataclass(frozen=True, slots=True)
class Propose:
    """Publish the best answer so far. Reply: None. A stop rule may end the plan here."""

    answer: Answer | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class FindBlocks:
    """Find out in which blocks answers are, where the space cannot tell at once: only those that share one can be same.

    Reply: the `Blocks` of each answer, in order; None where they could not be told in time. It costs no tokens.
    """

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Find out which of the question's answers are the same, where the space cannot tell at once.

    Reply: a bool for each pair, in order: whether each accepts the other; None where that could not be told in time,
    and then they count as different. It costs no tokens.
    """

    pairs: tuple[tuple[Answer, Answer], ...]


@dataclass(frozen=True, slots=True)
class Extend:
    """Put a text into the mouth of the reply: a prefill, a forced word, a closing.

    Reply: the prompt with the text's own token ids appended, so that what follows is exact at token level. It costs no
    tokens until the prompt is used.
    """

    prompt: Prompt
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """Write a line about the search into the trace, such as the effective sample size. Reply: None.

    One that `ends` is the reason for which the plan is about to end by itself, such as what its stop rule said.
    """

    text: str
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A started operation that ended: its `completions`, or its `ratings`."""

    handle: Handle
    completions: tuple[Completion, ...] = ()
    ratings: tuple[Rating, ...] = ()


Operation: TypeAlias = (
    Sample | Score | Prefer | Weigh | Start | Next | Cancel | Propose | FindBlocks | Compare | Extend | Note
)
NOT_WEIGHED = "not weighed"
"""Begins the error of a weighing that the ledger refused, in whole or in part."""
T = TypeVar("T")
Plan: TypeAlias = Generator[Operation, Any, T]


def sample(prompt: Prompt, *, n: int = 1, params: SamplingParams) -> Plan[tuple[Completion, ...]]:
    """Draw `n` sequences from one prompt and wait for all."""
    reply: tuple[Completion, ...] = yield Sample((prompt,), n, params)
    return reply


def sample_each(prompts: Sequence[Prompt], *, n: int = 1, params: SamplingParams) -> Plan[tuple[Completion, ...]]:
    """Draw `n` sequences from each of several prompts and wait for all."""
    reply: tuple[Completion, ...] = yield Sample(tuple(prompts), n, params)
    return reply


def score(question: Question, candidates: Sequence[Completion]) -> Plan[tuple[Rating, ...]]:
    """Rate candidates with the run's verifier and wait for all."""
    reply: tuple[Rating, ...] = yield Score(question, tuple(candidates))
    return reply


def prefer(question: Question, pairs: Sequence[tuple[Completion, Completion]]) -> Plan[tuple[Rating, ...]]:
    """Ask the run's verifier which of two candidates is better and wait for all verdicts."""
    reply: tuple[Rating, ...] = yield Prefer(question, tuple(pairs))
    return reply


def weigh(prompt: Prompt, texts: Sequence[str]) -> Plan[tuple[Weight | None, ...]]:
    """Ask how likely each text is to come next."""
    reply: tuple[Weight | None, ...] = yield Weigh(prompt, tuple(texts))
    return reply


def start(op: Sample | Score | Prefer, times: int = 1, *, cancellable: bool = True) -> Plan[Handle]:
    """Run an operation without waiting for it, or a sample of one prompt so many times: the first one's handle.

    `cancellable=False` promises to wait for its end.
    """
    handle: Handle = yield Start(op, times, cancellable)
    return handle


def next_finished() -> Plan[Finished]:
    """Wait for any started operation."""
    finished: Finished = yield Next()
    return finished


def cancel(handle: Handle) -> Plan[None]:
    """Abort a started operation."""
    yield Cancel(handle)


def extend(prompt: Prompt, text: str) -> Plan[Prompt]:
    """Put a text into the mouth of the reply."""
    extended: Prompt = yield Extend(prompt, text)
    return extended


def note(text: str) -> Plan[None]:
    """Write a line about the search into the trace."""
    yield Note(text)


def stopped(reason: str) -> Plan[None]:
    """Say for which reason the plan is about to end by itself."""
    yield Note(reason, ends=True)


def count(tally: Tally) -> Plan[Standing]:
    """Where the votes stand, after asking about answers that their space could not compare, if there is time left."""
    try:
        if answers := tally.unplaced():
            blocks: tuple[Blocks | None, ...] = yield FindBlocks(answers)
            tally.place(answers, blocks)
        while pairs := tally.undecided():
            verdicts: tuple[bool | None, ...] = yield Compare(pairs)
            tally.decide(pairs, verdicts)
    except BudgetExhausted:
        pass
    return tally.standing()


def propose(answer: Answer | None, standing: Standing) -> Plan[None]:
    """Publish the best answer so far."""
    yield Propose(answer, standing)
