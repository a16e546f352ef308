"""Turns what happens to one question into trace events."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from reasoner.blame import Blaming
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, PlanError
from reasoner.models.card import ModelCard
from reasoner.past import NOTHING, Past
from reasoner.plan import Weigh, Weight
from reasoner.protocols import Rendered
from reasoner.solution import EndedBy, Proposal
from reasoner.trace import (
    Began,
    Blocked,
    Cancelled,
    Compared,
    Delivered,
    Dropped,
    Ended,
    Event,
    Extended,
    Noted,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Sink,
    Weighed,
)
from reasoner.types import Answer, Blocks, Completion, Prompt, Question, Rating, TokenIds, Usage

THE_SPACE = Blaming("reading the answer")


@dataclass(frozen=True, slots=True)
class Draw:
    """A sequence to draw, named before it runs: its prompt, the prompt's digest, its place among the prompt's draws."""

    op: int
    prompt: Prompt
    digest: str
    index: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a trace says of the run as a whole; specs as the catalog reads them."""

    strategy: str
    verifier: str
    engine: str
    model: ModelCard
    notes: tuple[str, ...]
    budget: str
    seed: int


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes one question's events to the run's sink; without a sink it does nothing, at no cost.

    What the plan brings about again, after an interruption, is in the trace and is not written twice.
    """

    question: Question
    sink: Sink | None
    started: float
    past: Past = NOTHING
    _heads: set[str] = field(default_factory=set)

    @property
    def _t(self) -> float:
        return round(time.monotonic() - self.started, 6)

    def _write(self, event: Event) -> None:
        if self.sink and not self.past.repeats(event):
            self.sink(event)

    def began(self, facts: RunFacts) -> None:
        """The question was taken up."""
        if self.sink:
            question = self.question
            self.sink(
                Began(
                    question_id=question.id,
                    t=self._t,
                    text=question.text,
                    answer_space=question.space.name,
                    answer_rules=question.space.version,
                    strategy=facts.strategy,
                    verifier=facts.verifier,
                    engine=facts.engine,
                    model=facts.model,
                    budget=facts.budget,
                    seed=facts.seed,
                    notes=facts.notes,
                )
            )

    def head(self, prompt: Prompt, digest: str, rendered: Rendered) -> None:
        """A prompt is used; its head is recorded the first time, continuations are told by `Sampled.child`."""
        if self.sink and not (prompt.text or prompt.token_ids) and digest not in self._heads:
            self._heads.add(digest)
            self._write(
                Prompted(
                    question_id=self.question.id,
                    t=self._t,
                    prompt=digest,
                    messages=prompt.messages,
                    raw=prompt.raw,
                    tokens=rendered.tokens,
                    exact=rendered.token_ids is not None,
                )
            )

    def extended(self, prompt: Prompt, child: Prompt, text: str, token_ids: TokenIds | None) -> None:
        """A text was put into the mouth of a reply."""
        if self.sink:
            self._write(
                Extended(
                    question_id=self.question.id,
                    t=self._t,
                    prompt=prompt.digest,
                    child=child.digest,
                    text=text,
                    token_ids=token_ids,
                )
            )

    def sampled(self, draw: Draw, completion: Completion, cost: Cost) -> None:
        """A sequence was drawn. What it cost is recorded even where its answer cannot be read.

        Raises:
            PlanError: the answer space failed.
        """
        if self.sink:
            answer, failure = None, None
            try:
                with THE_SPACE:
                    answer = self.question.read(completion)
            except PlanError as error:
                failure = error
            self.sink(
                Sampled(
                    question_id=self.question.id,
                    t=self._t,
                    op=draw.op,
                    prompt=draw.digest,
                    index=draw.index,
                    child=draw.prompt.then(completion).digest,
                    seed=completion.seed,
                    text=completion.text,
                    token_ids=completion.token_ids,
                    finish_reason=completion.finish_reason,
                    stop=completion.stop,
                    usage=completion.usage,
                    logprobs=completion.logprobs,
                    thinking=completion.thinking,
                    answer=answer,
                    cost=cost,
                )
            )
            if failure:
                raise failure

    def dropped(
        self, draw: Draw, why: Literal["cancelled", "deadline", "lost"], usage: Usage | None, cost: Cost
    ) -> None:
        """A sequence did not complete."""
        if self.sink:
            self.sink(
                Dropped(
                    question_id=self.question.id,
                    t=self._t,
                    op=draw.op,
                    prompt=draw.digest,
                    index=draw.index,
                    why=why,
                    usage=usage,
                    cost=cost,
                )
            )

    def scored(self, op: int, candidate: Completion, other: Completion | None, rating: Rating, cost: Cost) -> None:
        """A candidate was rated, or could not be, by itself or against another one."""
        if self.sink:
            self.sink(
                Scored(
                    question_id=self.question.id,
                    t=self._t,
                    op=op,
                    prompt=candidate.prompt.digest,
                    index=candidate.index,
                    against=(other.prompt.digest, other.index) if other else None,
                    value=rating.value,
                    steps=rating.steps,
                    parts=rating.parts,
                    error=rating.error,
                    cost=cost,
                )
            )

    def weighed(self, op: int, asked: Weigh, weights: Sequence[Weight | None], error: str, cost: Cost) -> None:
        """Texts were weighed, or could not be."""
        if self.sink:
            self.sink(
                Weighed(
                    question_id=self.question.id,
                    t=self._t,
                    op=op,
                    prompt=asked.prompt.digest,
                    texts=asked.texts,
                    weights=tuple(weights),
                    error=error,
                    cost=cost,
                )
            )

    def delivered(self, op: int) -> None:
        """The result of a started operation was handed to the plan."""
        if self.sink:
            self._write(Delivered(question_id=self.question.id, t=self._t, op=op))

    def cancelled(self, op: int) -> None:
        """The plan gave up a started operation."""
        if self.sink:
            self._write(Cancelled(question_id=self.question.id, t=self._t, op=op))

    def blocked(self, answers: Sequence[Answer], blocks: Sequence[Blocks | None]) -> None:
        """Answers were put into blocks that their space cannot tell at once."""
        if self.sink:
            self._write(
                Blocked(
                    question_id=self.question.id,
                    t=self._t,
                    answers=tuple(one.key for one in answers),
                    blocks=tuple(blocks),
                )
            )

    def compared(self, pairs: Sequence[tuple[Answer, Answer]], verdicts: Sequence[bool | None]) -> None:
        """Answers were compared that their space cannot compare at once."""
        if self.sink:
            self._write(
                Compared(
                    question_id=self.question.id,
                    t=self._t,
                    pairs=tuple((a.key, b.key) for a, b in pairs),
                    same=tuple(verdicts),
                )
            )

    def noted(self, text: str, *, ends: bool) -> None:
        """The plan wrote something down."""
        if self.sink:
            self._write(Noted(question_id=self.question.id, t=self._t, text=text, ends=ends))

    def refused(self, op: int, refusal: BudgetExhausted) -> None:
        """The plan was told that the budget is exhausted."""
        if self.sink:
            self._write(
                Refused(
                    question_id=self.question.id,
                    t=self._t,
                    op=op,
                    unit=refusal.unit,
                    needed=refusal.needed,
                    free=refusal.free,
                    limit=refusal.limit,
                )
            )

    def proposed(self, proposal: Proposal) -> None:
        """The plan published its best answer."""
        if self.sink:
            self._write(
                Proposed(
                    question_id=self.question.id,
                    t=self._t,
                    answer=proposal.answer,
                    standing=proposal.standing,
                    cost=proposal.cost,
                )
            )

    def ended(
        self,
        answer: Answer | None,
        by: EndedBy,
        reason: str,
        cost: Cost,
        notes: tuple[str, ...],
        confidence: float | None = None,
    ) -> None:
        """The question was closed."""
        if self.sink:
            self.sink(
                Ended(
                    question_id=self.question.id,
                    t=self._t,
                    answer=answer,
                    ended_by=by,
                    reason=reason,
                    cost=cost,
                    notes=notes,
                    confidence=confidence,
                )
            )
