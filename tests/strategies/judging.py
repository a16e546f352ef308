"""Plans in which a model judges its own answers, driven without an engine."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from reasoner.answers.questions import Question
from reasoner.strategy import Plan, Sample
from reasoner.types import Answer, Completion, Prompt
from tests.helpers import completion, number_question
from tests.strategies.driving import Course, follow

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
    """A judge with an order of preference, whatever the positions, that replies in the form of each strategy."""

    def judge(texts: list[str]) -> str:
        at = min(range(len(texts)), key=lambda place: keys.index(key_of(texts[place])))
        return f"{names(at)}\nBest: {at + 1}\nBetter: {'AB'[at] if at < 2 else 'none'}"

    return judge


def names(place: int) -> str:
    return f"The most consistent response is Response {place + 1}"


class Judged(Course):
    """A course in which every sample but the first is a request that judges."""

    __slots__ = ()

    @property
    def asked(self) -> list[list[str]]:
        """The texts shown in each request that judges."""
        return [texts_in(prompt) for op in self.samples[1:] for prompt in op.prompts]

    @property
    def rounds(self) -> list[int]:
        """How many requests each operation had."""
        return [len(op.prompts) for op in self.samples[1:]]


def judged(
    plan: Plan[Answer | None], drawn: Sequence[Completion], judge: Judging, *, question: Question = QUESTION
) -> Judged:
    """Send a plan its candidates, then the judge's replies."""

    def reply(op: Sample) -> tuple[Completion, ...]:
        if op.prompts == (question.prompt,):
            return tuple(drawn)
        prompts = [prompt.at_level(op.params.thinking) for prompt in op.prompts]
        return tuple(completion(judge(texts_in(prompt)), prompt=prompt) for prompt in prompts)

    return follow(plan, reply, Judged())


def cut(one: Completion) -> Completion:
    return replace(one, finish_reason="length")
