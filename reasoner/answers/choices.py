"""Multiple choice: the options that a question lists, and the one that a form names."""

import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from reasoner.answers.forms import Opening
from reasoner.answers.numbers import FULL_WIDTH
from reasoner.answers.reading import FormReader, KeyedKind
from reasoner.answers.thinking import TAIL
from reasoner.errors import UsageError
from reasoner.types import Answer

Labels = Literal["letters", "numbers"]
_LETTERED = re.compile(
    r"(?:^|[\s(])\(?([A-Z])[).:]\s+(\S[^\n]*?)(?=\n|\Z|[\s(]\(?[A-Z][).:]\s)"
)
_NUMBERED = re.compile(
    r"\s*+\(?([1-9]\d?)(?:\)|(?<=\n\d)\.|(?<=\n\d\d)\.)\s++(\S[^\n]*?)(?=\n|\Z|\s\(?[1-9]\d?\)\s)"
)
_QUESTION_END = re.compile(r"\?(?=\s)|:[^\S\n]*\n")
_SIGNS = str.maketrans(
    FULL_WIDTH | {chr(0x2460 + index): str(index + 1) for index in range(20)}
)
_OPEN = (
    r"(?:[*_$`\s(\[{\"'\u201c\u300c\u300e\u3010]|\\[(\[]|\\[a-z]++\{"
    r"|(?i:the\s|option\s|choice\s|letter\s|answer\s))*+"
)
_CLOSE = r"[*_$`)\]}\"'\u201d\u300d\u300f\u3011]"
_LABEL = {"letters": r"[A-Za-z]", "numbers": r"\d{1,2}"}
_BEFORE_OPTION = rf"(?={_CLOSE}*[).:])(?:{_CLOSE}|[.:])++(?:\s+|(?<=[)\]]))(?!(?:and|or|und|oder|y|o|et|ou)\b|[&/+,])"
# After a label in a sentence: a bracket or a stop, the end, or a word that gives a reason, but no other label.
_AFTER = (
    rf"(?:{_CLOSE}++[.,:;]?|[.,:;](?!\d)|(?=\s*\Z)|(?=\s*\n)|(?=\s(?:because|since|as|for)\b)|(?=[\u3002\uff0c]))"
    r"(?!\s*(?:and|or|&|/)\s)"
)
_MARKUP = re.compile(
    r"\\(?:text\w*|math[a-z]+|boxed)\{([^{}]*+)\}|\\left|\\right|\\[()\[\]!,;: ]|[$*_`]|\s+"
)


@lru_cache(maxsize=256)
def _patterns(labels: Labels) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A label alone or before its option, and a label at the start of a clause."""
    label = _LABEL[labels]
    return (
        re.compile(
            rf"{_OPEN}({label})(?:{_CLOSE}*+[).:,]?{_CLOSE}*+\s*\Z|{_BEFORE_OPTION}(\S.*))",
            re.DOTALL,
        ),
        re.compile(rf"{_OPEN}({label}){_AFTER}"),
    )


@dataclass(frozen=True, slots=True)
class ChoiceSpace(KeyedKind):
    """One of 2 to 26 options, labelled A, B, C ... or 1, 2, 3 ...; its key is the label, also of an option's text.

    A form that names two is no answer.
    """

    name: ClassVar[str] = "choice"
    version: ClassVar[int] = 9

    options: tuple[str, ...]
    labels: Labels = "letters"

    def complete(self) -> None:
        FormReader.complete(self)
        if not 2 <= len(self.options) <= 26:
            raise UsageError(
                f"{len(self.options)} options were given: a choice has 2 to 26"
            )

    @property
    def instruction(self) -> str:
        """Asks for a label."""
        return f"Give the answer as one {self.labels.removesuffix('s')} from {self.known[0]} to {self.known[-1]}."

    @property
    def opening(self) -> Opening | None:  # type: ignore[override]
        """A label in brackets, which is one of those that there are."""
        return Opening(
            "\n\nThe answer is (", "<answer>", "</answer>", (")", "\n"), self.known, 4
        )

    @property
    def known(self) -> tuple[str, ...]:
        """The labels of the options, in order."""
        if self.labels == "numbers":
            return tuple(str(number + 1) for number in range(len(self.options)))
        return tuple(string.ascii_uppercase[: len(self.options)])

    def inside(self, text: str, reply: str) -> Answer | None:
        """A label, alone or before its option, or the text of an option."""
        text = text.translate(_SIGNS).strip()[:400]
        if named := self._named(text):
            return named
        match = _patterns(self.labels)[0].fullmatch(text)
        if match is None or (
            match[2]
            and (other := self._named(match[2]))
            and other.key != match[1].upper()
        ):
            return None
        return self._chosen(match[1])

    def begins(self, text: str, reply: str) -> Answer | None:
        """The label with which it begins, or all of its first line where that names an option."""
        text = text[:400].translate(_SIGNS)
        line = text.partition("\n")[0].rstrip()
        if answer := self.inside(line, reply):
            return answer
        match = _patterns(self.labels)[1].match(text)
        return self._chosen(match[1]) if match else None

    def alone(self, text: str, reply: str) -> Answer | None:
        """A label, with nothing or the text of its option after it; a small letter alone is a word."""
        match = _patterns(self.labels)[0].fullmatch(text.translate(_SIGNS).strip())
        if (
            match
            and match[2]
            and not ((named := self._named(match[2])) and named.key == match[1].upper())
        ):
            return None
        return None if text.strip(" *_.)(") in ("a", "i") else self.inside(text, reply)

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether a sentence ends with another label, sets one in bold or brackets, or does not end."""
        cut = text[-1:].isalpha() and not self._named(text)
        label = _LABEL[self.labels].replace("a-z", "")
        marked = re.finditer(
            rf"(?:\*\*\(?|(?<![\w)])\()({label})(?:\)|[.:]?\*\*)|(?<![\w'])({label})[)*]*\s*(?:[.!\u3002]|$)",
            f"{clause}\n{text}",
            re.MULTILINE,
        )
        return cut or any(
            (other := match[1] or match[2]) in self.known and other != answer.key
            for match in marked
        )

    def _chosen(self, label: str) -> Answer | None:
        return (
            Answer(label.upper(), label.upper())
            if label.upper() in self.known
            else None
        )

    def _named(self, text: str) -> Answer | None:
        """The option that has this text."""
        bare = _bare(text)
        matching = [
            label
            for label, option in zip(self.known, map(_bare, self.options), strict=True)
            if option == bare
        ]
        return Answer(matching[0], matching[0]) if len(matching) == 1 else None


@lru_cache(maxsize=1024)
def _bare(text: str) -> str:
    """A text in small letters without mathematical markup, a final full stop and repeated blanks."""
    plain = _MARKUP.sub(lambda match: match[1] or " ", text)
    return " ".join(plain.split()).strip(" .\"'").casefold()


def choice_in(text: str) -> ChoiceSpace | None:
    """The choice that a question lists: `A) ... B) ...` from A on, or `1) ... 2) ...` right after the question."""
    text = text[:TAIL]
    lettered: list[str] = []
    for match in _LETTERED.finditer(text):
        if match[1] == string.ascii_uppercase[len(lettered) : len(lettered) + 1]:
            lettered.append(match[2].strip())
    if len(lettered) >= 2:
        return ChoiceSpace(tuple(lettered))
    numbered: list[str] = []
    ends = list(_QUESTION_END.finditer(text.rstrip()))
    position = ends[-1].end() - ends[-1][0].endswith("\n") if ends else len(text)
    while (option := _NUMBERED.match(text, position)) and option[1] == str(
        len(numbered) + 1
    ):
        numbered.append(option[2].strip())
        position = option.end()
    whole = 2 <= len(numbered) <= 26 and not text[position:].strip()
    return ChoiceSpace(tuple(numbered), "numbers") if whole else None
