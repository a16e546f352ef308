"""Tree of thoughts: the model proposes thoughts and judges by itself which states are worth continuing."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.specs import MAX_SAMPLES, Count, Range, Samples
from reasoner.strategy import Handle, Plan, Sample, next_finished, propose, start
from reasoner.types import NO_THINKING, Answer, Completion, Prompt, SamplingParams, VoteState
from reasoner_strategies._prompts import QUOTE, shortened, verdict, with_text, without_reply
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import rated_vote

BREADTH = 5
VALUES = {"sure": 20.0, "likely": 1.0, "impossible": 0.001}
JUDGEMENT_TOKENS = 256
"""The maximum of tokens of a judgement."""
VALUE = (
    "Here is an attempt at an answer, which may not be finished yet:\n\n{state}\n\nDo not continue it. Judge whether "
    'it leads to the right answer. End with a line that says "Verdict: sure", "Verdict: likely" or '
    '"Verdict: impossible".'
)
VOTE = (
    "Here are attempts at an answer, which may not be finished yet:\n\n{states}\n\nDo not continue them. Decide which "
    'one is the most likely to lead to the right answer. End with a line that says "Best: N", where N is its number.'
)


@dataclass(frozen=True, slots=True)
class TreeOfThoughts(StepOptions):
    """States of `k` thoughts each, judged by the model itself (Yao 2023, 2305.10601).

    "bfs" draws `k` thoughts from every state kept and keeps the best `b` of all, finished ones included, until all are
    finished. "dfs" continues from the best state drawn last, and returns to earlier ones if that leads nowhere; with a
    `v_th` above 0 it ends at the first finished state of that value, with 0 it searches the whole tree. States with a
    value below `v_th` are dropped.

    `evaluate` "value" asks `n_eval` times of each state whether it leads to the right answer: sure 20, likely 1,
    impossible 0.001, summed; the same text is never judged again. "vote" shows all candidates of a level (in dfs, of a
    parent) and asks `n_eval` times for the best, each time in another order; the value of a state is its votes.

    A judgement that cannot be read abstains: the others count for it. A state without any judgement has no value: bfs
    keeps those that have one, or the earliest if none has; dfs continues from it last. Equal states are one state. A
    chain that was cut, or ended without an answer, is dropped.

    At most `expansions` states are expanded, to a depth of `max_steps`. `selector` "argmax" answers with the finished
    state of the highest value, "weighted" with the class of answers of the highest total.

    `mode` is the order of the search: "bfs" level by level, "dfs" deep first.
    """

    uses_verifier: ClassVar[bool] = False
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.7)

    mode: Literal["bfs", "dfs"] = "bfs"
    b: Samples = BREADTH
    k: Samples = 5
    n_eval: Samples = 3
    evaluate: Literal["value", "vote"] = "value"
    v_th: Annotated[float, Range(at_least=0, below=math.inf)] = 0.0
    expansions: Annotated[int, Range(at_least=1, at_most=MAX_SAMPLES)] = 100
    selector: Literal["argmax", "weighted"] = "argmax"
    max_steps: Count = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        StepOptions.__post_init__(self)
        if self.mode == "dfs" and self.b != BREADTH:
            raise UsageError(
                f"b={self.b} has no effect with mode=dfs, which keeps all states: leave it out, or choose bfs"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Search, then choose among the finished states."""
        search = _TreeSearch(self, question)
        yield from search.broad() if self.mode == "bfs" else search.deep()
        if search.open and all(state is None for state in search.finished.values()):
            # The best valued state is finished, the deepest of equals, then the earliest.
            best = min(search.open.values(), key=lambda state: (_rank(state)[0], -state.steps, state.order))
            path = yield from self.closing(best)
            search.finished[path.order] = path if path.finished else None
        return (yield from search.publish())


@dataclass(slots=True, eq=False)
class _TreeSearch:
    """The state of one plan; its states are identified by their position in launch order."""

    options: TreeOfThoughts
    question: Question
    open: dict[int, Path] = field(default_factory=dict)
    """States that can be expanded and have not been."""
    finished: dict[int, Path | None] = field(default_factory=dict)
    """States that ended; None for a chain without an answer."""
    _left: int = field(init=False)
    """How many states may still be expanded; 0 after a refusal by the budget."""
    _refused: bool = False
    _launched: int = 1
    _known: set[str] = field(default_factory=set)
    _values: dict[str, float | None] = field(default_factory=dict)
    _polls: int = 0
    _published: VoteState | None = None

    def __post_init__(self) -> None:
        self._left, self.open = self.options.expansions, {0: Path(self.question.prompt)}

    def broad(self) -> Plan[None]:
        """Level by level."""
        states = list(self.open.values())
        while growing := [state for state in states if state.open][: self._left]:
            states = [state for state in states if state.finished] + (yield from self._thoughts(growing))
            states = yield from self._judged(states)
            yield from self.publish()
            states = self._best(states)

    def deep(self) -> Plan[None]:
        """Best child first, with backtracking."""
        stack = list(self.open.values())
        while stack:
            state = stack.pop()
            if state.finished and self.options.v_th > 0 and state.value is not None:
                return
            if state.finished:
                continue
            if not self._left:
                return
            states = yield from self._judged((yield from self._thoughts([state])))
            yield from self.publish()
            worthy = [state for state in states if state.value is None or state.value >= self.options.v_th]
            stack += sorted(worthy, key=_rank, reverse=True)

    def _best(self, states: Sequence[Path]) -> list[Path]:
        rated = [state for state in states if state.value is not None]
        worthy = [state for state in rated if (state.value or 0.0) >= self.options.v_th]
        return sorted(worthy if rated else states, key=_rank)[: self.options.b]

    def _thoughts(self, parents: Sequence[Path]) -> Plan[list[Path]]:
        """The new states that continue these, in launch order."""
        handles: dict[Handle, Path] = {}
        for parent in parents:
            op = Sample((parent.prompt,), self.options.k, self.options.draws(parent), reserve=self.options.reserve)
            handles[(yield from start(op, cancellable=False))] = parent
        drawn: dict[Handle, tuple[Completion, ...]] = {}
        try:
            while len(drawn) < len(handles):
                arrived = yield from next_finished()
                drawn[arrived.handle] = arrived.completions
            self._left -= len(drawn)
        except BudgetExhausted:
            self._left, self._refused = 0, True
        states: list[Path] = []
        for handle in sorted(drawn):
            parent = self.open.pop(handles[handle].order)
            for index, completion in enumerate(drawn[handle]):
                states += self._new(self.options.grown(parent, completion, order=self._launched + index))
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
            return [state]
        answered = state.answer(self.question) is not None
        self.finished[state.order] = state if answered else None
        return [state] if answered else []

    def _judged(self, states: Sequence[Path]) -> Plan[list[Path]]:
        """The same states with their values."""
        if not states or self._refused:
            return list(states)
        judge = self._by_value if self.options.evaluate == "value" else self._by_vote
        try:
            values: list[float | None] = yield from judge(states)
        except BudgetExhausted:
            self._left, self._refused = 0, True
            return list(states)
        judged = [state if value is None else state.rated(value) for state, value in zip(states, values, strict=True)]
        self.open |= {state.order: state for state in judged if state.open}
        self.finished |= {state.order: state for state in judged if state.finished}
        return judged

    def _by_value(self, states: Sequence[Path]) -> Plan[list[float | None]]:
        shown = [shortened(state.prompt.text) for state in states]
        prompts = {self._prompt(VALUE.format(state=text)): text for text in shown if text not in self._values}
        judged: dict[str, list[float]] = {text: [] for text in prompts.values()}
        if prompts:
            replies = yield from self._ask(tuple(prompts), self.options.n_eval)
            for reply in replies:
                if (word := verdict(reply, "verdict", tuple(VALUES))) is not None:
                    judged[prompts[reply.prompt]].append(VALUES[word])
        for text, values in judged.items():
            self._values[text] = math.fsum(values) / len(values) * self.options.n_eval if values else None
        return [self._values[text] for text in shown]

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
            listed = "\n\n".join(f"Attempt {number}:\n{texts[index]}" for number, index in enumerate(order, 1))
            prompts.append(self._prompt(VOTE.format(states=listed)))
            orders[prompts[-1]] = order
        replies = yield from self._ask(tuple(prompts), 1)
        numbers = [str(number) for number, _ in enumerate(states, 1)]
        votes = [0.0] * len(states)
        for reply in replies:
            if (number := verdict(reply, "best", numbers)) is not None:
                votes[orders[reply.prompt][int(number) - 1]] += 1
        return list(votes) if any(votes) else [None] * len(states)

    def _ask(self, prompts: tuple[Prompt, ...], n: int) -> Plan[tuple[Completion, ...]]:
        params = replace(self.options.params, max_tokens=min(self.options.params.limit, JUDGEMENT_TOKENS))
        replies: tuple[Completion, ...] = yield Sample(prompts, n, params, reserve=self.options.reserve, answers=False)
        return replies

    def _prompt(self, text: str) -> Prompt:
        """The question with a text after its last turn, so that its cached prefix is used, and without thinking."""
        return with_text(without_reply(self.question.prompt).at_level(NO_THINKING), text)

    def publish(self) -> Plan[Answer | None]:
        """Propose the vote of the finished states, unless it was already proposed; the answer."""
        states = [self.finished[order] for order in sorted(self.finished)]
        vote_state = yield from rated_vote(
            self.question,
            [None if state is None else state.last for state in states],
            [None if state is None else state.value for state in states],
            by="max" if self.options.selector == "argmax" else "sum",
        )
        if vote_state != self._published:
            yield from propose(vote_state.leader, vote_state)
        self._published = vote_state
        return vote_state.leader


def _rank(state: Path) -> tuple[float, int]:
    """The sort key of states: best valued first, those without a value last, the earlier of equals."""
    return 1.0 if state.value is None else -state.value, state.order
