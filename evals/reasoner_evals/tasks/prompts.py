"""Prompt templates: the instruction and the worked examples around a question, named, versioned and hashed."""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Final, NamedTuple

from reasoner.answers import ChoiceSpace
from reasoner.answers.questions import Question
from reasoner.types import AnswerSpace, Message, Prompt
from reasoner_evals.tasks.graders import GradedQuestion


class Shot(NamedTuple):
    """A worked example: a question and a reply to it."""

    question: str
    reply: str


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt template: examples as earlier turns, then document, question and instruction.

    In the instruction `{kind}` is replaced by that of the answer space, such as `Give the answer as a number.`
    Increment `version` with every change of the text.
    """

    name: str
    version: int
    instruction: str = "{kind}"
    shots: tuple[Shot, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def hash(self, spaces: Iterable[AnswerSpace]) -> str:
        """The sha256 of all that it adds to questions with these answer spaces, 64 hex digits."""
        kinds = sorted({space.instruction for space in spaces}) if "{kind}" in self.instruction else []
        return _sha256([self.instruction, kinds, [list(shot) for shot in self.shots]])

    def ask(self, text: str, space: AnswerSpace, *, id: str, context: str = "") -> Question:
        """The question with its prompt. A document comes first, so that questions about it share a prefix."""
        instruction = self.instruction.replace("{kind}", space.instruction)
        messages: list[Message] = []
        for shot in self.shots:
            messages += [Message("user", f"{shot.question}\n\n{instruction}"), Message("assistant", shot.reply)]
        document = f"{context}\n\n" if context else ""
        messages.append(Message("user", f"{document}{text}\n\n{instruction}"))
        return Question(id, text, Prompt(messages=tuple(messages)), space)


@cache
def worked_examples(key: str) -> tuple[Shot, ...]:
    """The worked examples under a key of `examples.toml`."""
    table = tomllib.loads(Path(__file__).with_name("examples.toml").read_text(encoding="utf-8"))
    return tuple(Shot(**example) for example in table[key])


PLAIN: Final = Template("plain", 1)
"""The answer space's own instruction alone."""
BOXED: Final = Template("boxed-steps", 1, "Please reason step by step, and put your final answer within \\boxed{}.")
"""Qwen's convention for mathematics, as a user turn."""
CHOICE: Final = Template(
    "choice-steps", 1, "Reason step by step, and end with `The answer is`, followed by the letter of one option. {kind}"
)


def with_options(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question followed by its options, one per line, with letters."""
    lines = (f"{letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"{question}\n\n" + "\n".join(lines)


def choice_question(
    template: Template, question: str, options: Sequence[str], right: int, *, id: str
) -> GradedQuestion:
    """A multiple-choice question; its reference answer is the letter of `options[right]`."""
    space = ChoiceSpace(tuple(options))
    return GradedQuestion(template.ask(with_options(question, options), space, id=id), space.known[right])


def _sha256(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def document_of(question: Question) -> str:
    """The last turn of a question up to its instruction: the document, if any, and the text."""
    last = question.prompt.messages[-1].content
    start = last.rfind(question.text)
    return last[: start + len(question.text)] if start >= 0 else question.text


def data_hash(items: Sequence[tuple[str, ...]]) -> str:
    """The sha256 of all items: id, text with its document, reference answers or tests."""
    return _sha256([list(item) for item in items])
