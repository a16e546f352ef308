"""How often the alarms of a calibration are raised, by simulation and on recorded answers, as Markdown tables.

    python bench/alarms.py [RUNS] [POOL...]

Confidences have four levels, measured on the calibrated questions as a profile would, with their errors. "Same" are new
questions like those; in "same, 5 % lost" such a share of the questions loses all answers, in calibration and in use. In
the others, answers turn wrong, or are lost, that were not in calibration. RUNS (800) data sets per number; the seed
follows from the sizes.

Each POOL is a file of recorded answers (bench/README.md: sources). A random half of its questions calibrates an arm,
and 30 or 100 of the others are asked, each once and in one order of its samples. Alarms have the levels of a report
with one arm. "Split" and "wrong" are shifts that lower the arm's accuracy by `shift.DROP`: questions are drawn with a
weight that rises with the entropy of all their votes, or with the share of their samples that are wrong. "Stated" is
the mean power that the profiles state for 100 questions.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from replies import questions_in

from reasoner.calibration import shift
from reasoner.calibration.risk import ALARM
from reasoner.registry import build
from reasoner.strategy import CalibrationSummary
from reasoner_evals.calibration.drift import fewer_right
from reasoner_evals.calibration.outcomes import (
    Outcomes,
    Samples,
    random_orders,
    stopped,
)
from reasoner_evals.calibration.profiles import agreement_in, shifted_weights, trust_in
from reasoner_evals.runs.reading import SILENT
from reasoner_evals.stats import Bools, Floats, Ints

LEVELS = np.array([0.45, 0.75, 0.92, 0.99])
"""The true chance of a right answer at each level of confidence."""
WEIGHTS = (0.1, 0.15, 0.25, 0.5)
SIZES = ((60, 30), (150, 30), (150, 100), (600, 100))
"""Calibrated and new questions."""
ARMS = ("", "lock_in:delta=0.01", "lock_in:delta=0.1", "price:price=0.01")
ASKED = (30, 100)
ORDERS = 20
"""Of the samples of a recorded question: one is taken in each run."""


def rate(
    sizes: tuple[int, int],
    runs: int,
    *,
    lost: float = 0.0,
    newly_lost: float = 0.0,
    wrong: float = 0.0,
) -> float:
    """The share of runs with an alarm, in percent."""
    calibrated, asked = sizes
    source, raised = np.random.default_rng(calibrated + asked), 0
    for _ in range(runs):
        old, new = (
            source.choice(4, calibrated, p=WEIGHTS),
            source.choice(4, asked, p=WEIGHTS),
        )
        kept, answered = (
            source.random(calibrated) >= lost,
            source.random(asked) >= lost + newly_lost,
        )
        outcome = (source.random(calibrated) < LEVELS[old]) & kept
        right = (source.random(asked) < LEVELS[new]) & (source.random(asked) >= wrong)
        summary = CalibrationSummary("", calibrated, float(outcome.mean()))
        confidences = _measured(old[kept], outcome[kept], calibrated)[
            new[answered]
        ].tolist()
        lines = fewer_right(
            summary,
            confidences,
            right[answered].tolist(),
            int((~answered).sum()),
            ALARM,
        )
        raised += bool(list(lines))
    return 100 * raised / runs


def _measured(levels: Ints, outcome: Bools, calibrated: int) -> Floats:
    """The share of right answers at each level, never 0 or 1."""
    counts = np.bincount(levels, minlength=4)
    doubt = 1 / (calibrated + 2)
    shares: Floats = np.bincount(levels, weights=outcome, minlength=4) / np.maximum(
        counts, 1
    )
    return shares.clip(doubt, 1 - doubt)


class Pool(NamedTuple):
    """Recorded answers, the orders in which they are drawn, and two measures of how hard each question is, [Q]."""

    samples: Samples
    orders: Ints
    split: Floats
    wrong: Floats


def pool_in(file: Path) -> Pool:
    lines = questions_in(file)
    answers = [[reply["answer"] for reply in line["replies"]] for line in lines]
    known = [
        [text for text in dict.fromkeys(row) if text is not None] for row in answers
    ]
    rows = zip(known, answers, strict=True)
    classes = np.array(
        [
            [SILENT if text is None else names.index(text) for text in row]
            for names, row in rows
        ]
    )
    right = np.array(
        [
            [text == line["gold"] for text in row]
            for line, row in zip(lines, answers, strict=True)
        ]
    )
    tokens, free = (
        np.array(
            [[reply["tokens"] for reply in line["replies"]] for line in lines],
            dtype=np.float64,
        ),
        np.zeros(len(lines)),
    )
    counts = [
        np.bincount(row[row != SILENT]) / max(1, int((row != SILENT).sum()))
        for row in classes
    ]
    entropy = np.array(
        [-sum(share * np.log(share) for share in row if share) for row in counts]
    )
    orders = random_orders([line["question_id"] for line in lines], classes.shape[1])[
        :, :ORDERS
    ]
    return Pool(
        Samples(right, classes, tokens, tokens, free, free),
        orders,
        entropy,
        1 - right.mean(axis=1),
    )


def arm_of(pool: Pool, spec: str = "") -> Outcomes:
    """The vote of all samples, or one that a rule stops."""
    n = pool.orders.shape[-1]
    return stopped(
        pool.samples, pool.orders, build("strategy", f"self_consistency:n={n}"), spec
    )


def tilt_of(
    arm: Outcomes, hard: Floats, keys: list[tuple[Ints, Floats]], asked: int
) -> float:
    """How fast the weight of a question rises with `hard`, if the accuracy of those asked falls by `shift.DROP`."""
    right, low, high = arm.right.mean(axis=1), 0.0, 20.0
    for _ in range(30):
        tilt = (low + high) / 2
        accuracy = np.mean(
            [
                right[chosen(rest, noise, tilt * hard, asked)].mean()
                for rest, noise in keys
            ]
        )
        low, high = (
            (low, tilt) if accuracy < right.mean() - shift.DROP else (tilt, high)
        )
    return low


def chosen(rest: Ints, noise: Floats, log_weights: Floats, asked: int) -> Ints:
    """This many of the questions `rest`, drawn without replacement; `noise` is Gumbel's, [Q]."""
    return rest[np.argsort(-(log_weights + noise)[rest])[:asked]]


def rows_of(pool: Pool, arm: Outcomes, asked: int, runs: int) -> Iterator[str]:
    """For each shift: how often less agreement, fewer right answers, and either raise an alarm, in percent."""
    source, questions = np.random.default_rng(asked), len(arm.right)
    half, whole = questions // 2, arm_of(pool)
    keys = [
        (source.permutation(questions)[half:], source.gumbel(size=questions))
        for _ in range(runs)
    ]
    scaled = [(hard - hard.mean()) / hard.std() for hard in (pool.split, pool.wrong)]
    shifts = [("same", 0.0 * pool.split)] + [
        (name, tilt_of(arm, hard, keys[:200], asked) * hard)
        for name, hard in zip(("split", "wrong"), scaled, strict=True)
    ]
    raised, right, stated = np.zeros((3, 3)), np.zeros(3), []
    for rest, noise in keys:
        old = np.setdiff1d(np.arange(questions), rest)
        order = source.integers(0, arm.right.shape[1], questions)
        trust = trust_in(arm.of(old))
        agreement = agreement_in(arm.of(old), shifted_weights(whole.of(old)))
        stated.append(agreement.power)
        calibrated = Counter(map(shift.percent, arm.vote[old, order[old]].tolist()))
        summary = CalibrationSummary("", half, float(arm.right[old].mean()))
        for row, (_, weights) in enumerate(shifts):
            new = chosen(rest, noise, weights, asked)
            at = new, order[new]
            seen = Counter(map(shift.percent, arm.vote[at].tolist()))
            votes = zip(arm.share[at].tolist(), arm.length[at].tolist(), strict=True)
            confidences = [trust.chance(share, length) for share, length in votes]
            less = shift.less_agreement(calibrated, seen) is not None
            fewer = any(
                fewer_right(
                    summary,
                    confidences,
                    (arm.right[at] == 1).tolist(),
                    0,
                    ALARM - shift.LEVEL,
                )
            )
            raised[row] += less, fewer, less or fewer
            right[row] += arm.right[at].mean()
    for (name, _), counts, accuracy in zip(shifts, raised, right, strict=True):
        shares = " | ".join(f"{100 * count / runs:.1f} %" for count in counts)
        power = (
            f"{100 * np.mean(stated):.0f} %"
            if name == "split" and asked == shift.ASKED
            else ""
        )
        yield f"{asked} | {name} | {100 * accuracy / runs:.1f} | {shares} | {power} |"


def recorded(file: Path, runs: int) -> None:
    pool = pool_in(file)
    print(
        "\n| pool | arm | asked | drawn | accuracy % | less agreement | fewer right | either | stated |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ARMS:
        arm = arm_of(pool, name)
        for asked in ASKED:
            if asked < len(arm.right) / 3:
                for row in rows_of(pool, arm, asked, runs):
                    print(
                        f"| {file.stem} | {name or 'all samples'} | {row}", flush=True
                    )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    print(
        "| calibrated | new | same | same, 5 % lost | 10 % turn wrong | 20 % turn wrong | 20 % are lost |"
    )
    print("|---|---|---|---|---|---|---|")
    for sizes in SIZES:
        rates = (
            rate(sizes, runs),
            rate(sizes, runs, lost=0.05),
            rate(sizes, runs, wrong=0.1),
            rate(sizes, runs, wrong=0.2),
            rate(sizes, runs, newly_lost=0.2),
        )
        print(
            f"| {sizes[0]} | {sizes[1]} | {' | '.join(f'{share:.1f} %' for share in rates)} |",
            flush=True,
        )
    for file in sys.argv[2:]:
        recorded(Path(file), runs)


if __name__ == "__main__":
    main()
