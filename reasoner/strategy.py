"""What the author of a strategy imports: the interface, the operations of a plan, typed helpers, and `gather`.

A helper is used with `yield from` and returns the reply of its operation. Those that cost something raise
`BudgetExhausted` inside the plan if the budget admits none of it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted
from reasoner.gathering import Outcome, Report, gather
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
    Probe,
    Propose,
    Sample,
    Score,
    Start,
    TextLikelihood,
    check_n,
)
from reasoner.stopping.rules import StopRule
from reasoner.types import Answer, Blocks, Completion, Extraction, Prompt, Rating, SamplingParams, VoteState
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
    "DrawsOnce",
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
    "Probe",
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
    "probe",
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


@runtime_checkable
class DrawsOnce(Protocol):
    """A strategy that may draw one sequence only, which is then its reply: its text can be passed on as it comes."""

    def draws_once(self, model: ModelInfo) -> bool:
        """Whether it does so with this model."""


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
    """A strategy whose proposals tell, from a calibration, how likely they are right."""

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


def probe(chain: Completion, *, params: SamplingParams) -> Plan[Extraction | None]:
    """Ask the model to end its own reply: what it says is the answer, and how sure it is.

    The chain may be finished or cut, in its thinking or after it; it stays as it is. Returns None where the budget
    refuses the probe, or the kind of answer or the engine allows none. See `Probe`.
    """
    [extraction] = yield Probe((chain,), params)
    return extraction  # type: ignore[no-any-return]


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
