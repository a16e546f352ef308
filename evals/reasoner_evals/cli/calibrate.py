"""`reasoner calibrate`: measure what compute buys on questions set aside for it, and write it down as a profile."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner_evals.calibration.binning import Binning
    from reasoner_evals.cli.choices import Given

DEFAULT_STRATEGIES: Final = ("self_consistency:n=16", "single:temperature=0")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be written, and how it is told."""

    out: Path
    binning: "Binning"
    as_json: bool


@click.command("calibrate")
@click.argument("tasks", nargs=-1, metavar="TASK[:OPTION=VALUE,...]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="The profile. What is in it of other tasks stays.")  # fmt: skip
@click.option("--from", "from_runs", is_flag=True,
              help="Read finished runs and ask no model: in place of TASKs, give the folders of RUNs.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), metavar="DIR",
              help="The run's folder; gone on with where it holds this run.  [default: "
                   "runs/calibrate-DATE-TIME-TASK]")  # fmt: skip
@click.option("-s", "--strategy", "strategies", multiple=True, metavar="NAME[:OPTION=VALUE,...]",
              help="How to spend the compute; may be given several times, and one is a self_consistency.  [default: "
                   "self_consistency:n=16 and single:temperature=0]")  # fmt: skip
@click.option("--verifier", metavar="NAME[:OPTION=VALUE,...]",
              help="Who rates candidates, for strategies that ask for it.  [default: certainty]")  # fmt: skip
@click.option("--budgets", metavar="AMOUNT,...",
              help="What a question may spend, each in turn, for strategies that are not drawn as a pool.")  # fmt: skip
@click.option("--seeds", metavar="NUMBER|SEED,...",
              help="How many seeds, as in 3, or which, as in 4,7.  [default: 1]")  # fmt: skip
@click.option("--limit", type=int, metavar="N", help="Ask the first N questions of each task.")
@click.option("--subset-seed", type=int, metavar="SEED",
              help="Take those of --limit in the order of a seed.  [default: the benchmark's own order]")  # fmt: skip
@click.option("-m", "--model", metavar="PATH_OR_ID", help="A model folder or Hugging Face id.  [default: embedded]")
@click.option("-e", "--engine", metavar="NAME[:OPTION=VALUE,...]",
              help="What runs the model: vllm, openai, simulated.  [default: vllm, or openai with "
                   "--base-url]")  # fmt: skip
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server, for --engine openai.")
@click.option("--prices", metavar="KIND=USD,...",
              help="Dollars per million tokens, as in prompt=0.15,cached=0.08,generated=0.60.")  # fmt: skip
@click.option("--bins", default="none", metavar="SIGNAL[:COUNT]",
              help="Measure easy and hard questions apart: by prompt (its length), likelihood (of the first sample) or "
                   "split (of the first four).  [default: none]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Give the profile's path and rows as JSON.")
@guarded
def command(
    tasks: tuple[str, ...],
    out: Path,
    from_runs: bool,
    runs: Path | None,
    strategies: tuple[str, ...],
    verifier: str | None,
    budgets: str | None,
    seeds: str | None,
    limit: int | None,
    subset_seed: int | None,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    prices: str | None,
    bins: str,
    as_json: bool,
) -> int:
    """Measure what compute buys on TASKs, and write the profile that `auto` chooses by.

    Take questions that nothing else is measured on. Each strategy is run as `reasoner eval` runs it. A pool of samples
    gives a row for every smaller number of them, and for votes that a stop rule ends, without another draw. One line
    for each goes to standard output. Fewer than 30 questions make a row that is not chosen.

    An interrupted run goes on where --runs names its folder.

    Exit codes: 0 the profile is written, 1 no place to write, 2 usage, 4 engine failure or questions that ended in an
    error (the run is kept, and --from makes a profile of what it has), 130 interrupted.
    """
    from reasoner_evals.calibration.binning import Binning
    from reasoner_evals.calibration.profiles import former_profile
    from reasoner_evals.cli.choices import Given

    given = Given(
        tasks=tasks,
        strategies=strategies,
        verifier=verifier,
        budgets=budgets,
        seeds=seeds,
        limit=limit,
        subset_seed=subset_seed,
        engine=engine,
        model=model,
        base_url=base_url,
        prices=prices,
    )
    wanted = _Wanted(out, Binning.parse(bins), as_json)
    # A file that cannot be added to is told before anything is drawn.
    former_profile(out, None)
    if from_runs:
        _check_alone(given, runs)
        return _write(tuple(map(Path, tasks)), wanted)
    if not tasks:
        raise UsageError("no task is given: name one or more, as in `reasoner calibrate arithmetic`, or --from a run")
    folder = runs or _default_folder(tasks)
    code = _run(given, folder, wanted.binning)
    return code or _write((folder,), wanted)


def _check_alone(given: "Given", runs: Path | None) -> None:
    """Refuse what finished runs have decided already."""
    from dataclasses import fields

    if not given.tasks:
        raise UsageError("no run is given: name the folder of one or more, as `reasoner eval` wrote it")
    named = {"strategies": "strategy", "subset_seed": "subset-seed", "base_url": "base-url"}
    rest = [
        field.name for field in fields(given) if field.name != "tasks" and getattr(given, field.name) != field.default
    ]
    if rest := [*rest, *(["runs"] if runs else [])]:
        raise UsageError(
            f"--{named.get(rest[0], rest[0])} has no effect with --from: the runs are finished; leave it out"
        )


def _run(given: "Given", folder: Path, binning: "Binning") -> int:
    """Draw what is not there yet; the exit code."""
    from dataclasses import replace

    from reasoner.cli.terminal import clean
    from reasoner_evals.calibration.binning import check_kept
    from reasoner_evals.calibration.profiles import check_arms
    from reasoner_evals.cli.choices import choose, choose_again
    from reasoner_evals.cli.drawing import Drawing
    from reasoner_evals.runs.folder import RunFolder, writing
    from reasoner_evals.runs.manifest import Drifted, read_manifest

    given = replace(given, strategies=given.strategies or DEFAULT_STRATEGIES)
    run = RunFolder(folder)
    fresh = not run.manifest.exists()
    frozen = None if fresh else read_manifest(run)
    try:
        chosen = choose(given) if frozen is None else choose_again(given, frozen, run)
    except Drifted as error:
        for line in error.diff:
            click.echo(clean(line), err=True)
        raise
    check_arms(chosen.arms)
    check_kept(binning, chosen.arms)
    with writing(run, fresh=fresh):
        return Drawing(run, chosen, frozen, shlex.join(["reasoner", *sys.argv[1:]]), as_json=False).run()


def _write(runs: tuple[Path, ...], wanted: _Wanted) -> int:
    """Make the profile of finished runs, and tell what is in it."""
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.calibration.profiles import families_of, former_profile, merged, open_runs
    from reasoner_evals.cli.rows import document, lines

    terminal = Terminal(sys.stdout, sys.stderr)
    opened = open_runs(runs)
    model = opened[0].manifest.model.name
    former = former_profile(wanted.out, model)
    made = families_of(opened, wanted.binning)
    for task, one in made.items():
        for note in one.notes:
            terminal.say(f"note: {task}: {note}")
        if former and task in {family.task for family in former.families}:
            terminal.say(f"{task}: takes the place of what {wanted.out} held of it")
    families = [one.family for one in made.values()]
    merged(model, families, former).write(wanted.out)
    for line in [document(wanted.out, families)] if wanted.as_json else lines(families):
        terminal.give(line)
    terminal.say(f"profile: {wanted.out}")
    return ANSWERED


def _default_folder(tasks: tuple[str, ...]) -> Path:
    from datetime import datetime

    from reasoner_evals.runs.arms import file_part

    now = datetime.now().astimezone()
    return Path("runs") / f"calibrate-{now:%Y%m%d-%H%M%S}-{file_part(tasks[0].partition(':')[0])}"
