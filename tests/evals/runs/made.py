"""Small tasks and manifests for the tests of runs."""

from collections.abc import Sequence

from reasoner import Question
from reasoner.engines.simulated import SimulatedEngine
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.manifest import freeze
from reasoner_evals.runs.records import Manifest
from reasoner_evals.tasks.benchmark import TaskData
from reasoner_evals.tasks.data import Source
from reasoner_evals.tasks.graders import GradedQuestion


def task(name: str = "sums", questions: int = 5, *, data_hash: str = "d1", prompt: str = "plain@1") -> TaskData:
    """Sums `i + i`, with an id each."""
    items = tuple(
        GradedQuestion(
            Question.of(f"What is {i} + {i}?", space="number", id=f"{name}-{i}"), str(2 * i), group=f"g{i % 2}"
        )
        for i in range(questions)
    )
    source = Source(
        task=name,
        origin="made on the spot",
        data_hash=data_hash,
        prompt=prompt,
        prompt_hash="p1",
        licence="none",
        items=questions,
        subset="all",
    )
    return TaskData(items, source)


def manifest(tasks: Sequence[TaskData], *, engine: SimulatedEngine | None = None, grid: Grid | None = None) -> Manifest:
    """What a run of these tasks would freeze."""
    named = {data.source.task: data for data in tasks}
    arms = arms_of(grid or Grid(tuple(named)))
    return freeze(named, arms, engine or SimulatedEngine(), None, command="reasoner eval sums")
