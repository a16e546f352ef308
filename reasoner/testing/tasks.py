"""What every task promises of its questions, without a line of the evaluation's own code."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.equivalence import Equivalence
from reasoner.answers.whole import FreeSpace


class LoadsQuestions(Protocol):
    """A task: `load()` returns `items`, each with its `question`, its reference answer `gold` and its `grader`."""

    def load(self) -> Any:
        """All questions."""


def stated(item: Any) -> Iterable[str]:
    """Replies that state a reference answer; the kind of answer reads one of them."""
    return (
        rf"It is $\boxed{{{item.gold}}}$.",
        f"The answer is {item.gold}",
        f"```python\n{item.gold}\n```",
        item.gold,
    )


def check_task(
    task: LoadsQuestions,
    *,
    say: Callable[[Any], Iterable[str]] = stated,
    first: int = 5,
) -> None:
    """Load a task twice, and grade the reference answers of its first questions, as `say` states them.

    Raises:
        AssertionError: it loads other questions, a reference answer or its prompt is graded as it must not be.
    """
    data = task.load()
    assert data.items, "the task has no questions"
    assert task.load() == data, "loaded twice, the task has other questions"
    asyncio.run(_check_grades([item for item in data.items if item.gold][:first], say))


async def _check_grades(items: list[Any], say: Callable[[Any], Iterable[str]]) -> None:
    equivalence = Equivalence()

    async def right(item: Any, text: str) -> bool:
        answer = item.question.space.read(text)
        return (
            answer is not None
            and await item.grader.grade(item, answer, equivalence) == "right"
        )

    try:
        for item in items:
            if isinstance(item.question.space, FreeSpace):
                continue
            name = item.question.id
            grades = [await right(item, text) for text in say(item)]
            assert any(grades), (
                f"the reference answer of question {name} is not graded right: {item.gold!r}"
            )
            assert not await right(item, ""), (
                f"a reply without an answer to question {name} is graded right"
            )
            # The options of a choice are in its prompt, and where to decline is right, any text is.
            if not (
                isinstance(item.question.space, ChoiceSpace)
                or await right(item, "I cannot say.")
            ):
                lines = [
                    line
                    for message in item.question.prompt.messages
                    for line in message.content.splitlines()
                ]
                stating = [line for line in lines if await right(item, line)]
                assert not stating, (
                    f"the prompt of question {name} states its reference answer: {stating}"
                )
    finally:
        await equivalence.close()
