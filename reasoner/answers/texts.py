"""Words as answers: short free text, and yes or no."""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, Literal, get_args

from reasoner.answers.corrections import declines
from reasoner.answers.forms import Statement, announcements, hedged
from reasoner.answers.languages import Language, Reply, alternatives, english, following, languages
from reasoner.answers.reading import NOTHING, ByKey, ReadsSegment
from reasoner.errors import require_choice
from reasoner.types import Answer, Blocks

Equal = Literal["exact", "model"]
"""How two answers with different keys are compared: they are different, or a model decides."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_TEXT = 500
"""Maximum characters of a free text; the rest is ignored."""
_TAGS = re.compile(r"</?[a-zA-Z_]{1,20}>")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\{([^{}]*+)\}")
_FULL_STOP = re.compile(
    r"(?<![.\s][A-Z])(?<!\A[A-Z])(?<!\bSt)(?<!\b[DMJS]r)(?<!\bM[st])(?<!\bNo)(?<!\bFt)(?<!\bvs)"
    r"(?<!\betc)(?<!\bMrs)(?<!\bInc)"
    r"(?<!\bLtd)(?<!\bRev)(?<!\bCol)(?<!\bGen)(?<!\bProf)(?<!\.[A-Za-z])[.!?](?=[\s*]*\s[^a-z\d]|\**\s*\Z)"
    r"|[\u3002\uff01\u0964\uff0e\u06d4]"
)
_REASON = re.compile(
    r"\s*[,;]?\s(?:because|since|as (?:it|he|she|they|this)|which|who|given that|due to|porque|car"
    r"|parce que|weil|da es|karena|\u043f\u043e\u0442\u043e\u043c\u0443 \u0447\u0442\u043e)\b"
    r"|\s\((?:not|i\.e|which|or|also|rather)\b|\s+[\u2014\u2013]\s|\s-\s|,\s(?:but|so|and not|not|as|with|where)\s",
    re.IGNORECASE,
)
_BOLD_FIRST = re.compile(r"\s*(?:the |an? )?\*\*([^*\n]+)\*\*", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
# `It was Marie Curie who ...`, and a subject of a few words whose name ends the sentence.
_CLEFT = re.compile(
    r"It\s(?:is|was)\s([^.\n]{1,60}?),?\s(?:who|that|which)\s[^\n]*"
    r"|The\s(?:(?!\b(?:is|was|are|were|not)\b)[^.\n,]){1,80}\s(?:is|was|are|were)\s((?:the\s)?[A-Z][\w'\u2019-]*"
    r"(?:\s[A-Z][\w'\u2019-]*){0,4})\.?\s*\Z"
)
# A name that ends the first clause: `The capital is Paris, on the Seine.`, `It was written by Jane Austen.`
_NAME = r"((?:the\s)?[A-Z][\w'\u2019.-]*(?:\s(?:(?:of|the|de|van|von|da)\s)?[A-Z][\w'\u2019-]*){0,4})"
_NAMED = re.compile(
    rf"(?:The|\"[^\"\n]+\"|[A-Z])[^.\n]{{1,120}}?\s(?:is|was|are|were|\u00e9|es|est|ist|war|\u00e8|era)\s(?:actually\s)?(?:\w+(?:ed|en|wn|lt|nt|ght|ung|ound)\sby\s)?{_NAME}"
    r"(?=\s?[^\w\s,.;(]{1,4}|\s?[,.;(]|\Z)"
    r"|[^\n\u3002]{1,60}\u306f([^\n\u3002\u3001]{1,30})\u3067\u3059\u3002"
)
_QUOTES = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d\u300e\u300f"
_HEADING = re.compile(
    r"(?:step|part|explanation|reasoning|analysis|background|context|summary|conclusion|notes?|key|overview"
    r"|introduction"
    r"|solution|question|details?|why|how|what|answer|final answer|confidence|sources?|evidence|given"
    r"|example)s?\b[^.]{0,40}\Z"
    r"|.*[:\uff1a]\s*\Z",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|can|could|will|would|does|do|did|it|this|that|these|i|we|you|they)\b",
    re.IGNORECASE,
)
MAX_ALONE = 8
"""Maximum words of a text on a line of its own; more are a sentence."""


def squad_normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces (Rajpurkar 2016, 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_em(prediction: str, golds: Sequence[str]) -> bool:
    """Whether the normal form equals that of a reference answer."""
    return squad_normal(prediction) in map(squad_normal, golds)


@dataclass(frozen=True, slots=True)
class TextSpace(ByKey):
    """A short free text; two are equal if their SQuAD normal forms are.

    With `equal` "model", the run asks its model about two answers whose normal forms differ, unless both are numbers.
    """

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 5
    instruction: ClassVar[str] = "Give the answer in a few words."

    equal: Equal = field(default="exact", kw_only=True)

    def __post_init__(self) -> None:
        ReadsSegment.__post_init__(self)
        require_choice(self.equal, "equal", get_args(Equal))

    @property
    def compares_by_model(self) -> bool:
        """Whether a model is asked about answers whose normal forms differ."""
        return self.equal == "model"

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether the normal forms are equal; None where a model is to decide."""
        if a.key == b.key or not self.compares_by_model:
            return a.key == b.key
        return False if a.key.isdecimal() and b.key.isdecimal() and int(a.key) != int(b.key) else None

    def blocks(self, answer: Answer) -> Blocks:
        """One block for all where a model compares them, else none."""
        return Blocks(("",)) if self.compares_by_model else Blocks()

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """All of the text."""
        return _answer(_WRAPPED.sub(r"\1", text) if "\\" in text else text)

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The first sentence up to a reason."""
        if bold := _BOLD_FIRST.match(text):
            return _answer(bold[1])
        clause = text.partition("\n")[0]
        if "**" in clause and clause.count("**") % 2:
            clause = clause.partition("**")[0]
        if stop := _FULL_STOP.search(clause):
            clause = clause[: stop.start()]
        if reason := _REASON.search(clause):
            clause = clause[: reason.start()] or clause
        # A label before punctuation alone announces that there is no answer; the label is none.
        return _answer(reply.without_ending(clause)) or (NOTHING if clause.strip() else None)

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """A few words that are neither a sentence nor a heading."""
        bold = _BOLD.findall(text)
        if len(bold) == 1 and len(bold[0].split()) <= MAX_ALONE and not _HEADING.match(bold[0]):
            return _answer(bold[0])
        plain = text.strip(_QUOTES)
        spaced = len(plain.split()) <= MAX_ALONE and len(plain) <= 100
        if not spaced or _HEADING.match(plain) or _SENTENCE.search(plain) or "=" in plain or plain.endswith("?"):
            return None
        return _answer(reply.without_ending(plain)) if plain[:1].isupper() or not plain[:1].isascii() else None

    def last(self, text: str, reply: Reply) -> Answer | None:
        """What the last line sets in bold or puts first or last, as in `It was X who ...`; else all of it."""
        if declines(text):
            return None
        line = text.strip().rpartition("\n")[2]
        bold = _BOLD.findall(line)
        if len(bold) == 1 and len(bold[0].split()) <= MAX_ALONE:
            return _answer(bold[0])
        if cleft := _CLEFT.match(line):
            return _answer(cleft[1] or cleft[2])
        if named := _NAMED.match(line):
            return _answer(next(filter(None, named.groups())))
        return _answer(line)


def _answer(text: str) -> Answer | None:
    written = _TAGS.sub("", text).replace("**", "").strip().strip(_QUOTES)[:MAX_TEXT]
    key = squad_normal(written)
    return Answer(written, key) if key else None


_CONTINUES = (
    "because|since|as|and|but|so|if|when|for|in|the|it|they|he|she|we|you|i|this|that|these|those|there|not|at all"
)
# `no evidence`, `the true cause`, `No. 5`, `yes or no`, `yes and no`, `not true` and `no-one` are not answers.
_YES_NO = (
    r"(?i:(?<![^\W_])(?<!\bor\s)(?<!\byes\sand\s)(?<!\w/)(?<!\bnot\s)(?<!n['\u2019]t\s)(?<!\bnever\s)"
    rf"(yes|yep|yeah|yup|nope|nah|(?:no(?!\.\s?\d)|true|false)(?![^\S\n]++(?!(?:{_CONTINUES})\b)\w))"
    r"(?![^\W_]|['\u2019/-]\w|\sor\s|\sand\s(?:no|yes)\b))"
)
_YES_NO_ANY = re.compile(_YES_NO)
_MARKUP = r"(?:[*_$`\s(\[\"'\u201c\u2018\u300c\u300e\u00ab]|\\[(\[]|\\\w++\{)*+"
_SURE_WORDS = (
    "absolutely|definitely|certainly|clearly|of course|surely|obviously|most likely|probably|likely|indeed|so"
    "|therefore|thus"
    "|actually|, ?therefore"
)
_SURE = rf"(?i:(?:{_SURE_WORDS}),?\s+)"
_BEGINS = re.compile(rf"{_MARKUP}(?:{_SURE})?{_YES_NO}")
_JUDGED = re.compile(
    rf"{_MARKUP}(?i:(?:(?:that|this|it)(?:\s+(?:is|was)|['\u2019]s)\s+(?:{_SURE})?)?"
    r"(correct|incorrect|not true|not correct|not right|untrue|wrong|(?<=\s)(?:true|false|right))\b)"
    rf"(?!\s+\w+\s+(?:is|are)\b)(?![^\S\n]++(?!(?:{_CONTINUES})\b)\w)"
)
# `Absolutely not.`, `Not at all.`, `Of course!` are answers where nothing follows in their sentence.
_EMPHATIC = re.compile(
    rf"{_MARKUP}(?i:(?:absolutely|definitely|certainly|surely|of course|exactly|indeed|sure|right|i\s+(?:think"
    rf"|believe)\s+so)(\s+not)?"
    r"|(not\s+(?:at\s+all|really|so)|i\s+(?:do\s+not|don['\u2019]t)\s+(?:think|believe)\s+so|(?:that|this|it)(?:\s+"
    r"(?:is|was)n['\u2019]t|['\u2019]s\s+not|\s+is\s+not)\s+(?:true|correct|right|so|the\s+case)))"
    r"(?=[*_`]*(?:[.,!;:\n\u2014\u2013]|\s+[\u2014\u2013-]|\Z))"
)
_LETTER = re.compile(r"\W{0,4}([YNyn])\W{0,4}(?:\n|\Z)")
_FINALLY = re.compile(
    rf"(?:\b(?:so|hence|thus|therefore|is|be|say|then|short|not),?"
    rf"|[:,\u2192\u21d2\u2014\u2013-])\s+[*\"'\u201c]*{_YES_NO}[\s.!*\"'\u201d]*\Z"
)
_LAST_SENTENCE = re.compile(r"[.!?]\s+(?:So|Therefore|Thus|Hence|Then),?\s+([^.!?]{2,120}[.!?]?)\s*\Z")
_TRUTH = dict.fromkeys(("yes", "yep", "yeah", "yup", "true", "correct", "right", "y"), "yes") | dict.fromkeys(
    ("no", "nope", "nah", "false", "incorrect", "wrong", "not true", "not right", "not correct", "untrue", "n"), "no"
)


@cache
def _foreign() -> tuple[re.Pattern[str], dict[str, str]]:
    """The two words in the other languages, where nothing but punctuation or a verb follows; and what they mean."""
    truth: dict[str, str] = {}
    for language in languages()[1:]:
        truth |= {word.casefold(): "yes" for word in language.yes} | {word.casefold(): "no" for word in language.no}
    truth = {word: meaning for word, meaning in truth.items() if word not in ("yes", "no", "true", "false")}
    endings = "|".join(re.escape(ending) for language in languages() for ending in language.endings)
    words = "|".join(re.escape(word) for word in sorted(truth, key=len, reverse=True))
    return re.compile(
        rf"{_MARKUP}({words})(?=\W*(?:\Z|\n)"
        rf"|[.,;:!*\"'\u201d\u2019\u300d\u300f\u00bb\u3002\uff0c\u3001\uff01\u0964\u060c)\]}}]|\s*(?:{endings}))",
        re.IGNORECASE,
    ), truth


@cache
def _statement(language: Language) -> re.Pattern[str]:
    """`The statement is`, and `The claim that whales are fish is`, before a word that says whether it is true."""
    words = following([*language.yes, *language.no, *(_TRUTH if language is english() else ())])
    return re.compile(
        rf"(?:{alternatives(language.statement)})[^.\n\u3002]{{0,80}}?(?<![a-zA-Z])"
        rf"(?:{following(language.verbs)}){'?' if language.verb_final else ''}\s*+"
        rf"(?:(?:{_SURE_WORDS}),?\s+)?[*_]*+(?={words})",
        re.IGNORECASE,
    )


@dataclass(frozen=True, slots=True)
class YesNoSpace(ByKey):
    """Yes or no; true and false mean the same."""

    name: ClassVar[str] = "yes_no"
    version: ClassVar[int] = 5
    instruction: ClassVar[str] = "Give the answer as yes or no."

    def announced(self, reply: Reply) -> Iterator[Statement]:
        """The announcements of the language, then sentences such as `the statement is true`."""
        yield from announcements(reply)
        for language in reply.speaking("statement"):
            for match in reversed(list(_statement(language).finditer(reply.text))[-20:]):
                if not hedged(reply.text, match.start()):
                    yield Statement(reply.text[match.end() : match.end() + 80], match.end())

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """The word with which it begins, or the first of the two in it."""
        if answer := self.begins(text, reply):
            return answer
        match = _YES_NO_ANY.search(text)
        return _truth(match[1]) if match else None

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The word with which it begins."""
        if match := _BEGINS.match(text) or _JUDGED.match(text):
            return _truth(match[1])
        if letter := _LETTER.match(text):
            return _truth(letter[1])
        if match := _EMPHATIC.match(text):
            return _truth("no" if match[1] or match[2] else "yes")
        words, truth = _foreign()
        match = words.match(text)
        return Answer(match[1], truth[match[1].casefold()]) if match else None

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """One of the two words."""
        return self.begins(text, reply) if len(text) < 30 and len(text.split()) <= 2 else None

    def last(self, text: str, reply: Reply) -> Answer | None:
        """The word that the last line begins with, else the first line; else the word if the text holds only one."""
        stripped = text.strip()
        last = stripped.rpartition("\n")[2]
        for line in (last, stripped.partition("\n")[0], *_LAST_SENTENCE.findall(last)):
            if answer := self.begins(line[:200], reply):
                return answer
        if match := _FINALLY.search(stripped[-60:]):
            return _truth(match[1])
        words = [match[1] for match in _YES_NO_ANY.finditer(text)]
        return _truth(words[-1]) if len({_TRUTH[word.lower()] for word in words}) == 1 else None


def _truth(word: str) -> Answer:
    return Answer(word, _TRUTH[word.lower()])
