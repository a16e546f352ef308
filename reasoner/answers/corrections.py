"""What follows an answer in a reply: corrections, which replace it, and remarks, which do not."""

import re
from functools import cache
from typing import NamedTuple

from reasoner.answers.forms import ASKED
from reasoner.answers.languages import Reply, following, languages


@cache
def _replaces() -> re.Pattern[str]:
    """What may stand between a word of correction and the new answer."""
    verbs = following(verb for language in languages()[1:] for verb in language.verbs)
    return re.compile(
        r"[\s,.:;!\u2014\u2013\u3002\uff0c\uff1a\u3001-]*+"
        r"(?:(?:no(?=[,:])|sorry|actually|wait|hmm|i mean|i meant|i made a mistake|that'?s wrong|that is wrong"
        r"|that is not right"
        r"|that'?s not right|rather|in fact|correction|let me correct that)[\s,.:;!\u2014\u2013-]++)*+"
        r"(?:(?:that|it|this|the (?:final |correct |right )?(?:answer|result|value))"
        r"(?:'s|\u2019s| is| are| was| should be| should have been| must be| would be| has to be| equals)\s+)?"
        rf"(?:(?:eso|esto|isso|isto|das|es|ce|c'|\u044d\u0442\u043e|itu|\u0111\u00f3|la|le|el|o|a)\s*)?(?:(?:{verbs})\s*)?"
        r"(?:make (?:it|that)\s+)?(?:actually |really |in fact |rather |to )*[*_\s:\uff1a]*+",
        re.IGNORECASE,
    )


_WITHDRAWS = re.compile(
    r"(?:that|this|it)(?:'s| is| was| isn't| is not)? (?:wrong|incorrect|not right|not correct|mistaken)"
    r"|n't right\b"
    r"|\bi (?:made|see) (?:a|an|my) (?:\w+ )?(?:mistake|error)|\b(?:re-?calculate|re-?compute|re-?do"
    r"|start over|try again)\b"
    r"|scratch that|\bi (?:forgot|missed|overlooked|miscounted|misread)\b|\bnot (?:right|correct)\b",
    re.IGNORECASE,
)
_CLAIM_END = re.compile(
    r"[^\n]{0,80}?(?:[.!;:\u3002]+(?=\s|\Z)|\n|\Z|[\u3002\uff0c,]|\s(?:because|since|as|not)\b)", re.IGNORECASE
)
MIN_CORRECTION = 4
"""Characters of the shortest answer with a correction after it, such as `1不，2。`."""
MIN_WORDS = 2
MAX_CORRECTIONS = 8


class Corrections(NamedTuple):
    """What follows a statement and may replace its answer."""

    claims: tuple[str, ...]
    """Short claims right after a word of correction, such as `43` in `wait, that is 43`; the last one first."""
    rest: str
    """All text after the first word of correction."""
    withdrawn: str
    """The text after a sentence that takes the answer back without giving another; empty if there is none."""


def corrections(reply: Reply, start: int) -> Corrections | None:
    """The corrections after an offset; None if there are none."""
    after = reply.text[start:]
    if len(after) < MIN_CORRECTION or (after.isascii() and len(after.split(maxsplit=1)) < MIN_WORDS):
        return None
    spoken = (Reply(after) if start else reply).speaking("correction")
    if after.isascii():
        spoken = tuple(language for language in spoken if language in reply.known_languages)
    marks = sorted(match.end() for language in spoken for match in language.corrections.finditer(after))
    if not marks:
        return None
    claims = []
    for mark in reversed(marks[-MAX_CORRECTIONS:]):
        replaces = _replaces().match(after, mark)
        # `Actually, no` may replace a yes, and in `actually, no, 43` the number does.
        for begin in dict.fromkeys((replaces.end() if replaces else mark, mark)):
            end = _CLAIM_END.match(after, begin)
            if end and (claim := end[0].strip(" ,.:;\n")) and not ASKED.match(after, begin):
                claims.append(claim)
    rest = after[marks[0] :]
    withdrawal = _WITHDRAWS.search(rest)
    return Corrections(tuple(claims), rest, rest[withdrawal.end() :] if withdrawal else "")


_REMARK_LINE = re.compile(
    r"^\W*(?:(?:confidence|certainty|probability|difficulty|time|steps|tokens|score)\b[^\n]{0,80}"
    r"|(?:i am|i'm|i feel)\s[^\n]{0,60}(?:confiden|certain|sure)[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_REMARK = re.compile(
    r"\(?\b(?:confidence|certainty|confident|certain|sure)\b[^.\n]{0,12}\d[\d.]*\s?%?\)?", re.IGNORECASE
)
_PERCENT_SURE = re.compile(r"\d[\d.]*\s?%\s(?:confiden|certain|sure)\w*", re.IGNORECASE)
_CHECK = re.compile(
    r"^[\W_]*(?:(?:to|let'?s|let me|we can|just to|quick)\s+){0,2}(?:double[- ]check|sanity check|check(?:ing)?"
    r"|verification|verify|verifying|proof|note|remark|p\.?s\.?"
    r"|explanation)\b[^\n]{0,20}?(?::|\*\*|$)|^[ \t]*\(?(?:note|check|e\.g\.|i\.e\.)\b",
    re.IGNORECASE | re.MULTILINE,
)


_CONCLUDES = re.compile(r"\n\W{0,6}(?:so|therefore|thus|hence|finally|consequently|in conclusion)\b", re.IGNORECASE)
_DECLINES = re.compile(
    r"\b(?:could|can|would) you (?:please |kindly )?(?:provide|clarify|share|specify|confirm)\b[^.\n]*\?\W*\Z"
    r"|\bi(?:'m| am| was)? (?:do not|don['\u2019]t|cannot|can['\u2019]t|could not|couldn['\u2019]t"
    r"|(?:was )?not able to|unable to)"
    r" (?:have (?:reliable|enough|sufficient|any)|determine|answer|find|want to guess|know|obtain|verify)\b"
    r"|\b(?:not enough|insufficient|n['\u2019]t (?:give|provide|contain|have|include) enough) information\b"
    r"|\b(?:cannot|can['\u2019]t|could not) be determined\b"
    r"|\bwithout a final (?:answer|value|result)\b",
    re.IGNORECASE,
)
_DECLINED = 400
"""Characters at the end of a reply in which it may decline to answer."""


def is_remark(line: str) -> bool:
    """Whether a line begins as a check, a note or a confidence does."""
    return bool(_CHECK.match(line) or _REMARK_LINE.match(line))


def declines(text: str) -> bool:
    """Whether a reply ends without an answer because the model says that it has none."""
    return _DECLINES.search(text.strip()[-_DECLINED:]) is not None


@cache
def _offer() -> re.Pattern[str]:
    """What a paragraph begins with that offers more."""
    offers = "|".join(re.escape(phrase) for language in languages() for phrase in language.offer)
    return re.compile(rf"\W*(?:{offers})", re.IGNORECASE)


def without_remarks(text: str) -> str:
    """The text without what follows an answer and is none: offers of more, confidences, checks, notes."""
    before, _, last = text.rstrip().rpartition("\n")
    if before.strip() and _offer().match(last):
        text = before
    lowered = text.lower()
    if any(
        word in lowered
        for word in ("confiden", "certain", "sure", "probability", "difficulty", "time", "steps", "tokens", "score")
    ):
        text = _PERCENT_SURE.sub(" ", _REMARK.sub(" ", _REMARK_LINE.sub("", text)))
    if any(word in lowered for word in ("check", "verif", "proof", "note", "remark", "p.s", "ps", "explanation")) and (
        check := _CHECK.search(text)
    ):
        before = text[: check.start()]
        if before.strip() and not _CONCLUDES.search(text, check.end()):
            return before
    return text
