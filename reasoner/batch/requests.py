"""Answers a batch in OpenAI's format: each line is a request with a strategy of its own."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reasoner.batch.items import digest_of
from reasoner.batch.lines import COST, Answered, Known, Line, Outcome
from reasoner.batch.state import Progressed
from reasoner.budget import Cost, Ledger, Prices
from reasoner.errors import EngineError, UsageError
from reasoner.execution.executor import derive_seed
from reasoner.execution.inputs import IdSet, open_input
from reasoner.execution.launching import cancel_all
from reasoner.execution.session import Session
from reasoner.serving.bodies import read
from reasoner.serving.choose import Job, Offer, choose
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.replies import AnsweredRequest, Result, vendor_object
from reasoner.serving.responses import REPLIES, Reply
from reasoner.system.printing import valid_unicode
from reasoner.system.tables import Located
from reasoner.trace.events import Sink
from reasoner.trace.history import EMPTY

FIELDS: Final = ("custom_id", "method", "url", "body")
REQUEST: Final = "req_"
URLS: Final = tuple(REPLIES)


def is_request(values: object) -> bool:
    """Whether a row is a line of OpenAI's batch format."""
    return isinstance(values, dict) and all(name in values for name in FIELDS)


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One line of the input; `error` says what is wrong with it. The `digest` is a fingerprint of its content."""

    custom_id: str
    url: str = ""
    body: bytes = field(default=b"", repr=False)
    error: str = ""
    digest: str = ""


def read_requests(rows: Iterator[Located]) -> Iterator[RequestLine]:
    """The requests of the rows. Raises UsageError: the input cannot be read further."""
    seen = IdSet()
    for number, (where, values) in enumerate(rows, 1):
        try:
            if isinstance(values, UsageError):
                raise values
            line = _request(where, values)
            if not seen.add(line.custom_id):
                problem = f"the custom_id {line.custom_id!r:.80} is also that of an earlier line: give each its own"
                raise UsageError(f"{where}: {problem}")
            yield line
        except UsageError as error:
            yield RequestLine(f"line {number}", error=str(error))


def _request(where: str, values: Mapping[str, Any]) -> RequestLine:
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
    return RequestLine(custom_id, url, json.dumps(body).encode(), digest=digest_of(custom_id, url, body))


@dataclass(slots=True)
class Requests:
    """The requests of a batch on one session; `ledger` bounds all of them together."""

    session: Session
    offer: Offer
    ledger: Ledger
    done: Progressed
    trace: Sink | None
    seed: int
    prices: Prices | None = None

    async def answer(self, lines: Iterator[RequestLine], *, concurrency: int) -> AsyncGenerator[Answered, None]:
        """The lines of the output, as the requests end, at most `concurrency` at once. Raises what the input raises."""
        progress: asyncio.Queue[asyncio.Task[Answered] | None] = asyncio.Queue()
        new = (line for line in lines if line.error or not self.done.has(line.custom_id, 0, line.digest))
        source, tasks, count = open_input(new, lambda: progress.put_nowait(None)), set[asyncio.Task[Answered]](), 0
        try:
            while True:
                source.allow(count - len(tasks) + concurrency)
                # One by one, so that the first ones end first where the engine answers at once.
                if len(tasks) < concurrency and (line := source.take()) is not None:
                    task = asyncio.ensure_future(self._answer(line))
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

    async def _answer(self, line: RequestLine) -> Answered:
        """The reply of one request, or its error."""
        results: list[Result] = []
        try:
            if line.error:
                raise ApiError(400, line.error)
            reply = _reply(line, self.prices)
            request = reply.asked
            seed = derive_seed(self.seed, line.custom_id, "", 0) if request.seed is None else request.seed
            jobs = choose(request.model_copy(update={"seed": seed}), self.offer)
            names = _ids(line.custom_id, line.digest, len(jobs))
            jobs = [
                replace(job, question=replace(job.question, id=name)) for job, name in zip(jobs, names, strict=True)
            ]
            results.extend(await asyncio.gather(*map(self._solve, jobs)))
            _check_text(results)
            body = reply.whole(AnsweredRequest(results, [None] * len(results)))
            return self._line(line, 200, body, results, "answered")
        except (ApiError, UsageError) as failure:
            error = api_error(failure)
            engine = next((solution.error for _, solution in results if solution.error), None)
            vendors = {"reasoner": vendor_object(*results[0], prices=self.prices)} if results else {}
            outcome: Outcome = "unanswered" if error.code == "budget_exhausted" else "failed"
            cause = engine or UsageError(error.message)
            return self._line(line, error.status, {**error.document(), **vendors}, results, outcome, cause)

    async def _solve(self, job: Job) -> Result:
        history = self.done.histories.get(job.question.id, EMPTY)
        sinks = [self.trace] if self.trace else []
        return job, await job.solve(self.session, *sinks, ledger=self.ledger, history=history)

    def _line(
        self,
        line: RequestLine,
        status: int,
        body: Line,
        results: list[Result],
        outcome: Outcome,
        error: BaseException | None = None,
    ) -> Answered:
        digest = _digest(line.custom_id)
        written = {
            "id": f"batch_req_{digest}",
            "custom_id": line.custom_id,
            "response": {"status_code": status, "request_id": f"{REQUEST}{line.digest or digest}", "body": body},
            "error": None,
        }
        cost = sum((solution.cost for _, solution in results), Cost())
        ids = tuple(job.question.id for job, _ in results)
        ended_by = "budget" if outcome == "unanswered" else "error" if error else ""
        return Answered(written, ids, cost, outcome, error, ended_by)


def _ids(custom_id: str, digest: str, choices: int) -> tuple[str, ...]:
    """The ids of the questions behind a line. A line that has changed has others: it is asked from the beginning."""
    return tuple(f"{custom_id}#{digest}" + (f"#{index}" if choices > 1 else "") for index in range(choices))


def _digest(custom_id: str) -> str:
    return hashlib.blake2b(custom_id.encode(), digest_size=12).hexdigest()


def known_reply(line: Line) -> Known:
    """What a line of the output says. Raises KeyError, TypeError or ValueError: it is none."""
    custom_id, response = str(line["custom_id"]), line["response"]
    body = response["body"]
    choices = body.get("choices") or []
    vendors = [each["reasoner"] for each in choices if "reasoner" in each] or [body.get("reasoner") or {"cost": {}}]
    costs = [{name: value for name, value in vendor["cost"].items() if name in COST} for vendor in vendors]
    digest = response["request_id"].removeprefix(REQUEST)
    ids = (custom_id, *_ids(custom_id, digest, len(choices) or 1))
    exhausted = response["status_code"] == 429
    outcome: Outcome = "answered" if response["status_code"] == 200 else "unanswered" if exhausted else "failed"
    ended_by = "budget" if exhausted else ""
    return Known(ids, 0, sum((Cost(**cost) for cost in costs), Cost()), outcome, ended_by, digest)


def _reply(line: RequestLine, prices: Prices | None) -> Reply:
    """The reply to be made of a line. Raises ApiError: its body is not a request, or asks for a stream."""
    kind = REPLIES[line.url]
    reply: Reply = kind(read(line.body, kind.reads), prices, id=f"batch-{_digest(line.custom_id)}")
    if reply.asked.stream:
        raise ApiError(400, "stream has no effect in a batch: leave it out", param="stream")
    return reply


def _check_text(results: list[Result]) -> None:
    """Check that each result has a text.

    Raises:
        ApiError: the budget ended one before it had any.
    """
    for _, solution in results:
        if solution.ended_by == "budget" and not solution.text and not solution.error:
            raise ApiError(429, solution.reason, type="insufficient_quota", code="budget_exhausted")
        if isinstance(solution.error, EngineError) and not solution.text:
            raise ApiError(503, str(solution.error), type="server_error", code="engine_error")
