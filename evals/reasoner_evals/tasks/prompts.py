"""What a task says to a model around its questions: an instruction and worked examples, named, versioned and hashed."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.errors import require
from reasoner.types import AnswerSpace, Message, Prompt, Question


class Shot(NamedTuple):
    """A worked example: a question and a reply to it."""

    question: str
    reply: str


@dataclass(frozen=True, slots=True)
class Template:
    """How questions are put: examples as earlier turns, then document, question, instruction.

    In the instruction `{kind}` stands for what the kind of answer asks for, such as `Give the answer as a number.`
    A version stands for one text: whoever changes the text counts it up.
    """

    name: str
    version: int
    instruction: str = "{kind}"
    shots: tuple[Shot, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def hash(self, spaces: Iterable[AnswerSpace]) -> str:
        """The sha256 of all that it adds to questions of these kinds, 64 hex digits."""
        asked = sorted({space.instruction for space in spaces}) if "{kind}" in self.instruction else []
        return _sha256([self.instruction, asked, [list(shot) for shot in self.shots]])

    def ask(self, text: str, space: AnswerSpace, *, id: str, context: str = "") -> Question:
        """The question as it is put to the model. A document comes first, so that questions about it share a prefix."""
        instruction = self.instruction.replace("{kind}", space.instruction)
        turns: list[Message] = []
        for shot in self.shots:
            turns += [Message("user", f"{shot.question}\n\n{instruction}"), Message("assistant", shot.reply)]
        document = f"{context}\n\n" if context else ""
        turns.append(Message("user", f"{document}{text}\n\n{instruction}"))
        return Question(id, text, Prompt(messages=tuple(turns)), space)


def first(shots: int, known: tuple[Shot, ...], *, task: str) -> tuple[Shot, ...]:
    """The first `shots` of the examples that a task has.

    Raises:
        UsageError: it has not as many.
    """
    require(shots, f"shots of {task}", at_least=0, at_most=len(known))
    return known[:shots]


def _sha256(content: object) -> str:
    written = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


def document_of(question: Question) -> str:
    """What the question's last turn says before its instruction: the document, if any, and the text."""
    last = question.prompt.messages[-1].content
    place = last.rfind(question.text)
    return last[: place + len(question.text)] if place >= 0 else question.text


def data_hash(items: Sequence[tuple[str, ...]]) -> str:
    """The sha256 over the canonical JSON of all items: id, text with its document, reference answers or tests."""
    return _sha256([list(item) for item in items])
