"""Evaluations run in this process, on questions with known answers, with scripted replies."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner import Question
from reasoner.budget import Cost
from reasoner.engine import Engine
from reasoner.journal.lines import JournalWriter
from reasoner.models.info import ModelInfo
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, jumbled, varied
from reasoner.trace.events import Event, read_trace
from reasoner_evals.runs.manifest import write_items, write_manifest
from reasoner_evals.runs.records import (
    Arm,
    ItemRecord,
    Machine,
    Manifest,
    Outcome,
    RunFolder,
    read_journal,
)
from reasoner_evals.runs.run import evaluate
from reasoner_evals.tasks.benchmark import TaskData
from reasoner_evals.tasks.data import Source
from reasoner_evals.tasks.graders import GradedQuestion

TASK = "numbers"
STRATEGIES = {
    "vote": "self_consistency:n=6,max_tokens=40",
    "best": "best_of_n:n=6,temperature=0.7,max_tokens=40",
    "adaptive": "adaptive_consistency:n=12,max_tokens=40",
    "one": "single:temperature=0.7,max_tokens=40",
    "beam": "beam_search:n=4,width=2,max_tokens=40",
    "tree": "mcts:simulations=6,max_tokens=40,concurrency=1",
}


def task(
    name: str = "sums",
    questions: int = 5,
    *,
    data_hash: str = "d1",
    prompt: str = "plain@1",
) -> TaskData:
    """This many questions; the answer to each is 7."""
    asked = [
        Question.of(f"How many are {n}?", space="number", id=f"q{n}")
        for n in range(questions)
    ]
    source = Source(
        task=name,
        origin="here",
        data_hash=data_hash,
        prompt=prompt,
        prompt_hash="p",
        licence="",
        items=questions,
        subset="all",
    )
    return TaskData(tuple(GradedQuestion(question, "7") for question in asked), source)


def data(count: int) -> TaskData:
    return task(TASK, count)


def manifest(
    names: list[str], count: int, budget: str = "", total: str = ""
) -> Manifest:
    pools = {} if total else {"vote": (6, "majority"), "best": (6, "best")}
    arms = [
        Arm(
            name=name,
            task=TASK,
            strategy=STRATEGIES[name],
            verifier="judge",
            budget=budget,
            total=total,
            seed=0,
            pool=pools.get(name, (0, ""))[0],
            rule=pools.get(name, (0, ""))[1],  # type: ignore[arg-type]
        )
        for name in names
    ]
    machine = Machine(
        python="3", system="here", cores=1, memory_gib=1, accelerators=(), packages={}
    )
    return Manifest(
        created="2026-01-01T00:00:00+00:00",
        command="",
        engine="scripted",
        model=ModelInfo("scripted"),
        sources=(data(count).source,),
        arms=tuple(arms),
        prices=None,
        machine=machine,
    )


def begin(folder: RunFolder, frozen: Manifest, tasks: Mapping[str, TaskData]) -> None:
    """Write what is written before the first question."""
    write_manifest(folder, frozen)
    write_items(folder, tasks)


@dataclass
class Seen:
    """What a watcher was told."""

    started: list[tuple[str, int, int]] = field(default_factory=list)
    done: list[tuple[str, str, Outcome]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    cost: Cost = field(default_factory=Cost)
    checks: Counter[str] = field(default_factory=Counter)

    def checked(self, arm: Arm, seconds: float, replies: int) -> None:
        assert seconds >= 0
        self.checks[arm.name] += replies

    def samples_kept(self, arm: Arm, samples: int) -> None:
        self.kept[arm.name] += samples

    def spent(self, arm: Arm, cost: Cost) -> None:
        self.cost += cost

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        self.started.append((arm.name, total, done))

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        self.done.append((arm.name, record.question_id, outcome))

    def arm_finished(self, arm: Arm) -> None:
        self.finished.append(arm.name)


def plain_engine() -> ScriptedEngine:
    """Replies are a function of the seed; nothing waits, so that two runs come to the same order."""
    return ScriptedEngine(varied, pause=jumbled(0, minimum=1, maximum=1))


def sit(
    folder: Path,
    names: list[str],
    count: int = 6,
    *,
    engine: Engine | None = None,
    budget: str = "",
    total: str = "",
    reuse: Path | str = "",
) -> Seen:
    """One session of the evaluation in this folder."""
    seen = Seen()
    frozen = manifest(names, count, budget, total).model_copy(
        update={"reuse": str(reuse)}
    )
    folder.mkdir(exist_ok=True)
    asyncio.run(
        evaluate(
            RunFolder(folder),
            frozen,
            {TASK: data(count)},
            engine or plain_engine(),
            Judge(),
            seen,
        )
    )
    return seen


def results(folder: Path, names: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What each question came to, but for the time that it took; a question has one result."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in names:
        for record in read_journal(RunFolder(folder).arm(name)):
            if record.status == "error":
                continue
            assert (name, record.question_id) not in found
            plain = record.model_dump(exclude={"attempt"})
            plain["cost"].pop("seconds")
            found[name, record.question_id] = plain
    return found


def events(folder: Path, name: str) -> list[Event]:
    return list(read_trace(RunFolder(folder).arm(name).trace))


def killed_in_a_child(work: Callable[[], object], *, lines: int, part: int) -> bool:
    """Do the work in a process that kills itself after this many lines, in the middle of the next one."""
    child = os.fork()
    if not child:
        written = 0
        write = JournalWriter.write

        def writing(self: JournalWriter, record: Any) -> None:
            nonlocal written
            written += 1
            if written > lines:
                self._file.write(record.model_dump_json().encode()[:part])
                self._file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            write(self, record)

        JournalWriter.write = writing  # type: ignore[method-assign]
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def some_moments(maximum: int, count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Numbers of whole lines, and of bytes of the next line, which is cut."""
    source = random.Random(seed)
    return [
        (source.randrange(maximum), source.choice([0, 1, 20, 10**6]))
        for _ in range(count)
    ]
