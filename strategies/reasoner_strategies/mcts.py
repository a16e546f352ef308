"""Monte-Carlo tree search with PUCT over reasoning steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted
from reasoner.specs import Count, Range, Samples
from reasoner.strategy import Finished, Handle, Plan, Sample, Score, next_finished, start
from reasoner.types import Answer, Completion
from reasoner_strategies._search.puct import FirstPlay, Node, Puct, Tree
from reasoner_strategies._search.resampling import softmax
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import RunningVote

UNKNOWN = 0.5
"""The value of a step while nothing has been rated."""


@dataclass(frozen=True, slots=True)
class Mcts(StepOptions):
    """Steps as moves, in the form of AlphaZero (RAP: Hao 2023, 2305.14992; rStar: Qi 2024, 2408.06195).

    A simulation descends to a leaf by PUCT, draws `k` steps there, rates them all at once, visits the best of them and
    backs its rating up as a running mean. The prior of a step is the softmax of its tokens' mean log-probability, so
    that long steps are not at a disadvantage; uniform if the engine reports none. The weight of the prior below a
    node with N visits is ln((N + 19653) / 19652) + c_init. `fpu` is the value of a step before its first visit: its own
    rating ("verifier"), the mean of its parent, or "zero".

    At most `simulations` leaves are expanded, `concurrency` of them at a time: the search continues while stragglers
    run, and each counts as a visit of value 0 that keeps others off its path (virtual loss). So the tree depends on the
    order of replies; with `concurrency` 1 there is only one tree, the textbook's. Equal siblings are one step. A chain
    that ended is visited once, at no cost; the search ends when all have been.

    A step that could not be rated counts as much as its parent. Steps that lead nowhere (cut, or the end of a chain
    without an answer) are not rated and not visited. Chains that ended vote with their rating.
    """

    uses_verifier: ClassVar[bool] = True

    simulations: Samples = 40
    k: Samples = 4
    c_init: Annotated[float, Range(at_least=0, below=math.inf)] = 1.25
    fpu: FirstPlay = "verifier"
    concurrency: Count = 4

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Search until the tree, the simulations or the budget are used up; then vote."""
        # The prior is made of log-probabilities.
        options = replace(self, params=replace(self.params, logprobs=self.params.logprobs or 0))
        root = Node(None, UNKNOWN, above=Path(question.prompt))
        search = _Search(options, question, Tree(Puct(self.c_init, self.fpu), root), RunningVote(question.space))
        try:
            yield from search.run()
        except BudgetExhausted:
            search.abandon()
        votes = search.votes
        if not votes.answered and (node := search.tree.best_open()):
            path = yield from options.closing(search.path(node))
            votes.count(path.answer(question), order=path.order)
        return (yield from votes.publish()).leader


@dataclass(slots=True, eq=False)
class _Expansion:
    """A leaf that is being expanded, and each step drawn there: its chain, and the answer of one that ends it."""

    leaf: Node
    path: Path
    number: int
    steps: list[tuple[Completion, Path, Answer | None]] = field(default_factory=list)

    @property
    def drawn(self) -> tuple[Completion, ...]:
        return tuple(completion for completion, _, _ in self.steps)


@dataclass(slots=True, eq=False)
class _Search:
    """The state of one plan."""

    options: Mcts
    question: Question
    tree: Tree
    votes: RunningVote
    expansions: int = 0
    running: dict[Handle, _Expansion] = field(default_factory=dict)

    def run(self) -> Plan[None]:
        options, tree = self.options, self.tree
        while True:
            while len(self.running) < options.concurrency and tree.root.ready and self.expansions < options.simulations:
                leaf = tree.select()
                if leaf.terminal:
                    tree.visit(leaf)
                else:
                    yield from self._expand(leaf)
            if not self.running:
                return
            finished = yield from next_finished()
            yield from self._arrived(self.running.pop(finished.handle), finished)
            yield from self.votes.publish_sometimes()

    def _expand(self, leaf: Node) -> Plan[None]:
        path = self.path(leaf)
        self.tree.take(leaf)
        op = Sample((path.prompt,), self.options.k, self.options.draws(path), reserve=self.options.reserve)
        self.running[(yield from start(op))] = _Expansion(leaf, path, self.expansions)
        self.expansions += 1

    def _arrived(self, expansion: _Expansion, finished: Finished) -> Plan[None]:
        if finished.ratings:
            self._grow(expansion, [rating.value for rating in finished.ratings])
            return
        self._keep(expansion, finished.completions)
        if expansion.steps:
            handle = yield from start(Score(self.question, expansion.drawn, self.options.reserve))
            self.running[handle] = expansion
        else:
            self._grow(expansion, [])

    def _keep(self, expansion: _Expansion, completions: Sequence[Completion]) -> None:
        """Keep the steps that lead somewhere, equal ones once."""
        known = set()
        for index, completion in enumerate(completions):
            content = (completion.token_ids, completion.text)
            if content in known:
                continue
            known.add(content)
            path = self.options.grown(expansion.path, completion, order=expansion.number * self.options.k + index)
            answer = path.answer(self.question)
            if not path.open:
                self.votes.count(answer, order=path.order)
            if path.open or answer is not None:
                expansion.steps.append((completion, path, answer))

    def _grow(self, expansion: _Expansion, values: Sequence[float | None]) -> None:
        leaf, children = expansion.leaf, list[Node]()
        weights = prior(expansion.drawn)
        for (last, path, answer), weight, value in zip(expansion.steps, weights, values, strict=True):
            child = Node(leaf, leaf.mean if value is None else value, weight, path.order)
            if answer is not None:
                child.terminal = True
                self.votes.rate(answer, value, order=path.order)
            else:
                child.above, child.last = expansion.path, replace(last, logprobs=None)
            children.append(child)
        self.tree.leave(leaf, tuple(children))

    def abandon(self) -> None:
        """End all expansions: steps that were drawn and will not be rated stay in the tree."""
        for expansion in self.running.values():
            if expansion.steps:
                self._grow(expansion, [None] * len(expansion.steps))

    def path(self, node: Node) -> Path:
        """The chain up to an open node."""
        assert node.above is not None
        return self.options.grown(node.above, node.last, order=node.order) if node.last else node.above


def prior(steps: Sequence[Completion]) -> list[float]:
    """The softmax of the steps' mean log-probability; uniform if one of them has none."""
    means = [
        math.fsum(step.logprobs.sampled) / len(step.logprobs.sampled)
        for step in steps
        if step.logprobs and step.logprobs.sampled
    ]
    if len(means) < len(steps) or not all(map(math.isfinite, means)):
        return [1 / len(steps)] * len(steps)
    return softmax(means)
