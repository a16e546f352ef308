"""The questions of a run as flat rows: what each was given, who ended it and why, streamed from its journals."""

from collections.abc import Iterator
from pathlib import Path

from reasoner_evals.report.rows import Cell
from reasoner_evals.runs.arrays import OUTCOMES
from reasoner_evals.runs.reading import RunData, open_run, records_in
from reasoner_evals.runs.records import ItemRecord


def question_rows(path: Path, name: str) -> Iterator[dict[str, Cell]]:
    """A row for each question of each arm of the run in `path`, which goes by `name`; one record is held at a time.

    Raises:
        TraceError: the run cannot be read.
    """
    run = open_run(path)
    for arm in run.manifest.arms:
        for record in records_in(run, arm.name):
            yield {
                "run": name,
                "arm": arm.name,
                "question_id": record.question_id,
                "outcome": _outcome(run, arm.task, record),
                "samples": record.cost.samples,
                "tokens": record.cost.tokens,
                "ended_by": record.ended_by,
                "reason": record.reason,
                "share": record.share,
                "confidence": record.confidence,
            }


def _outcome(run: RunData, task: str, record: ItemRecord) -> str:
    if record.status != "answered":
        return record.status
    [code] = run.verdicts.of(task, record.question_id, [record.answer])
    return OUTCOMES[code]
