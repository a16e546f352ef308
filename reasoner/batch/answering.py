"""Answers the rows of a batch: questions by one strategy, or requests in OpenAI's format, each with its own."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from reasoner.answers.questions import Question
from reasoner.batch.rows import COST, AnswerLine, InputRow, Line, Outcome, answer_line, digest_of, error_line
from reasoner.batch.state import Progressed
from reasoner.budget import Cost, Ledger
from reasoner.errors import EngineError, UsageError
from reasoner.execution.executor import derive_seed
from reasoner.execution.inputs import open_input
from reasoner.execution.launching import cancel_all
from reasoner.execution.runner import solve_each
from reasoner.execution.session import Session
from reasoner.serving.bodies import read
from reasoner.serving.choose import Job, Offer, choose
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.replies import Result, vendor_object
from reasoner.serving.responses import REPLIES, Reply
from reasoner.solution import Solution
from reasoner.system.printing import valid_unicode
from reasoner.trace.events import Began, Sink
from reasoner.trace.history import EMPTY

FIELDS: Final = ("custom_id", "method", "url", "body")
REQUEST: Final = "req_"
URLS: Final = tuple(REPLIES)
EXHAUSTED: Final = 429
"""The status of a line that the budget left without a text."""


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


def is_request(values: object) -> bool:
    """Whether a row is a line of OpenAI's batch format."""
    return isinstance(values, dict) and all(name in values for name in FIELDS)


def request_row(number: int, where: str, values: Mapping[str, Any]) -> InputRow:
    """A row that is a request in OpenAI's batch format. Raises UsageError: it is none."""
    if missing := [name for name in FIELDS if name not in values]:
        raise UsageError(f"{where} has no {missing[0]}: a line of OpenAI's batch format has {', '.join(FIELDS)}")
    custom_id, method, url, body = (values[name] for name in FIELDS)
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512 or valid_unicode(custom_id) != custom_id:
        raise UsageError(f"{where}: custom_id must be a text of 1 to 512 characters (got {custom_id!r:.40})")
    if method != "POST" or url not in URLS:
        raise UsageError(
            f"{where}: method must be POST and url one of {', '.join(URLS)} (got {method!r:.20} {url!r:.60})"
        )
    if not isinstance(body, dict):
        raise UsageError(f"{where}: body must be an object (got {type(body).__name__})")
    digest = digest_of(custom_id, url, body)
    return InputRow(number, custom_id, url=url, body=json.dumps(body).encode(), digest=digest)


@dataclass(slots=True)
class Requests:
    """The requests of a batch on one session; `ledger` bounds all of them together."""

    session: Session
    offer: Offer
    ledger: Ledger
    done: Progressed
    trace: Sink | None
    seed: int

    async def answer(self, rows: Iterator[InputRow], *, concurrency: int) -> AsyncGenerator[AnswerLine, None]:
        """The lines of the output, as the requests end, at most `concurrency` at once. Raises what the input raises."""
        progress: asyncio.Queue[asyncio.Task[AnswerLine] | None] = asyncio.Queue()
        new = (row for row in rows if row.error or not self.done.has(row.id, 0, row.digest))
        source, tasks, count = open_input(new, lambda: progress.put_nowait(None)), set[asyncio.Task[AnswerLine]](), 0
        try:
            while True:
                source.allow(count - len(tasks) + concurrency)
                # One by one, so that the first ones end first where the engine answers at once.
                if len(tasks) < concurrency and (row := source.take()) is not None:
                    task = asyncio.ensure_future(self._answer(row))
                    task.add_done_callback(progress.put_nowait)
                    tasks.add(task)
                    count += 1
                    asyncio.get_running_loop().call_soon(progress.put_nowait, None)
                if source.over and not tasks:
                    break
                if ended := await progress.get():
                    tasks.remove(ended)
                    yield ended.result()
        finally:
            source.close()
            await cancel_all(tasks)
        if source.failure:
            raise source.failure

    async def _answer(self, row: InputRow) -> AnswerLine:
        """The reply of one request, or its error."""
        results: list[Result] = []
        try:
            if row.error:
                raise ApiError(400, row.error)
            kind = REPLIES[row.url]
            reply: Reply = kind(read(row.body, kind.reads), self.offer.prices, id=f"batch-{_digest(row.id)}")
            request = reply.asked
            if request.stream:
                raise ApiError(400, "stream has no effect in a batch: leave it out", param="stream")
            seed = derive_seed(self.seed, row.id, "", 0) if request.seed is None else request.seed
            jobs = choose(request.model_copy(update={"seed": seed}), self.offer)
            names = _ids(row.id, row.digest, len(jobs))
            results.extend(await asyncio.gather(*map(self._solve, jobs, names)))
            for result in results:
                _check_text(result.solution)
            return _line(row, 200, reply.whole(results), results)
        except (ApiError, UsageError) as failure:
            error = api_error(failure)
            body = error.document()
            if results:
                total = sum((result.solution.cost for result in results), Cost())
                body["reasoner"] = vendor_object(
                    replace(results[0], solution=replace(results[0].solution, cost=total)), self.offer.prices
                )
            causes = (result.solution.error for result in results if result.solution.error)
            return replace(
                _line(row, error.status, body, results), error=next(causes, None) or UsageError(error.message)
            )

    async def _solve(self, job: Job, name: str) -> Result:
        job = replace(job, question=replace(job.question, id=name))
        sinks = [self.trace] if self.trace else []
        history = self.done.histories.get(name, EMPTY)
        return Result(job, await job.solve(self.session, *sinks, ledger=self.ledger, history=history))


def _check_text(solution: Solution) -> None:
    """Raise an ApiError where the budget or the engine ended a question before it had a text."""
    if solution.text:
        return
    if solution.ended_by == "budget" and not solution.error:
        raise ApiError(EXHAUSTED, solution.reason, type="insufficient_quota", code="budget_exhausted")
    if isinstance(solution.error, EngineError):
        raise ApiError(503, str(solution.error), type="server_error", code="engine_error")


def _line(row: InputRow, status: int, body: Line, results: list[Result]) -> AnswerLine:
    digest = _digest(row.id)
    written = {
        "id": f"batch_req_{digest}",
        "custom_id": row.id,
        "response": {"status_code": status, "request_id": f"{REQUEST}{row.digest or digest}", "body": body},
        "error": None,
    }
    return replace(read_reply(written), ids=tuple(result.job.question.id for result in results))


def _ids(custom_id: str, digest: str, choices: int) -> tuple[str, ...]:
    """The ids of the questions behind a line. A line that has changed has others: it is asked from the beginning."""
    return tuple(f"{custom_id}#{digest}" + (f"#{index}" if choices > 1 else "") for index in range(choices))


def _digest(custom_id: str) -> str:
    return hashlib.blake2b(custom_id.encode(), digest_size=12).hexdigest()


def read_reply(line: Line) -> AnswerLine:
    """What a line of the replies says. Raises KeyError, TypeError or ValueError: it is none."""
    custom_id, response = str(line["custom_id"]), line["response"]
    status, body = response["status_code"], response["body"]
    choices = body.get("choices") or []
    vendors = [each["reasoner"] for each in choices if "reasoner" in each] or [body.get("reasoner") or {"cost": {}}]
    costs = [{name: value for name, value in vendor["cost"].items() if name in COST} for vendor in vendors]
    digest = response["request_id"].removeprefix(REQUEST)
    ids = (custom_id, *_ids(custom_id, digest, len(choices) or 1))
    outcome: Outcome = "answered" if status == 200 else "unanswered" if status == EXHAUSTED else "failed"
    ended_by = {"answered": "", "unanswered": "budget", "failed": "error"}[outcome]
    return AnswerLine(line, ids, 0, sum((Cost(**cost) for cost in costs), Cost()), outcome, ended_by, digest)
