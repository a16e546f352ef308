"""SQuAD 1.1 (Rajpurkar 2016, 1606.05250): questions on passages of Wikipedia, answered in words of the passage."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import TextSpace
from reasoner_evals.grading import ByReference, GradedQuestion
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

    name: ClassVar[str] = "squad"
    reads: ClassVar[tuple[str, ...]] = ("id", "title", "context", "question", "answers")
    published: ClassVar[Published] = Published(
        "rajpurkar/squad",
        "validation",
        "CC-BY-SA-4.0",
        file="a copy of rajpurkar/squad as parquet (the authors' nested JSON is not read)",
    )

    @property
    def template(self) -> Template:
        """The shortest answer that the passage has."""
        return Template("passage-answer", 1, "Answer in as few words of the passage as possible, after `Answer:`.")

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """The first of the answers is the reference, the others are as good."""
        space, context = TextSpace(), row.text("context")
        match row.value("answers"):
            case {"text": [str(), *_] as texts}:
                golds = [text for text in texts if isinstance(text, str)]
            case _:
                raise row.wrong("answers", "it has no list `text` of answers")
        group = f"{row.maybe('title')}#{hashlib.sha256(context.encode()).hexdigest()[:12]}"
        name = row.maybe("id") or f"squad/{row.index}"
        question = template.ask(row.text("question"), space, id=name, context=context)
        gold, *others = (checked(row, "answers", space, one) for one in golds)
        return GradedQuestion(question, gold, group=group, grader=ByReference(tuple(dict.fromkeys(others))))
