"""`reasoner calibrate`: measure what compute gains on questions set aside for it, and write it down as a profile."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.look import Command, option
from reasoner.cli.options import PATH, flag, json_option
from reasoner.cli.terminal import Terminal, printable
from reasoner.errors import UsageError
from reasoner.system.printing import counted
from reasoner_evals.cli.options import (
    RunOptions,
    command_line,
    default_folder,
    run_options,
)

if TYPE_CHECKING:
    from reasoner.calibration.profile import ArmRow, Family
    from reasoner_evals.calibration.profiles import Binning

DEFAULT_STRATEGIES: Final = ("self_consistency:n=16", "single")
THRESHOLDS: Final = (0, 0.5, 0.7, 0.9)
"""The values of --abstain-below that are shown."""
MAX_SPEC_LENGTH: Final = 80
"""Characters of a spec that are shown."""


@click.command("calibrate", cls=Command, heading="Measure")
@run_options(strategies=" and ".join(DEFAULT_STRATEGIES))
@option(
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Profile to write. Other tasks in an existing profile are kept.",
)
@option(
    "--from",
    "from_runs",
    is_flag=True,
    help="Use finished runs: give folders RUN... in place of TASKs.",
)
@option(
    "--runs",
    type=PATH,
    metavar="DIR",
    help="Folder of the run. An interrupted run in it continues.  [default: "
    "runs/calibrate-DATE-TIME-TASK]",
)
@option(
    "--bins",
    default="none",
    metavar="SIGNAL[:COUNT]",
    help="Bins of easy and hard questions to measure separately, as in split:3. Signals: prompt (length) or "
    "split (first four votes).  [default: none]",
)
@json_option("the profile's path and rows")
@guarded
def command(
    out: Path,
    from_runs: bool,
    runs: Path | None,
    bins: str,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure accuracy against compute on TASKs and write a profile.

    A FILE of questions with their answers is a task, too. The strategy auto chooses by this profile. Use questions that
    no other measurement uses. At least one strategy must be self_consistency; each runs as in `reasoner eval`. One pool
    of samples gives a row for each smaller number of samples and for each stop rule. Standard output has one line per
    row. A row of fewer than 30 questions is not eligible: plans leave it out, and auto does unless it is a vote.

    An interrupted run continues if --runs names its folder.

    Exit codes: 0 the profile is written, 1 output could not be written, 2 usage, 4 engine failure or questions that
    ended in an error (the run is kept, and --from makes a profile of it), 130 interrupted.
    """
    from reasoner_evals.calibration.profiles import Binning, former_profile

    options = RunOptions(**given)
    binning = Binning.parse(bins)
    # Refuses a file that cannot be added to before anything is sampled.
    former_profile(out, None)
    if from_runs:
        _check_alone(options, runs)
        return _write(
            [Path(task) for task in options.tasks], out, binning, as_json=as_json
        )
    if not options.tasks:
        raise UsageError(
            "no task is given: name one or a file of questions, as in `reasoner calibrate arithmetic`, or --from a run"
        )
    folder = runs or default_folder("calibrate-", options.tasks[0])
    code = _run(
        replace(options, strategies=options.strategies or DEFAULT_STRATEGIES),
        folder,
        binning,
    )
    return code or _write([folder], out, binning, as_json=as_json)


def _check_alone(options: RunOptions, runs: Path | None) -> None:
    """Refuse options that finished runs have decided already."""
    if not options.tasks:
        raise UsageError(
            "no run is given: name one or more folders that `reasoner eval` wrote"
        )
    changed = [
        each.name
        for each in fields(options)
        if getattr(options, each.name) != each.default
    ]
    if others := [
        name for name in [*changed, *(["runs"] if runs else [])] if name != "tasks"
    ]:
        raise UsageError(
            f"{flag(others[0])} has no effect with --from, as the runs are finished: omit it"
        )


def _run(options: RunOptions, folder: Path, binning: "Binning") -> int:
    """Sample what is missing; the exit code."""
    from reasoner_evals.calibration.profiles import check_arms, check_signal
    from reasoner_evals.cli.progress import EvalProgress
    from reasoner_evals.cli.session import CalibrationRun
    from reasoner_evals.cli.setup import RunSetup, locked_run
    from reasoner_evals.runs.records import RunFolder

    def check(setup: RunSetup) -> None:
        check_arms(setup.arms)
        check_signal(binning, setup.arms)

    run = RunFolder(folder)
    with locked_run(options, run, resume=run.manifest.exists(), check=check) as (
        setup,
        manifest,
    ):
        return CalibrationRun(
            engine=setup.engine,
            display=EvalProgress(Terminal()),
            folder=run,
            setup=setup,
            frozen=manifest,
            command=command_line(),
        ).run()


def _write(
    runs: Sequence[Path], out: Path, binning: "Binning", *, as_json: bool
) -> int:
    """Make the profile of finished runs and show its rows."""
    from reasoner_evals.calibration.profiles import (
        families_of,
        former_profile,
        merged,
        runs_of_one_model,
    )

    terminal = Terminal()
    opened = runs_of_one_model(runs)
    model = opened[0].manifest.model.name
    former = former_profile(out, model)
    measured_by_task = families_of(opened, binning)
    for task, measured in measured_by_task.items():
        for note in measured.notes:
            terminal.say(f"note: {task}: {note}")
        if former and task in {family.task for family in former.families}:
            terminal.say(f"{task}: replaces the rows that {out} held of it")
    families = [measured.family for measured in measured_by_task.values()]
    merged(model, families, former).write(out)
    if as_json:
        terminal.give(
            json.dumps(
                {
                    "profile": str(out),
                    "rows": [_document(family, row) for family, row in _rows(families)],
                }
            )
        )
    else:
        for line in _lines(families):
            terminal.give(line)
    for family in families:
        for index in range(family.bins.count):
            for line in _facts(family, index):
                terminal.say(line)
    terminal.say(f"profile: {out}")
    return ANSWERED


def _rows(families: "Sequence[Family]") -> "Iterator[tuple[Family, ArmRow]]":
    for family in families:
        for index in range(family.bins.count):
            yield from ((family, row) for row in family.rows(index))


def _lines(families: "Sequence[Family]") -> Iterator[str]:
    """Each row: task, bin, arm, accuracy with its 95 % interval, both costs in tokens, and why it is not eligible."""
    from reasoner_evals.cli.progress import shown_accuracy

    width = max(len(_arm(row)) for _, row in _rows(families))
    for family, row in _rows(families):
        extra = "".join(
            f", {printable(part)}" for part in (row.verifier, row.budget) if part
        )
        latency = (
            ""
            if row.sequential_tokens is None
            else f", {row.sequential_tokens:,.0f} sequential"
        )
        why = _why(row)
        yield (
            f"{_where(family, row.bin)}  {_arm(row):<{width}}  {shown_accuracy(accuracy(row))}, "
            f"{row.tokens:,.0f} tokens{latency} per question{extra}, {f'not eligible: {why}' if why else 'eligible'}"
        )


def _where(family: "Family", index: int) -> str:
    return "  ".join(filter(None, (printable(family.task), family.bins.words(index))))


def _arm(row: "ArmRow") -> str:
    return printable(row.strategy, limit=MAX_SPEC_LENGTH)


def _facts(family: "Family", index: int) -> Iterator[str]:
    """Of a bin: what abstaining leaves out, what each risk promises, and the chance to see less agreement in use."""
    from reasoner.calibration.arm_selection import bolder, promised
    from reasoner.calibration.shift import seen_in
    from reasoner.stopping.rules import RISKS

    where, row = _where(family, index), family.safest(index)
    curve = (
        f"{threshold:g} answers "
        + (
            f"{100 * covered:.0f} %, {100 * right:.0f} % of them right"
            if covered
            else "none"
        )
        for threshold, (covered, right) in (
            (at, row.trust.answers_above(at)) for at in THRESHOLDS
        )
    )
    yield f"{where}  {_arm(row)} with --abstain-below {'; '.join(curve)}"
    for risk in RISKS.values():
        kept = promised(family, index, risk).row
        line = f"{kept.tokens:,.0f} tokens by {_arm(kept)}"
        if more := bolder(family, index, risk):
            next_row, count = more
            line += f"; about {counted(count, 'question')} would promise {next_row.tokens:,.0f} by {_arm(next_row)}"
        yield f"{where}  --risk {risk:g} promises {line}"
    yield f"{where}  {_arm(row)}: {seen_in(row.agreement.power)}"


def _document(family: "Family", row: "ArmRow") -> Mapping[str, Any]:
    share, low, high = accuracy(row)
    shown = {
        "accuracy": share,
        "low": low,
        "high": high,
        "eligible": row.eligible,
        "why": _why(row),
    }
    return {"task": family.task, **row.model_dump(), **shown}


def accuracy(row: "ArmRow") -> tuple[float, float, float]:
    """The share of right answers and its 95 % interval, which is narrower for an expectation over subsets."""
    from reasoner_evals.stats.intervals import effective_outcomes, wilson

    mean = row.right / row.questions
    outcomes = effective_outcomes(row.questions, row.right, row.squares)
    low, high = wilson(min(mean, 1.0) * outcomes, outcomes)
    return mean, low, high


def _why(row: "ArmRow") -> str:
    """Why a row is not chosen by what it lost; empty where it may be."""
    from reasoner.calibration.profile import MIN_QUESTIONS

    return (
        ""
        if row.eligible
        else f"{counted(row.questions, 'question')}, at least {MIN_QUESTIONS} are needed"
    )
