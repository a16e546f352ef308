"""Answers the questions of a batch with one strategy."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from reasoner.answers.questions import Question
from reasoner.batch.items import Item
from reasoner.batch.lines import Answered, answer_line, error_line
from reasoner.batch.state import Progressed
from reasoner.execution.runner import solve_each
from reasoner.trace.events import Began, Sink


async def answer_items(
    items: Iterator[Item], done: Progressed, trace: Sink | None, *, length: int | None, **options: Any
) -> AsyncGenerator[Answered, None]:
    """The lines of the items that are not `done`, as they end; `options` and errors are those of `solve_each`.

    `length` is the number of all items, if that is known.
    """
    asked: dict[str, Item] = {}
    wrong: deque[Item] = deque()
    histories = done.histories

    def questions() -> Iterator[Question]:
        for item in items:
            if item.question is None:
                wrong.append(item)
            elif not done.has(item.id, item.number, item.digest):
                asked[item.id] = item
                began = histories[item.id].of(Began) if item.id in histories else []
                if any(event.text != item.question.text for event in began):
                    # The row was changed before it was answered: what it cost counts, its samples do not.
                    histories[item.id] = histories[item.id].without_events()
                yield item.question

    stream = solve_each(
        questions(),
        history=histories,
        spent=done.spent,
        length=None if length is None else max(0, length - done.count),
        trace=trace,
        **options,
    )
    async with aclosing(stream):
        async for _, solution in stream:
            while wrong:
                yield error_line(wrong.popleft())
            yield answer_line(asked.pop(solution.question_id), solution)
    while wrong:
        yield error_line(wrong.popleft())
