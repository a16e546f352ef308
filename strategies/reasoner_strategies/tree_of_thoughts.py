"""Tree of thoughts: the model proposes thoughts and judges by itself which states are worth continuing."""

import math
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.answers.thoughts import ThoughtPrompts
from reasoner.specs import Count, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    next_finished,
    prefill,
    start,
)
from reasoner.types import NO_THINKING
from reasoner_strategies._prompts import (
    QUOTE,
    shortened,
    verdict,
    with_text,
    without_reply,
)
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
PROPOSE = (
    "Here is an attempt at an answer, which is not finished yet:\n\n{state}\n\nPropose different next steps, each on a "
    "line of its own. Do not continue beyond one step."
)
ANSWER = "\nAnswer: "
"""What asks for the answer after steps that were proposed."""
VOTE = (
    "Here are attempts at an answer, which may not be finished yet:\n\n{states}\n\nDo not continue them. Decide which "
    'one is the most likely to lead to the right answer. End with a line that says "Best: N", where N is its number.'
)


@dataclass(frozen=True, slots=True)
class TreeOfThoughts(StepOptions):
    """Breadth-first search; the model judges its own thoughts (Yao 2023, 2305.10601).

    `k` thoughts are drawn from every state that was kept. With `generate` "propose" a reply lists them instead, one a
    line, and the first `k` count; after `max_steps` - 1 of them a chain is drawn to its end. A task may have
    prompts of its own for that, as the game of 24 has, which also say when a state is ready for its answer, and how it
    is valued. The best `b` of all states are kept, finished ones included, or, with `select` "sample", `b` draws in
    proportion to their values, until all of them are finished, at a depth of at most `max_steps`. Then `selector`
    chooses among the finished states by their values.

    `evaluate` "value" asks `n_eval` times of each state whether it leads to the right answer: sure 20, likely 1,
    impossible 0.001, summed; the same text is never judged again. "vote" shows all states of a level and asks `n_eval`
    times for the best, each time in another order; the value of a state is its votes.

    A judgement that cannot be read abstains: the others count for it. A state without any judgement has no value: those
    that have one are kept, or the earliest if none has. Equal states are one state. A chain that was cut, or ended
    without an answer, is dropped.
    """

    listed_under: ClassVar[str] = "Search over steps"
    uses_verifier: ClassVar[bool] = False
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.7)

    b: Samples = 5
    k: Samples = 5
    n_eval: Samples = 3
    evaluate: Literal["value", "vote"] = "value"
    selector: Selector = "argmax"
    generate: Literal["sample", "propose"] = "sample"
    select: Literal["greedy", "sample"] = "greedy"
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
    _polls: int = 0
    _votes: RunningVote = field(init=False)
    _task: ThoughtPrompts | None = field(init=False)
    """The task's own requests, where steps are proposed."""

    def __post_init__(self) -> None:
        task = getattr(self.question.space, "thoughts", None)
        self._task = (
            task
            if self.options.generate == "propose" and isinstance(task, ThoughtPrompts)
            else None
        )
        self.open, self._votes = (
            {0: Path(self.question.prompt)},
            RunningVote(self.question.space, self.options.selector),
        )

    def run(self) -> Plan[None]:
        """Expand the open ones of the states that are kept, judge them all, and keep the best."""
        states = list(self.open.values())
        while growing := [state for state in states if state.open]:
            propose = self.options.generate == "propose"
            thoughts = yield from (
                self._proposals(growing) if propose else self._thoughts(growing)
            )
            states = yield from self._judged(
                [*(state for state in states if state.finished), *thoughts]
            )
            yield from self.publish()
            valued = [state for state in states if state.value is not None]
            states = sorted(valued or states, key=rank)
            states = (
                self._sampled(states)
                if valued and self.options.select == "sample"
                else states[: self.options.b]
            )

    def _sampled(self, states: Sequence[Path]) -> list[Path]:
        """`b` draws in proportion to the values, each state once; a function of the question and the states."""
        source = random.Random(
            f"{self.question.id}\0{[state.order for state in states]}"
        )
        weights = [state.value or 0.0 for state in states]
        drawn = source.choices(
            states, weights if any(weights) else None, k=self.options.b
        )
        return sorted({state.order: state for state in drawn}.values(), key=rank)

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

    def _proposals(self, parents: Sequence[Path]) -> Plan[list[Path]]:
        """The new states that continue these by a step that was proposed, or by the rest of the chain."""
        handles: dict[Handle, Path] = {}
        for parent in parents:
            done = (
                self._task is not None
                and self._task.rest_of(parent.prompt.text) == self._task.done
            )
            prompt = None
            if done or parent.steps + 1 >= self.options.max_steps:
                # No other step follows: the rest of the chain is drawn.
                asking = ANSWER if self._task else "\n"
                prompt = yield from prefill(parent.prompt, asking, thinking="close")
            state = (
                replace(parent, prompt=prompt, steps=self.options.max_steps - 1)
                if prompt
                else parent
            )
            asked = prompt or self._request(
                PROPOSE, self._task.propose if self._task else "", parent
            )
            op = Sample(
                (asked,),
                1,
                self.options.draws(state),
                reserve=self.options.reserve,
                answers=bool(prompt),
            )
            handles[(yield from start(op, cancellable=False))] = state
        drawn: dict[Handle, Completion] = {}
        while len(drawn) < len(handles):
            arrived = yield from next_finished()
            [drawn[arrived.handle]] = arrived.completions
        states: list[Path] = []
        for handle in sorted(drawn):
            parent, reply = handles[handle], drawn[handle]
            self.open.pop(parent.order)
            if parent.steps + 1 >= self.options.max_steps:
                states += self._new(
                    self.options.grown(parent, reply, order=self._launched)
                )
                self._launched += 1
                continue
            lines = (
                self._task.steps_in(reply.text)
                if self._task
                else reply.text.splitlines()
            )
            for line in list(dict.fromkeys(filter(None, map(str.strip, lines))))[
                : self.options.k
            ]:
                text = f"{chr(10) if parent.prompt.text else ''}{line}"
                prompt = yield from prefill(parent.prompt, text, thinking="close")
                tokens = (
                    parent.tokens + len(prompt.token_ids) - len(parent.prompt.token_ids)
                )
                states += self._new(
                    Path(prompt, None, parent.steps + 1, tokens, order=self._launched)
                )
                self._launched += 1
        return states

    def _request(self, general: str, own: str, state: Path) -> Prompt:
        """A request about a state, in the task's `own` words if it has any."""
        if self._task:
            answer = state.prompt.text.rpartition(ANSWER)[2].strip()
            filled = own.replace(
                "{rest}", self._task.rest_of(state.prompt.text)
            ).replace("{answer}", answer)
            return Prompt.chat(filled).at_level(NO_THINKING)
        return self._prompt(general.format(state=shortened(state.prompt.text)))

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
        if not states:
            return []
        judge = self._by_value if self.options.evaluate == "value" else self._by_vote
        values = yield from judge(states)
        judged = [
            state if value is None else replace(state, value=value)
            for state, value in zip(states, values, strict=True)
        ]
        for state in judged:
            (self.open if state.open else self.ended)[state.order] = state
        return judged

    def _by_value(self, states: Sequence[Path]) -> Plan[list[float | None]]:
        task, asked = self._task, list[Prompt]()
        for state in states:
            own = (task.judge if state.finished else task.value) if task else ""
            asked.append(self._request(VALUE, own, state))
        judged: dict[Prompt, list[float]] = {
            prompt: [] for prompt in asked if prompt not in self._values
        }
        for reply in (
            (yield from self._ask(tuple(judged), self.options.n_eval)) if judged else ()
        ):
            word = (
                _last_word(reply) if task else verdict(reply, "verdict", tuple(VALUES))
            )
            if word in VALUES:
                judged[reply.prompt].append(VALUES[word])
        for prompt, values in judged.items():
            self._values[prompt] = (
                math.fsum(values) / len(values) * self.options.n_eval
                if values
                else None
            )
        return [self._values[prompt] for prompt in asked]

    def _by_vote(self, states: Sequence[Path]) -> Plan[list[float | None]]:
        if len(states) < 2:
            return [None] * len(states)
        room = 2 * QUOTE // len(states)
        texts = [shortened(state.prompt.text)[-room:] for state in states]
        orders: dict[Prompt, list[int]] = {}
        prompts: list[Prompt] = []
        for _ in range(self.options.n_eval):
            order = list(range(len(states)))
            random.Random(f"{self.question.id}\0{self._polls}").shuffle(order)
            self._polls += 1
            listed = "\n\n".join(
                f"Attempt {number}:\n{texts[index]}"
                for number, index in enumerate(order, 1)
            )
            prompts.append(self._prompt(VOTE.format(states=listed)))
            orders[prompts[-1]] = order
        numbers = [str(number) for number, _ in enumerate(states, 1)]
        votes = [0.0] * len(states)
        for reply in (yield from self._ask(tuple(prompts), 1)):
            if (number := verdict(reply, "best", numbers)) is not None:
                votes[orders[reply.prompt][int(number) - 1]] += 1
        return list(votes) if any(votes) else [None] * len(states)

    def _ask(self, prompts: tuple[Prompt, ...], n: int) -> Plan[tuple[Completion, ...]]:
        params = replace(
            self.options.params,
            max_tokens=min(self.options.params.limit, JUDGEMENT_TOKENS),
        )
        replies: tuple[Completion, ...] = yield Sample(
            prompts, n, params, reserve=self.options.reserve, answers=False
        )
        return replies

    def _prompt(self, text: str) -> Prompt:
        """The question with a text after its last turn, so that its cached prefix is used, and without thinking."""
        return with_text(
            without_reply(self.question.prompt).at_level(NO_THINKING), text
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


def _last_word(reply: Completion) -> str:
    """What the last line of a judgement says."""
    lines = reply.text.split("\n") if not reply.truncated else []
    return next(
        (line.strip().strip(".").lower() for line in reversed(lines) if line.strip()),
        "",
    )
