"""Slow comparisons: typed grades, classes that do not depend on order, bombs that end, work that is done once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

import pytest

from reasoner.answers import math_worker
from reasoner.answers.equivalence import ComparisonMeter, Equivalence, Verdict, prepare
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.system.process_pool import FailedCall, JobResult, ProcessPool
from reasoner.types import Answer, AnswerSpace, Blocks
from tests.running import running

MATH = MathSpace()
LONG = 60.0


@asynccontextmanager
async def equivalence(
    *, seconds: float = LONG, maths: bool = True
) -> AsyncIterator[Equivalence]:
    """Without `maths` its workers start in a fraction of the time."""
    made = Equivalence(seconds) if maths else Equivalence(seconds, ProcessPool())
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Equivalence]:
    """One for the tests that break nothing, as its workers take seconds to start."""
    made = Equivalence(LONG)
    yield made
    asyncio.run(made.close())


def answers(*written: str) -> list[Answer]:
    made = [MATH.answer(one) for one in written]
    assert None not in made
    return [one for one in made if one]


async def same(made: Equivalence, space: AnswerSpace, a: Answer, b: Answer) -> bool:
    [verdict] = await made.same_many(space, [(a, b)], ComparisonMeter())
    return verdict is True


# A space of its own: what a third party would write.


def _log(word: str) -> None:
    folder, _, text = word.partition("|")
    with (Path(folder) / "log").open("a") as file:
        file.write(f"{text}\n")


def spin() -> None:
    """Use up processor time."""
    while True:
        pass


def near(gold: str, answer: str) -> bool:
    """Same first letter; notes that it ran. `hang...` hangs, `crash` crashes."""
    _log(gold)
    texts = gold.partition("|")[2], answer.partition("|")[2]
    if any(text.startswith("hang") for text in texts):
        spin()
    if "crash" in texts:
        raise ValueError("crash")
    return texts[0][:1] == texts[1][:1]


def look(answer: str) -> Blocks:
    """All in one block."""
    if answer.endswith("|bomb"):
        spin()
    return Blocks(("all",))


@dataclass(frozen=True)
class Slow:
    name: ClassVar[str] = "slow"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = ""

    seconds: float = 10.0

    @property
    def accepts(self) -> Callable[[str, str], bool]:
        return near

    @property
    def find_blocks(self) -> Callable[[str], Blocks]:
        return look

    def blocks(self, answer: Answer) -> Blocks | None:
        return None

    def read(self, text: str) -> Answer | None:
        return self.answer(text)

    def answer(self, written: str) -> Answer | None:
        return Answer(written, written) if written else None

    def same(self, a: Answer, b: Answer) -> bool | None:
        return True if a == b else None

    def refusal(self, written: str) -> str | None:
        return "too odd" if written.endswith("|odd") else None


SLOW = Slow()


@dataclass(frozen=True)
class RunContext:
    """Answers of the slow space that note their comparisons in a folder."""

    folder: Path

    def __call__(self, *words: str) -> list[Answer]:
        return [
            Answer(f"{self.folder}|{word}", f"{self.folder}|{word}") for word in words
        ]

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split()


# Grades


@running
async def test_a_grade_is_typed(shared: Equivalence) -> None:
    assert await shared.accepts(MATH, "2k+2", "2(k+1)") == Verdict("right")
    assert await shared.accepts(MATH, "2k+2", "2(k+2)") == Verdict("wrong")
    assert await shared.accepts(MATH, "2", "2.0") == Verdict("right")
    assert await shared.accepts(MATH, "2", "") == Verdict("wrong")
    assert await shared.accepts(MATH, "2", "9^{9^{9}}") == Verdict(
        "too_complex", "a power too large to compute"
    )
    assert await shared.accepts(MATH, "9^{9^{9}}", "9^{9^{9}}") == Verdict("right")


@running
async def test_a_timeout_and_a_crash_are_grades_of_their_own(tmp_path: Path) -> None:
    a, hang, crash, odd = RunContext(tmp_path)("a", "hang", "crash", "odd")
    async with equivalence(seconds=0.3, maths=False) as made:
        assert await made.accepts(SLOW, a.text, crash.text) == Verdict(
            "grader_crash", "ValueError: crash"
        )
        timeout = Verdict("grader_timeout", "it took over 0.3 s of processor time")
        assert await made.accepts(SLOW, a.text, hang.text) == timeout
        assert (await made.accepts(SLOW, a.text, odd.text)).status == "too_complex"
        assert await made.accepts(SLOW, a.text, f"{tmp_path}|abc") == Verdict("right")


@running
async def test_a_grade_is_done_once(tmp_path: Path) -> None:
    a, ab = RunContext(tmp_path)("a", "ab")
    async with equivalence(maths=False) as made:
        grades = [await made.accepts(SLOW, a.text, ab.text) for _ in range(3)]
    assert grades == [Verdict("right")] * 3
    assert RunContext(tmp_path).log == ["a"]


# Classes


@dataclass(frozen=True)
class OneWay(Slow):
    @property
    def accepts(self) -> Callable[[str, str], bool]:
        return fnmatchcase


@running
async def test_both_directions_must_agree() -> None:
    async with equivalence(maths=False) as made:
        assert await made.accepts(OneWay(), "abc", "*") == Verdict("right")
        assert not await same(made, OneWay(), Answer("abc", "abc"), Answer("*", "*"))


@running
async def test_a_space_that_knows_at_once_starts_no_pool() -> None:
    made, one, half = Equivalence(), Answer("1", "1"), Answer("0.5", "1/2")
    assert await made.same_many(
        NumberSpace(), [(one, half), (one, one)], ComparisonMeter()
    ) == (False, True)
    assert await made.accepts(MATH, "1", "9^{9^{9}}") == Verdict(
        "too_complex", "a power too large to compute"
    )
    assert not made.pool._idle


@running
async def test_a_late_comparison_in_a_vote_is_undecided_and_the_others_are_decided(
    tmp_path: Path,
) -> None:
    words = RunContext(tmp_path)("a", "ab", "car", "hang", "crash", "bomb")
    pairs = list(itertools.combinations(words, 2))
    async with equivalence(seconds=0.3, maths=False) as made:
        verdicts = await made.same_many(Slow(100.0), pairs, ComparisonMeter())
    names = [(a.text.partition("|")[2], b.text.partition("|")[2]) for a, b in pairs]
    told = dict(zip(names, verdicts, strict=True))
    assert {pair for pair, same in told.items() if same} == {("a", "ab")}
    bad = {"hang", "crash", "bomb"}
    assert {pair for pair, same in told.items() if same is None} == {
        pair for pair in names if bad & set(pair)
    }


@running
async def test_the_comparisons_of_one_question_share_its_time_and_those_of_another_have_theirs(
    tmp_path: Path,
) -> None:
    hangs, words = (
        RunContext(tmp_path)(*(f"hang{n}" for n in range(4))),
        RunContext(tmp_path)("a", "ab", "b"),
    )
    space, tab = Slow(9.0), ComparisonMeter()
    async with equivalence(maths=False) as made:
        mixed = [*itertools.combinations(hangs, 2), *itertools.combinations(words, 2)]
        first = await made.same_many(space, mixed, tab)
        assert first == (None,) * 6 + (True, False, False)
        # Six times the limit of a grade would be 30 s.
        assert 0.5 < tab.seconds < 12
        tab.seconds = space.seconds
        others = RunContext(tmp_path)("c", "cc")
        assert await made.same_many(space, [(others[0], others[1])], tab) == (None,)
        assert await made.same_many(
            space, [(others[0], others[1])], ComparisonMeter()
        ) == (True,)
        assert await made.same_many(space, [(others[0], others[1])], tab) == (True,)


@running
async def test_answers_that_do_not_meet_are_not_compared(shared: Equivalence) -> None:
    found = answers(
        "x+1",
        "1+x",
        "x+2",
        "3",
        "\\sqrt{9}",
        "y=x+1",
        "x-y+1=0",
        "(1,x)",
        "(1,x+x)",
        "1,x",
    )
    blocks = await shared.blocks(MATH, found, ComparisonMeter())
    meet = {
        (a.text, b.text)
        for (a, one), (b, other) in itertools.combinations(
            zip(found, blocks, strict=True), 2
        )
        if one and other and one.meets(other)
    }
    assert meet == {
        ("x+1", "1+x"),
        ("x+1", "y=x+1"),
        ("1+x", "y=x+1"),
        ("3", "\\sqrt{9}"),
        ("y=x+1", "x-y+1=0"),
        ("(1,x)", "(1,x+x)"),
    }


# Bombs

REFUSED = [
    "9^{9^{9}}",
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("bomb", REFUSED, ids=lambda bomb: f"{bomb[:20]}*{len(bomb)}")
@running
async def test_a_bomb_that_can_be_seen_is_refused_and_no_worker_sees_it(
    bomb: str,
) -> None:
    made = Equivalence()
    for gold, answer in (("x+1", bomb), (bomb, "x+1")):
        assert (await made.accepts(MATH, gold, answer)).status == "too_complex"
    [one, other] = answers("x+1", bomb)
    assert await made.same_many(
        MATH, [(one, other), (other, one)], ComparisonMeter()
    ) == (False, False)
    assert not made.pool._idle


HANGS = ["9^{9^{9}}", "(10^8)!"]
DEEP = "\\frac{1}{" * 400 + "1" + "}" * 400


@running
async def test_a_bomb_that_was_not_seen_is_killed_and_the_pool_serves_the_next() -> (
    None
):
    """The limits of `too_complex` stepped around: formulas straight to what the worker does with them."""
    pool = ProcessPool(prepare=prepare)
    try:
        calls = (
            pool.call(math_worker.equal, bomb, "x^{2}+1", seconds=LONG, cpu_seconds=1)
            for bomb in HANGS
        )
        late = FailedCall("timeout", "it took over 1 s of processor time")
        assert await asyncio.gather(*calls) == [late] * len(HANGS)
        assert await pool.call(
            math_worker.equal, DEEP, "x^{2}+1", seconds=LONG, cpu_seconds=1
        ) != JobResult(True)
        assert await pool.call(
            math_worker.accepts, "2k+2", "2(k+1)", seconds=LONG
        ) == JobResult(True)
    finally:
        await pool.close()
