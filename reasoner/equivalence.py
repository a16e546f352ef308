"""Which answers are one where their space cannot tell at once: slow comparisons, in processes that can be killed."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.answers import worker
from reasoner.answers.maths import MathSpace
from reasoner.killable import Failed, KillablePool, Outcome
from reasoner.types import Answer, AnswerSpace

Status = Literal["right", "wrong", "too_complex", "grader_timeout", "grader_crash"]
CHUNK = 64
"""Pairs that one task compares."""
KNOWN = 100_000
"""Verdicts that are remembered."""
_MATH = MathSpace()


class Verdict(NamedTuple):
    """What became of grading one answer, and why where it is neither right nor wrong."""

    status: Status
    why: str = ""


@runtime_checkable
class SlowSpace(Protocol):
    """An answer space some of whose comparisons are slow; its functions are importable by name and run in a worker."""

    @property
    def accepts(self) -> Callable[[str, str], bool]:
        """Whether the first answer, as written and taken as the reference, accepts the second."""
        ...

    @property
    def probe(self) -> Callable[[str], object]:
        """Does what comparing needs of one answer alone; one for which this takes too long is compared with none."""
        ...

    def answer(self, written: str) -> Answer | None:
        """An answer as written; None where it is none."""
        ...

    def same(self, a: Answer, b: Answer) -> bool | None:
        """What can be told at once."""
        ...

    def refusal(self, written: str) -> str | None:
        """Why no worker should see an answer; None where one may."""
        ...


class _Job(NamedTuple):
    """One thing to find out in a worker; `patient` where it is tried again before it is given up."""

    function: Callable[..., object]
    arguments: tuple[object, ...]
    patient: bool = False


@dataclass(slots=True, eq=False)
class _Chunk:
    """Jobs under way that several callers may wait for; the last one to leave cancels them."""

    task: "asyncio.Task[dict[_Job, object]]"
    waiting: int = 0

    async def wait(self) -> dict[_Job, object]:
        self.waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.task.cancel()


@dataclass(slots=True)
class Equivalence:
    """Compares answers in a pool of its own that starts with the first slow comparison, and remembers the verdicts.

    `seconds` bounds one comparison. A grade that is not there by then is tried once more, with nothing beside it and
    `patience` times as long, so that it does not depend on what else the machine does. A vote is not tried again, and
    `vote` bounds, twice, all that one call of `same_many` has done: many answers may each take their time.
    """

    seconds: float = 5.0
    patience: float = 4.0
    pool: KillablePool = field(default_factory=lambda: KillablePool(prepare=worker.prepare))
    vote: float = 60.0
    _known: "OrderedDict[_Job, object]" = field(default_factory=OrderedDict, init=False, repr=False)
    _running: dict[_Job, _Chunk] = field(default_factory=dict, init=False, repr=False)
    _turns: asyncio.Semaphore = field(init=False, repr=False)
    _alone: asyncio.Lock = field(init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)

    async def accepts(self, gold: str, answer: str, *, space: SlowSpace = _MATH) -> Verdict:
        """Whether `gold` accepts `answer`, both as written."""
        one, other = space.answer(gold), space.answer(answer)
        if one is None or other is None:
            return Verdict("wrong")
        if one.key != other.key and (why := space.refusal(gold) or space.refusal(answer)):
            return Verdict("too_complex", why)
        verdict: object = space.same(one, other)
        if verdict is None:
            [verdict] = await self._done([_Job(space.accepts, (one.text, other.text), patient=True)], size=1)
        if isinstance(verdict, Failed):
            return Verdict("grader_timeout" if verdict.kind == "timeout" else "grader_crash", verdict.why)
        return Verdict("right" if verdict else "wrong")

    async def same(self, space: AnswerSpace, a: Answer, b: Answer) -> bool:
        """Whether each of two answers accepts the other; False where that could not be told in time."""
        [verdict] = await self.same_many(space, [(a, b)])
        return verdict

    async def same_many(self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]]) -> tuple[bool, ...]:
        """`same` for many pairs, which costs little more than working out each of their answers once."""
        verdicts = [_both(space.same(a, b), space.same(b, a)) for a, b in pairs]
        hard = {place: pairs[place] for place, verdict in enumerate(verdicts) if verdict is None}
        if hard and isinstance(space, SlowSpace):
            texts = tuple({answer.text: None for pair in hard.values() for answer in pair})
            probes = await self._in_time([_Job(space.probe, (text,)) for text in texts], size=1)
            fine = {text for text, probe in zip(texts, probes, strict=True) if not isinstance(probe, Failed)}
            asked = {place: sorted((a.text, b.text)) for place, (a, b) in hard.items() if {a.text, b.text} <= fine}
            told = await self._in_time([_Job(_mutual, (space.accepts, *pair)) for pair in asked.values()], size=CHUNK)
            for place, verdict in zip(asked, told, strict=True):
                verdicts[place] = verdict is True
        return tuple(verdict is True for verdict in verdicts)

    async def warm(self) -> None:
        """Start the pool ahead of the first comparison."""
        await self.pool.warm()

    async def close(self) -> None:
        """Stop the pool. A later comparison starts it again."""
        await self.pool.close()

    async def _in_time(self, jobs: Sequence[_Job], *, size: int) -> list[object]:
        """As `_done`, with a failure for what is not there when the time for a vote is over."""
        parts = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        tasks = [asyncio.ensure_future(self._done(part, size=size)) for part in parts]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self.vote)
            late = Failed("timeout", f"the vote took over {self.vote:g} s")
            told = [
                task.result() if task.done() else [late] * len(part) for part, task in zip(parts, tasks, strict=True)
            ]
            return [result for part in told for result in part]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _done(self, jobs: Sequence[_Job], *, size: int) -> list[object]:
        """What the jobs come to, in chunks of `size`; one that is known or under way is not begun again."""
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._running = asyncio.get_running_loop(), {}
            self._turns, self._alone = asyncio.Semaphore(2 * self.pool.workers), asyncio.Lock()
        found = {job: self._known[job] for job in jobs if job in self._known}
        for job in found:
            self._known.move_to_end(job)
        new = [job for job in dict.fromkeys(jobs) if job not in found and job not in self._running]
        for start in range(0, len(new), size):
            part = new[start : start + size]
            self._running.update(dict.fromkeys(part, _Chunk(asyncio.ensure_future(self._work(part)))))
        chunks = {self._running[job] for job in jobs if job not in found}
        for results in await asyncio.gather(*(chunk.wait() for chunk in chunks)):
            found.update(results)
        return [found[job] for job in jobs]

    async def _work(self, jobs: list[_Job]) -> dict[_Job, object]:
        try:
            results = await self._results(jobs)
            self._known.update(results)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
            return results
        finally:
            for job in jobs:
                self._running.pop(job, None)

    async def _results(self, jobs: list[_Job]) -> dict[_Job, object]:
        async with self._turns:
            outcome = await self.pool.call(_each, jobs, seconds=self.seconds * (1 + len(jobs) / CHUNK))
        if isinstance(outcome, Failed) and len(jobs) > 1:
            # One of them may be at fault, and the others are not to suffer for it.
            parts = await asyncio.gather(*(self._results([job]) for job in jobs))
            return {job: result for part in parts for job, result in part.items()}
        if isinstance(outcome, Failed) and outcome.kind == "timeout" and jobs[0].patient:
            outcome = await self._again(jobs)
        return {jobs[0]: outcome} if isinstance(outcome, Failed) else dict(zip(jobs, outcome.value, strict=True))

    async def _again(self, jobs: list[_Job]) -> Outcome[list[object]]:
        """Try with more time, when nothing else runs in the pool."""
        async with self._alone, AsyncExitStack() as every:
            for _ in range(2 * self.pool.workers):
                await every.enter_async_context(self._turns)
            return await self.pool.call(_each, jobs, seconds=self.seconds * self.patience)


def _each(jobs: list[_Job]) -> list[object]:
    """Runs in a worker."""
    return [job.function(*job.arguments) for job in jobs]


def _mutual(accepts: Callable[[str, str], bool], a: str, b: str) -> bool:
    return accepts(a, b) and accepts(b, a)


def _both(there: bool | None, back: bool | None) -> bool | None:
    if False in {there, back}:
        return False
    return None if None in {there, back} else True
