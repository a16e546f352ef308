"""How well and how fast mathematical answers are graded, on reference answers such as those of MATH-500.

    python bench/grading.py FILE

FILE is JSONL whose lines have an `answer` in LaTeX without delimiters. Prints the share of the answers that are read
and graded right in three forms; the false matches among 1,500 random pairs of different answers (seed 0); gradings
per second on two workers over three rounds, by default and with all forced through Math-Verify; and the time to compare
64 different formulas for a vote (of 2,016 pairs, those that need it), in three rounds.
"""

import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from pathlib import Path

from reasoner.answers.equivalence import ComparisonMeter, Equivalence, prepare
from reasoner.answers.math_worker import equal
from reasoner.answers.maths import MathSpace
from reasoner.system.process_pool import ProcessPool
from reasoner.types import Answer

FORMS = {
    "bare": "{}",
    "boxed": "So we are done: $\\boxed{{{}}}$.",
    "prose": "Adding up, the answer is {}. I hope it is correct.",
}
PAIRS = 1_500
ROUNDS = 3
LIMIT = 10.0
FORMULAS = 64
MATH = MathSpace()


async def recall(equivalence: Equivalence, golds: list[str]) -> None:
    for form, frame in FORMS.items():
        read = [MATH.read(frame.format(gold)) for gold in golds]
        graded = [
            await equivalence.accepts(MATH, gold, answer.text)
            for gold, answer in zip(golds, read, strict=True)
            if answer
        ]
        right = sum(verdict.status == "right" for verdict in graded)
        print(f"recall {form:7} {right}/{len(golds)} = {right / len(golds):.1%}")


async def precision(equivalence: Equivalence, golds: list[str]) -> None:
    draw = random.Random(0)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < PAIRS:
        gold, other = draw.sample(golds, 2)
        left, right = MATH.answer(gold), MATH.answer(other)
        if left and right and left.key != right.key:
            pairs.append((gold, other))
    graded = await asyncio.gather(*(equivalence.accepts(MATH, *pair) for pair in pairs))
    matched = [
        pair
        for pair, verdict in zip(pairs, graded, strict=True)
        if verdict.status == "right"
    ]
    failed = sum(verdict.status not in {"right", "wrong"} for verdict in graded)
    print(
        f"false matches {len(matched)} of {PAIRS:,} random pairs, {failed} undecided {matched or ''}"
    )


async def speed(golds: list[str]) -> None:
    for name, forced in (("by default", False), ("all through Math-Verify", True)):
        rates = []
        for _ in range(ROUNDS):
            # A new pool each time, so that no result is cached.
            equivalence = Equivalence(pool=ProcessPool(prepare=prepare))
            await equivalence.pool.warm()
            began = time.perf_counter()
            if forced:
                await asyncio.gather(
                    *(
                        equivalence.pool.call(equal, gold, f"({gold})", seconds=LIMIT)
                        for gold in golds
                    )
                )
            else:
                await asyncio.gather(
                    *(
                        equivalence.accepts(MATH, gold, f"\\boxed{{{gold}}}")
                        for gold in golds
                    )
                )
            rates.append(len(golds) / (time.perf_counter() - began))
            await equivalence.close()
        print(f"gradings per second, {name}: {spread(rates)}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.4g} ({min(values):,.4g} to {max(values):,.4g}, {len(values)} rounds)"


def formulas(count: int) -> list[Answer]:
    """Different formulas of eight kinds."""
    draw = random.Random(0)
    frames = (
        "\\frac{{{}\\sqrt{{{}}}}}{{{}}}",
        "{}x^2+{}x+{}",
        "\\frac{{{}\\pi+{}}}{{{}}}",
        "\\sqrt{{{}+{}\\sqrt{{{}}}}}",
        "\\log_{{{}}}({}x+{})",
        "({}x+1)({}x-{})",
        "e^{{{}x}}+{}y-{}",
        "{}\\sin({}x)+{}",
    )
    answers: dict[str, Answer] = {}
    while len(answers) < count:
        answer = MATH.answer(
            draw.choice(frames).format(*(draw.randint(2, 99) for _ in range(3)))
        )
        if answer:
            answers[answer.key] = answer
    return list(answers.values())


async def classes() -> None:
    pairs = list(itertools.combinations(formulas(FORMULAS), 2))
    seconds, same = [], 0
    for _ in range(ROUNDS):
        equivalence = Equivalence(seconds=LIMIT, pool=ProcessPool(prepare=prepare))
        await equivalence.pool.warm()
        began = time.perf_counter()
        same = (await equivalence.same_many(MATH, pairs, ComparisonMeter())).count(True)
        seconds.append(time.perf_counter() - began)
        await equivalence.close()
    print(
        f"{FORMULAS} formulas compared, {len(pairs):,} pairs, {same} the same: {spread(seconds)} s"
    )


async def main(path: str, golds: list[str]) -> None:
    equivalence = Equivalence(seconds=LIMIT)
    await equivalence.pool.warm()
    print(f"{len(golds)} answers of {path}")
    await recall(equivalence, golds)
    await precision(equivalence, golds)
    await equivalence.close()
    await speed(golds)
    await classes()


if __name__ == "__main__":
    file = Path(sys.argv[1])
    asyncio.run(
        main(
            file.name,
            [json.loads(line)["answer"] for line in file.read_text().splitlines()],
        )
    )
