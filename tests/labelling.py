"""Grades of single completions, for tests."""

from reasoner.answers.equivalence import Equivalence
from reasoner.trace.replies import GradeStatus
from reasoner.types import Completion
from reasoner_evals.tasks.graders import GradedQuestion


async def grade(
    item: GradedQuestion, completion: Completion, equivalence: Equivalence
) -> GradeStatus:
    """The grade of one completion. Raises UsageError if its grader cannot grade this kind of question."""
    if completion.truncated:
        return "truncated"
    answer = item.question.read(completion)
    return (
        "no_answer"
        if answer is None
        else await item.grader.grade(item, answer, equivalence)
    )
