"""SQuAD 1.1 (Rajpurkar 2016, 1606.05250): questions on passages of Wikipedia, answered in words of the passage."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import TextSpace
from reasoner_evals.grading.graders import ByReference, GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark, checked
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Squad(Benchmark):
    """SQuAD: 10,570 questions on passages, answered in words of the passage; right is EM with any answer. Pinned.

    The passage comes first, so that its questions share a prefix, and is their group.
    """

    revision: str = "7b6d24c440a36b6815f21b70d25016731768db1f"

    name: ClassVar = "squad"
    reads: ClassVar = ("id", "title", "context", "question", "answers")
    published: ClassVar = Published(
        "rajpurkar/squad",
        "validation",
        "CC-BY-SA-4.0",
        file="a copy of rajpurkar/squad as parquet (the authors' nested JSON is not read)",
    )
    prompt: ClassVar = Template(
        "passage-answer", 1, "Answer in as few words of the passage as possible, after `Answer:`."
    )

    def item(self, row: Row) -> GradedQuestion:
        """The first answer is the reference, the others are its aliases."""
        space, context = TextSpace(), row.text("context")
        match row.value("answers"):
            case {"text": [str(), *_] as texts}:
                answers = [checked(row, "answers", space, text) for text in texts if isinstance(text, str)]
            case _:
                raise row.error("answers", "it has no list `text` of answers")
        group = f"{row.optional('title')}#{hashlib.sha256(context.encode()).hexdigest()[:12]}"
        name = row.optional("id") or f"squad/{row.index}"
        question = self.template.ask(row.text("question"), space, id=name, context=context)
        gold, *aliases = answers
        return GradedQuestion(question, gold, group=group, grader=ByReference(tuple(dict.fromkeys(aliases))))
