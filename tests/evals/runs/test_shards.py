"""The shards of a run, read as one: equal to the run of one process, or refused in one line."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.errors import DamagedLine, ReasonerError, UsageError
from reasoner.testing.support import Judge
from reasoner_evals.report.build import make_report
from reasoner_evals.runs.arms import Shard, Subset
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.reading import open_run, open_runs, read_arm
from reasoner_evals.runs.records import RunFolder
from reasoner_evals.runs.run import evaluate
from tests.evals.runs.sittings import TASK, Seen, begin, data, manifest, plain_engine

NAMES = ["vote", "beam"]


def run(
    folder: Path,
    count: int,
    shard: Shard | None = None,
    *,
    names: list[str] = NAMES,
    **changes: Any,
) -> Path:
    """Evaluate this many questions, or one shard of them, into this folder."""
    part = Subset(shard=shard).cut(data(count))
    total = changes.pop("total", "")
    frozen = manifest(names, count, total=total).model_copy(
        update={"sources": (part.source,), **changes}
    )
    with RunFolder(folder).writing(fresh=True):
        begin(RunFolder(folder), frozen, {TASK: part})
        asyncio.run(
            evaluate(
                RunFolder(folder), frozen, {TASK: part}, plain_engine(), Judge(), Seen()
            )
        )
    return folder


def shards(parent: Path, count: int, of: int, **changes: Any) -> list[Path]:
    return [
        run(parent / f"shard{index}", count, Shard(of, index), **changes)
        for index in range(1, of + 1)
    ]


def known(folder: Path) -> list[Any]:
    """What is read of a run: its manifest, questions and arms, without times."""
    opened = open_run(folder)
    arms = [read_arm(opened, arm.name) for arm in opened.manifest.arms]
    return [
        opened.manifest,
        opened.tasks,
        [
            (arm.outcome.tolist(), arm.share.tolist(), arm.tokens.tolist())
            for arm in arms
        ],
        # Replies lie in the files in the order in which questions ended.
        [
            [
                arm.replies.outcome[arm.replies.rows.of(row)].tolist()
                for row in range(len(arm.outcome))
            ]
            for arm in arms
        ],
    ]


@given(st.integers(1, 5), st.integers(2, 7))
@settings(max_examples=8, deadline=None)
def test_shards_in_a_folder_are_the_unsharded_run(questions: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch)
        whole = run(parent / "whole", questions)
        shards(parent / "parts", questions, count)
        assert known(parent / "parts") == known(whole)


def test_a_shared_budget_is_kept_to_by_all_shards_together(tmp_path: Path) -> None:
    shards(tmp_path, 6, 3, total="tokens=901")
    opened = open_run(tmp_path)
    for name in NAMES:
        assert 300 < read_arm(opened, name).tokens.sum() <= 901


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three shards of five questions."""
    parent = tmp_path_factory.mktemp("three")
    shards(parent, 5, 3)
    return parent


def refused(folder: Path, kind: type[ReasonerError] = UsageError) -> str:
    """The message of shards that cannot be read as one run."""
    with pytest.raises(kind) as caught:
        known(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def copied(three: Path, tmp_path: Path) -> Path:
    """A copy of the three shards."""
    shutil.copytree(three, tmp_path / "parts")
    return tmp_path / "parts"


def test_all_shards_are_needed_once(copied: Path) -> None:
    other = run(copied / "other", 5, Shard(4, 1))
    assert refused(copied).endswith("are shards 1/4 and 1/3 of different runs")
    shutil.rmtree(other)
    shutil.copytree(copied / "shard2", copied / "copy")
    assert refused(copied).startswith("shard 2/3 is there twice: ")
    shutil.rmtree(copied / "copy")
    shutil.rmtree(copied / "shard2")
    assert refused(copied).startswith(f"{copied} lacks shard 2/3: it has 2 of 3")


def test_a_shard_without_a_question_is_read_with_the_others_alone(
    tmp_path: Path,
) -> None:
    parts = shards(tmp_path, 1, 2)
    with pytest.raises(
        UsageError,
        match=f"{parts[1]} asks no question of numbers: give the folder that holds all shards",
    ):
        open_runs([parts[1]])
    [source] = open_run(tmp_path).manifest.sources
    assert source.items == 1


def test_only_shards_of_one_run_are_read_together(copied: Path) -> None:
    files = RunFolder(copied / "shard3")
    frozen = read_manifest(files)
    [source] = frozen.sources

    def other(**changes: Any) -> str:
        changed = frozen.model_copy(update=changes)
        files.manifest.write_text(changed.model_dump_json())
        return refused(copied)

    seeded = tuple(arm.model_copy(update={"seed": 7}) for arm in frozen.arms)
    assert "in the seeds, 0 and 7; run all shards with the same options" in other(
        arms=seeded
    )
    assert "they differ in the order of their arms" in other(arms=frozen.arms[::-1])
    assert "they differ in the engine, " in other(engine="simulated")
    one = RunFolder(copied / "shard1").manifest
    rules = read_manifest(RunFolder(copied / "shard1")).model_copy(
        update={"answer_rules": {"number": 6}}
    )
    one.write_text(rules.model_dump_json())
    assert "they differ in the rules for reading answers, " in other(
        answer_rules={"number": 7}
    )
    for field, value, told in (
        ("data_hash", "e", "the data of numbers, d1 and e"),
        ("subset", "first 5, shard 3/3", "the subset of numbers, all and first 5"),
        ("subset", "some", "'some' is not a subset"),
        ("subset", "all", "shard3 is not a shard"),
    ):
        sources = (source.model_copy(update={field: value}),)
        assert told in other(sources=sources)
    assert "is not a shard" in other(sources=())


def test_a_shard_that_is_not_finished_is_an_unfinished_part_of_the_run(
    copied: Path,
) -> None:
    journal = RunFolder(copied / "shard3").arm("beam").journal
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    run = open_run(copied)
    finished = [read_arm(run, name).finished.sum() for name in NAMES]
    assert finished == [5, 4]
    [line] = make_report([copied]).unfinished
    assert line.endswith(
        f"has 4 of 5 questions; continue with `reasoner eval --resume {copied}/SHARD`"
    )


@pytest.mark.parametrize(
    "file", ["items.jsonl", "verdicts.jsonl", "arms/beam/journal.jsonl"]
)
def test_a_damaged_line_of_a_shard_is_named(copied: Path, file: str) -> None:
    path = copied / "shard3" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"{path}:" in refused(copied, DamagedLine)
