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
    from reasoner_evals.runs.verdicts import Changes, Readings
    from reasoner_evals.tasks.benchmark import TaskData

MAX_CHANGES = 20
"""Changed grades of each kind that are listed."""
MAX_ENDING = 160
"""Characters at the end of an unread reply that are shown."""
MAX_ANSWER_LENGTH = 40
"""Characters of an answer that are shown."""


@click.command("grade")
@click.argument("run", type=PATH)
@click.option("--explain", is_flag=True,
              help="Grade nothing: count the replies that each reading rule read, and show those that none "
                   "read.")  # fmt: skip
@UNSANDBOXED
@json_option("the changes, or what --explain shows")
@guarded
def command(run: Path, *, explain: bool, unsandboxed: bool, as_json: bool) -> int:
    """Grade all answers of RUN again, and show which grades changed.

    RUN is a folder that `reasoner eval` wrote. Needs no model, but the same questions: their data must be unchanged.
    """
    from reasoner.cli import interrupts

    if explain:
        return _explain(run, as_json=as_json)
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.folder import RunFolder
    from reasoner_evals.runs.manifest import read_manifest
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


def _explain(run: Path, *, as_json: bool) -> int:
    """Show how the replies of a run were read; needs no questions."""
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.folder import RunFolder
    from reasoner_evals.runs.verdicts import readings_of

    readings = readings_of(RunFolder(run))
    terminal = Terminal(sys.stdout, sys.stderr)
    if as_json:
        unread = [reply._asdict() for reply in readings.unread]
        terminal.give(json.dumps({"rules": dict(readings.rules), "truncated": readings.truncated, "unread": unread}))
        return ANSWERED
    for line in _reading_lines(readings):
        terminal.give(line)
    return ANSWERED


def _reading_lines(readings: "Readings") -> Iterator[str]:
    from reasoner.cli.terminal import printable

    unread = readings.rules[""]
    yield f"{readings.rules.total():,} replies, {unread:,} read by no rule, {readings.truncated:,} more cut off"
    for rule, count in readings.rules.most_common():
        yield f"  {printable(rule) or 'no rule'}: {count:,}"
    for reply in readings.unread[:MAX_CHANGES]:
        ending = printable(reply.ending[-MAX_ENDING:], limit=MAX_ENDING)
        yield f"{printable(reply.task)} {printable(reply.question_id)} sample {reply.sample}: ...{ending}"
    if unread > MAX_CHANGES:
        yield f"and {unread - MAX_CHANGES:,} more: --json lists the first {len(readings.unread):,}"


def _unchanged(manifest: "Manifest", *, unsandboxed: bool) -> "dict[str, TaskData]":
    """The questions of the run with their graders. Raises UsageError: they cannot be loaded, or have changed."""
    from reasoner.errors import UsageError
    from reasoner_evals.cli.setup import check_consent, load_tasks
    from reasoner_evals.runs.subset import Subset

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
