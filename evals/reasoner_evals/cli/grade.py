"""`reasoner grade`: grade the answers of a run again, without a model."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH, UNSANDBOXED, json_option

if TYPE_CHECKING:
    from reasoner_evals.runs.records import Manifest
    from reasoner_evals.runs.verdicts import Changes
    from reasoner_evals.tasks.benchmark import TaskData

MAX_CHANGES = 20
"""Changed grades of each kind that are listed."""
MAX_ANSWER_LENGTH = 40
"""Characters of an answer that are shown."""


@click.command("grade")
@click.argument("run", type=PATH)
@UNSANDBOXED
@json_option("the changes")
@guarded
def command(run: Path, *, unsandboxed: bool, as_json: bool) -> int:
    """Grade all answers of RUN again, and show which grades changed.

    RUN is a folder that `reasoner eval` wrote. Needs no model, but the same questions: their data must be unchanged.
    """
    from reasoner.cli import interrupts
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.manifest import read_manifest
    from reasoner_evals.runs.records import RunFolder
    from reasoner_evals.runs.verdicts import grade_again

    folder = RunFolder(run)
    manifest = read_manifest(folder)
    with folder.writing():
        tasks = _unchanged(manifest, unsandboxed=unsandboxed)
        changes = interrupts.run(lambda: grade_again(folder, manifest, tasks))
    terminal = Terminal(sys.stdout, sys.stderr)
    if as_json:
        changed = [change._asdict() for change in changes.changed]
        terminal.give(json.dumps({"graded": changes.graded, "changed": changed}))
    else:
        for line in _lines(changes):
            terminal.give(line)
    return ANSWERED


def _unchanged(manifest: "Manifest", *, unsandboxed: bool) -> "dict[str, TaskData]":
    """The questions of the run with their graders. Raises UsageError: they cannot be loaded, or have changed."""
    from reasoner.errors import UsageError
    from reasoner_evals.cli.setup import check_consent, load_tasks
    from reasoner_evals.runs.arms import Subset

    check_consent(manifest, unsandboxed=unsandboxed)
    tasks: dict[str, TaskData] = {}
    for source in manifest.sources:
        try:
            [data] = load_tasks([source.task], Subset.parse(source.subset), unsandboxed=unsandboxed).values()
        except UsageError as error:
            raise UsageError(f"the questions of {source.task} ({source.origin}) cannot be loaded: {error}") from error
        if data.source.data_hash != source.data_hash:
            raise UsageError(
                f"the questions of {source.task} have changed: the run used those of {source.origin} with hash "
                f"{source.data_hash}, and {data.source.origin} now has {data.source.data_hash}; restore the old data"
            )
        tasks[source.task] = data
    return tasks


def _lines(changes: "Changes") -> Iterator[str]:
    """The number of changes of each kind, and the first of them."""
    from reasoner.cli.terminal import printable

    yield f"{changes.graded:,} answers graded, {len(changes.changed):,} grades changed"
    for (before, after), count in Counter((change.before, change.after) for change in changes.changed).most_common():
        yield f"{before or 'no grade'} -> {after}: {count:,}"
        of_kind = [change for change in changes.changed if (change.before, change.after) == (before, after)]
        for change in of_kind[:MAX_CHANGES]:
            answer = printable(change.answer, limit=MAX_ANSWER_LENGTH)
            yield f"  {printable(change.task)} {printable(change.question_id)}: {answer}"
        if count > MAX_CHANGES:
            yield f"  and {count - MAX_CHANGES:,} more: --json lists all"
