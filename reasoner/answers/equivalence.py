"""Slow comparisons of answers, in processes that are killed at their time limits."""

import asyncio
import signal
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.answers.process_pool import Failed, Outcome, ProcessPool
from reasoner.system.foreign import described
from reasoner.types import Answer, AnswerSpace, Blocks
from reasoner.voting import mutual

Status = Literal["right", "wrong", "too_complex", "grader_timeout", "grader_crash"]
CHUNK = 16
"""Comparisons of one vote per task of a worker."""
MIN_SECONDS = 0.05
"""Minimum processor time of a comparison, in seconds; with less left, none starts."""
HANG = 1.0
"""Seconds of processor time past its share after which a comparison is killed with its worker."""
PATIENCE = 10.0
"""Wall-clock seconds that a second of processor time may take on a busy machine."""
MAX_LATE = 2
"""Late comparisons of an answer in one round after which its others wait for the next round."""
MAX_REMEMBERED = 100_000
"""Verdicts that are cached."""


class Verdict(NamedTuple):
    """The grade of one answer, and why if it is neither right nor wrong."""

    status: Status
    why: str = ""


def prepare() -> None:
    """Do the imports, in a worker, that its first comparison would wait for."""
    from reasoner.answers import math_worker

    math_worker.prepare()


@runtime_checkable
class SlowSpace(Protocol):
    """An answer space some of whose comparisons are slow; its functions are importable by name and run in a worker."""

    @property
    def accepts(self) -> Callable[[str, str], bool]:
        """Whether the first answer, as written and taken as the reference, accepts the second."""

    @property
    def find_blocks(self) -> Callable[[str], Blocks]:
        """The blocks of an answer if `blocks` is None; an answer without blocks in time is not compared."""

    @property
    def seconds(self) -> float:
        """Processor time for comparing all answers of one question."""

    def answer(self, written: str) -> Answer | None:
        """An answer as written; None if it is not an answer."""

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether `a` accepts `b`; None if only a worker can tell."""

    def blocks(self, answer: Answer) -> Blocks | None:
        """The blocks of an answer; None if only a worker can tell."""

    def refusal(self, written: str) -> str | None:
        """Why no worker may see an answer; None if one may."""


class _Job(NamedTuple):
    """A function that a worker calls: it compares two answers or finds the blocks of one."""

    function: Callable[..., object]
    arguments: tuple[object, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers among the arguments."""
        return tuple(argument for argument in self.arguments if isinstance(argument, str))


@dataclass(slots=True)
class ComparisonMeter:
    """Processor time spent on comparing the answers of one question, in seconds.

    The comparer updates it, and starts no comparison once the time that the answer space allows is spent.
    """

    question_id: str = ""
    seconds: float = 0.0


class Comparer(Protocol):
    """Does the slow comparisons of answers that an answer space cannot do itself.

    All comparisons of one question share a meter and a time limit. Neither method raises.
    """

    async def same_many(
        self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]], meter: ComparisonMeter
    ) -> tuple[bool | None, ...]:
        """For each pair whether each answer accepts the other; None if that was not decided in time."""

    async def blocks(
        self, space: AnswerSpace, answers: Sequence[Answer], meter: ComparisonMeter
    ) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if they were not found in time."""

    async def close(self) -> None:
        """Stop and free everything. A second call does nothing."""


@dataclass(slots=True, eq=False)
class _Running:
    """A running job that several callers may await; when the last one is cancelled, so is the job."""

    task: "asyncio.Task[object]"
    waiting: int = 0

    async def wait(self) -> object:
        self.waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.task.cancel()


@dataclass(slots=True)
class Equivalence:
    """Compares answers in a pool, which starts with the first slow comparison, and caches the verdicts.

    `seconds` limits one comparison. A grade that takes longer is tried once more, alone and `patience` times as long,
    so that it does not depend on the load of the machine. In a vote all comparisons of one question share the processor
    time that its answer space allows: each gets an equal share, unused time goes to the others, and one call may use
    half of the time left.
    """

    seconds: float = 5.0
    patience: float = 4.0
    pool: ProcessPool = field(default_factory=lambda: ProcessPool(prepare=prepare))
    _cache: "OrderedDict[_Job, object]" = field(default_factory=OrderedDict, init=False, repr=False)
    _running: dict[_Job, _Running] = field(default_factory=dict, init=False, repr=False)
    _turns: asyncio.Semaphore = field(init=False, repr=False)
    _alone: asyncio.Lock = field(init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)

    async def accepts(self, gold: str, answer: str, *, space: SlowSpace | None = None) -> Verdict:
        """Whether `gold` accepts `answer`, both as written; by default they are mathematical."""
        if space is None:
            from reasoner.answers.maths import MathSpace

            space = MathSpace()
        expected, given = space.answer(gold), space.answer(answer)
        if expected is None or given is None:
            return Verdict("wrong")
        if expected.key != given.key and (why := space.refusal(gold) or space.refusal(answer)):
            return Verdict("too_complex", why)
        verdict: object = space.same(expected, given)
        if verdict is None:
            verdict = await self._shared_grade(_Job(space.accepts, (expected.text, given.text)))
        if isinstance(verdict, Failed):
            return Verdict("grader_timeout" if verdict.kind == "timeout" else "grader_crash", verdict.why)
        return Verdict("right" if verdict else "wrong")

    async def same_many(
        self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]], meter: ComparisonMeter
    ) -> tuple[bool | None, ...]:
        """For each pair, whether they accept each other; None if not decided in time."""
        verdicts = [mutual(space, a, b) for a, b in pairs]
        hard = {index: pairs[index] for index, verdict in enumerate(verdicts) if verdict is None}
        if hard and isinstance(space, SlowSpace):
            answers = {answer.text: answer for pair in hard.values() for answer in pair}
            blocks = dict(zip(answers, await self.blocks(space, tuple(answers.values()), meter), strict=True))
            asked: dict[int, _Job] = {}
            for index, (a, b) in hard.items():
                first, second = blocks[a.text], blocks[b.text]
                if first and second and not first.meets(second):
                    verdicts[index] = False
                elif first and second:
                    asked[index] = _Job(_accept_each_other, (space.accepts, *sorted((a.text, b.text))))
            results = await self._shared(list(asked.values()), space.seconds, meter)
            for index, verdict in zip(asked, results, strict=True):
                verdicts[index] = verdict if isinstance(verdict, bool) else None
        return tuple(verdicts)

    async def blocks(
        self, space: AnswerSpace, answers: Sequence[Answer], meter: ComparisonMeter
    ) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if not found in time."""
        blocks = [space.blocks(answer) for answer in answers]
        hard = [index for index, result in enumerate(blocks) if result is None]
        if hard and isinstance(space, SlowSpace):
            jobs = [_Job(space.find_blocks, (answers[index].text,)) for index in hard]
            for index, result in zip(hard, await self._shared(jobs, space.seconds, meter), strict=True):
                blocks[index] = None if isinstance(result, Failed) else _blocks(result)
        return tuple(blocks)

    async def warm(self) -> None:
        """Start the pool before the first comparison."""
        await self.pool.warm()

    async def close(self) -> None:
        """Stop the pool. A later comparison starts it again."""
        await self.pool.close()

    def _bind_to_loop(self) -> None:
        """Make the locks of this event loop."""
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._running = asyncio.get_running_loop(), {}
            self._turns, self._alone = asyncio.Semaphore(2 * self.pool.workers), asyncio.Lock()

    def _recall(self, job: _Job) -> object:
        self._cache.move_to_end(job)
        return self._cache[job]

    def _remember(self, job: _Job, result: object) -> None:
        self._cache[job] = result
        if len(self._cache) > MAX_REMEMBERED:
            self._cache.popitem(last=False)

    async def _shared(self, jobs: Sequence[_Job], allowed: float, meter: ComparisonMeter) -> list[object]:
        """The results of the jobs of one question; a failure for each that its time did not suffice for."""
        self._bind_to_loop()
        results: dict[_Job, object] = {}
        left = (allowed - meter.seconds) / 2
        pending = list(dict.fromkeys(jobs))
        while pending:
            results |= {job: self._recall(job) for job in pending if job in self._cache}
            pending = [job for job in pending if job not in results]
            if not pending or left < MIN_SECONDS:
                break
            before, share = meter.seconds, min(self.seconds, max(MIN_SECONDS, left / len(pending)))
            await self._round(pending, share, before + left, meter)
            left -= meter.seconds - before
        late = Failed("timeout", f"comparing the answers of the question took over {allowed:g} s")
        return [results.get(job, late) for job in jobs]

    async def _round(self, jobs: list[_Job], share: float, end: float, meter: ComparisonMeter) -> None:
        """Run each job for `share` seconds of processor time while the meter is below `end`.

        Results are cached, unless a job may get more time later. Answers that were late twice wait for the next round,
        so that a few slow ones do not use up the time of the others.
        """
        late: Counter[str] = Counter()
        # Not all at once, so that other questions get a turn between the chunks of this one.
        chunks = asyncio.Semaphore(self.pool.workers)

        async def run(part: list[_Job]) -> None:
            async with chunks, self._turns:
                part = [job for job in part if meter.seconds < end and max(late[text] for text in job.texts) < MAX_LATE]
                if not part:
                    return
                limit = PATIENCE * (HANG + share * len(part))
                outcome = await self.pool.call(_run_jobs, part, share, seconds=limit)
            if isinstance(outcome, Failed) and len(part) > 1:
                # One of them is at fault; run them one by one.
                meter.seconds += share + HANG
                await asyncio.gather(*(run([job]) for job in part))
            elif isinstance(outcome, Failed):
                meter.seconds += share + HANG
                late.update(part[0].texts)
                self._remember(part[0], outcome)
            else:
                for job, timed in zip(part, (_Timed(*fields) for fields in outcome.value), strict=True):
                    meter.seconds += timed.seconds
                    is_late = timed.failure == "timeout"
                    late.update(job.texts if is_late else ())
                    if not is_late or timed.seconds >= self.seconds:
                        self._remember(job, timed.outcome)

        parts = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
        tasks = [asyncio.ensure_future(run(part)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _shared_grade(self, job: _Job) -> object:
        """The result of a grade, cached or shared with a running job."""
        self._bind_to_loop()
        if job in self._cache:
            return self._recall(job)
        if job not in self._running:
            self._running[job] = _Running(asyncio.ensure_future(self._grade(job)))
        return await self._running[job].wait()

    async def _grade(self, job: _Job) -> object:
        try:
            async with self._turns:
                outcome = await self.pool.call(job.function, *job.arguments, seconds=self.seconds)
            if isinstance(outcome, Failed):
                outcome = await self._retry(job)
            result = outcome if isinstance(outcome, Failed) else outcome.value
            self._remember(job, result)
            return result
        finally:
            self._running.pop(job, None)

    async def _retry(self, job: _Job) -> Outcome:
        """Run it with more time, while nothing else runs in the pool."""
        async with self._alone, AsyncExitStack() as turns:
            for _ in range(2 * self.pool.workers):
                await turns.enter_async_context(self._turns)
            return await self.pool.call(job.function, *job.arguments, seconds=self.seconds * self.patience)


class _Timed(NamedTuple):
    """The result of a job, or what kind of failure it was and why, and the processor time that it took."""

    result: object
    seconds: float
    failure: Literal["timeout", "crash"] | None = None

    @property
    def outcome(self) -> object:
        """The result, or the failure."""
        return Failed(self.failure, str(self.result)) if self.failure else self.result


class _LateError(BaseException):
    """Ends a job whose processor time is used up; not an Exception, which foreign code might catch."""


def _run_jobs(jobs: list[_Job], seconds: float) -> list[_Timed]:
    """Runs in a worker: each job for at most this much processor time."""
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    late: Counter[str] = Counter()
    done: list[_Timed] = []
    for job in jobs:
        # An answer that was late with two others waits for the next round.
        skipped = max(late[text] for text in job.texts) >= MAX_LATE
        timed = _Timed("left for later", 0.0, "timeout") if skipped else _run_job(job, seconds)
        late.update(job.texts if timed.failure else ())
        done.append(timed)
    return done


def _run_job(job: _Job, seconds: float) -> _Timed:
    began = time.process_time()
    result: object
    failure: Literal["timeout", "crash"] | None = None
    try:
        try:
            # Repeats, as foreign code may catch everything. The kernel ends a worker that looks at no signal.
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds + HANG)
            signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
            result = job.function(*job.arguments)
        finally:
            _disarm()
    except _LateError:
        _disarm()
        result, failure = f"it took over {seconds:.3g} s", "timeout"
    except Exception as error:
        result, failure = described(error), "crash"
    return _Timed(result, time.process_time() - began, failure)


def _disarm() -> None:
    while True:
        try:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _LateError:
            continue
        return


def _stop(_number: int, _frame: Any) -> None:
    raise _LateError


def _accept_each_other(accepts: Callable[[str, str], bool], a: str, b: str) -> bool:
    return accepts(a, b) and accepts(b, a)


def _blocks(reply: Any) -> Blocks:
    """The blocks as a worker returned them: tuples came as lists."""
    home, guest = reply
    return Blocks(tuple(home), tuple(guest))
