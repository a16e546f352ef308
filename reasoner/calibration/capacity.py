"""What a run on GPUs takes: hours, dollars, drivers and disk, from a forecast and measured rates."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reasoner.calibration.planning import Forecast
from reasoner.errors import UsageError, require
from reasoner.system.files import parse_json, read_whole

OPERATIONS: Final = 3
"""Operations of a sample of a vote: start, next, propose."""
SAMPLE_SECONDS: Final = 1e-3
"""Processor seconds of a driver per sample: the runner, an HTTP client, trace, journal and grades."""
BUSY: Final = 0.5
"""The share of a core that a driver may use: with more, samples wait for it."""
TRACE_BYTES: Final = (1330.0, 8.1)
"""Bytes of a trace per sample of a vote, and per token of it."""
TRACE_QUESTION_BYTES: Final = 1790.0
"""Bytes of a trace per question."""
JOURNAL_BYTES: Final = (620.0, 420.0)
"""Bytes of journal, grades and verdicts per question, and per sample of it."""
MEASURED: Final = "docs/scale-plan.md"
"""Where the constants above were measured."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second of one GPU: one or more measurements, and where they come from, in words."""

    measured: tuple[float, ...]
    source: str

    def __post_init__(self) -> None:
        if not self.measured or None in self.measured:
            raise UsageError("a rate needs at least one measurement, each of them a number")
        for value in self.measured:
            require(value, "a rate in tokens per second", above=0, at_most=1e9)

    @property
    def median(self) -> float:
        """The median of the measurements."""
        return statistics.median(self.measured)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a run takes that keeps all GPUs busy from its start to its end.

    `hours` are the expected ones; `shortest` and `longest` are those of the 5th and 95th percentile of its tokens, at
    the highest and the lowest measured rate.
    """

    gpus: int
    rate: Rate
    hours: float
    shortest: float
    longest: float
    samples: float
    """Samples per second."""
    trace_bytes: float
    journal_bytes: float

    @property
    def gpu_hours(self) -> float:
        """Expected hours times GPUs."""
        return self.hours * self.gpus

    @property
    def driver_cores(self) -> float:
        """Cores that drivers use."""
        return self.samples * SAMPLE_SECONDS

    @property
    def drivers(self) -> int:
        """Drivers that share the run, each busy for at most `BUSY` of the time."""
        return max(1, math.ceil(self.driver_cores / BUSY))


def capacity(forecast: Forecast, questions: int, gpus: int, rate: Rate) -> Capacity:
    """What answering so many questions takes on so many GPUs.

    Raises:
        UsageError: `gpus` is not from 1 to a million.
    """
    require(gpus, "--gpus", at_least=1, at_most=10**6)
    tokens, samples = questions * forecast.tokens.mean, questions * forecast.mean_samples
    low, high = forecast.total_p05(questions), forecast.total_p95(questions)
    own, per_token = TRACE_BYTES
    line, entry = JOURNAL_BYTES
    hours = tokens / (gpus * rate.median) / 3600
    return Capacity(
        gpus=gpus,
        rate=rate,
        hours=hours,
        shortest=low / (gpus * max(rate.measured)) / 3600,
        longest=high / (gpus * min(rate.measured)) / 3600,
        samples=samples / (hours * 3600) if hours else 0.0,
        trace_bytes=questions * TRACE_QUESTION_BYTES + samples * own + tokens * per_token,
        journal_bytes=questions * line + samples * entry,
    )


def read_rate(path: Path) -> Rate:
    """The rate of a GPU in the output of `python bench/gpu.py`: that of phase 2, with the sequences that give most.

    Raises:
        UsageError: it cannot be read, holds no such line, or was not measured on a GPU.
    """
    try:
        text = read_whole(path)
    except OSError as error:
        raise UsageError(f"cannot read the rates {path}: {error.strerror}") from error
    best: Rate | None = None
    for line in text.splitlines():
        # `make` prints lines of its own.
        try:
            entry = parse_json(line) if line.startswith(b"{") else None
        except ValueError as error:
            raise UsageError(f"{path} is not what `python bench/gpu.py` printed: {error}") from error
        if isinstance(entry, Mapping) and entry.get("phase") == 2 and isinstance(entry.get("figures"), Mapping):
            for rate in _rates_in(path, entry):
                best = rate if best is None or rate.median > best.median else best
    if best is None:
        raise UsageError(f"{path} holds no rate: give the output of `python bench/gpu.py 2`, or --rate TOKENS")
    return best


def _rates_in(path: Path, entry: Mapping[str, Any]) -> list[Rate]:
    if entry.get("shape") == "tiny":
        raise UsageError(f"{path} was measured without a GPU, with a tiny model: run `python bench/gpu.py 2` on a GPU")
    rates = []
    for setting, figures in entry["figures"].items():
        measured = figures.get("solve_many") if isinstance(figures, Mapping) else None
        if isinstance(measured, list):
            about = f"{entry.get('shape')} on {entry.get('card')}, {setting}"
            rates.append(Rate(tuple(measured), f"measured: {about:.200} ({path})"))
    return rates
