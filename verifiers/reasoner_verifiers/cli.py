"""`reasoner verifier`: fit a reward model, or a map of a verifier's scores, on labelled runs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.commands import Group
from reasoner.cli.options import PATH, together
from reasoner.cli.terminal import ANSWERED, guarded
from reasoner.errors import UsageError
from reasoner.system.files import check_replaceable, file_errors
from reasoner.system.printing import counted

if TYPE_CHECKING:
    from reasoner_verifiers.fitting import FittedHead

_runs = together(
    click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN..."),
    click.option(
        "--out",
        type=PATH,
        required=True,
        metavar="FILE",
        help="File to write, replaced if it exists.",
    ),
)
"""The argument and the option that all of these commands have."""


@click.group("verifier", cls=Group, heading="Set up")
def command() -> None:
    """Fit verifiers on labelled runs. RUN is a folder that `reasoner eval` wrote, or the folder of one of its arms."""


@command.command("fit")
@_runs
@click.option(
    "--backbone",
    default="embedded",
    show_default=True,
    metavar="PATH_OR_ID",
    help="Model whose hidden states the head reads; use the model of the runs.",
)
@guarded
def fit_command(runs: tuple[Path, ...], out: Path, backbone: str) -> int:
    """Fit a reward model, a small head for the verifiers `orm` and `prm`.

    The head reads a model's hidden states. Prints how well it separates right from wrong answers to held-out questions.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner_verifiers.fitting import fit
    from reasoner_verifiers.reward.checkpoint import save_head

    if out.suffix != ".safetensors":
        raise UsageError(
            f"--out is {out}: give a name that ends in .safetensors, by which `orm` and `prm` know a head"
        )
    _check_writable(out)
    terminal = Terminal(sys.stdout, sys.stderr)
    fitted = fit(runs, backbone, terminal.say)
    save_head(fitted.head, out)
    for line in _report(fitted):
        terminal.give(line)
    return ANSWERED


@command.command("calibrate")
@_runs
@guarded
def calibrate_command(runs: tuple[Path, ...], out: Path) -> int:
    """Fit a map from scores to probabilities, for `calibrated`.

    The runs must hold scores by one verifier, as those of best_of_n do.
    """
    from reasoner.journal.folder import write_whole
    from reasoner_verifiers.calibrated import fit_calibration
    from reasoner_verifiers.labelled import fitted_on, rated_by, read_labelled

    _check_writable(out)
    rated = [
        (sample, sample.rating.value)
        for sample in read_labelled(runs)
        if sample.judged and sample.rating
    ]
    scored = [(sample, value) for sample, value in rated if value is not None]
    samples = [sample for sample, _ in scored]
    fitted = fit_calibration(
        [value for _, value in scored],
        [sample.right for sample in samples],
        verifier=rated_by(samples),
        fitted_on=fitted_on(samples),
    )
    write_whole(out, [fitted.model_dump_json(indent=1).encode(), b"\n"])
    return ANSWERED


def _check_writable(out: Path) -> None:
    """Refuse a file that cannot be written before the work, not after it."""
    if not out.parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {out.parent}")
    with file_errors(UsageError, f"cannot write {out}"):
        check_replaceable(out)


def _report(fitted: "FittedHead") -> Iterator[str]:
    data = fitted.head.info.statistics
    rated = f"{counted(int(data['ratings']), 'answer')} to {counted(int(data['questions']), 'question')}"
    yield f"fitted on {rated}; layer {fitted.head.layer}, penalty {fitted.ridge:g}"
    yield f"held out: {counted(fitted.questions, 'question')}; 95 % intervals by bootstrap over questions"
    unknown = "unknown: all answers are right, or all wrong"
    yield f"AUROC over all answers    {fitted.auroc or unknown}"
    yield f"AUROC within a question   {fitted.within or unknown}"
