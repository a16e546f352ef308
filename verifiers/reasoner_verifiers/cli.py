"""`reasoner verifier`: fit a reward model, or a map of a verifier's values, on labelled runs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.errors import UsageError
from reasoner.files import check_replaceable, replacing

if TYPE_CHECKING:
    from pydantic import BaseModel

    from reasoner.cli.terminal import Terminal
    from reasoner_verifiers.fitting.head import Fitted
    from reasoner_verifiers.fitting.measures import Estimate, Selection

F = TypeVar("F", bound=Callable[..., Any])


def _runs(command: F) -> F:
    """The argument and the option that all of these share."""
    folder = click.Path(path_type=Path)
    command = click.option("--out", type=folder, required=True, metavar="FILE", help="Where the result goes.")(command)
    return click.argument("runs", nargs=-1, required=True, type=folder, metavar="RUN...")(command)


@click.group("verifier")
def command() -> None:
    """Fit verifiers on labelled runs: RUN is a folder that `reasoner eval` wrote, or the folder of one of its arms."""


@command.command("fit")
@_runs
@click.option("--backbone", default="embedded", show_default=True, metavar="PATH_OR_ID",
              help="The model whose hidden states the head reads; the one that drew the samples.")  # fmt: skip
@click.option("--layer", type=int, default=0, show_default=True, help="The layer to read; 0 chooses by folds.")
@click.option("--hidden", type=int, default=0, show_default=True, help="Units of a hidden layer; 0 is linear.")
@click.option("--steps", is_flag=True, help="Fit on the labels of single steps, where the grades have them.")
@click.option("--held-out", type=float, default=0.25, show_default=True,
              help="The share of questions kept for the report.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which questions are kept.")
@guarded
def fit_command(
    runs: tuple[Path, ...],
    out: Path,
    backbone: str,
    layer: int,
    hidden: int,
    steps: bool,
    held_out: float,
    seed: int,
) -> int:
    """Fit a reward model: a small head on a model's hidden states, which `orm` and `prm` serve.

    Prints how well it tells right from wrong on questions held out, and what selecting by it gets right there.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner_verifiers.fitting.head import Recipe, fit
    from reasoner_verifiers.reward.checkpoint import save_head

    _can_write(out)
    terminal = Terminal(sys.stdout, sys.stderr)
    fitted = fit(runs, Recipe(backbone, layer, hidden, held_out, steps, seed), terminal.say)
    with _writing(out):
        save_head(fitted.head, out)
    _tell(terminal, fitted)
    return ANSWERED


@command.command("calibrate")
@_runs
@click.option("--method", default="isotonic", show_default=True, help="isotonic or platt.")
@guarded
def calibrate_command(runs: tuple[Path, ...], out: Path, method: str) -> int:
    """Fit the map from a verifier's values to probabilities, which `calibrated` applies.

    The runs hold ratings by one verifier, as those of best_of_n do.
    """
    from reasoner_verifiers.fitting.labelled import fitted_on, rated_by, read_labelled
    from reasoner_verifiers.maps import fit_calibration

    _can_write(out)
    rated = [
        sample for sample in read_labelled(runs) if sample.judged and sample.rating and sample.rating.value is not None
    ]
    fitted = fit_calibration(
        [sample.rating.value for sample in rated if sample.rating and sample.rating.value is not None],
        [sample.right for sample in rated],
        method=method,
        verifier=rated_by(rated),
        fitted_on=fitted_on(runs, rated),
    )
    _write(out, fitted)
    return ANSWERED


@command.command("weigh")
@_runs
@guarded
def weigh_command(runs: tuple[Path, ...], out: Path) -> int:
    """Fit the weights of an ensemble's members, which `ensemble:how=learned` applies.

    The runs hold ratings by an ensemble.
    """
    from reasoner.catalog import build, spec_of
    from reasoner_verifiers.ensemble import Ensemble
    from reasoner_verifiers.fitting.labelled import fitted_on, rated_by, read_labelled
    from reasoner_verifiers.maps import fit_weights

    _can_write(out)
    rated = [sample for sample in read_labelled(runs) if sample.judged and sample.rating and sample.rating.parts]
    spec = rated_by(rated)
    ensemble = build("verifier", spec)
    if not isinstance(ensemble, Ensemble):
        raise UsageError(f"these runs were rated by {spec}, which is no ensemble")
    fitted = fit_weights(
        [sample.rating.parts for sample in rated if sample.rating],
        [sample.right for sample in rated],
        members=[spec_of(member) for member in ensemble.members],
        fitted_on=fitted_on(runs, rated),
    )
    _write(out, fitted)
    return ANSWERED


def _can_write(out: Path) -> None:
    """Told before the work rather than after it."""
    if not out.parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {out.parent}")
    with _writing(out):
        check_replaceable(out)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turns the failure to write a file into an error of ours."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error


def _write(out: Path, fitted: "BaseModel") -> None:
    with _writing(out), replacing(out) as file:
        file.write(fitted.model_dump_json(indent=1).encode() + b"\n")


def _tell(terminal: "Terminal", fitted: "Fitted") -> None:
    head, report = fitted.head, fitted.report
    about = head.info.statistics
    terminal.give(f"fitted on {about['ratings']:,} answers of {about['questions']:,} questions; layer {report.layer}, "
                  f"penalty {report.ridge:g}")  # fmt: skip
    terminal.give(f"held out: {report.questions} questions; 95 % intervals by bootstrap over questions")
    terminal.give(f"AUROC over all answers    {_shown(report.auroc)}")
    terminal.give(f"AUROC within a question   {_shown(report.within)}")
    for selection in report.selections:
        terminal.give(f"n={selection.n}")
        for name, value in _accuracies(selection):
            terminal.give(f"  {name:<24}{_shown(value)}")


def _accuracies(selection: "Selection") -> list[tuple[str, "Estimate"]]:
    return [
        ("random", selection.random),
        ("majority", selection.majority),
        ("best rated", selection.argmax),
        ("rated vote", selection.weighted),
        ("coverage", selection.coverage),
        ("best rated - majority", selection.argmax_gain),
        ("rated vote - majority", selection.weighted_gain),
    ]


def _shown(value: "Estimate | None") -> str:
    return "not to be told: all answers alike" if value is None else str(value)
