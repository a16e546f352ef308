"""Answers in words: HotpotQA (Yang 2018, 1809.09600), SQuAD (Rajpurkar 2016, 1606.05250), StrategyQA (2101.02235)."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from reasoner.answers import TextSpace, YesNoSpace
from reasoner_evals.tasks.benchmark import Benchmark, FewShotBenchmark, Template, checked
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import ByReference, GradedQuestion


@dataclass(frozen=True, slots=True)
class HotpotQa(Benchmark):
    """HotpotQA: 7,405 questions with ten paragraphs each, answered in a few words; right is EM. Pinned.

    The paragraphs come first, so that all samples of a question share them as a prefix. A question's group is the first
    title among its supporting facts. Without a column of paragraphs, only the question is asked.
    """

    name: ClassVar = "hotpotqa"
    reads: ClassVar = ("id", "question", "answer", "context", "level", "supporting_facts")
    prompt: ClassVar = Template(
        "text-steps", 1, "Reason step by step, and end with `Answer:` and the answer in a few words."
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """The hub has columns of titles and sentences; the authors' file has pairs of them."""
        space = TextSpace()
        context = "\n\n".join(f"{title}\n{text}" for title, text in _paragraphs(row)) if row.has("context") else ""
        name = row.optional("id") or f"hotpotqa/{row.index}"
        question = self.template.ask(row.text("question"), space, id=name, context=context)
        gold = checked(row, "answer", space, row.text("answer"))
        return GradedQuestion(question, gold, group=_group(row), level=row.optional("level"))


def _paragraphs(row: DataRow) -> list[tuple[str, str]]:
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


def _group(row: DataRow) -> str:
    facts = row.value("supporting_facts") if row.has("supporting_facts") else []
    match facts:
        case {"title": [*titles]}:
            pass
        case _:
            titles = [fact[0] for fact in facts if isinstance(fact, list | tuple) and fact]
    return min((str(title) for title in titles), default="")


@dataclass(frozen=True, slots=True)
class Squad(Benchmark):
    """SQuAD: 10,570 questions on passages, answered in words of the passage; right is EM with any answer. Pinned.

    The passage comes first, so that its questions share a prefix, and is their group.
    """

    name: ClassVar = "squad"
    reads: ClassVar = ("id", "title", "context", "question", "answers")
    prompt: ClassVar = Template(
        "passage-answer", 1, "Answer in as few words of the passage as possible, after `Answer:`."
    )

    def item(self, row: DataRow) -> GradedQuestion:
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


_TRUTH_VALUES = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}


@dataclass(frozen=True, slots=True)
class StrategyQa(FewShotBenchmark):
    """StrategyQA: questions of several hidden steps, answered by yes or no. Not pinned; `shots` are self-written.

    The hub's commit is recorded. A blind guess is right half of the time, so coverage says little.
    """

    name: ClassVar = "strategyqa"
    reads: ClassVar = ("qid", "question", "answer")
    prompt: ClassVar = Template(
        "yes-no-steps", 1, "Reason step by step, and end with `The answer is`, followed by yes or no."
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """Files write the truth value in many ways."""
        answer = str(row.value("answer")).strip().lower()
        if answer not in _TRUTH_VALUES:
            raise row.error("answer", f"{answer!r:.40} is neither true nor false")
        name = row.optional("qid") or f"strategyqa/{row.index}"
        return GradedQuestion(self.template.ask(row.text("question"), YesNoSpace(), id=name), _TRUTH_VALUES[answer])
