"""`reasoner grade`: grade the answers of a run anew; no model is needed."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, guarded

if TYPE_CHECKING:
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.grading.verdicts import Changes
    from reasoner_evals.runs.records import Manifest
    from reasoner_evals.tasks.benchmark import TaskData

SHOWN = 20
"""Changed grades that are listed, of each kind of change."""
ANSWER = 40
"""Characters of an answer that are shown."""


@click.command("grade")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--allow-unsandboxed-code", is_flag=True,
              help="Let tasks run a model's code without a sandbox, where none can be had.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Give the changes as JSON.")
@guarded
def command(run: Path, *, allow_unsandboxed_code: bool, as_json: bool) -> int:
    """Grade all answers in the folder RUN anew, and show which grades changed.

    Needs no model: what was generated stays as it is. Needs the data that the run was asked from, unchanged.
    """
    from reasoner.cli import interrupts
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.grading.verdicts import grade_again
    from reasoner_evals.runs.folder import RunFolder, writing
    from reasoner_evals.runs.manifest import read_manifest

    folder = RunFolder(run)
    manifest = read_manifest(folder)
    with writing(folder, fresh=False):
        tasks = _unchanged(manifest, unsandboxed=allow_unsandboxed_code)
        changes = interrupts.run(lambda: grade_again(folder, manifest, tasks))
    _tell(Terminal(sys.stdout, sys.stderr), changes, as_json=as_json)
    return ANSWERED


def _unchanged(manifest: "Manifest", *, unsandboxed: bool) -> "dict[str, TaskData]":
    """The questions of the run with their graders, from where they came.

    Raises:
        UsageError: they cannot be had, or are not those that were asked.
    """
    from reasoner.errors import UsageError
    from reasoner_evals.cli.choices import check_consent, load_tasks
    from reasoner_evals.runs.subset import Subset

    check_consent(manifest, unsandboxed=unsandboxed)
    tasks: dict[str, TaskData] = {}
    for source in manifest.sources:
        try:
            found = load_tasks([source.task], Subset.parse(source.subset), unsandboxed=unsandboxed)
        except UsageError as error:
            raise UsageError(f"the questions of {source.task} ({source.origin}) cannot be had: {error}") from error
        for data in found.values():
            if data.source.data_hash != source.data_hash:
                raise UsageError(
                    f"the questions of {source.task} have changed: the run asked those of {source.origin} with hash "
                    f"{source.data_hash}, and {data.source.origin} has {data.source.data_hash}; give back the old data"
                )
            tasks[source.task] = data
    return tasks


def _tell(terminal: "Terminal", changes: "Changes", *, as_json: bool) -> None:
    """What changed: how many of each kind, and the first of them."""
    from reasoner.cli.terminal import printable

    if as_json:
        terminal.give(json.dumps({"graded": changes.graded, "changed": [one._asdict() for one in changes.changed]}))
        return
    kinds = Counter((one.before, one.after) for one in changes.changed)
    terminal.give(f"{changes.graded:,} answers graded, {len(changes.changed):,} grades changed")
    for (before, after), count in kinds.most_common():
        terminal.give(f"{before or 'no grade'} -> {after}: {count:,}")
        of_kind = [one for one in changes.changed if (one.before, one.after) == (before, after)]
        for one in of_kind[:SHOWN]:
            where = f"{printable(one.task)} {printable(one.question_id)}"
            terminal.give(f"  {where}: {printable(one.answer, limit=ANSWER)}")
        if count > SHOWN:
            terminal.give(f"  and {count - SHOWN:,} more: --json lists all")
