"""Words as answers: short free text, and yes or no."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers.reading import CUE, ByKey, boxed, last_match
from reasoner.types import Answer

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_TEXT = 500
"""Maximum characters of a free text; the rest is ignored."""
_TEXT_CUED = re.compile(rf"{CUE}(?=([^\n]{{1,{MAX_TEXT}}}))")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\{([^{}]*+)\}")


def squad_normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces (Rajpurkar 2016, 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_em(prediction: str, golds: Sequence[str]) -> bool:
    """Whether the normal form equals that of a reference answer."""
    return squad_normal(prediction) in map(squad_normal, golds)


@dataclass(frozen=True, slots=True)
class TextSpace(ByKey):
    """A short free text; two are equal if their SQuAD normal forms are."""

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the answer in a few words."

    def read_segment(self, segment: str) -> Answer | None:
        """The last box, else the text after the last answer cue, else the last line that is not empty."""
        if box := boxed(segment):
            rule, written = "boxed", _WRAPPED.sub(r"\1", box)
        elif cued := last_match(_TEXT_CUED, segment):
            rule, written = "cue", cued[1]
        else:
            rule, written = "last", segment.strip().rpartition("\n")[2]
        written = written.replace("**", "").strip()[:MAX_TEXT]
        key = squad_normal(written)
        return Answer(written, key, rule) if key else None


_CONTINUES = "because|since|as|and|but|so|if|when|for|in|the|it|they|he|she|we|you|i|this|that|these|those|there|not"
# `no evidence`, `the true cause`, `No. 5`, `yes or no`, `not true` and `no-one` are not answers.
_YES_NO = (
    r"(?i:(?<![^\W_])(?<!\bor\s)(?<!\w/)(?<!\bnot\s)(?<!n['\u2019]t\s)(?<!\bnever\s)"
    rf"(yes|(?:no(?!\.\s?\d)|true|false)(?![^\S\n]++(?!(?:{_CONTINUES})\b)\w))"
    r"(?![^\W_]|['\u2019/-]\w|\sor\s))"
)
_YES_NO_ANY = re.compile(_YES_NO)
_YES_NO_CUED = re.compile(rf"{CUE}(?:[*$`\s(\"']|\\[(\[]|\\\w++\{{)*+{_YES_NO}")
_YES_NO_FIRST = re.compile(rf"\W{{0,8}}{_YES_NO}")


@dataclass(frozen=True, slots=True)
class YesNoSpace(ByKey):
    """Yes or no; true and false mean the same."""

    name: ClassVar[str] = "yes_no"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the answer as yes or no."

    def read_segment(self, segment: str) -> Answer | None:
        """The word after an answer cue, boxed, or first on the last line; else the word if the text holds only one."""
        words = list(_YES_NO_ANY.finditer(segment))
        candidates = (
            ("cue", last_match(_YES_NO_CUED, segment)),
            ("boxed", _YES_NO_ANY.search(box) if (box := boxed(segment)) else None),
            ("first", _YES_NO_FIRST.match(segment.strip().rpartition("\n")[2])),
            ("text", words[-1] if len({_yes_no_key(match) for match in words}) == 1 else None),
        )
        for rule, match in candidates:
            if match:
                return Answer(match[1], _yes_no_key(match), rule)
        return None


def _yes_no_key(match: re.Match[str]) -> str:
    return {"true": "yes", "false": "no"}.get(word := match[1].lower(), word)
