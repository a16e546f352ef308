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
from reasoner_evals.tasks.data import DataRow, Publication, Source
from reasoner_evals.tasks.graders import (
    CodeGrader,
    GradedQuestion,
    Grader,
    ReferenceGrader,
)

__all__ = [
    "BOXED",
    "CHOICE",
    "PLAIN",
    "Benchmark",
    "CodeGrader",
    "DataRow",
    "GradedQuestion",
    "Grader",
    "Publication",
    "ReferenceGrader",
    "Source",
    "Task",
    "TaskData",
    "Template",
    "choice_question",
    "task_data",
]
