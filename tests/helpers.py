"""What tests share beside `reasoner.testing.support`: answers, verifiers, plans and files."""

import asyncio
import re
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reasoner import Answer, Question
from reasoner.engine import Engine
from reasoner.models.defaults import resolve
from reasoner.models.info import ModelInfo
from reasoner.strategy import Plan
from reasoner.testing.support import Judge
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter

S = TypeVar("S")


def answer(key: str) -> Answer:
    return Answer(key, key)


def auroc(rated: Iterable[tuple[float, bool]]) -> float:
    """The share of pairs in which a right answer is rated above a wrong one; ties count half."""
    ratings = list(rated)
    pairs = [
        (right > wrong) + (right == wrong) / 2
        for right, is_right in ratings
        for wrong, is_wrong in ratings
        if is_right and not is_wrong
    ]
    return sum(pairs) / len(pairs)


class Sleepy(Judge):
    """A verifier that never comes to a verdict."""

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


def as_run(strategy: S) -> S:
    """The strategy as a run hands it to its plans: with the sampling parameters of a model that says nothing."""
    return resolve(strategy, ModelInfo("any"), lambda _: None)


def finish(plan: Plan[Answer | None], reply: object = None) -> Answer | None:
    """What the plan returns when it is sent the reply, or has the error raised into it."""
    try:
        op = plan.throw(reply) if isinstance(reply, Exception) else plan.send(reply)
    except StopIteration as finished:
        answer: Answer | None = finished.value
        return answer
    raise AssertionError(f"the plan continued with {op}")


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond this many bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def without_checksums(path: Path) -> Path:
    """The same file as one that was written before lines had checksums, so that a test may change it."""
    path.write_bytes(
        re.sub(
            rb',"crc32":"[0-9a-f]{8}"}$', b"}", path.read_bytes(), flags=re.MULTILINE
        )
    )
    return path
