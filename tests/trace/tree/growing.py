"""Traces written by hand, for tests: a question whose tree is known."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any

from reasoner.budget import Cost
from reasoner.testing.scripted import MODEL
from reasoner.trace.events import (
    Began,
    Dropped,
    Ended,
    Event,
    Prefilled,
    Prompted,
    Proposed,
    Sampled,
    Scored,
)
from reasoner.trace.view import QuestionView, search_trees
from reasoner.types import (
    Answer,
    EndedBy,
    FinishReason,
    Message,
    Usage,
    Vote,
    VoteState,
)

DRAWN = Cost(
    prompt_tokens=5, cached_tokens=2, generated_tokens=3, requests=1, samples=1
)
RATED = Cost(verifier_tokens=7, requests=1)


@dataclass(slots=True)
class Trace:
    """The events of one question, written one by one. A node is named by the prompt that continues it."""

    id: str = "q"
    text: str = "How many?"
    events: list[Event] = field(default_factory=list)
    _drawn: dict[str, int] = field(default_factory=dict)
    _names: Iterator[int] = field(default_factory=count)

    def add(self, kind: type[Event], **values: Any) -> "Trace":
        self.events.append(kind(question_id=self.id, **{"t": 1, **values}))
        return self

    def begin(self, *, head: str = "head") -> "Trace":
        settings = {
            "strategy": "beam_search",
            "verifier": "prm",
            "engine": "scripted",
            "budget": "",
            "seed": 0,
        }
        self.add(
            Began,
            t=0,
            text=self.text,
            answer_space="number",
            model=MODEL,
            notes=(),
            **settings,
        )
        return self.head(head)

    def head(self, name: str, text: str = "How many?") -> "Trace":
        messages = (Message("user", text),)
        return self.add(
            Prompted, t=0, prompt=name, messages=messages, raw="", tokens=5, exact=True
        )

    def draw(
        self,
        on: str,
        text: str = "so",
        *,
        stop: str | None = "\n\n",
        answer: str | None = None,
        child: str = "",
        finish: FinishReason = "stop",
        value: float | None = None,
    ) -> str:
        """A step (or with `stop=None` the end of a chain), rated where `value` is given; its name."""
        index = self._index(on)
        child = child or f"node {next(self._names)}"
        read = Answer(answer, answer) if answer else None
        drawn = {
            "seed": 0,
            "token_ids": (1,),
            "usage": Usage(7, 2, 3),
            "logprobs": None,
            "cost": DRAWN,
            "op": 1,
        }
        ended = {"text": text, "finish_reason": finish, "stop": stop, "answer": read}
        self.add(Sampled, prompt=on, index=index, child=child, **drawn, **ended)
        if value is not None:
            self.rate(on, index, value)
        return child

    def _index(self, on: str) -> int:
        self._drawn[on] = self._drawn.get(on, 0) + 1
        return self._drawn[on] - 1

    def rate(
        self, on: str, index: int, value: float | None, *, error: str = ""
    ) -> None:
        names = {"prompt": on, "index": index}
        self.add(
            Scored,
            op=2,
            value=value,
            steps=() if value is None else (value,),
            error=error,
            cost=RATED,
            **names,
        )

    def put(self, on: str, text: str) -> str:
        child = f"put {next(self._names)}"
        self.add(Prefilled, prompt=on, child=child, text=text, token_ids=None)
        return child

    def drop(self, on: str) -> None:
        cost = Cost(prompt_tokens=5, cancelled_tokens=1, requests=1, samples=1)
        self.add(
            Dropped,
            op=1,
            prompt=on,
            index=self._index(on),
            why="cancelled",
            usage=None,
            cost=cost,
        )

    def propose(self, answer: str) -> "Trace":
        vote_state = VoteState((Vote(Answer(answer, answer), 1.0, 1),), 1)
        return self.add(
            Proposed, answer=Answer(answer, answer), vote_state=vote_state, cost=Cost()
        )

    def end(
        self, answer: str | None = "7", by: EndedBy = "strategy", cost: Cost = DRAWN
    ) -> "Trace":
        given = Answer(answer, answer) if answer else None
        return self.add(
            Ended,
            t=2,
            answer=given,
            ended_by=by,
            reason="it was over",
            cost=cost,
            notes=(),
        )

    @property
    def tree(self) -> QuestionView:
        [tree] = search_trees(self.events)
        return tree


def beam() -> Trace:
    """Two levels: #0 and #1 are continued, #2 is pruned, #3 to #5 end, the last of them with the answer 7 and the best rating."""
    trace = Trace().begin()
    first = trace.draw("head", "First.", value=0.75)
    second = trace.draw("head", "Second.", value=0.5)
    trace.draw("head", "Third.", value=0.25)
    trace.draw(first, "The answer is 7", stop=None, answer="7", value=0.5)
    trace.draw(first, "The answer is 8", stop=None, answer="8", value=0.95)
    trace.draw(second, "So it is 7", stop=None, answer="7", value=0.9)
    return trace.propose("7").end()


def wide(children: int, *, levels: int = 1) -> Trace:
    """This many nodes from the head, and as many from the first of each level."""
    trace, on = Trace().begin(), "head"
    for _ in range(levels):
        first, *_ = (trace.draw(on) for _ in range(children))
        on = first
    trace.draw(on, stop=None, answer="7")
    return trace.end()


@cache
def huge(shape: str) -> Trace:
    """Ten thousand nodes, for tests that only read them."""
    return {
        "wide": partial(wide, 10_000),
        "deep": partial(deep, 10_000),
        "both": partial(wide, 100, levels=100),
    }[shape]()


def deep(levels: int) -> Trace:
    """A chain that ends with the answer."""
    trace, on = Trace().begin(), "head"
    for _ in range(levels - 1):
        on = trace.draw(on)
    trace.draw(on, stop=None, answer="7")
    return trace.end()
