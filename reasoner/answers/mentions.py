"""Options that a reply mentions in running text, and what it says of each: that it is chosen, right or rejected."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from reasoner.answers.forms import hedged
from reasoner.answers.languages import Language, Reply, languages

MAX_MENTIONS = 60
"""Labels that are looked at, from the end."""
MAX_OCCURRENCES = 20
"""Places of one option's text that are looked at, from the start."""
WINDOW = 60
"""Characters before a mention in which a phrase ends that chooses or rejects it."""
MAX_FILLERS = 4
"""Words such as `the` and `option` between a phrase and the mention."""
CLAUSE = 90
"""Characters after a mention in which it is judged."""

Verdict = Literal["chosen", "right", "rejected", ""]


class Mention(NamedTuple):
    """A label, or the text of the option with that label, at an offset; `end` is behind it."""

    label: str
    start: int
    end: int
    article: bool = False
    """Whether it may be a word of the sentence, as in `A cat`."""


class Judged(NamedTuple):
    """A mention, what is said of it, and the offset at which that begins."""

    mention: Mention
    verdict: Verdict
    start: int


_MARKS = " \t\r\n*$`_([{\"'\u201c\u2018\u300c\u300e\uff08\u3010"
_CLOSING = re.compile(r"[)*\]}.:\"\u201d\u2019_`\uff09\u3011]*")
_ASIDE = re.compile(r"\s*\([^()\n]{1,80}\)")
_CLAUSE_END = re.compile(r"[\n.;:\u3002]")
_JOINT = re.compile(
    r"[\s)*\]\"']*(?:,\s*(?:and|or|nor)?|/|&|\+|\u3001|\uff0c|\b(?:and|or|nor|und|oder|y|o|et|ou|e|dan|\u0438)\b"
    r"|[\u548c\u6216\u4e0e])"
    r"\s*(?:(?:the|option|options|choice)\s+)*[(*\[\"']*"
)
_INSTEAD = re.compile(
    r"[)*\]\"']*\s*(?:(?:,[^,.\n]{1,40})?,?\s*but(?:\s+rather)?|[,;.:\u2014\u2013-]+\s*(?:but|rather|it'?s"
    r"|it is))\s+[(*\[]*"
)
_ADVERB = r"(?:both|all|also|clearly|obviously|simply|just|therefore|thus|likewise|however,?|be|been)\s+"
_VERB = r"(?:are|is|was|were|would|could|can|must|may|might|should|seems?|appears?|looks?|does|do|did|has|have)"
_WRONG = re.compile(
    rf"[\s,]*(?:[\u2013\u2014:-]\s*)?(?:{_ADVERB})*+(?:{_VERB}(?:n['\u2019]t\b|\s+(?:{_ADVERB})*+(?:not|never"
    rf"|no\s+longer)\b)|cannot\b|can['\u2019]t\b"
    rf"|(?:{_VERB}\s+)?(?:{_ADVERB})*+(?:wrong|incorrect\w*|false|untrue|invalid|impossible|unlikely|eliminated"
    rf"|excluded|ruled\s+out|out|too"
    r"|irrelevant|unrelated|fails?|contradicts?|violates?|premature|unsafe|inappropriate|contraindicated|less)\b"
    r"|[\u2717\u2718\u274c\u2716])"
)
_FINAL_VERB = re.compile(r"\s(?:is|are|was|were|be|remains|becomes)\s+(?:(?:the|an?)\s+)?[*(\"'\u201c]*\Z")
_FILLERS = (
    "the",
    "a",
    "an",
    "la",
    "el",
    "die",
    "der",
    "das",
    "il",
    "le",
    "both",
    "either",
    "options",
    "choices",
    "answers",
    "with",
    "for",
)
_COMMANDS = ("\\text", "\\textbf", "\\mathbf", "\\mathrm", "\\textit")


Field = Literal["choose", "reject", "option", "filler", "correct", "wrong"]


@cache
def _phrases(field: Field) -> tuple[str, ...]:
    """The phrases of all languages, longest first."""
    if field == "filler":
        return tuple(sorted({*_phrases("option"), *_FILLERS, *_COMMANDS}, key=len, reverse=True))
    words = {word.lower() for language in languages() for word in getattr(language, field)}
    return tuple(sorted(words, key=len, reverse=True))


@cache
def _by_sign(field: Field, index: Literal[0, -1]) -> dict[str, tuple[str, ...]]:
    """The phrases by their first or last character, so that few are tried."""
    signs = {phrase[index] for phrase in _phrases(field)}
    return {sign: tuple(phrase for phrase in _phrases(field) if phrase[index] == sign) for sign in signs}


@cache
def _spoken(spoken: tuple[Language, ...]) -> tuple[str, ...]:
    return tuple(word for language in spoken for word in language.correct)


def _whole(text: str, phrase: str, start: int) -> bool:
    """Whether a phrase at an offset does not begin within a word."""
    return start == 0 or not (phrase[0].isalnum() and phrase[0] < "\u0900" and text[start - 1].isalnum())


def _ending(text: str, field: Field) -> str | None:
    """The longest phrase that ends a text, as whole words."""
    phrases = _by_sign(field, -1).get(text[-1:], ())
    return next((one for one in phrases if text.endswith(one) and _whole(text, one, len(text) - len(one))), None)


def _before(lowered: str, start: int, field: Field) -> int | None:
    """Where a phrase begins after which nothing but marks and words such as `option` lead to an offset; else None."""
    base = max(0, start - WINDOW)
    window = lowered[base:start]
    for _ in range(MAX_FILLERS):
        window = window.rstrip(_MARKS)
        if phrase := _ending(window, field):
            return base + len(window) - len(phrase)
        filler = _ending(window, "filler")
        shorter = window[: -len(filler)] if filler else window.rstrip(",:\uff0c\uff1a\u2192>-")
        if shorter == window:
            return None
        window = shorter
    return None


def _starts(text: str, field: Field) -> bool:
    """Whether a text begins with a phrase, as whole words."""
    return any(
        text.startswith(phrase) and not (phrase[-1].isascii() and text[len(phrase) : len(phrase) + 1].isalpha())
        for phrase in _by_sign(field, 0).get(text[:1], ())
    )


def _after(lowered: str, mention: Mention, limit: int, spoken: tuple[Language, ...]) -> Verdict:
    """What the clause after a mention says of it; `limit` is where the next one begins."""
    closing = _CLOSING.match(lowered, mention.end)
    position = closing.end() if closing else mention.end
    if aside := _ASIDE.match(lowered, position):
        position = aside.end()
    clause = lowered[position : min(position + CLAUSE, limit)]
    if _WRONG.match(clause) or _starts(clause.lstrip(" ,"), "wrong"):
        return "rejected"
    if end := _CLAUSE_END.search(clause):
        clause = clause[: end.start()]
    if _starts(clause.lstrip(" ,"), "correct"):
        return "right"
    if position > mention.end and clause[:1] == " ":
        # `B) the text of the option is correct`
        for phrase in _spoken(spoken):
            index = clause.find(phrase)
            if index > 0 and not clause[index - 1].isalnum() and not clause[index + len(phrase) :][:1].isalpha():
                return "rejected" if _WRONG.search(clause, 0, index) else "right"
    return ""


def judged(reply: Reply, mentions: Sequence[Mention]) -> list[Judged]:
    """What a reply says of each mention, in order.

    A mention after a phrase such as `I choose` is chosen, one before `is correct` is right; one after `not`, `unlike`
    or before `is wrong` is rejected, and so are those that are joined to it.
    """
    lowered, spoken = reply.lowered, reply.known_languages
    verdicts: list[Judged] = []
    for index, mention in enumerate(mentions):
        limit = mentions[index + 1].start if index + 1 < len(mentions) else len(lowered)
        after = _after(lowered, mention, limit, spoken)
        if after == "rejected":
            verdicts.append(Judged(mention, after, mention.end))
            continue
        rejected = _before(lowered, mention.start, "reject")
        chosen = _before(lowered, mention.start, "choose")
        if chosen is not None and (
            (mention.article and not _named_option(lowered, mention.start))
            or (index + 1 < len(mentions) and _begins_a_list(lowered, chosen, mention, mentions[index + 1]))
        ):
            chosen = None
        if rejected is not None and (chosen is None or rejected <= chosen):
            verdicts.append(Judged(mention, "rejected", rejected))
        elif after == "right" and not hedged(reply.text, mention.start):
            verdicts.append(Judged(mention, "right", mention.start))
        elif chosen is not None and not hedged(reply.text, chosen):
            verdicts.append(Judged(mention, "chosen", chosen))
        else:
            verdicts.append(Judged(mention, "", mention.start))
    return _extended(lowered, verdicts)


def _named_option(lowered: str, start: int) -> bool:
    """Whether a word such as `option` is right before an offset."""
    return _ending(lowered[max(0, start - WINDOW) : start].rstrip(_MARKS), "option") is not None


def _begins_a_list(lowered: str, phrase: int, mention: Mention, following: Mention) -> bool:
    """Whether a phrase such as `option:` introduces a list of options, one per line."""
    line = lowered.rfind("\n", mention.end, following.start)
    return (
        "\n" in lowered[phrase : mention.start]
        and line >= 0
        and not lowered[line : following.start].strip(_MARKS + "-.")
    )


def sole_subject(reply: Reply, verdicts: Sequence[Judged]) -> str | None:
    """The only label that is not rejected, if it begins a clause or follows a word such as `option`; else None."""
    left = [verdict.mention for verdict in verdicts if verdict.verdict != "rejected"]
    if len({mention.label for mention in left}) != 1:
        return None
    for mention in left:
        if _named_option(reply.lowered, mention.start) or (
            not mention.article
            and mention.label.isalpha()
            and _CLAUSE_BEFORE.search(reply.text, max(0, mention.start - 12), mention.start)
            and _VERB_AFTER.match(reply.text, mention.end)
        ):
            return mention.label
    return None


def _extended(lowered: str, verdicts: list[Judged]) -> list[Judged]:
    """The same, where a rejection extends to the mentions joined to it, and `not A but B` and `B, not A` choose B."""
    for index in range(1, len(verdicts)):
        before, this = verdicts[index - 1], verdicts[index]
        if before.verdict == "rejected" and before.start < before.mention.start and not this.verdict:
            if joined(lowered, before.mention, this.mention):
                verdicts[index] = Judged(this.mention, "rejected", before.start)
            elif _INSTEAD.fullmatch(lowered, before.mention.end, this.mention.start):
                verdicts[index] = Judged(this.mention, "chosen", this.mention.start)
        contrast = this.verdict == "rejected" and this.start < this.mention.start
        if contrast and not before.verdict and not lowered[before.mention.end : this.start].strip(" ,)*\"'"):
            verdicts[index - 1] = Judged(before.mention, "chosen", before.mention.start)
    for index in range(len(verdicts) - 1, 0, -1):
        before, this = verdicts[index - 1], verdicts[index]
        after = this.verdict == "rejected" and this.start == this.mention.end
        if after and not before.verdict and joined(lowered, before.mention, this.mention):
            verdicts[index - 1] = Judged(before.mention, "rejected", before.mention.end)
    return verdicts


def joined(text: str, first: Mention, second: Mention) -> bool:
    """Whether nothing but a word such as `or` is between two mentions."""
    return _JOINT.fullmatch(text, first.end, second.start) is not None


def together(reply: Reply, verdicts: Sequence[Judged]) -> list[str]:
    """The labels of the first mention and of those that are joined to it and not rejected."""
    labels = [verdicts[0].mention.label]
    for before, this in itertools.pairwise(verdicts):
        if this.verdict == "rejected" or not joined(reply.lowered, before.mention, this.mention):
            break
        labels.append(this.mention.label)
    return labels


_SENTENCE_BEFORE = re.compile(r"(?:\A|[.!?:;\n\u2014\u2013\u2192]|,\s*(?:so|no|hence|thus)?)[\s*(\[\"']*\Z")
_CLAUSE_BEFORE = re.compile(r"(?:\A|[.!?:;,\n])[\s*(]*\Z")
_VERB_AFTER = re.compile(r"\**\s+[a-z]")
_SENTENCE_AFTER = re.compile(r"[)*\]\"']*(?:\s*(?:[.!;\n]|\Z)|\s+[\u2014\u2013-]+\s)")


def alone_in_a_sentence(text: str, mention: Mention) -> bool:
    """Whether a mention is all of a sentence, as B is in `Not A. B.`."""
    before = _SENTENCE_BEFORE.search(text, max(0, mention.start - 12), mention.start)
    return before is not None and _SENTENCE_AFTER.match(text, mention.end) is not None


def ends_the_text(reply: Reply, mention: Mention) -> bool:
    """Whether a mention ends the text after a verb, as in `the only British city here is London`."""
    if reply.text[mention.end :].strip(" .!*\"'\u201d)\n"):
        return False
    return _FINAL_VERB.search(reply.lowered, max(0, mention.start - WINDOW), mention.start) is not None


def labels_in(text: str, pattern: re.Pattern[str], known: Sequence[str]) -> list[Mention]:
    """The labels that a text mentions, in order; `pattern` gives one in its first group that matched."""
    return [
        Mention(label, match.start(group), match.end(group), match.lastgroup == "article")
        for match in list(pattern.finditer(text))[-MAX_MENTIONS:]
        if (group := match.lastindex) and (label := match[group].upper()) in known
    ]


_WORD_BEFORE = re.compile(r"[\w.]")
_WORD_AFTER = re.compile(r"\w|\.\d")


def occurrences(text: str, option: str) -> Iterator[int]:
    """The offsets at which a text holds an option as separate words, so that 15 does not hold 5; both in one case."""
    edged = option.isascii()
    start = text.find(option)
    for _ in range(MAX_OCCURRENCES):
        if start < 0:
            return
        before, after = text[start - 1 : start] if start else "", text[start + len(option) : start + len(option) + 2]
        if not edged or not (_WORD_BEFORE.match(before) or _WORD_AFTER.match(after)):
            yield start
        start = text.find(option, start + 1)
