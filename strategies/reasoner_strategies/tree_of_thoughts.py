"""Tree of thoughts: the model proposes thoughts and judges by itself which states are worth continuing."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.specs import Count, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    next_finished,
    start,
)
from reasoner.types import NO_THINKING
from reasoner_strategies._prompts import shortened, verdict, with_text, without_reply
from reasoner_strategies._search.step_search import rank
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import RunningVote, Selector

VALUES = {"sure": 20.0, "likely": 1.0, "impossible": 0.001}
JUDGEMENT_TOKENS = 256
"""The maximum of tokens of a judgement."""
VALUE = (
    "Here is an attempt at an answer, which may not be finished yet:\n\n{state}\n\nDo not continue it. Judge whether "
    'it leads to the right answer. End with a line that says "Verdict: sure", "Verdict: likely" or '
    '"Verdict: impossible".'
)


@dataclass(frozen=True, slots=True)
class TreeOfThoughts(StepOptions):
    """Breadth-first search; the model judges its own thoughts (Yao 2023, 2305.10601).

    `k` thoughts are drawn from every state that was kept. The best `b` of all states are kept, finished ones included,
    until all of them are finished, at a depth of at most `max_steps`. Then `selector` chooses among the finished states
    by their values.

    The model is asked `n_eval` times of each state whether it leads to the right answer: sure 20, likely 1, impossible
    0.001, summed; the same text is never judged again. A judgement that cannot be read abstains: the others count for
    it. A state without any judgement has no value: those that have one are kept, or the earliest if none has. Equal
    states are one state. A chain that was cut, or ended without an answer, is dropped.
    """

    listed_under: ClassVar[str] = "Search over steps"
    uses_verifier: ClassVar[bool] = False
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.7)

    b: Samples = 5
    k: Samples = 5
    n_eval: Samples = 3
    selector: Selector = "argmax"
    max_steps: Count = field(default=10, kw_only=True)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Search level by level, then choose among the finished states."""
        search = _TreeSearch(self, question)
        with suppress(BudgetExhausted):
            yield from search.run()
        if search.open and not any(search.ended.values()):
            # The best valued state is finished, the deepest of equals, then the earliest.
            best = min(
                search.open.values(),
                key=lambda state: (rank(state)[:2], -state.steps, state.order),
            )
            search.end((yield from self.closing(best)))
        return (yield from search.publish())


@dataclass(slots=True, eq=False)
class _TreeSearch:
    """The state of one plan; its states are identified by their position in launch order."""

    options: TreeOfThoughts
    question: Question
    open: dict[int, Path] = field(init=False)
    """States that can be expanded and have not been."""
    ended: dict[int, Path | None] = field(default_factory=dict)
    """States that ended; None for a chain without an answer."""
    _launched: int = 1
    _known: set[str] = field(default_factory=set)
    _values: dict[Prompt, float | None] = field(default_factory=dict)
    _votes: RunningVote = field(init=False)

    def __post_init__(self) -> None:
        self.open = {0: Path(self.question.prompt)}
        self._votes = RunningVote(self.question.space, self.options.selector)

    def run(self) -> Plan[None]:
        """Expand the open ones of the states that are kept, judge them all, and keep the best."""
        states = list(self.open.values())
        while growing := [state for state in states if state.open]:
            thoughts = yield from self._thoughts(growing)
            states = yield from self._judged(
                [*(state for state in states if state.finished), *thoughts]
            )
            yield from self.publish()
            valued = [state for state in states if state.value is not None]
            states = sorted(valued or states, key=rank)[: self.options.b]

    def _thoughts(self, parents: Sequence[Path]) -> Plan[list[Path]]:
        """The new states that continue these, in launch order."""
        handles: dict[Handle, Path] = {}
        for parent in parents:
            op = Sample(
                (parent.prompt,),
                self.options.k,
                self.options.draws(parent),
                reserve=self.options.reserve,
            )
            handles[(yield from start(op, cancellable=False))] = parent
        drawn: dict[Handle, tuple[Completion, ...]] = {}
        states: list[Path] = []
        try:
            while len(drawn) < len(handles):
                arrived = yield from next_finished()
                drawn[arrived.handle] = arrived.completions
        finally:
            # After a refusal too, as what was drawn may be finished.
            for handle in sorted(drawn):
                parent = self.open.pop(handles[handle].order)
                for index, completion in enumerate(drawn[handle]):
                    states += self._new(
                        self.options.grown(
                            parent, completion, order=self._launched + index
                        )
                    )
                self._launched += self.options.k
        return states

    def _new(self, state: Path) -> list[Path]:
        """The state, unless it is known or leads nowhere."""
        content = f"{state.finished}{state.prompt.text or state.prompt.thinking}"
        if content in self._known:
            return []
        self._known.add(content)
        if state.open:
            self.open[state.order] = state
        else:
            self.end(state)
        return [state] if state.open or self.ended[state.order] else []

    def end(self, state: Path) -> None:
        """Keep a state that is no longer open, if it has an answer."""
        self.ended[state.order] = state if state.answer(self.question) else None

    def _judged(self, states: Sequence[Path]) -> Plan[list[Path]]:
        """The same states with their values."""
        asked = [self._request(state) for state in states]
        judged: dict[Prompt, list[float]] = {
            prompt: [] for prompt in asked if prompt not in self._values
        }
        if judged:
            replies: tuple[Completion, ...] = yield self._judging(tuple(judged))
            for reply in replies:
                word = verdict(reply, "verdict", tuple(VALUES))
                if word is not None:
                    judged[reply.prompt].append(VALUES[word])
        for prompt, values in judged.items():
            self._values[prompt] = (
                math.fsum(values) / len(values) * self.options.n_eval
                if values
                else None
            )
        valued = [
            replace(state, value=self._values[prompt])
            for state, prompt in zip(states, asked, strict=True)
        ]
        for state in valued:
            (self.open if state.open else self.ended)[state.order] = state
        return valued

    def _request(self, state: Path) -> Prompt:
        """A request about a state after the question's last turn, so that its cached prefix is used; no thinking."""
        return with_text(
            without_reply(self.question.prompt).at_level(NO_THINKING),
            VALUE.format(state=shortened(state.prompt.text)),
        )

    def _judging(self, prompts: tuple[Prompt, ...]) -> Sample:
        limit = min(self.options.params.limit, JUDGEMENT_TOKENS)
        return Sample(
            prompts,
            self.options.n_eval,
            replace(self.options.params, max_tokens=limit),
            reserve=self.options.reserve,
            answers=False,
        )

    def publish(self) -> Plan[Answer | None]:
        """Propose the vote of the finished states, unless it was already proposed; the answer."""
        self._votes.restart()
        for order, state in self.ended.items():
            answer = state.answer(self.question) if state else None
            self._votes.count(answer, order=order)
            if state and answer:
                self._votes.rate(answer, state.value, order=order)
        return (yield from self._votes.publish()).leader
