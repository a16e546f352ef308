"""A run as one flat table, with a row for each reply and each final answer: a file or a frame."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from reasoner.errors import UsageError
from reasoner.system.files import file_errors, replacing
from reasoner.system.printing import no_formula, one_line
from reasoner.system.tables import arrow_schema, table_writer
from reasoner_evals.runs.reading import OUTCOMES, RunData, open_run, records_of
from reasoner_evals.runs.records import Arm, ItemRecord, PooledReply

Row = dict[str, Any]

TEXTS: Final = (
    "run",
    "model",
    "task",
    "arm",
    "strategy",
    "verifier",
    "budget",
    "rule",
    "question_id",
    "group",
    "subtask",
    "kind",
    "outcome",
    "answer",
    "key",
    "answer_rule",
    "ended_by",
    "reason",
)
INTEGERS: Final = (
    "seed",
    "sample",
    "attempt",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "verifier_tokens",
    "cancelled_tokens",
    "thinking_tokens",
    "sequential_tokens",
    "samples",
    "flops",
)
KINDS: Final = (
    dict.fromkeys(TEXTS, "str")
    | dict.fromkeys(INTEGERS, "int")
    | dict.fromkeys(("score", "share", "confidence", "seconds"), "float")
)
"""The columns, and what each holds."""
FORMATS: Final = (".parquet", ".csv")
BATCH: Final = 20_000
"""Rows in memory at once, and in one row group."""


def plain_cell(value: Any) -> Any:
    """A value for a cell; text becomes one line without a formula, control characters as code points, `[U+001B]`."""
    return no_formula(one_line(value)) if isinstance(value, str) else value


def export(path: Path, out: Path) -> int:
    """Write the run in `path` to `out`, as .parquet or .csv by its name, completely or not at all.

    A row of `kind` "reply" is one sample and its own tokens, one of kind "final" a question's answer and whole cost.
    `sample` counts replies from 0. `rule` is how a pool selects, `answer_rule` how an answer was read, `reason` why the
    question ended. `answer` and `key` are empty if a source may not be shown.

    Returns:
        The number of rows.

    Raises:
        TraceError: the run cannot be read.
        UsageError: the format is unknown or the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise UsageError(
            f"cannot write {out}: its name must end in {' or '.join(FORMATS)}"
        )
    rows, count = _rows(open_run(path)), 0
    if out.suffix == ".csv":
        rows = (
            {name: plain_cell(value) for name, value in row.items()} for row in rows
        )
    with (
        file_errors(UsageError, f"cannot write {out}"),
        replacing(out) as file,
        table_writer(file, out.suffix, KINDS) as write,
    ):
        while batch := list(islice(rows, BATCH)):
            write(batch)
            count += len(batch)
    return count


def table(path: Path | str) -> Any:
    """The run in `path` as a `pyarrow.Table` in memory, with the columns of `export`; `.to_pandas()` makes a frame.

    Raises:
        TraceError: the run cannot be read.
    """
    import pyarrow as pa

    rows, schema = _rows(open_run(Path(path))), arrow_schema(KINDS)
    batches = iter(lambda: list(islice(rows, BATCH)), [])
    return pa.Table.from_batches(
        (pa.RecordBatch.from_pylist(batch, schema=schema) for batch in batches),
        schema=schema,
    )


def _rows(run: RunData) -> Iterator[Row]:
    for arm in run.manifest.arms:
        items = run.tasks[arm.task]
        parts = dict(
            zip(items.ids, zip(items.groups, items.subtasks, strict=True), strict=True)
        )
        for record in records_of(run, arm.name):
            yield from _of_record(
                run, arm, record, *parts.get(record.question_id, ("", ""))
            )


def _of_record(
    run: RunData, arm: Arm, record: ItemRecord, group: str, subtask: str
) -> Iterator[Row]:
    shareable = run.tasks[arm.task].source.shareable
    verdicts = run.grades(
        arm.task,
        record.question_id,
        [record.answer, *(reply.answer for reply in record.pool)],
    )

    def row(
        kind: str,
        source: PooledReply | ItemRecord,
        verdict: int,
        counts: object,
        **more: Any,
    ) -> Row:
        return {
            "run": run.name,
            "model": run.manifest.model.name,
            "question_id": record.question_id,
            "group": group,
            "subtask": subtask,
            "attempt": record.attempt,
            **{
                name: getattr(arm, name)
                for name in ("task", "strategy", "verifier", "budget", "rule", "seed")
            },
            "arm": arm.name,
            "kind": kind,
            "outcome": OUTCOMES[verdict]
            if source.status in {"read", "answered"}
            else source.status,
            "answer": source.answer if shareable else "",
            "key": source.key if shareable else "",
            "answer_rule": source.rule,
            **{
                name: getattr(counts, name)
                for name in INTEGERS
                if hasattr(counts, name)
            },
            **more,
        }

    for index, (reply, verdict) in enumerate(
        zip(record.pool, verdicts[1:], strict=True)
    ):
        yield row("reply", reply, verdict, reply, sample=index, score=reply.score)
    final = {
        name: getattr(record, name)
        for name in ("ended_by", "reason", "share", "confidence")
    }
    yield row(
        "final", record, verdicts[0], record.cost, seconds=record.cost.seconds, **final
    )
