"""Answers the rows of a batch by one strategy."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from reasoner.answers.questions import Question
from reasoner.batch.rows import AnswerLine, InputRow, answer_line, error_line
from reasoner.batch.state import Progressed
from reasoner.execution.runner import solve_each
from reasoner.trace.events import Began, Sink


async def answer_rows(
    rows: Iterator[InputRow], done: Progressed, trace: Sink | None, *, length: int | None, **options: Any
) -> AsyncGenerator[AnswerLine, None]:
    """The lines of the rows that are not `done`, as they end; `options` and errors are those of `solve_each`.

    `length` is the number of all rows, if that is known.
    """
    asked: dict[str, InputRow] = {}
    wrong: deque[InputRow] = deque()
    histories = done.histories

    def questions() -> Iterator[Question]:
        for row in rows:
            if row.question is None:
                wrong.append(row)
            elif not done.has(row.id, row.number, row.digest):
                asked[row.id] = row
                began = histories[row.id].of(Began) if row.id in histories else []
                if any(event.text != row.question.text for event in began):
                    # The row was changed before it was answered: what it cost counts, its samples do not.
                    histories[row.id] = histories[row.id].without_events()
                yield row.question

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
