"""A run as one flat table: streamed, a row for each reply and one for each final answer."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoner.errors import UsageError
from reasoner.files import replacing
from reasoner_evals.cells import plain_cell
from reasoner_evals.runs.arrays import OUTCOMES
from reasoner_evals.runs.reading import RunData, open_run, records_in
from reasoner_evals.runs.records import Arm, ItemRecord

Row = dict[str, Any]
Write = Callable[[list[Row]], None]

TEXTS: Final = (
    "run", "model", "task", "arm", "strategy", "verifier", "budget", "rule", "question_id", "group", "kind", "outcome",
    "answer", "key", "answer_rule",
)  # fmt: skip
WHOLE: Final = ("seed", "sample", "attempt", "prompt_tokens", "cached_tokens", "generated_tokens", "verifier_tokens",
                "cancelled_tokens", "samples", "flops")  # fmt: skip
REAL: Final = ("score", "share", "seconds")
COLUMNS: Final = (*TEXTS, *WHOLE, *REAL)
BATCH: Final = 20_000
"""Rows of a row group: what is held in memory at once."""


def export(path: Path, out: Path) -> int:
    """Write the run in `path` to `out`, .parquet or .csv by its name; it is there as a whole or not at all.

    A row with `kind` "reply" is one sample and its own tokens, one with "final" a question's answer and all that the
    question cost. `sample` counts replies from 0. `rule` is how a pool selects, `answer_rule` how an answer was read.
    Where a source may not be shown, `answer` and `key` are empty.

    Returns:
        How many rows were written.

    Raises:
        TraceError: the run cannot be read.
        UsageError: another kind of file is asked for, it cannot be written, or pyarrow is not installed.
    """
    opener = _FORMATS.get(out.suffix)
    if opener is None:
        raise UsageError(f"cannot write {out}: its name has to end in {' or '.join(_FORMATS)}")
    run = open_run(path)
    rows, count = _rows(run), 0
    try:
        with replacing(out) as file, opener(file) as write:
            while batch := list(islice(rows, BATCH)):
                write(batch)
                count += len(batch)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    return count


def _rows(run: RunData) -> Iterator[Row]:
    for arm in run.manifest.arms:
        items = run.tasks[arm.task]
        groups = dict(zip(items.ids, items.groups, strict=True))
        for record in records_in(run, arm.name):
            yield from _of_record(run, arm, record, groups.get(record.question_id, ""))


def _of_record(run: RunData, arm: Arm, record: ItemRecord, group: str) -> Iterator[Row]:
    answers = [record.answer, *(one.answer for one in record.pool)]
    codes = run.verdicts.of(arm.task, record.question_id, answers)
    outcomes = [OUTCOMES[code] for code in codes]
    shown = run.tasks[arm.task].source.shareable
    common = {
        "run": run.name,
        "model": run.manifest.model.name,
        "question_id": record.question_id,
        "group": group,
        "attempt": record.attempt,
        **{name: getattr(arm, name) for name in ("task", "strategy", "verifier", "budget", "rule", "seed")},
        "arm": arm.name,
    }
    for place, (one, outcome) in enumerate(zip(record.pool, outcomes[1:], strict=True)):
        yield {
            **common,
            "kind": "reply",
            "sample": place,
            "outcome": outcome if one.status == "read" else one.status,
            "answer": one.answer if shown else "",
            "key": one.key if shown else "",
            "answer_rule": one.rule,
            "prompt_tokens": one.prompt_tokens,
            "cached_tokens": one.cached_tokens,
            "generated_tokens": one.generated_tokens,
            "verifier_tokens": one.verifier_tokens,
            "score": one.score,
        }
    cost = record.cost
    yield {
        **common,
        "kind": "final",
        "outcome": outcomes[0] if record.status == "answered" else record.status,
        "answer": record.answer if shown else "",
        "key": record.key if shown else "",
        "answer_rule": record.rule,
        **{name: getattr(cost, name) for name in WHOLE if hasattr(cost, name)},
        "share": record.share,
        "seconds": cost.seconds,
    }


@contextmanager
def _parquet(file: BinaryIO) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("parquet needs pyarrow: pip install pyarrow, or give a name that ends in .csv") from error
    kinds = [(TEXTS, pa.string()), (WHOLE, pa.int64()), (REAL, pa.float64())]
    schema = pa.schema([(name, kind) for names, kind in kinds for name in names])
    with pq.ParquetWriter(file, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema=schema))


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Write]:
    text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    yield lambda rows: writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    text.detach()


_FORMATS: Final[dict[str, Callable[[BinaryIO], AbstractContextManager[Write]]]] = {".parquet": _parquet, ".csv": _csv}
