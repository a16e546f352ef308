"""Shared by the answer kinds: the one order in which a reply is read, and equality by key.

A model wrote the text, so it may be hostile: only its tail is read, patterns run in linear time, nothing is evaluated.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from reasoner.answers.corrections import corrections, without_remarks
from reasoner.answers.forms import LIST, Statement, announcements, boxed, forms, headings, lines
from reasoner.answers.keys import SameKey
from reasoner.answers.languages import Reply
from reasoner.answers.patterns import compiled, last_matched
from reasoner.answers.thinking import TAIL, final_segment
from reasoner.errors import require_choice
from reasoner.specs import Pattern
from reasoner.types import Answer

Extract = Literal["rules", "model"]
"""How an answer is read: by rules alone, or by a model where they found none."""

__all__ = ["MAX_DIGITS", "NOTHING", "RULES", "TAIL", "ByKey", "ReadsSegment", "boxed", "final_segment", "last_match"]

MAX_DIGITS = 256
"""Maximum digits of a number; a longer one is slow to parse and is not an answer."""

NOTHING: Final = Answer("", "")
"""Marks a statement that gives no valid answer, such as two labels where the task allows one."""

RULES: Final = ("pattern", "form", "announced", "heading", "line", "last")
"""The rules by which an answer is read, most explicit first: a pattern of the task's own, a machine-readable form, a
sentence that announces it, a heading, a line of its own, and the last candidate in the text."""


_ANOTHER = re.compile(r"\n[ \t]{0,20}\n[*#> ]{0,4}(?:Question|Problem|Human|User|Q)(?:\s\d{1,3})?\s?:\s")
"""Where a model that did not end its reply begins another question."""
MIN_REPLY: Final = 40
"""Characters before that; after less, it states its own question again."""
_SENTENCE_BREAK = re.compile(r"[.!?]\s+\S|\n\s*\S")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadsSegment:
    """A kind of answer that reads the last part of a reply that was not only thought.

    The order in which statements are tried is the same for every kind. A kind says what an answer is: in a text that
    holds nothing else (`inside`, `alone`), at the start of a statement (`begins`), and last in a text (`last`).
    `pattern` is a regular expression of the task's own, tried first. With `extract` "model", the run asks its model for
    the answer in a complete reply in which no rule finds one. See `docs/answers.md`.
    """

    pattern: Pattern = ""
    extract: Extract = "rules"

    def __post_init__(self) -> None:
        if self.pattern:
            compiled(self.pattern)
        require_choice(self.extract, "extract", get_args(Extract))

    @property
    def extracts_by_model(self) -> bool:
        """Whether a model is asked for an answer that no rule could read."""
        return self.extract == "model"

    def read(self, text: str) -> Answer | None:
        """The most explicit answer in the text; None if there is none or thinking did not end."""
        segment = final_segment(text)
        return None if segment is None else self.read_segment(segment)

    def read_segment(self, segment: str) -> Answer | None:
        """The most explicit answer in the text after thinking."""
        another = _ANOTHER.search(segment, MIN_REPLY)
        if another and (answer := self.read_segment(segment[: another.start()])):
            return answer
        reply = Reply(segment)
        if self.pattern and (match := last_matched(self.pattern, segment)) and (own := self.inside(match, reply)):
            return _named(own, "pattern")
        return self._in_order(reply)

    def _in_order(self, reply: Reply) -> Answer | None:
        """The most explicit answer, with the rule that found it."""
        stated = self._stated(reply)
        if stated is None:
            text = reply.text
            return self._ending(reply) or _named(
                self.last(without_remarks(text), reply) or self.last(text, reply), "last"
            )
        answer, rule, end = stated
        return self._corrected(reply, end) or _named(answer, rule)

    def _stated(self, reply: Reply) -> tuple[Answer, str, int] | None:
        """The most explicit statement that holds an answer: the answer, the rule, and where it may be corrected."""
        for rule, statements in self._statements(reply):
            for statement in statements:
                if rule == "line":
                    answer = self.alone(statement.text, reply)
                elif statement.whole:
                    answer = self.set_apart(statement.text, reply)
                elif statement.enclosed:
                    answer = self.inside(statement.text, reply)
                else:
                    answer = self.begins(statement.text, reply)
                if answer is not None:
                    return answer, rule, statement.end
        return None

    def _statements(self, reply: Reply) -> Iterator[tuple[str, Iterator[Statement]]]:
        yield "form", self.forms(reply)
        yield "announced", self.announced(reply)
        yield "heading", headings(reply)
        yield "line", lines(reply)

    def _corrected(self, reply: Reply, end: int) -> Answer | None:
        """The answer that a later correction gives; None if there is none."""
        changes = corrections(reply, end)
        if changes is None:
            return None
        rest = Reply(changes.rest)
        if (stated := self._stated(rest)) and stated[1] != "line":
            return _named(stated[0], stated[1])
        for claim in changes.claims:
            if answer := self.alone(claim, reply):
                return _named(answer, "announced")
        return _named(self.last(changes.withdrawn, rest), "last") if changes.withdrawn else None

    def _ending(self, reply: Reply) -> Answer | None:
        """The answer in a correction that ends the reply, where nothing was stated before, as in `Yes... wait, no`."""
        changes = corrections(reply, 0)
        for claim in changes.claims[:2] if changes else ():
            if not _SENTENCE_BREAK.search(reply.text.rpartition(claim)[2]) and (answer := self.alone(claim, reply)):
                return _named(answer, "last")
        return None

    def forms(self, reply: Reply) -> Iterator[Statement]:
        """Machine-readable forms; a kind may have one of its own, such as a code block."""
        return forms(reply)

    def announced(self, reply: Reply) -> Iterator[Statement]:
        """Sentences that announce an answer; a kind may know more of them than the languages do."""
        return announcements(reply)

    def set_apart(self, text: str, reply: Reply) -> Answer | None:
        """The answer in a text between tags: itself, or if the tags are around a whole reply, what it states."""
        if len(text.split(maxsplit=1)) > 1 and self.alone(text, reply) is None:
            inner = Reply(text)
            answer = self._in_order(inner)
            if answer and answer.rule not in ("line", "last"):
                return answer
            if answer and (more := _SENTENCE_BREAK.search(text)):
                begins = answer.rule == "last" and not LIST.match(text) and self.alone(text[: more.start()], reply)
                return (self._corrected(inner, more.start()) or begins) if begins else answer
        return self.inside(text, reply)

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """The answer in a text that was set apart for it, such as the content of a box."""
        return self.begins(text, reply)

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The answer with which a statement begins."""
        raise NotImplementedError

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """The answer that is all of a text, apart from a unit; None if the text says more."""
        raise NotImplementedError

    def last(self, text: str, reply: Reply) -> Answer | None:
        """The last answer in running text."""
        raise NotImplementedError


def _named(answer: Answer | None, rule: str) -> Answer | None:
    if answer is None or answer is NOTHING:
        return None
    return Answer(answer.text, answer.key, rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByKey(SameKey, ReadsSegment):
    """A kind that reads the last part of a reply, and in which two answers are equal exactly if their keys are."""


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match; None if there is none."""
    last = None
    for match in pattern.finditer(text):
        last = match
    return last
