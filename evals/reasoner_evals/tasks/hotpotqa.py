"""HotpotQA (Yang 2018, 1809.09600): questions over ten paragraphs, two of which are needed."""

from dataclasses import dataclass
from typing import Any, ClassVar

from reasoner.answers import TextSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark, checked
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class HotpotQa(Benchmark):
    """HotpotQA: 7,405 questions with ten paragraphs each, answered in a few words; right is EM. Pinned.

    The paragraphs come first, so that all samples of a question share them as a prefix. A question's group is the first
    title among its supporting facts. Without a column of paragraphs, only the question is asked.
    """

    revision: str = "1908d6afbbead072334abe2965f91bd2709910ab"

    name: ClassVar = "hotpotqa"
    reads: ClassVar = ("id", "question", "answer", "context", "level", "supporting_facts")
    published: ClassVar = Published(
        "hotpotqa/hotpot_qa",
        "validation",
        "CC-BY-SA-4.0",
        config="distractor",
        file="hotpot_dev_distractor_v1.json of hotpotqa.github.io",
    )
    prompt: ClassVar = Template(
        "text-steps", 1, "Reason step by step, and end with `Answer:` and the answer in a few words."
    )

    def item(self, row: Row) -> GradedQuestion:
        """The hub has columns of titles and sentences; the authors' file has pairs of them."""
        space = TextSpace()
        context = "\n\n".join(f"{title}\n{text}" for title, text in _paragraphs(row)) if row.has("context") else ""
        name = row.optional("id") or f"hotpotqa/{row.index}"
        question = self.template.ask(row.text("question"), space, id=name, context=context)
        gold = checked(row, "answer", space, row.text("answer"))
        return GradedQuestion(question, gold, group=_group(row), level=row.optional("level"))


def _paragraphs(row: Row) -> list[tuple[str, str]]:
    pairs: list[Any] = [None]
    match row.value("context"):
        case {"title": [*titles], "sentences": [*sentences]} if len(titles) == len(sentences):
            pairs = list(zip(titles, sentences, strict=True))
        case [*pairs]:
            pass
    paragraphs = []
    for pair in pairs:
        match pair:
            case [str(title), [*parts]] if all(isinstance(part, str) for part in parts):
                paragraphs.append((title.strip(), "".join(parts).strip()))
            case _:
                raise row.error("context", "it is not a list of titles, each with a list of sentences")
    return paragraphs


def _group(row: Row) -> str:
    facts = row.value("supporting_facts") if row.has("supporting_facts") else []
    match facts:
        case {"title": [*titles]}:
            pass
        case _:
            titles = [fact[0] for fact in facts if isinstance(fact, list | tuple) and fact]
    return min((str(title) for title in titles), default="")
