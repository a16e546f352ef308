"""Shared by the answer kinds: the one order in which a reply is read, and equality by key.

A model wrote the text, so it may be hostile: only its tail is read, patterns run in linear time, nothing is evaluated.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from reasoner.answers.forms import (
    BOX,
    Form,
    Opening,
    adds_nothing,
    announcements,
    clause_end,
    machine_forms,
)
from reasoner.answers.thinking import final_segment
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Pattern
from reasoner.types import Answer, Blocks

if TYPE_CHECKING:
    import regex

Extract = Literal["probe", "rules"]
"""How the answer of a reply without a form is found: the model is asked to end its reply, or not at all."""
Cut = Literal["drop", "fallback", "probe"]
"""What becomes of a reply that a limit cut: it has no answer; or the model is asked to end it, where no other reply to
the question has an answer, or always."""

RULES: Final = ("pattern", "form", "announced", "alone")
"""The rules by which an answer is read: a pattern of the task's own, a machine-readable form, a sentence or heading
that announces it, and a reply or a last line that is nothing else."""
_ANOTHER = re.compile(
    r"\n[ \t]{0,20}\n[*#> ]{0,4}(?:Question|Problem|Human|User|Q)(?:\s\d{1,3})?\s?:\s"
)
"""Where a model that did not end its reply begins another question."""


def digest(text: str) -> str:
    """A key for a text of any length, 32 hex digits."""
    return hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()


class SameKey:
    """Base of a kind in which two answers are equal exactly if their keys are."""

    __slots__ = ()

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether the keys are equal."""
        return a.key == b.key

    def blocks(self, answer: Answer) -> Blocks:
        """No blocks: answers with different keys are never equal."""
        return Blocks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(CheckedOptions):
    """A kind of answer for which the model may be asked to end its reply."""

    extract: Extract = "probe"
    cut: Cut = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormReader(Probed):
    """A kind of answer that is read from explicit forms in the last part of a reply that was not only thought.

    A kind says what an answer is: in a text that holds nothing else (`inside`), and at the start of a clause
    (`begins`). `pattern` is a regular expression of the task's own, tried first. With `extract` "probe", the run asks
    its model to end a reply in which no form is read; `cut` says what becomes of one that a limit cut. See
    `docs/answers.md`.
    """

    pattern: Pattern = ""
    opening: ClassVar[Opening | None] = BOX
    """How a probe opens the form."""
    # Characters at the end of a reply in which most kinds look for a form
    tail: ClassVar[int] = 8_000
    """Characters at the end of a reply in which a form is looked for."""

    def complete(self) -> None:
        if self.pattern:
            compiled(self.pattern)

    def read(self, text: str) -> Answer | None:
        """The answer that the text states in a form; None if there is none, or if two forms contradict each other."""
        segment = final_segment(text)
        if segment is None:
            return None
        another = _ANOTHER.search(segment) if ":" in segment else None
        if another and (answer := self._read(segment[: another.start()])):
            return answer
        return self._read(segment)

    def _read(self, segment: str) -> Answer | None:
        if (
            self.pattern
            and (match := last_matched(self.pattern, segment))
            and (own := self.inside(match, segment))
        ):
            return Answer(own.text, own.key, "pattern")
        text = segment[-self.tail :].rstrip()
        if forms := self.forms(text):
            rule, end = "form", forms[0].end
            answer = self.inside(forms[0].text, text)
            again, later = self._announced(text, end)
            if answer is None or (later is not None and later.key != answer.key):
                return None
            end = again or end
            if displayed := _DISPLAY_END.match(text, end):
                end = displayed.end()
            stop = clause_end(text, end)
            clause = text[end:stop] if displayed else ""
        else:
            rule, (end, answer) = "announced", self._announced(text, 0)
            if answer is None:
                return self._alone(text.strip())
            displayed = _DISPLAYED.match(text, end)
            stop = clause_end(text, displayed.end() if displayed else end)
            clause = text[end:stop]
        if text[stop - 1] in "?\uff1f\u061f":
            return None
        rest = _SILENT.sub("", text[stop:])
        if self.rival("" if adds_nothing(rest) else rest, answer, clause):
            return None
        return Answer(answer.text, answer.key, rule)

    def _announced(self, text: str, start: int) -> tuple[int, Answer | None]:
        """The last announced answer after an offset, and where it begins; None if there is none."""
        for form in announcements(text, start):
            if answer := self.begins(form.text, text):
                return form.end, answer
        return 0, None

    def _alone(self, text: str) -> Answer | None:
        """The answer that is the whole reply, or its last line."""
        line = text.rpartition("\n")[2].strip()
        # A last line in brackets is an aside.
        # Characters of a reply, or of its last line, that may be nothing but an answer
        if len(line) > 200 or (line != text and _BRACKETED.fullmatch(line)):
            return None
        answer = self.alone(line, text) if line else None
        return answer and Answer(answer.text, answer.key, "alone")

    def forms(self, text: str) -> list[Form]:
        """Machine-readable forms, the last first; a kind may have one of its own, such as a code block."""
        return machine_forms(text)

    def inside(self, text: str, reply: str) -> Answer | None:
        """The answer that is all of a text, such as the content of a box; None if it is something else."""
        raise NotImplementedError

    def begins(self, text: str, reply: str) -> Answer | None:
        """The answer with which a clause begins; None if it may continue it."""
        return None

    def alone(self, text: str, reply: str) -> Answer | None:
        """The answer that is all of a line or a reply."""
        return self.inside(text, reply)

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether it is unclear that an answer counts, as more is said: in most kinds, if any word follows.

        `text` is what follows its sentence; `clause` is what follows in an announcement, from the answer on.
        """
        return _ANY_WORD.search(text) is not None


BULLET: Final = re.compile(r"(?:\s|\*\*|__)*+[-+*\u2013\u2014\u2022]\s")
"""The mark of an item of a list: one of several, and no sign of the number that follows."""
_BRACKETED = re.compile(
    r"[*_]*+(?:\((?=.*(?:=|(?<![\\a-zA-Z])[^\W\d_]{2}))[^()]*+(?:\([^()]*+\)[^()]*+)*+\)|\uff08.*\uff09)[.\u3002*_]*+"
)
"""Words or an equation in brackets; neither a label nor a point is one."""
_ANY_WORD = re.compile(r"\w")
_DISPLAYED = re.compile(r"\s*(?:\\\[|\$\$)\s*")
_DISPLAY_END = re.compile(r"\s*+(?:\\\]|\$\$)")
_SILENT = re.compile(r"I hope it is correct\.?|\\end\{[a-z]+\*?\}")
"""What may follow an answer and says nothing: the end of the usual worked examples (2206.14858), and of a formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedKind(SameKey, FormReader):
    """A kind that is read from forms, and in which two answers are equal exactly if their keys are."""


@lru_cache(maxsize=64)
def compiled(pattern: str) -> "regex.Pattern[str]":
    """A task's pattern, with `^` and `$` at every line. Raises UsageError if it is no regular expression."""
    import regex

    try:
        return regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        raise UsageError(
            f"the pattern {pattern!r:.80} is not a regular expression: {error}"
        ) from None


def last_matched(pattern: str, text: str) -> str | None:
    """The first group of the last match, or all of it; None if nothing matches in time."""
    try:
        # Processor time of a task's pattern for one reply; one that needs more matches nothing
        *_, last = compiled(pattern).finditer(text, timeout=1.0)
    except (TimeoutError, ValueError):
        return None
    return str(last[1]) if last.re.groups and last[1] is not None else str(last[0])
