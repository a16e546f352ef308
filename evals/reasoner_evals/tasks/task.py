"""What a task is: questions with their reference answers, and where they come from."""

from dataclasses import dataclass
from typing import Protocol

from reasoner_evals.grading import GradedQuestion
from reasoner_evals.runs.records import Source


@dataclass(frozen=True, slots=True)
class TaskData:
    """The questions of a task, each with an id of its own, and where they come from."""

    items: tuple[GradedQuestion, ...]
    source: Source


class Task(Protocol):
    """A benchmark; a frozen dataclass whose fields are its options, registered under `reasoner.tasks`."""

    def load(self) -> TaskData:
        """All its questions, in the benchmark's own order.

        Raises:
            UsageError: the data cannot be had or read; the message names file, line and column, or what to do instead.
        """
        ...
