"""A run as one flat table: streamed, with a row for each reply and each final answer."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoner.errors import UsageError
from reasoner.system.files import replacing
from reasoner.system.machine import install_command, missing
from reasoner.system.printing import one_line
from reasoner.system.tables import parquet_writer
from reasoner_evals.runs.reading import OUTCOMES, RunData, open_run
from reasoner_evals.runs.records import Arm, ItemRecord, PooledReply, counted_records

Row = dict[str, Any]
Write = Callable[[list[Row]], object]

TEXTS: Final = (
    "run", "model", "task", "arm", "strategy", "verifier", "budget", "rule", "question_id", "group", "kind", "outcome",
    "answer", "key", "answer_rule", "ended_by", "reason",
)  # fmt: skip
INTEGERS: Final = ("seed", "sample", "attempt", "prompt_tokens", "cached_tokens", "generated_tokens", "verifier_tokens",
                   "cancelled_tokens", "thinking_tokens", "samples", "flops")  # fmt: skip
FLOATS: Final = ("score", "share", "confidence", "seconds")
COLUMNS: Final = (*TEXTS, *INTEGERS, *FLOATS)
BATCH: Final = 20_000
"""Rows in memory at once, and in one row group."""
_FORMULA: Final = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")


def plain_cell(value: Any) -> Any:
    """A value for a cell; text becomes one line, with control and direction characters as code points, `[U+001B]`.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; a signed number, such as -5, does not.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip()) else text


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
    opener = _FORMATS.get(out.suffix)
    if opener is None:
        raise UsageError(f"cannot write {out}: its name must end in {' or '.join(_FORMATS)}")
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
        for record in counted_records(run.folder.arm(arm.name)):
            yield from _of_record(run, arm, record, groups.get(record.question_id, ""))


def _of_record(run: RunData, arm: Arm, record: ItemRecord, group: str) -> Iterator[Row]:
    shareable = run.tasks[arm.task].source.shareable
    verdicts = run.verdicts.of(arm.task, record.question_id, [record.answer, *(reply.answer for reply in record.pool)])

    def row(kind: str, source: PooledReply | ItemRecord, verdict: int, counts: object, **more: Any) -> Row:
        return {
            "run": run.name,
            "model": run.manifest.model.name,
            "question_id": record.question_id,
            "group": group,
            "attempt": record.attempt,
            **{name: getattr(arm, name) for name in ("task", "strategy", "verifier", "budget", "rule", "seed")},
            "arm": arm.name,
            "kind": kind,
            "outcome": OUTCOMES[verdict] if source.status in {"read", "answered"} else source.status,
            "answer": source.answer if shareable else "",
            "key": source.key if shareable else "",
            "answer_rule": source.rule,
            **{name: getattr(counts, name) for name in INTEGERS if hasattr(counts, name)},
            **more,
        }

    for index, (reply, verdict) in enumerate(zip(record.pool, verdicts[1:], strict=True)):
        yield row("reply", reply, verdict, reply, sample=index, score=reply.score)
    final = {name: getattr(record, name) for name in ("ended_by", "reason", "share", "confidence")}
    yield row("final", record, verdicts[0], record.cost, seconds=record.cost.seconds, **final)


@contextmanager
def _parquet(file: BinaryIO) -> Iterator[Write]:
    if missing("pyarrow"):
        raise UsageError(f"parquet needs pyarrow: run `{install_command('eval')}`, or give a name that ends in .csv")
    kinds: dict[str, Any] = (
        dict.fromkeys(TEXTS, "str") | dict.fromkeys(INTEGERS, "int") | dict.fromkeys(FLOATS, "float")
    )
    with parquet_writer(file, kinds) as write:
        yield write


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Write]:
    text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    yield lambda rows: writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    text.detach()


_FORMATS: Final[dict[str, Callable[[BinaryIO], AbstractContextManager[Write]]]] = {".parquet": _parquet, ".csv": _csv}
