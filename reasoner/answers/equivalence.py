"""Slow comparisons of answers, in processes with limits of time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.system.process_pool import FailedCall, Outcome, ProcessPool
from reasoner.types import Answer, AnswerSpace, Blocks
from reasoner.voting import mutual

Status = Literal["right", "wrong", "too_complex", "grader_timeout", "grader_crash"]
MIN_SECONDS = 0.05
"""Minimum processor time of a comparison, in seconds; with less left, none starts."""


class Verdict(NamedTuple):
    """The grade of one answer, and why if it is neither right nor wrong."""

    status: Status
    why: str = ""


def prepare() -> None:
    """Do the imports, in a worker, that its first comparison would wait for."""
    from reasoner.answers import math_worker

    math_worker.equal("x+1", "1+x")


@runtime_checkable
class SlowSpace(AnswerSpace, Protocol):
    """An answer space with slow comparisons; their functions are importable by name and run in a worker."""

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

    def refusal(self, written: str) -> str | None:
        """Why no worker may see an answer; None if one may."""


_Job = tuple[Callable[..., object], *tuple[object, ...]]
"""A function that a worker calls, and its arguments: it compares two answers or finds the blocks of one."""


@dataclass(slots=True)
class ComparisonMeter:
    """Processor time spent on comparing the answers of one question, in seconds.

    `Equivalence` updates it, and starts no comparison once the time that the answer space allows is spent.
    """

    seconds: float = 0.0


@dataclass(slots=True)
class Equivalence:
    """Compares answers in a pool, which starts with the first slow comparison, and caches the verdicts.

    `seconds` of processor time limit one comparison, so that no verdict depends on the load of the machine. In a vote
    all comparisons of one question share the processor time that its answer space allows: each may take a tenth of what
    is left, and an answer that was late is not compared again. No method raises.
    """

    seconds: float = 5.0
    pool: ProcessPool = field(default_factory=lambda: ProcessPool(prepare=prepare))
    _cache: dict[_Job, Outcome] = field(default_factory=dict, init=False, repr=False)

    async def accepts(self, space: SlowSpace, gold: str, answer: str) -> Verdict:
        """Whether `gold` accepts `answer`, both as written."""
        expected, given = space.answer(gold), space.answer(answer)
        if expected is None or given is None:
            return Verdict("wrong")
        if expected.key != given.key and (
            why := space.refusal(gold) or space.refusal(answer)
        ):
            return Verdict("too_complex", why)
        same: object = space.same(expected, given)
        if same is None:
            outcome = await self._outcome(
                (space.accepts, expected.text, given.text), self.seconds
            )
            if isinstance(outcome, FailedCall):
                return Verdict(
                    "grader_timeout" if outcome.kind == "timeout" else "grader_crash",
                    outcome.why,
                )
            same = outcome.value
        return Verdict("right" if same else "wrong")

    async def same_many(
        self,
        space: AnswerSpace,
        pairs: Sequence[tuple[Answer, Answer]],
        meter: ComparisonMeter,
    ) -> tuple[bool | None, ...]:
        """For each pair, whether they accept each other; None if not decided in time."""
        verdicts = [mutual(space, a, b) for a, b in pairs]
        hard = {
            index: pairs[index]
            for index, verdict in enumerate(verdicts)
            if verdict is None
        }
        if hard and isinstance(space, SlowSpace):
            answers = {answer.text: answer for pair in hard.values() for answer in pair}
            blocks = dict(
                zip(
                    answers,
                    await self.blocks(space, tuple(answers.values()), meter),
                    strict=True,
                )
            )
            asked: dict[int, _Job] = {}
            for index, (a, b) in hard.items():
                first, second = blocks[a.text], blocks[b.text]
                if first and second and not first.meets(second):
                    verdicts[index] = False
                elif first and second:
                    asked[index] = (
                        _accept_each_other,
                        space.accepts,
                        min(a.text, b.text),
                        max(a.text, b.text),
                    )
            results = await self._shared(list(asked.values()), space.seconds, meter)
            for index, result in zip(asked, results, strict=True):
                verdicts[index] = result if isinstance(result, bool) else None
        return tuple(verdicts)

    async def blocks(
        self, space: AnswerSpace, answers: Sequence[Answer], meter: ComparisonMeter
    ) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if not found in time."""
        blocks = [space.blocks(answer) for answer in answers]
        hard = [index for index, result in enumerate(blocks) if result is None]
        if hard and isinstance(space, SlowSpace):
            jobs: list[_Job] = [
                (space.find_blocks, answers[index].text) for index in hard
            ]
            for index, result in zip(
                hard, await self._shared(jobs, space.seconds, meter), strict=True
            ):
                blocks[index] = result if isinstance(result, Blocks) else None
        return tuple(blocks)

    async def close(self) -> None:
        """Stop the pool. A later comparison starts it again."""
        await self.pool.close()

    async def _shared(
        self, jobs: Sequence[_Job], allowed: float, meter: ComparisonMeter
    ) -> list[object]:
        """The values of the jobs of one question; None for each that failed or for which its time was too short."""
        # Not all at once, so that other questions get a turn between those of this one.
        turns, late = asyncio.Semaphore(self.pool.workers), set[object]()

        async def run(job: _Job) -> None:
            async with turns:
                left = allowed - meter.seconds
                if (
                    left >= MIN_SECONDS
                    and late.isdisjoint(job)
                    and job not in self._cache
                ):
                    outcome = await self._outcome(
                        job,
                        # The share of the time left to a question that one of its comparisons
                        # may take
                        min(self.seconds, max(MIN_SECONDS, left * 0.1)),
                    )
                    meter.seconds += outcome.seconds
                    if isinstance(outcome, FailedCall):
                        late.update(text for text in job if isinstance(text, str))

        await asyncio.gather(*(run(job) for job in dict.fromkeys(jobs)))
        return [getattr(self._cache.get(job), "value", None) for job in jobs]

    async def _outcome(self, job: _Job, seconds: float) -> Outcome:
        """What a job gives in this much processor time; cached, unless it may get more time later."""
        if job in self._cache:
            return self._cache[job]
        # Wall-clock seconds that a second of processor time may take on a busy machine
        limit = 10.0 * (1 + seconds)
        outcome = await self.pool.call(
            job[0], *job[1:], seconds=limit, cpu_seconds=seconds
        )
        late = isinstance(outcome, FailedCall) and outcome.kind == "timeout"
        if not late or seconds >= self.seconds:
            self._cache[job] = outcome
            # Verdicts that are cached
            if len(self._cache) > 100_000:
                del self._cache[next(iter(self._cache))]
        return outcome


def _accept_each_other(accepts: Callable[[str, str], bool], a: str, b: str) -> bool:
    return accepts(a, b) and accepts(b, a)
