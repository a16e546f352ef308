"""What the author of a task imports; tasks are benchmarks and other sources of questions with reference answers."""

from reasoner_evals.tasks.benchmark import (
    BOXED,
    CHOICE,
    PLAIN,
    Benchmark,
    Task,
    TaskData,
    Template,
    choice_question,
    task_data,
)
from reasoner_evals.tasks.data import DataRow, Published, Source
from reasoner_evals.tasks.graders import (
    ByReference,
    ByRules,
    ByTests,
    GradedQuestion,
    Grader,
)

__all__ = [
    "BOXED",
    "CHOICE",
    "PLAIN",
    "Benchmark",
    "ByReference",
    "ByRules",
    "ByTests",
    "DataRow",
    "GradedQuestion",
    "Grader",
    "Published",
    "Source",
    "Task",
    "TaskData",
    "Template",
    "choice_question",
    "task_data",
]
