"""The part of `reasoner plan` about a run on GPUs: its options, and what it takes, in JSON and in words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reasoner.cli.look import NUMBER, WHOLE
from reasoner.cli.options import PATH, flag
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.calibration.capacity import Rate
    from reasoner.calibration.planning import Forecast

F = TypeVar("F", bound=Callable[..., Any])


def gpu_options(command: F) -> F:
    """The fields of `GpuOptions`, as options."""
    for add in (
        click.option("--usd-per-gpu-hour", type=NUMBER, metavar="USD", help="The price of a GPU per hour, as in 2.5."),
        click.option("--rates", type=PATH, metavar="FILE",
                     help="The same from a file: what `python bench/gpu.py 2` printed on such a GPU."),
        click.option("--rate", metavar="TOKENS,...",
                     help="Tokens per second of one GPU, as measured with this model and such questions; several "
                          "measurements, as in 2400,2550, give an interval."),
        click.option("--gpus", type=WHOLE, metavar="G",
                     help="Predict hours, drivers and disk for so many GPUs; needs --rate or --rates."),
    ):  # fmt: skip
        command = add(command)
    return command


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """The options as they were typed; None where they were left out."""

    gpus: int | None
    rate: str | None
    rates: Path | None
    usd_per_gpu_hour: float | None

    def read_rate(self) -> "Rate | None":
        """The measured rate; None without --gpus. Raises UsageError: it is missing, given twice or not a number."""
        from reasoner.calibration.capacity import Rate, read_rate
        from reasoner.errors import require

        require(self.usd_per_gpu_hour, "--usd-per-gpu-hour", at_least=0, at_most=1e6)
        if self.gpus is None:
            for name in ("rate", "rates", "usd_per_gpu_hour"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{flag(name)} has no effect without --gpus: add it, or omit this")
            return None
        require(self.gpus, "--gpus", at_least=1, at_most=10**6)
        if (self.rate is None) == (self.rates is None):
            given = "neither is given" if self.rate is None else "both are given"
            ways = "--rate TOKENS, per second of one GPU, or --rates FILE, the output of `python bench/gpu.py 2`"
            raise UsageError(f"--gpus needs one measured rate, and {given}: give {ways}")
        if self.rates is not None:
            return read_rate(self.rates)
        assert self.rate is not None
        try:
            values = tuple(float(part.encode("ascii")) for part in self.rate.split(","))
        except ValueError:
            raise UsageError(
                f"--rate must be tokens per second, as in 2400 or 2400,2550 (got {self.rate!r:.80})"
            ) from None
        return Rate(values, "given by --rate")

    def taken(self, rate: "Rate", forecast: "Forecast", questions: int) -> dict[str, Any]:
        """What the run takes, for JSON."""
        from reasoner.calibration import capacity

        assert self.gpus is not None
        took = capacity.capacity(forecast, questions, self.gpus, rate)
        price = self.usd_per_gpu_hour
        return {
            "gpus": took.gpus,
            "tokens_per_second_and_gpu": rate.median,
            "rates": list(rate.measured),
            "rate_source": rate.source,
            "hours": took.hours,
            "hours_low": took.shortest,
            "hours_high": took.longest,
            "usd": None if price is None else took.gpu_hours * price,
            "usd_low": None if price is None else took.shortest * took.gpus * price,
            "usd_high": None if price is None else took.longest * took.gpus * price,
            "samples_per_second": took.samples,
            "operations_per_second": took.samples * capacity.OPERATIONS,
            "driver_cores": took.driver_cores,
            "drivers": took.drivers,
            "trace_bytes": took.trace_bytes,
            "journal_bytes": took.journal_bytes,
            "basis": list(_basis()),
        }


def _basis() -> Iterator[str]:
    """What the numbers rest on."""
    from reasoner.calibration import capacity

    yield "measured: tokens and samples per question, by the profile; the rate as stated"
    yield "intervals: the 5th to the 95th percentile of all tokens, at the highest to the lowest rate"
    yield "assumed: all GPUs are busy from start to end, prompt tokens take as long as generated ones, no start-up"
    yield (
        f"measured on another machine ({capacity.MEASURED}): {capacity.SAMPLE_SECONDS * 1e6:,.0f} us of a driver per "
        "sample of a vote, and bytes per question, sample and token"
    )
    yield f"assumed: a driver is busy for at most {capacity.BUSY:.0%} of the time, and takes part of a run by --shard"
    yield "not included: a driver has at most 1,024 requests in flight, unless max_concurrency of the engine is set"


def gpu_lines(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `GpuOptions.taken` found, for a person: labels and lines."""
    from reasoner.cli.terminal import printable

    gpus, rates = run["gpus"], run["rates"]
    spread = f", {min(rates):,.0f} to {max(rates):,.0f}" if len(rates) > 1 else ""
    rate = f"{run['tokens_per_second_and_gpu']:,.0f} tokens per second and GPU{spread}"
    yield "hours", f"{_hours(run['hours'])} on {gpus:,} GPU{'s' if gpus > 1 else ''}, {_range(run, 'hours', _hours)}"
    yield "rate", f"{rate}; {printable(run['rate_source'])}"
    if run["usd"] is None:
        yield "price", f"{_hours(run['hours'] * gpus)} GPU hours; give --usd-per-gpu-hour for dollars"
    else:
        yield "price", f"${run['usd']:,.2f}, {_range(run, 'usd', lambda usd: f'${usd:,.2f}')}"
    drivers = run["drivers"]
    load = f"{run['samples_per_second']:,.1f} samples, {run['operations_per_second']:,.1f} operations per second"
    yield "driver", f"{load}: {run['driver_cores']:.3g} cores, {drivers:,} driver{'s' if drivers > 1 else ''}"
    yield "disk", f"{_bytes(run['trace_bytes'])} of traces, {_bytes(run['journal_bytes'])} of journals and grades"
    for line in run["basis"]:
        yield "basis", line


def _range(run: Mapping[str, Any], name: str, words: Callable[[float], str]) -> str:
    return f"{words(run[f'{name}_low'])} to {words(run[f'{name}_high'])}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.3g}"


def _bytes(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e3:,.1f} kB"
