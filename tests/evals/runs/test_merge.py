"""The shards of a run merged: equal to the run of one process, or refused in one line."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.errors import DamagedLine, ReasonerError, TraceError, UsageError
from reasoner.journal.lines import sealed
from reasoner.testing.support import Judge
from reasoner_evals.runs import merge as merging
from reasoner_evals.runs.arms import Shard, Subset
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.merge import MergeResult, merge
from reasoner_evals.runs.reading import open_run, open_runs, read_arm
from reasoner_evals.runs.records import ItemRecord, RunFolder
from reasoner_evals.runs.run import evaluate
from tests.evals.runs.sittings import (
    TASK,
    Seen,
    begin,
    data,
    events,
    manifest,
    plain_engine,
    results,
)

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
        run(parent / f"shard{index}", count, Shard(of, (index,)), **changes)
        for index in range(1, of + 1)
    ]


def lines(folder: Path) -> dict[str, list[bytes]]:
    """The lines of all files but the manifest, in an order of their own; without times."""
    untimed = {}
    for path in sorted(folder.rglob("*.jsonl")):
        if path.name not in {"trace.jsonl", "journal.jsonl"}:
            untimed[str(path.relative_to(folder))] = sorted(
                path.read_bytes().splitlines()
            )
    return untimed


@given(st.integers(0, 5), st.integers(1, 7))
@settings(max_examples=8, deadline=None)
def test_the_merged_run_is_the_unsharded_one(questions: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch)
        whole = run(parent / "whole", questions)
        parts = shards(parent, questions, count)
        assert merge(parts[::-1], parent / "merged") == MergeResult(
            count, 0, questions, 0
        )
        merged = parent / "merged"
        assert read_manifest(RunFolder(merged)) == read_manifest(RunFolder(whole))
        assert lines(merged) == lines(whole)
        assert results(merged, NAMES) == results(whole, NAMES)
        for name in NAMES:
            assert courses(merged, name) == courses(whole, name)
        # What a later session of the merged run asks: nothing.
        folder, tasks = RunFolder(merged), {TASK: data(questions)}
        asyncio.run(
            evaluate(
                folder, read_manifest(folder), tasks, plain_engine(), Judge(), Seen()
            )
        )
        assert results(merged, NAMES) == results(whole, NAMES)


def courses(folder: Path, name: str) -> dict[str, list[Any]]:
    """The events of each question in order, without times."""
    found: dict[str, list[Any]] = {}
    for event in events(folder, name):
        update: dict[str, Any] = {"t": 0.0}
        if cost := getattr(event, "cost", None):
            update["cost"] = cost.taking(0)
        found.setdefault(event.question_id, []).append(event.model_copy(update=update))
    return found


def test_a_shared_budget_is_kept_to_by_all_shards_together(tmp_path: Path) -> None:
    parts = shards(tmp_path, 6, 3, total="tokens=901")
    merge(parts, tmp_path / "merged")
    for name in NAMES:
        spent = read_arm(open_run(tmp_path / "merged"), name).tokens
        assert 300 < spent.sum() <= 901
    assert read_manifest(RunFolder(tmp_path / "merged")).notes == (
        "a budget that all questions share was divided into 3 equal parts, one for each shard",
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three shards of five questions."""
    parent = tmp_path_factory.mktemp("three")
    shards(parent, 5, 3)
    return parent


def named(parent: Path, *indices: int) -> list[Path]:
    return [parent / f"shard{index}" for index in indices]


def refused(
    paths: list[Path], out: Path, kind: type[ReasonerError] = UsageError
) -> str:
    """The message of a merge that is refused, which leaves nothing."""
    before = sorted(out.parent.glob("*"))
    with pytest.raises(kind) as caught:
        merge(paths, out)
    assert sorted(out.parent.glob("*")) == before
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_shards_are_needed_once(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert refused(named(three, 1, 3), out).startswith("missing shard 2/3")
    assert refused(named(three, 2), out).startswith("missing shard 1/3, 3/3")
    assert "no run is given" in refused([], out)
    assert "shard2 is given twice" in refused(named(three, 1, 2, 2, 3), out)
    (tmp_path / "link").symlink_to(three / "shard2")
    assert "link is given twice" in refused(
        [*named(three, 1, 2, 3), tmp_path / "link"], out
    )
    shutil.copytree(three / "shard2", tmp_path / "copy")
    copied = refused([*named(three, 1, 2, 3), tmp_path / "copy"], out)
    assert copied.startswith("shard 2/3 is there twice")
    other = run(tmp_path / "other", 5, Shard(4, (1,)))
    assert "are of different divisions" in refused([*named(three, 1, 2, 3), other], out)


def test_a_shard_without_a_question_is_merged_and_not_reported(tmp_path: Path) -> None:
    parts = shards(tmp_path, 1, 2)
    with pytest.raises(
        UsageError,
        match=f"{parts[1]} asks no question of numbers: it is part 2/2 of a run: merge",
    ):
        open_runs([parts[1]])
    assert merge(parts, tmp_path / "merged").questions == 1


def test_only_shards_of_one_run_are_merged(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = run(tmp_path / "whole", 5)
    assert f"{whole} is not a shard" in refused([*named(three, 1, 2), whole], out)
    assert "cannot read the manifest" in refused(
        [*named(three, 1, 2), tmp_path / "gone"], out, TraceError
    )

    def other(kind: type[ReasonerError] = UsageError, **changes: Any) -> str:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(three / "shard3", folder)
        changed = read_manifest(RunFolder(folder)).model_copy(update=changes)
        RunFolder(folder).manifest.write_text(changed.model_dump_json())
        return refused([*named(three, 1, 2), folder], out, kind)

    frozen = read_manifest(RunFolder(three / "shard3"))
    seeded = tuple(arm.model_copy(update={"seed": 7}) for arm in frozen.arms)
    assert "the seeds differ, 0 and 7; run all shards with the same options" in other(
        arms=seeded
    )
    assert "their arms or their sources differ" in other(arms=frozen.arms[::-1])
    assert "the engine differ" in other(engine="simulated")
    [source] = frozen.sources
    assert "the data of numbers differ, d1 and e" in other(
        sources=(source.model_copy(update={"data_hash": "e"}),)
    )
    assert "the subset of numbers differ" in other(
        sources=(source.model_copy(update={"subset": "first 5, shard 3/3"}),)
    )
    assert "is not a shard" in other(sources=())
    nonsense = source.model_copy(update={"subset": "some"})
    assert "changed/manifest.json: 'some' is not a subset" in other(
        TraceError, sources=(nonsense,)
    )


def changed_shard(
    three: Path, tmp_path: Path, change: Callable[[RunFolder], object]
) -> list[Path]:
    """The three shards, the last of them a copy that is changed."""
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(three / "shard3", folder)
    change(RunFolder(folder))
    return [*named(three, 1, 2), folder]


def cut_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda folder: cut_last_line(folder.arm("beam").journal),
            "beam lacks 1 of 1 question",
        ),
        (lambda folder: folder.arm("vote").grades.unlink(), "vote has no grades"),
    ],
)
def test_an_unfinished_shard_is_refused(
    three: Path, tmp_path: Path, change: Callable[[RunFolder], object], why: str
) -> None:
    message = refused(changed_shard(three, tmp_path, change), tmp_path / "out")
    assert f"shard 3/3 ({tmp_path / 'changed'}) is not finished" in message
    assert why in message
    assert message.endswith(
        f"resume the shard with: reasoner eval --resume {tmp_path / 'changed'}"
    )
    paths = changed_shard(three, tmp_path, lambda folder: cut_last_line(folder.items))
    assert f"{paths[-1]}/items.jsonl lacks questions of numbers" in refused(
        paths, tmp_path / "out", TraceError
    )


def test_a_shard_that_is_being_written_is_refused(three: Path, tmp_path: Path) -> None:
    paths = changed_shard(three, tmp_path, lambda _: None)
    with RunFolder(paths[-1]).writing():
        assert "is being written by process" in refused(paths, tmp_path / "out")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file",
    [
        "items.jsonl",
        "verdicts.jsonl",
        "arms/vote/trace.jsonl",
        "arms/beam/journal.jsonl",
    ],
)
def test_a_damaged_or_foreign_line_is_named(
    three: Path, tmp_path: Path, file: str
) -> None:
    paths = changed_shard(three, tmp_path, lambda folder: flip(folder.path / file))
    assert f"{paths[-1] / file}:" in refused(paths, tmp_path / "out", DamagedLine)
    if file != "items.jsonl":
        paths = changed_shard(
            three,
            tmp_path,
            lambda folder: shutil.copy(three / "shard1" / file, folder.path / file),
        )
        # Its questions are q0, q3 and q6, in the order in which they ended.
        assert re.search(
            r"holds question 'q[036]', which",
            refused(paths, tmp_path / "out", TraceError),
        )
    link = (
        changed_shard(three, tmp_path, lambda folder: (folder.path / file).unlink())[-1]
        / file
    )
    os.mkfifo(link)
    assert "not a regular file" in refused(
        [*named(three, 1, 2), tmp_path / "changed"], tmp_path / "out", TraceError
    )


def test_the_new_folder_must_be_free(three: Path, tmp_path: Path) -> None:
    paths = named(three, 1, 2, 3)
    assert "is inside" in refused(paths, three / "shard1" / "out")
    assert "is inside" in refused(paths, three / "shard1")
    assert "already contains a run" in refused(paths, three)
    (tmp_path / "file").touch()
    assert "cannot" in refused(paths, tmp_path / "file" / "out", TraceError)
    (tmp_path / ".out.partial").symlink_to(three)
    assert ".out.partial is a link" in refused(paths, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert merge(paths, tmp_path / "empty").questions == 5
    assert "already contains a run" in refused(paths, tmp_path / "empty")


@pytest.mark.process
@pytest.mark.parametrize("copied", [0, 1, 7, 40, 10**6])
def test_a_merge_that_is_killed_leaves_no_run_and_is_made_again(
    three: Path, tmp_path: Path, copied: int
) -> None:
    """After this many lines; after all of them, before the folder gets its name."""
    if not (child := os.fork()):
        left = copied

        def killing(content: bytes) -> bytes:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return sealed(content)

        vars(merging)["sealed"] = killing
        Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign]
        merge(named(three, 1, 2, 3), tmp_path / "out")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    merge(named(three, 1, 2, 3), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    whole = run(tmp_path / "whole", 5)
    assert results(tmp_path / "out", NAMES) == results(whole, NAMES)


def test_questions_that_ended_in_an_error_are_merged_and_counted(
    three: Path, tmp_path: Path
) -> None:
    def fail(folder: RunFolder) -> None:
        journal = folder.arm("vote").journal
        [line] = journal.read_bytes().splitlines()
        record = ItemRecord.model_validate_json(
            line.replace(line[line.rindex(b',"crc32"') :], b"}")
        )
        failed = record.model_copy(
            update={
                "status": "error",
                "ended_by": "error",
                "error": "lost",
                "answer": "",
                "key": "",
            }
        )
        journal.write_text(failed.model_dump_json() + "\n")

    merged = merge(changed_shard(three, tmp_path, fail), tmp_path / "out")
    assert merged == MergeResult(3, 0, 5, 1)
