"""`reasoner eval`: tasks x strategies x budgets x seeds, into a folder that a run goes on from and reports read."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import guarded
from reasoner.cli.terminal import clean
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner_evals.cli.choices import Given


@click.command("eval")
@click.argument("tasks", nargs=-1, metavar="TASK[:OPTION=VALUE,...]...")
@click.option("-s", "--strategy", "strategies", multiple=True, metavar="NAME[:OPTION=VALUE,...]",
              help="How to spend the compute; may be given several times.  [default: single:temperature=0 and "
                   "self_consistency:n=16]")  # fmt: skip
@click.option("--verifier", metavar="NAME[:OPTION=VALUE,...]",
              help="Who rates candidates, for strategies that ask for it.  [default: certainty]")  # fmt: skip
@click.option("--budgets", metavar="AMOUNT,...",
              help="What a question may spend, each in turn: 1k,2k are tokens, samples=8 names the unit. For "
                   "strategies that are not drawn as a pool.")  # fmt: skip
@click.option("--totals", metavar="AMOUNT,...",
              help="What all questions of a task may spend together, each in turn: the controller gives it to those "
                   "whose next samples are worth most.")  # fmt: skip
@click.option("--effort", metavar="low|medium|high",
              help="Give back what of --totals buys less than this price.  [default: spend where it may change an "
                   "answer]")  # fmt: skip
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
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="The run's folder, new or empty.  [default: runs/DATE-TIME-TASK]")  # fmt: skip
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
              help="Go on with a run: what is finished stays, what failed is tried again.")  # fmt: skip
@click.option("--allow-unsandboxed-code", is_flag=True,
              help="Let tasks and verifiers run a model's code without a sandbox, where none can be had.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Give the results as JSON.")
@guarded
def command(
    tasks: tuple[str, ...],
    strategies: tuple[str, ...],
    verifier: str | None,
    budgets: str | None,
    totals: str | None,
    effort: str | None,
    seeds: str | None,
    limit: int | None,
    subset_seed: int | None,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    prices: str | None,
    out: Path | None,
    resume: Path | None,
    allow_unsandboxed_code: bool,
    as_json: bool,
) -> int:
    """Measure strategies on TASKs: every task with every strategy, budget and seed.

    Strategies that select from independent samples (self_consistency, best_of_n) are drawn once for each seed, as a
    pool that gives every smaller number of samples; all others run at every budget. One line for each goes to standard
    output, the progress to standard error, everything else into the run's folder.

    A run that was interrupted goes on with --resume RUN alone. What is given beside it must be what the run began with.

    Exit codes: 0 all questions have a result, 1 no place to write, 2 usage, 4 engine failure or questions that ended in
    an error, 130 interrupted.
    """
    from reasoner_evals.cli.choices import Given

    given = Given(
        tasks=tasks,
        strategies=strategies,
        verifier=verifier,
        budgets=budgets,
        totals=totals,
        effort=effort,
        seeds=seeds,
        limit=limit,
        subset_seed=subset_seed,
        engine=engine,
        model=model,
        base_url=base_url,
        prices=prices,
        unsandboxed=allow_unsandboxed_code,
    )
    if resume is None:
        return _begin(given, out, as_json=as_json)
    if out is not None:
        raise UsageError(f"--out {out} has no effect: a run goes on in its own folder; leave it out")
    return _go_on(given, resume, as_json=as_json)


def _begin(given: "Given", out: Path | None, *, as_json: bool) -> int:
    from reasoner_evals.cli.choices import choose
    from reasoner_evals.cli.session import Session
    from reasoner_evals.runs.folder import RunFolder, writing

    chosen = choose(given)
    folder = RunFolder(out or _default_folder(given.tasks))
    with writing(folder, fresh=True):
        return Session(folder, chosen, None, _command_line(), as_json).run()


def _go_on(given: "Given", run: Path, *, as_json: bool) -> int:
    from reasoner_evals.cli.choices import choose_again
    from reasoner_evals.cli.session import Session
    from reasoner_evals.runs.folder import RunFolder, writing
    from reasoner_evals.runs.manifest import Drifted, read_manifest

    folder = RunFolder(run)
    frozen = read_manifest(folder)
    with writing(folder, fresh=False):
        try:
            chosen = choose_again(given, frozen, folder)
        except Drifted as error:
            for line in error.diff:
                click.echo(clean(line), err=True)
            raise
        return Session(folder, chosen, frozen, _command_line(), as_json).run()


def _command_line() -> str:
    return shlex.join(["reasoner", *sys.argv[1:]])


def _default_folder(tasks: tuple[str, ...]) -> Path:
    from datetime import datetime

    from reasoner_evals.runs.arms import file_part

    now = datetime.now().astimezone()
    return Path("runs") / f"{now:%Y%m%d-%H%M%S}-{file_part(tasks[0].partition(':')[0])}"
