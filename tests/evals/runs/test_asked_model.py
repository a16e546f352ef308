"""Evaluations in which the model ends its own replies in which no form gives an answer."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from reasoner.answers.kinds import space_for
from reasoner.testing.support import Judge
from reasoner.trace.events import AnswerExtracted, read_trace
from reasoner.trace.replies import GRADES
from reasoner_evals.runs.records import ItemRecord, RunFolder, read_journal
from reasoner_evals.runs.run import evaluate
from reasoner_evals.runs.verdicts import read_verdicts
from reasoner_evals.tasks.benchmark import TaskData
from tests.evals.runs.sittings import TASK, Seen, begin, data, manifest
from tests.execution.asked_model import AskedModel, computed, replies

WORDS = {"heptad.": "7", "octad.": "8"}


def asked(count: int, options: str, kind: str = "number") -> TaskData:
    """The questions of the other tests with options of their kind of answer."""
    plain = data(count)
    items = [
        replace(
            item,
            question=replace(
                item.question, space=space_for(f"{kind}:{options}", item.question.text)
            ),
        )
        for item in plain.items
    ]
    return TaskData(tuple(items), plain.source)


def run(
    folder: Path, task: TaskData, model: AskedModel, *arms: str
) -> tuple[list[ItemRecord], int]:
    """The records of a vote of six samples, and the tokens that the engine computed."""
    engine, frozen = model.engine(), manifest([*(arms or ("vote",))], len(task.items))
    begin(RunFolder(folder), frozen, {TASK: task})
    asyncio.run(
        evaluate(RunFolder(folder), frozen, {TASK: task}, engine, Judge(), Seen())
    )
    return list(read_journal(RunFolder(folder).arm("vote"))), computed(engine)


def test_the_answer_of_a_probe_is_graded_counted_and_booked_with_its_reply(
    tmp_path: Path,
) -> None:
    says = replies(
        "The answer is 7",
        "Surely a heptad.",
        "Surely an octad.",
        "Who knows",
        "The answer is 8",
        "It is a heptad.",
    )
    model = AskedModel(says, extract=lambda reply: WORDS.get(reply.split()[-1], "none"))
    records, tokens = run(tmp_path, asked(2, "extract=probe"), model)
    assert sum(record.cost.tokens for record in records) == tokens
    for record in records:
        pool = [(reply.status, reply.key, reply.rule) for reply in record.pool]
        assert pool == [
            ("read", "7", "announced"),
            ("read", "7", "probe"),
            ("read", "8", "probe"),
            ("no_answer", "", ""),
            ("read", "8", "announced"),
            ("read", "7", "probe"),
        ]
        assert (
            sum(reply.generated_tokens for reply in record.pool)
            == record.cost.generated_tokens
        )
        assert record.cost.verifier_tokens == 0
    events = [
        event
        for event in read_trace(RunFolder(tmp_path).arm("vote").trace)
        if isinstance(event, AnswerExtracted)
    ]
    for record in records:
        costs = [
            event.cost for event in events if event.question_id == record.question_id
        ]
        spent = [
            (cost.prompt_tokens, cost.cached_tokens, cost.generated_tokens)
            for cost in costs
        ]
        probed = record.probed
        assert len(spent) == 4
        assert (
            probed.prompt_tokens,
            probed.cached_tokens,
            probed.generated_tokens,
        ) == tuple(map(sum, zip(*spent, strict=True)))
    RunFolder(tmp_path).arm("vote").journal.unlink()
    assert run(tmp_path, asked(2, "extract=probe"), model)[0] == records
    verdicts = {
        (verdict.question_id, verdict.answer): verdict.status
        for verdict in read_verdicts(tmp_path / "verdicts.jsonl")
    }
    assert verdicts == {
        (f"q{n}", key): status
        for n in range(2)
        for key, status in (("7", "right"), ("8", "wrong"))
    }
    lines = (RunFolder(tmp_path).arm("vote").path / GRADES).read_text().splitlines()
    grades = map(json.loads, lines)
    statuses = sorted(
        grade["status"] for grade in grades if grade["question_id"] == "q0"
    )
    assert statuses == ["no_answer", "right", "right", "right", "wrong", "wrong"]
