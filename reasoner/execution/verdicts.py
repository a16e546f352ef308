"""What is known of the answers of one question: which are the same.

Each verdict is looked up in the history, else asked for and recorded, once. A comparer costs no tokens; what the run's
own model is asked is reserved, and booked as verifier tokens.
"""

import math
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from reasoner.answers.asking import comparison_prompt, reads_yes
from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.budget import NO_COST, Cost
from reasoner.engine import spellings
from reasoner.errors import BudgetExhausted, EngineError, NotRecorded, UsageError
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.launching import each
from reasoner.execution.work import Inquiry
from reasoner.strategy import NOT_ASKED
from reasoner.system.printing import counted
from reasoner.trace.events import AnswersCompared, BlocksFound, EquivalenceChecked
from reasoner.types import Answer, AnswerSpace, Blocks, Prompt, SamplingParams, TokenIds
from reasoner.voting import compares_by_model

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
V = TypeVar("V")
Pairs = Sequence[tuple[Answer, Answer]]
MISSING: Final = (
    "which answers are equal: replay with the same kind of answer, strategy and budget"
)


class QuestionVerdicts:
    """The verdicts on one question's answers.

    A result holds for the rest of the run, including "not decided", so that a replay and a resumed run count the same
    votes. A verdict that the ledger refuses is missing; the others still count.
    """

    def __init__(self, executor: OperationExecutor, comparer: Equivalence) -> None:
        history, space = executor.history, executor.question.space
        self.by_model = compares_by_model(space)
        """Whether the model compares answers, and no comparer."""
        self._executor, self._comparer, self._space, self._history = (
            executor,
            comparer,
            space,
            history,
        )
        self._meter = ComparisonMeter()
        self._recorded_blocks, self._recorded_same = history.blocks, history.same
        # A replay writes what it uses again, and verdicts of the model are booked again where they are asked for.
        self._blocks = {} if history.source else {**self._recorded_blocks}
        self._same = {} if history.source or self.by_model else {**self._recorded_same}
        self._compared: list[Cost] = []
        self._words: tuple[TokenIds, TokenIds] | None = None
        """The tokens of yes and of no; empty where their probabilities are not available."""

    async def blocks(self, answers: Sequence[Answer]) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if they were not found in time. Raises as `same`."""
        if new := {
            answer.key: answer for answer in answers if answer.key not in self._blocks
        }:
            results = await self._find(
                new, self._recorded_blocks, self._comparer.blocks
            )
            self._executor.recorder.write(
                BlocksFound, answers=tuple(new), blocks=results
            )
            self._blocks.update(zip(new, results, strict=True))
        return tuple(self._blocks[answer.key] for answer in answers)

    async def same(
        self, pairs: Pairs, ask: Callable[[Pairs], Awaitable[tuple[bool | None, ...]]]
    ) -> tuple[bool | None, ...]:
        """For each pair whether each answer accepts the other; None if that was not decided.

        Where the model compares, `ask` gets the pairs that are not known yet.

        Raises:
            BudgetExhausted: the deadline passed.
            NotRecorded: a replay does not have it.
        """
        keyed = [(frozenset((a.key, b.key)), (a, b)) for a, b in pairs]
        if new := {key: pair for key, pair in keyed if key not in self._same}:
            if self.by_model:
                results = await ask(tuple(new.values()))
            else:
                results = await self._find(
                    new, self._recorded_same, self._comparer.same_many
                )
            self._executor.recorder.write(
                EquivalenceChecked,
                pairs=tuple((a.key, b.key) for a, b in new.values()),
                same=results,
            )
            self._same.update(zip(new, results, strict=True))
        return tuple(self._same[key] for key, _ in keyed)

    async def _find(
        self,
        new: Mapping[K, A],
        recorded: Mapping[K, V],
        ask: Callable[
            [AnswerSpace, Sequence[A], ComparisonMeter],
            Coroutine[Any, Any, tuple[V, ...]],
        ],
    ) -> tuple[V, ...]:
        if self._history.source:
            if not recorded.keys() >= new.keys():
                raise NotRecorded(
                    f"the trace {self._history.source} does not say {MISSING}"
                )
            return tuple(recorded[key] for key in new)
        return await self._executor.before_deadline(
            ask(self._space, tuple(new.values()), self._meter)
        )

    async def ask_model(
        self, op: int, pairs: Pairs, *, at: int
    ) -> list[AnswersCompared | BudgetExhausted]:
        """The verdict of the model on each pair, or the refusal by the budget. Raises as `same`."""
        by_key = [sorted(pair, key=lambda answer: answer.key) for pair in pairs]
        return await each([partial(self._ask_pair, op, at, *pair) for pair in by_key])

    async def _ask_pair(
        self, op: int, at: int, first: Answer, second: Answer
    ) -> AnswersCompared:
        """Whether the model says in both orders that two answers are the same. The second is asked after a yes."""
        executor, pair = self._executor, (first.key, second.key)
        values: dict[str, Any] = {
            "prompt": executor.question.prompt.digest,
            "pair": pair,
            "same": None,
            "yes": (),
        }
        inquiry = Inquiry(
            executor, op, AnswersCompared, (pair,), "verdict", NOT_ASKED, values, at
        )

        async def ask() -> None:
            for a, b in ((first, second), (second, first)):
                chance = await self._yes(
                    inquiry, comparison_prompt(executor.question, a, b)
                )
                values["yes"] += (chance,)
                if chance <= 0.5:
                    break
            values["same"] = chance > 0.5

        event = inquiry.recorded(MISSING) or await inquiry.outcome(ask)
        self._compared.append(event.cost)
        return event

    async def _yes(self, inquiry: Inquiry[AnswersCompared], prompt: Prompt) -> float:
        """The probability of yes, among yes and no; 0 or 1 where it is read from text.

        Raises:
            EngineError: the model said neither.
        """
        if self._words is None:
            self._words = await self._spelled()
        yes, no = self._words
        watch = yes + no
        params = SamplingParams(
            temperature=0.0,
            # The maximum of tokens of a verdict that is read from text
            max_tokens=1 if watch else 16,
        )
        completion = await inquiry.reply(prompt, params, watch=watch)
        if watch and completion.logprobs and completion.logprobs.watched:
            chances = [math.exp(logprob) for logprob in completion.logprobs.watched[0]]
            mass = math.fsum(chances)
            # The least probability of yes and no together; with less, the model did not answer
            if mass < 0.5:
                raise EngineError(
                    f"the model did not answer: yes and no together have probability {mass:.3f}"
                )
            return min(1.0, math.fsum(chances[: len(yes)]) / mass)
        spoken = reads_yes(completion.text)
        if spoken is None:
            raise EngineError("the model said neither yes nor no")
        return float(spoken)

    async def _spelled(self) -> tuple[TokenIds, TokenIds]:
        try:
            yes, no = [
                await spellings(self._executor.engine, word) for word in ("Yes", "No")
            ]
        except UsageError:
            # Several models with different tokenizers.
            yes = no = None
        return (yes, no) if yes and no else ((), ())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not decided and what to do about it; what the verdicts of the model cost, and if any is missing."""
        notes = []
        if undecided := [*self._same.values(), *self._blocks.values()].count(None):
            count = (
                "1 comparison was"
                if undecided == 1
                else f"{undecided:,} comparisons were"
            )
            limit, advice = "by the model" if self.by_model else "in time", ""
            if (seconds := getattr(self._space, "seconds", None)) is not None:
                limit = f"within {seconds:g} s"
                advice = f"; answer kind {self._space.name}:seconds={3 * seconds:g} gives more time"
            notes.append(
                f"{count} not decided {limit}: those answers count as different{advice}"
            )
        if self._compared:
            pairs = counted(len(self._compared), "pair")
            tokens = sum(self._compared, NO_COST).tokens
            notes.append(f"the model compared {pairs} of answers: {tokens:,} tokens")
        return tuple(notes)
