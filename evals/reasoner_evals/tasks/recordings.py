"""Recordings of replies, a line each and in any order, made into a pool file."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from reasoner.engines.pool import Count, Text
from reasoner.errors import UsageError
from reasoner.system.files import complaint_of, open_regular, replacing
from reasoner.system.tables import read_jsonl


class Record(BaseModel):
    """A recorded reply: its answer, its length in tokens, and the answers of its probes, one at `every` so many."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    question_id: Text
    gold: Text
    tokens: Count
    answer: Text | None
    probes: tuple[Text | None, ...] = ()
    every: Count = 500


class Written(NamedTuple):
    """How many questions and replies a pool file has, and whether they are chains with probes."""

    questions: int
    replies: int
    probed: bool


@dataclass(slots=True)
class _Question:
    gold: str
    every: int
    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where the lines of its replies begin, in bytes."""


def write_pool(records: Path, out: Path) -> Written:
    """Write a pool file of all records; of each question, only where its lines are is kept in memory.

    The replies to a question are in the order of the records. They become chains if any record has probes.

    Raises:
        UsageError: a line is no record, or contradicts another one, or a file cannot be read or written.
    """
    try:
        with open_regular(records) as file, replacing(out) as pool:
            questions, probed = _located(records, file)
            for name, question in questions.items():
                pool.write(json.dumps(_line(name, question, _replies(records, file, question), probed=probed)).encode())
                pool.write(b"\n")
    except OSError as error:
        raise UsageError(f"{records} cannot be made into {out}: {error.strerror}") from None
    return Written(len(questions), sum(len(question.starts) for question in questions.values()), probed)


def _located(path: Path, file: BinaryIO) -> tuple[dict[str, _Question], bool]:
    """Each question with the places of its records, all of which are checked, and whether any has probes."""
    questions, probed, start = dict[str, _Question](), False, 0
    for record, where in _records(path, file):
        question = questions.setdefault(record.question_id, _Question(record.gold, record.every))
        if (record.gold, record.every) != (question.gold, question.every):
            raise UsageError(
                f"{where} has gold={record.gold!r:.40} and every={record.every}, and an earlier line of "
                f"{record.question_id!r:.80} has gold={question.gold!r:.40} and every={question.every}: give one each"
            )
        question.starts.append(start)
        probed, start = probed or bool(record.probes), file.tell()
    if not questions:
        raise UsageError(f"{path} has no record")
    return questions, probed


def _replies(path: Path, file: BinaryIO, question: _Question) -> Iterator[Record]:
    for start in question.starts:
        file.seek(start)
        yield next(_records(path, file))[0]


def _records(path: Path, file: BinaryIO) -> Iterator[tuple[Record, str]]:
    """The records from here on, each with its line."""
    for where, values in read_jsonl(str(path), file):
        if isinstance(values, UsageError):
            raise values
        try:
            yield Record.model_validate(values), where
        except ValidationError as error:
            raise UsageError(f"{where} is not a recorded reply: {complaint_of(error)}") from None


def _line(name: str, question: _Question, replies: Iterator[Record], *, probed: bool) -> dict[str, Any]:
    """The line of a question in a pool file."""
    line = {"question_id": name, "gold": question.gold}
    if not probed:
        pairs = [(reply.answer, reply.tokens) for reply in replies]
        return line | {"answers": [answer for answer, _ in pairs], "tokens": [tokens for _, tokens in pairs]}
    chains = [
        {
            "probes": [(answer, len(list(equal))) for answer, equal in groupby(reply.probes)],
            "tokens": reply.tokens,
            "answer": reply.answer,
        }
        for reply in replies
    ]
    return line | {"every": question.every, "chains": chains}
