"""Recordings of replies, a line each and in any order, or as others publish them, made into a pool file."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from reasoner.answers.maths import MathSpace
from reasoner.engines.pool import Count, KnownCount, Reply, Score, Text
from reasoner.errors import UsageError
from reasoner.system.files import complaint_of, file_errors, open_regular, replacing
from reasoner.system.tables import read_jsonl
from reasoner_evals.tasks import inspect_logs


class Record(BaseModel):
    """A recorded reply: its answer, its length in tokens, and the answers of its probes, one after each `every` tokens.

    `index` is below 0 for a greedy reply, and else the place among the samples, by which they are sorted. `score` is
    the likelihood of the reply, and `text` all of it. Where replies have probes, the greedy one is left out. Without a
    reference answer, `gold`, the pool is an engine for the benchmark's own task, and no task.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    question_id: Text
    gold: Text = ""
    prompt_tokens: KnownCount = 0
    tokens: Count
    answer: Text | None
    probes: tuple[Text | None, ...] = ()
    every: Count = 500
    index: int = 0
    score: Score | None = None
    text: Reply = ""
    read_by: Text = ""
    """The filter by which lm-evaluation-harness read the answer; it logs the same replies once for each."""


class PoolSummary(NamedTuple):
    """How many questions and replies a pool file has, the fewest of a question, and whether they have probes."""

    questions: int
    replies: int
    fewest: int
    probed: bool


@dataclass(slots=True)
class _Question:
    gold: str
    every: int
    read_by: str
    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where the lines of its replies begin, in bytes."""
    replies: int = 0


def write_pool(records: Path, out: Path) -> PoolSummary:
    """Write a pool file of all records; of each question, only where its lines are is kept in memory.

    The replies to a question are in the order of the records. They become chains if any record has probes.

    Raises:
        UsageError: a line is no record, or contradicts another one, a file cannot be read or written, or the name of
            the pool does not end in .jsonl.
    """
    if out.suffix != ".jsonl":
        raise UsageError(f"{out} cannot be a pool: its name must end in .jsonl")
    with file_errors(UsageError, f"{records} cannot be made into {out}"):
        opened = (
            inspect_logs.as_lines
            if records.suffix in inspect_logs.SUFFIXES
            else open_regular
        )
        with opened(records) as file, replacing(out) as pool:
            questions, probed = _located(records, file)
            for name, question in questions.items():
                pool.write(
                    json.dumps(
                        _line(
                            name,
                            question,
                            _replies(records, file, question),
                            probed=probed,
                        )
                    ).encode()
                )
                pool.write(b"\n")
    counts = [question.replies for question in questions.values()]
    return PoolSummary(len(counts), sum(counts), min(counts), probed)


def _located(path: Path, file: BinaryIO) -> tuple[dict[str, _Question], bool]:
    """Each question with the places of its records, all checked, and whether any has probes."""
    questions, probed, start = dict[str, _Question](), False, 0
    for records, where in _records(path, file):
        if not records:
            raise UsageError(f"{where} has no reply")
        name, gold, every, read_by = (
            records[0].question_id,
            records[0].gold,
            records[0].every,
            records[0].read_by,
        )
        question = questions.setdefault(name, _Question(gold, every, read_by))
        if (gold, every) != (question.gold, question.every):
            raise UsageError(
                f"{where} has gold={gold!r:.40} and every={every}, and an earlier line of "
                f"{name!r:.80} has gold={question.gold!r:.40} and every={question.every}: give one each"
            )
        if read_by == question.read_by:
            question.starts.append(start)
            question.replies += sum(record.index >= 0 for record in records)
        probed, start = probed or any(record.probes for record in records), file.tell()
    if not questions:
        raise UsageError(f"{path} has no record")
    return questions, probed


def _replies(path: Path, file: BinaryIO, question: _Question) -> Iterator[Record]:
    for start in question.starts:
        file.seek(start)
        yield from next(_records(path, file))[0]


def _records(path: Path, file: BinaryIO) -> Iterator[tuple[list[Record], str]]:
    """The records of each line from here on, all of one question, and where the line is."""
    for where, values in read_jsonl(str(path), file):
        if isinstance(values, UsageError):
            raise values
        try:
            yield (
                [Record.model_validate(reply) for reply in _published(values, where)],
                where,
            )
        except ValidationError as error:
            raise UsageError(
                f"{where} is not a recorded reply: {complaint_of(error)}"
            ) from None


def _published(values: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The replies of a line: one, or all to a question as search-and-learn, DeepConf or lm-evaluation-harness write."""
    kept = {}
    match values:
        case {"completions": [*texts], "answer": gold}:
            name, counts = (
                values.get("unique_id", values.get("problem")),
                values.get("completion_tokens"),
            )
            if not isinstance(counts, list) or len(counts) != len(texts):
                raise UsageError(
                    f"{where} has {len(texts)} completions: give completion_tokens, a list of their lengths"
                )
            fields = [
                {"answer": _read(text), "tokens": count}
                for text, count in zip(texts, counts, strict=True)
            ]
        case {"all_traces": [*traces], "question_id": name, "ground_truth": gold}:
            replies = [trace if isinstance(trace, dict) else {} for trace in traces]
            fields = [
                {
                    "answer": reply.get("extracted_answer") or None,
                    "tokens": reply.get("num_tokens"),
                }
                for reply in replies
            ]
        case {
            "doc_id": name,
            "target": target,
            "resps": [[*texts]],
            "filter": read_by,
            "arguments": {"gen_args_0": {"arg_1": {}}},
        }:
            gold, kept = (
                (isinstance(target, str) and _read(target)) or target,
                {"read_by": read_by},
            )
            fields = [{"answer": _read(text), "tokens": 1} for text in texts]
        case {"doc_id": _, "resps": _}:
            raise UsageError(
                f"{where} has log-likelihoods: give the samples of a task of the type generate_until"
            )
        case _:
            return [values]
    return [{"question_id": name, "gold": gold, **kept, **read} for read in fields]


def _read(text: object) -> str | None:
    """The answer in a text, if there is one."""
    answer = MathSpace().read(str(text))
    return answer.text if answer else None


def _line(
    name: str, question: _Question, replies: Iterator[Record], *, probed: bool
) -> dict[str, Any]:
    """The line of a question in a pool file."""
    ordered = sorted(replies, key=lambda reply: reply.index)
    samples = [reply for reply in ordered if reply.index >= 0]
    line: dict[str, Any] = {"question_id": name, "gold": question.gold}
    if prompt_tokens := max(reply.prompt_tokens for reply in ordered):
        line["prompt_tokens"] = prompt_tokens
    if not samples:
        raise UsageError(f"{name!r:.80} has only a greedy reply: record samples too")
    if probed:
        return line | {
            "every": question.every,
            "chains": [_chain(reply) for reply in samples],
        }
    line |= {
        "answers": [reply.answer for reply in samples],
        "tokens": [reply.tokens for reply in samples],
    }
    if len(samples) < len(ordered):
        line["greedy"] = _chain(ordered[0])
    return line | {
        f"{name}s": [getattr(reply, name) for reply in samples]
        for name in ("score", "text")
        if any(getattr(reply, name) for reply in samples)
    }


def _chain(reply: Record) -> dict[str, Any]:
    """A reply with its probes, equal ones as one."""
    probes = [(answer, len(list(equal))) for answer, equal in groupby(reply.probes)]
    return {
        "probes": probes,
        **reply.model_dump(
            include={"tokens", "answer", "score", "text"}, exclude_defaults=True
        ),
    }
