"""Words as answers: short free text, and yes or no."""

import re
import string
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from reasoner.answers.forms import Opening, table
from reasoner.answers.reading import KeyedKind
from reasoner.types import Answer

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_TEXT = 500
"""Maximum characters of a free text; the rest is ignored."""
MAX_NAME = 3
"""Maximum words of a text that nothing announces."""
_WRAPPED = re.compile(r"\\(?:text\w*|mathrm|mathbf)\{([^{}]*+)\}")
_FULL_STOP = re.compile(
    r"(?<![.\s][A-Z])(?<!\A[A-Z])(?<!\bSt)(?<!\b[DMJS]r)(?<!\bM[st])(?<!\bNo)(?<!\bMrs)(?<!\.[A-Za-z])"
    r"[.!](?=[\s*]*\s[^a-z\d]|\**\s*\Z)|[\n\u3002\uff01\u0964]"
)
_QUOTES = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d\u300e\u300f"
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|can|could|will|would|does|do|did|it|this|that|these|i|we|you|they|not|because"
    r"|since|which|who|but|or|unclear|unknown|none)\b"
    r"|[\u662f\u4e0d\u6ca1\u65e0\u6211\u4f60\u60a8\u4ed6\u5979\u5b83\u4eec\u4e86\u5417]"
    r"|[,;:?!(=\uff0c\uff1b\uff1a\uff1f\uff01\uff08]|\s[-\u2013\u2014]\s|(?:[\u3041-\u309f]|\ub2c8\ub2e4|\uc694)\Z",
    re.IGNORECASE,
)
"""Signs of a clause, which a short answer does not have: a verb, a pronoun, a negation, punctuation within it.

Japanese and Korean verbs are at the end, Japanese ones in hiragana.
"""
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
"""Signs of scripts that write words without blanks; two of them count as a word."""
_VERB_AFTER = re.compile(
    r"(?:\u3067\u3059|\u3067\u3057\u305f|\u3067\u3042\u308b|\uc785\ub2c8\ub2e4|\uc774\ub2e4)\Z"
)
"""A verb that Japanese and Korean put after the answer."""


def squad_normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces (Rajpurkar 2016, 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@dataclass(frozen=True, slots=True)
class TextSpace(KeyedKind):
    """A short free text; two are equal if their SQuAD normal forms are."""

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 9
    instruction: ClassVar[str] = "Give the answer in a few words."

    def inside(self, text: str, reply: str) -> Answer | None:
        """All of a text of one paragraph, except one that names an answer and gives none, as in `your answer`."""
        no_answer = "\n\n" in text.strip() or "answer" in text.lower()
        return None if no_answer else _text(" ".join(_WRAPPED.sub(r"\1", text).split()))

    def begins(self, text: str, reply: str) -> Answer | None:
        """The rest of the sentence, where it is a few words without a clause of its own.

        Only of English are the words of a clause known: in other languages more than three words end with a name.
        """
        stop = _FULL_STOP.search(text)
        clause = _VERB_AFTER.sub("", (text[: stop.start()] if stop else text).rstrip())
        last = clause.strip(_QUOTES).rpartition(" ")[2]
        english = any(noun in reply.lower() for noun in table()["english"]["nouns"])
        return _few(
            clause,
            # Maximum words of an announced text; more are a sentence
            8 if english or not last[:1].islower() else MAX_NAME,
        )

    def alone(self, text: str, reply: str) -> Answer | None:
        """A reply of one word, or of at most three if the last begins with a capital letter, as in a name.

        In scripts without capital letters nothing tells a name from a sentence.
        """
        *before, last = text.strip(_QUOTES + ".").split() or [""]
        named = (last[:1].isupper() or last[:1].isdecimal() or not before) and all(
            map(_has_case, text)
        )
        return _few(text, MAX_NAME) if named and text.strip() == reply.strip() else None


def _has_case(sign: str) -> bool:
    """Whether a sign is no letter, or one that is small or capital."""
    return not sign.isalpha() or sign.islower() or sign.isupper()


def _few(text: str, most: int) -> Answer | None:
    """A text of a few words that are no sentence."""
    words = text.strip(_QUOTES + ".")
    number = len(words.split()) + len(_UNSPACED.findall(words)) // 2
    # A quotation may end as a sentence does.
    if (
        not words
        or len(words) > 100
        or number > most
        or _SENTENCE.search(text.strip(" \t\r\n*_."))
    ):
        return None
    return _text(words)


def _text(text: str) -> Answer | None:
    written = text.replace("**", "").strip().strip(_QUOTES)[:MAX_TEXT]
    key = squad_normal(written)
    return Answer(written, key) if key else None


_MARKUP = r"(?:[*_$`\s(\[\"'\u201c\u300c\u300e\u00ab]|\\[(\[]|\\\w++\{)*+"
_AFTER = (
    r"(?=[*_$`)\]}\"'\u201d\u300d\u300f\u00bb]*+(?:\s*\Z|\s*\n|[.,;:!\u3002\uff0c\u3001\uff01\u0964\u060c](?!\s?\d)"
    r"|\s+[\u2013\u2014-]\s|\s(?:because|since|as)\b|\u3067\u3059|\uc785\ub2c8\ub2e4))"
)


@cache
def _truth() -> tuple[re.Pattern[str], dict[str, str]]:
    """The two words in all languages, where a clause ends after them, and what they mean."""
    truth = {"yep": "yes", "yeah": "yes", "nope": "no", "y": "yes", "n": "no"}
    for language in table().values():
        truth |= dict.fromkeys(map(str.casefold, language["yes"]), "yes")
        truth |= dict.fromkeys(map(str.casefold, language["no"]), "no")
    words = "|".join(re.escape(word) for word in sorted(truth, key=len, reverse=True))
    return re.compile(rf"{_MARKUP}({words}){_AFTER}", re.IGNORECASE), truth


@dataclass(frozen=True, slots=True)
class YesNoSpace(KeyedKind):
    """Yes or no; true and false mean the same."""

    name: ClassVar[str] = "yes_no"
    version: ClassVar[int] = 8
    instruction: ClassVar[str] = "Give the answer as yes or no."
    opening: ClassVar[Opening | None] = Opening(
        "\n\nFinal answer (yes or no):",
        "<answer>",
        "</answer>",
        (".", "\n"),
        ("yes", "no"),
        4,
    )

    def inside(self, text: str, reply: str) -> Answer | None:
        """The word with which it begins, where a clause ends after it."""
        words, truth = _truth()
        match = words.match(text[:200])
        return Answer(match[1], truth[match[1].casefold()]) if match else None

    begins = inside

    def alone(self, text: str, reply: str) -> Answer | None:
        """One of the two words."""
        return (
            self.inside(text, reply)
            if len(text) < 30 and len(text.split()) <= 2
            else None
        )

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether a later sentence begins with the other word, is short and ends with it, or does not end."""
        sentences = re.split(r"(?<=[.!?\u3002])\s*|\n+", f"{clause}\n{text}")[-20:]
        endings = [
            word
            for sentence in sentences
            if len(sentence) < 60
            for word in sentence.split()[-1:]
        ]
        others = (self.inside(part, text) for part in (*sentences, *endings))
        return text[-1:].isalpha() or any(
            other is not None and other.key != answer.key for other in others
        )
