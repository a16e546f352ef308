"""Plans in which a model judges its own answers, driven without an engine."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reasoner.answers.questions import Question
from reasoner.errors import ReasonerError
from reasoner.strategy import Note, Operation, Plan, Propose, Sample
from reasoner.types import Answer, Completion, Prompt, VoteState
from tests.helpers import completion, number_question

QUESTION = number_question()
_LISTED = re.compile(
    r"^(?:Answer|Response) (\w+):\n(.*?)(?=\n\n(?:(?:Answer|Response) \w+:\n|Compare|Evaluate))",
    re.MULTILINE | re.DOTALL,
)

Judging = Callable[[list[str]], str]
"""What the model replies, given the texts that it is shown."""


def texts_in(prompt: Prompt) -> list[str]:
    """The texts that a prompt lists."""
    return [text for _, text in _LISTED.findall(prompt.messages[-1].content)]


def key_of(text: str) -> str:
    answer = QUESTION.space.read(text)
    assert answer is not None
    return answer.key


def pool(*keys: str | None) -> tuple[Completion, ...]:
    """Candidates whose answers are these, each worded in its own way."""
    return tuple(
        completion("no idea" if key is None else f"Thought {index}. The answer is {key}", index=index)
        for index, key in enumerate(keys)
    )


def prefers(*keys: str) -> Judging:
    """A judge with an order of preference, whatever the places; it judges pairs and lists."""

    def judge(texts: list[str]) -> str:
        at = min(range(len(texts)), key=lambda place: keys.index(key_of(texts[place])))
        return f"Better: {'AB'[at]}" if len(texts) == 2 else f"Best: {at + 1}"

    return judge


@dataclass(slots=True)
class SearchTree:
    """What a plan asked for and came to."""

    answer: Answer | None = None
    asked: list[list[str]] = field(default_factory=list)
    """The texts shown in each request that judges, request by request."""
    rounds: list[int] = field(default_factory=list)
    """How many such requests each operation had."""
    samples: list[Sample] = field(default_factory=list)
    vote_states: list[VoteState] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> str | None:
        return self.answer.key if self.answer else None


def judged(
    plan: Plan[Answer | None],
    drawn: Sequence[Completion],
    judge: Judging | ReasonerError,
    *,
    question: Question = QUESTION,
    keep: int | None = None,
) -> SearchTree:
    """Send a plan its candidates, then the judge's replies, of which the budget allows the first `keep` an operation."""
    course = SearchTree()
    reply: tuple[Completion, ...] | ReasonerError | None = None
    while True:
        try:
            op: Operation = plan.throw(reply) if isinstance(reply, ReasonerError) else plan.send(reply)
        except StopIteration as end:
            course.answer = end.value
            return course
        reply = None
        match op:
            case Sample() if op.prompts == (question.prompt,):
                course.samples.append(op)
                reply = tuple(drawn)
            case Sample():
                course.samples.append(op)
                course.asked += [texts_in(prompt) for prompt in op.prompts]
                course.rounds.append(len(op.prompts))
                if isinstance(judge, ReasonerError):
                    reply = judge
                else:
                    reply = tuple(completion(judge(texts_in(p)), prompt=p) for p in op.prompts)[:keep]
            case Propose():
                course.vote_states.append(op.vote_state)
                assert op.answer == op.vote_state.leader
            case Note():
                course.notes.append(op.text)
            case _:
                raise AssertionError(op)


def cut(one: Completion) -> Completion:
    return replace(one, finish_reason="length")
