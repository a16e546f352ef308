"""How often the alarms of a calibration are raised, by simulation, as a Markdown table.

    python bench/alarms.py [RUNS]

Confidences have four levels, measured on the calibrated questions as a profile would, with their errors. "Same" are new
questions like those; in "same, 5 % lost" such a share of the questions loses all answers, in calibration and in use. In
the others, answers turn wrong, or are lost, that were not in calibration. RUNS (800) data sets per number; the seed
follows from the sizes.
"""

import sys

import numpy as np

from reasoner.calibration.risk import ALARM
from reasoner.strategy import CalibrationSummary
from reasoner_evals.calibration.profiles import fewer_right
from reasoner_evals.stats import Bools, Floats, Ints

LEVELS = np.array([0.45, 0.75, 0.92, 0.99])
"""The true chance of a right answer at each level of confidence."""
WEIGHTS = (0.1, 0.15, 0.25, 0.5)
SIZES = ((60, 30), (150, 30), (150, 100), (600, 100))
"""Calibrated and new questions."""


def rate(sizes: tuple[int, int], runs: int, *, lost: float = 0.0, newly_lost: float = 0.0, wrong: float = 0.0) -> float:
    """The share of runs with an alarm, in percent."""
    calibrated, asked = sizes
    source, raised = np.random.default_rng(calibrated + asked), 0
    for _ in range(runs):
        old, new = source.choice(4, calibrated, p=WEIGHTS), source.choice(4, asked, p=WEIGHTS)
        kept, answered = source.random(calibrated) >= lost, source.random(asked) >= lost + newly_lost
        outcome = (source.random(calibrated) < LEVELS[old]) & kept
        right = (source.random(asked) < LEVELS[new]) & (source.random(asked) >= wrong)
        summary = CalibrationSummary("", calibrated, float(outcome.mean()))
        confidences = _measured(old[kept], outcome[kept], calibrated)[new[answered]].tolist()
        lines = fewer_right(summary, confidences, right[answered].tolist(), int((~answered).sum()), ALARM)
        raised += bool(list(lines))
    return 100 * raised / runs


def _measured(levels: Ints, outcome: Bools, calibrated: int) -> Floats:
    """The share of right answers at each level, never 0 or 1."""
    counts = np.bincount(levels, minlength=4)
    doubt = 1 / (calibrated + 2)
    shares: Floats = np.bincount(levels, weights=outcome, minlength=4) / np.maximum(counts, 1)
    return shares.clip(doubt, 1 - doubt)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    print("| calibrated | new | same | same, 5 % lost | 10 % turn wrong | 20 % turn wrong | 20 % are lost |")
    print("|---|---|---|---|---|---|---|")
    for sizes in SIZES:
        rates = (rate(sizes, runs), rate(sizes, runs, lost=0.05), rate(sizes, runs, wrong=0.1),
                 rate(sizes, runs, wrong=0.2), rate(sizes, runs, newly_lost=0.2))  # fmt: skip
        print(f"| {sizes[0]} | {sizes[1]} | {' | '.join(f'{share:.1f} %' for share in rates)} |", flush=True)


if __name__ == "__main__":
    main()
