"""A run as one flat table, with a row for each reply and each final answer: a file, a frame, a data set of the hub."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from reasoner.errors import UsageError
from reasoner.system.files import file_errors, replacing
from reasoner.system.machine import install_command, missing
from reasoner.system.printing import no_formula, one_line, printable
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
        UsageError: the format is unknown, the file cannot be written, or pyarrow is not installed.
    """
    if out.suffix not in FORMATS:
        raise UsageError(
            f"cannot write {out}: its name must end in {' or '.join(FORMATS)}"
        )
    if out.suffix == ".parquet" and missing("pyarrow"):
        raise UsageError(
            f"parquet needs pyarrow: run `{install_command('eval')}`, or give a name that ends in .csv"
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


def write_data_set(path: Path, folder: Path) -> int:
    """Write the run in `path` to `folder` as a data set of the hub: the table, the manifest, and a card.

    Returns:
        The number of rows.

    Raises:
        TraceError: the run cannot be read.
        UsageError: a source may not be published, or as `export`.
    """
    run = open_run(path)
    if held := sorted(
        {
            items.source.task
            for items in run.tasks.values()
            if not items.source.shareable
        }
    ):
        raise UsageError(
            f"{run.name} cannot be published: the authors of {', '.join(held)} ask that items are not"
        )
    rows = export(path, folder / "data.parquet")
    frozen = run.manifest.model_dump_json(indent=1).encode()
    if len(run.parts) == 1:
        frozen = run.folder.manifest.read_bytes()
    (folder / "manifest.json").write_bytes(frozen)
    sources = [
        f"- `{source.task}` of {source.origin}; licence: {source.licence}"
        for source in run.manifest.sources
    ]
    card = f"""---
tags: [reasoner, inference-time-compute]
configs:
- config_name: default
  data_files: data.parquet
---
# {one_line(run.name)}

Answers of {one_line(run.manifest.model.name)}, recorded by `reasoner`: a row of `kind` "reply" is one sample, one of
kind "final" a question's answer and whole cost. `manifest.json` says how they came about. The questions are not part
of it; each source has its own licence, which answers to it may share:

{chr(10).join(map(one_line, sources))}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")
    return rows


def push(path: Path, name: str) -> tuple[int, str]:
    """Publish the run in `path` as the data set `name`, such as `org/run`; one that does not exist is made, private.

    Returns:
        The number of rows, and the address of the commit.

    Raises:
        TraceError: the run cannot be read.
        UsageError: as `write_data_set`, or the hub refuses it.
    """
    import huggingface_hub as hub

    with TemporaryDirectory() as made:
        rows = write_data_set(path, Path(made))
        try:
            hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=name, folder_path=made, repo_type="dataset"
            )
        except Exception as error:
            reason = printable(str(error), limit=200)
            raise UsageError(
                f"{name} cannot be published ({reason}): log in with `hf auth login`, and try again"
            ) from None
    return rows, str(commit.commit_url)


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
