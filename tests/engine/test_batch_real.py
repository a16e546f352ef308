"""`reasoner batch` on real vLLM: killed, and continued by the same command."""

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from reasoner.batch.rows import COST
from reasoner.testing.support import traced_cost
from reasoner.trace.events import Sampled, read_trace
from tests.cli.command import finish, read_until, start
from tests.waiting import all_end

parquet = pytest.importorskip(
    "pyarrow.parquet", reason="the extra [parquet] is not installed"
)

COUNT, SAMPLES = 6, 3
COMMAND = (
    "batch",
    "q.jsonl",
    "-o",
    "a.parquet",
    "-e",
    "vllm:kv_gib=0.25,max_model_len=512",
    "-s",
    f"self_consistency:n={SAMPLES},max_tokens=24",
    "--concurrency",
    "2",
)


def test_a_batch_that_is_killed_answers_each_row_once_and_counts_each_token_once(
    embedded_model: Path, tmp_path: Path
) -> None:
    questions = [
        {"question": f"What is {index} + 4?", "own": index} for index in range(COUNT)
    ]
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in questions)
    )
    state, traces = (
        tmp_path / "a.parquet.state",
        [tmp_path / "first.jsonl", tmp_path / "second.jsonl"],
    )
    answers = state / "answers.jsonl"

    killed = start(*COMMAND, cwd=tmp_path)
    read_until(killed, lambda line: line.startswith("2 of "))
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.communicate()
    all_end(children)
    before = [
        json.loads(line)
        for line in answers.read_bytes().splitlines()
        if line.endswith(b"}")
    ]
    assert 2 <= len(before) < COUNT
    assert not (tmp_path / "a.parquet").exists()

    # What a batch has finished it deletes: another link keeps it.
    os.link(state / "trace-000001.jsonl", traces[0])
    again = start(*COMMAND, cwd=tmp_path)
    read_until(again, lambda line: line.startswith("answering with "))
    while not traces[1].exists() and again.poll() is None:
        with suppress(FileNotFoundError):
            os.link(state / "trace-000002.jsonl", traces[1])
    ended = finish(again)
    assert ended.code == 0, ended.err
    assert not state.exists()

    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert sorted(row["row"] for row in rows) == list(range(1, COUNT + 1))
    assert all(
        (row["own"], row["samples"], row["error"]) == (row["row"] - 1, SAMPLES, None)
        for row in rows
    )
    assert rows[: len(before)] == before
    events = [event for trace in traces for event in read_trace(trace)]
    drawn = Counter(
        (event.question_id, event.prompt, event.index)
        for event in events
        if isinstance(event, Sampled)
    )
    assert set(drawn.values()) == {1}
    assert len(drawn) == COUNT * SAMPLES
    for row in rows:
        spent = traced_cost(event for event in events if event.question_id == row["id"])
        assert {name: row[name] for name in COST if name != "seconds"} == {
            name: getattr(spent, name) for name in COST if name != "seconds"
        }
