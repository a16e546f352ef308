"""Multiple choice: the options that a question lists, and those that a model chose."""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar

from reasoner.answers.forms import Statement, announcements, hedged
from reasoner.answers.languages import Reply, alternatives, languages
from reasoner.answers.listed import Labels, options_in
from reasoner.answers.mentions import (
    Mention,
    alone_in_a_sentence,
    ends_the_text,
    joined,
    judged,
    labels_in,
    occurrences,
    sole_subject,
    together,
)
from reasoner.answers.reading import NOTHING, ByKey, ReadsSegment
from reasoner.errors import UsageError
from reasoner.types import Answer

_ON = "(?:because|since|as|is|which|and|but|with|for|due|or)"
_OPEN = r"[*$`\s(\[{\"'\u201c\u2018\u300c\u300e\uff08\u3010]|\\[(\[]|\\[a-z]++\{"
_CLOSE = r"[*$`)\]}\"'\u201d\u2019\u300d\u300f\uff09\u3011.:]"
# A word after `A` may make it an article; after `3`, a unit. Chinese and Japanese have no blank after a label.
_ARTICLE_ENDS = rf"(?!(?<=[AaIi])[^\S\n]+(?!(?i:{_ON})\b)(?:[a-z]|[A-Z][a-zA-Z]))"
_AFTER_LETTER = rf"(?![a-zA-Z\d_-]|['\u2019](?![dt][i\u0131u\u00fc]r)){_ARTICLE_ENDS}"
_AFTER_NUMBER = rf"(?![a-zA-Z\d_]|[.,/:%]\d|%)(?![^\S\n]+(?!{_ON}\b)[a-z])"
_AND = (
    r"(?:,\s*(?:(?:and|or|und|oder|y|o|et|ou|e|\u0438|\u0438\u043b\u0438)\b)?|[/&+\u3001\uff0c]|\b(?:and|or|und|oder"
    r"|y|o|et|ou|e|dan"
    r"|atau|v\u00e0|ve|veya|\u0438|\u0438\u043b\u0438)\b|[\u548c\u6216\u4e0e\u53ca\u3068\u304b\uacfc\uc640])"
)
_ENDS = (
    rf"(?=\s*(?:{_CLOSE}|[,;!\n\u3002\uff0c\u3001/&+]|\Z|(?:and|or|are|both|together|because)\b"
    r"|[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7a3]))"
)
_ARTICLE = r"(?:the|la|el|il|le|die|der|das|a|o)[^\S\n]+(?=[*(\"\u201c]*+[A-Z](?![a-zA-Z\d_'\u2019]))"
_APART = r"(?<![a-zA-Z\d_'\u2019.$\\-])"
_MENTION = (
    rf"{_APART}(?:(?P<article>[AI])(?=[^\S\n]+(?!(?i:{_ON}|over|rather|it|seems?|appears?|fits?|makes?|must|would"
    rf"|satisf\w+|works?|match\w*|holds?|remains?)\b)"
    r"(?:[a-z]|[A-Z][a-zA-Z]))|(?P<label>[A-Z])(?![a-zA-Z\d_'\u2019-]|\.[a-zA-Z]|[^\S\n]*[=+^<>\u2248])|"
    r"(?P<small>[a-z])(?=\)|\.?\s*(?:\Z|\n)))"
)
_MENTION_OF_NUMBER = rf"(?<![\w.,/$-])(?P<label>\d{{1,2}}){_AFTER_NUMBER}"
_BOLD = r"\*\*\(?|\\(?:text(?:bf)?|math(?:bf|rm))\{\(?"
_END = r"(?:\)?\*\*|\)|[.:]\*\*|\.?\})"
_CIRCLED = {chr(0x2460 + index): str(index + 1) for index in range(20)}
_SIGNS = str.maketrans({chr(0xFF01 + index): chr(0x21 + index) for index in range(94)} | _CIRCLED | {"\u3000": " "})
_POSITIVE = re.compile(
    r"(?<!in)(?<!not )\b(?:correct|right|true|yes|correcta?|richtig|vrai)\b"
    r"|[\u2713\u2714\u2705]|(?<!\u4e0d)\u6b63\u786e|\u6b63\u3057\u3044",
    re.IGNORECASE,
)
_NEGATIVE_MARK = re.compile(r"[\u2717\u2718\u274c\u2716]")
_NEGATIVE = re.compile(
    r"\b(?:incorrect\w*|wrong|not|false|no|never|falsch|faux|incorrecta?)\b|n['\u2019]t\b|[\u2717\u2718\u274c\u2716]"
    r"|\u9519\u8bef|\u4e0d",
    re.IGNORECASE,
)


_BOLD_TEXT = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_JOINED = re.compile(rf"[\s*,]*(?:{_AND})[\s*]*", re.IGNORECASE)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "last")
_NTH = (
    rf"(?:the\s+)?({'|'.join(_ORDINALS)})\s+(?:option|choice|answer|statement|alternative|one)"
    r"(?:\s+(?:listed|given))?"
)
_TICKED = re.compile(
    r"^[ \t>*#-]{0,20}[\u2713\u2714\u2705\u2611]\ufe0f?[\s*(]{0,4}(?:[a-z]+\s)?([A-Z]|\d{1,2})(?![\w'\u2019])",
    re.MULTILINE | re.IGNORECASE,
)
_NTH_IS_RIGHT = re.compile(
    rf"\b{_NTH}\s+(?:is|must be|would be|should be|seems)\s+(?:the\s+)?(?:\w+\s+)?(?:correct|right|best|answer|true"
    rf"|one)\b",
    re.IGNORECASE,
)
_LEAD = re.compile(r"(?:[\W_]|(?:the|an?|it is|that|option)\b)*+")
_BEGINS_NTH = re.compile(rf"[\s*]*{_NTH}\b", re.IGNORECASE)


@cache
def _option_words() -> str:
    """A pattern of the words of all languages for an option."""
    return alternatives({word for language in languages() for word in language.option})


@dataclass(frozen=True)
class _Patterns:
    """The patterns of one kind of label."""

    plain: re.Pattern[str]
    aside: re.Pattern[str]
    begins: re.Pattern[str]
    more: re.Pattern[str]
    alone: re.Pattern[str]
    marked: re.Pattern[str]
    item: re.Pattern[str]
    mention: re.Pattern[str]


@cache
def _patterns(labels: Labels) -> _Patterns:
    letters = labels == "letters"
    label, capital = ("([A-Za-z])", "([A-Z])") if letters else (r"(\d{1,2})", r"(\d{1,2})")
    after = _AFTER_LETTER if letters else _AFTER_NUMBER
    lead = rf"(?:{_OPEN}|{_ARTICLE}|(?i:(?:(?:the|a|o|la|le|el|die|der|das)\s+)?(?:{_option_words()})|the)\s*+)*+"
    return _Patterns(
        plain=re.compile(rf"[*(\s]*+{capital}{after}"),
        aside=re.compile(rf"\((?i:{_option_words()})\s+\**{capital}\**\)"),
        begins=re.compile(rf"{lead}{label}{after}"),
        more=re.compile(
            rf"(?:\s*{_CLOSE})*+\s*+(?i:{_AND})\s*+(?:{_OPEN}|(?i:{_option_words()})\s)*+{capital}"
            rf"(?![a-zA-Z\d_'\u2019]){_ENDS}"
        ),
        alone=re.compile(rf"(?:\d[.)][ \t])?(?:\W|(?i:{_option_words()})\s*){{0,6}}{label}\W{{0,6}}"),
        marked=re.compile(rf"(?:{_BOLD}|(?<![\w)])\(|\[\[){capital}(?:{_END}|\]\])"),
        item=re.compile(
            rf"^(?:[^\w\n]|_){{0,8}}(?:(?i:{_option_words()})[ \t]+)?{capital}(?:\*\*)?(?:[).:\]](?:\*\*)?|[^\S\n]*\||"
            rf"(?=[^\S\n]+[\u2713\u2714\u2705\u2717\u2718\u274c\u2716]))"
            r"[^\S\n]+(\S[^\n]*)$",
            re.MULTILINE,
        ),
        mention=re.compile(_MENTION if letters else _MENTION_OF_NUMBER),
    )


@dataclass(frozen=True, slots=True)
class ChoiceSpace(ByKey):
    """One of 2 to 26 options, labelled A, B, C ... or 1, 2, 3 ...; its key is the label, also of an option's text.

    With `several`, an answer may name several options, and its key is their labels in order, as in `A,C`; without it,
    a statement that names two is no answer. A single letter in prose is not an answer: it could be an article.
    """

    name: ClassVar[str] = "choice"
    version: ClassVar[int] = 5

    options: tuple[str, ...]
    labels: Labels = "letters"
    several: bool = False

    def __post_init__(self) -> None:
        ReadsSegment.__post_init__(self)
        if not 2 <= len(self.options) <= 26:
            raise UsageError(f"{len(self.options)} options were given: a choice has 2 to 26")

    @property
    def instruction(self) -> str:
        """Asks for a label, or for several."""
        known = self.known
        number = "one or more" if self.several else "one"
        noun = self.labels if self.several else self.labels.removesuffix("s")
        return f"Give the answer as {number} {noun} from {known[0]} to {known[-1]}."

    @property
    def known(self) -> tuple[str, ...]:
        """The labels of the options, in order."""
        if self.labels == "numbers":
            return tuple(str(number + 1) for number in range(len(self.options)))
        return tuple(string.ascii_uppercase[: len(self.options)])

    def announced(self, reply: Reply) -> Iterator[Statement]:
        """The announcements of the language, then sentences such as `I choose B` and `option B is correct`."""
        yield from announcements(reply)
        if reply.text.isascii() and " " not in reply.text:
            return
        reply = _folded(reply)
        text = reply.text
        for match in reversed(list(_NTH_IS_RIGHT.finditer(text))[-20:]):
            if not hedged(text, match.start()):
                yield Statement(self._nth(match[1]), match.end())
        verdicts = judged(reply, labels_in(text, _patterns(self.labels).mention, self.known))
        for index in reversed(range(len(verdicts))):
            if verdicts[index].verdict == "chosen":
                yield Statement(",".join(together(reply, verdicts[index:])), verdicts[index].mention.end)
        named = {mention.start for mention, verdict, _ in verdicts if verdict != "rejected"}
        for match in reversed(list(_patterns(self.labels).aside.finditer(text))[-20:]):
            if match.start(1) in named:
                yield Statement(match[1], match.end())
        right = [mention for mention, verdict, _ in verdicts if verdict == "right"]
        if right and len({mention.label for mention in right}) == 1:
            yield Statement(right[-1].label, right[-1].end)

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The label with which it begins, or the one option that its first sentence names."""
        text = _plain(text[:600])
        match = _patterns(self.labels).plain.match(text)
        if match is None or match[1] not in self.known:
            match = _patterns(self.labels).begins.match(text)
        if match and (match[1].isupper() or match[1].isdigit() or match[1].upper() in self.known):
            labels = [match[1].upper()]
            end = match.end()
            while more := _patterns(self.labels).more.match(text, end):
                labels.append(more[1].upper())
                end = more.end()
            if all(label in self.known for label in labels):
                return self._answer(labels)
            if self.labels == "letters" and match[1] not in "AI":
                return NOTHING
        if nth := _BEGINS_NTH.match(text):
            return self._answer([self._nth(nth[1])])
        sentence = text.partition("\n")[0]
        return self._first_named(sentence) or self._named(sentence) or self._ordinal(text)

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """The label with which it begins, the option that it names, or the first label in it."""
        if answer := self.begins(text, reply):
            return answer
        capital = "([A-Z])" if self.labels == "letters" else r"(\d{1,2})"
        labels = re.findall(rf"(?<![\w.]){capital}(?![\w'\u2019]|\.\d)", _plain(text))
        known = [label for label in labels if label in self.known]
        return self._answer(known) if known else None

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """A label, or an option's text."""
        text = _plain(text[:400])
        patterns = _patterns(self.labels)
        if _NEGATIVE_MARK.search(text):
            return None
        if (nth := _BEGINS_NTH.match(text)) and not text[nth.end() :].strip(" .*!"):
            return self._answer([self._nth(nth[1])])
        if (match := patterns.alone.fullmatch(text)) and match[1].upper() in self.known:
            return self._answer([match[1].upper()])
        if (item := patterns.item.fullmatch(text)) and self._label_of(item[2]) == item[1]:
            return self._answer([item[1]])
        if label := self._label_of(text):
            return self._answer([label])
        match = patterns.begins.match(text)
        if match and (more := patterns.more.match(text, match.end())) and more[1] in self.known:
            return self.begins(text, reply)
        return None

    def last(self, text: str, reply: Reply) -> Answer | None:
        """The last label in bold or brackets outside lists; else what the prose chooses or leaves."""
        text = _plain(text)
        patterns = _patterns(self.labels)
        items = [item for item in patterns.item.finditer(text) if item[1] in self.known]
        listed = len({item[1] for item in items}) > 1
        ticked = {match[1].upper() for match in _TICKED.finditer(text)}
        if len(ticked) == 1 and ticked <= {*self.known}:
            return self._answer([*ticked])
        prose = patterns.item.sub("", text) if listed else text
        verdicts = judged(Reply(prose), labels_in(prose, patterns.mention, self.known))
        rejected = {mention.start for mention, verdict, _ in verdicts if verdict == "rejected"}
        marked = [match for match in patterns.marked.finditer(prose) if match.start(1) not in rejected][-2:]
        closing = prose.rstrip().rpartition("\n")[2]
        if marked and not patterns.mention.search(closing) and (named := self._named(closing)):
            return named
        if marked and marked[-1][1] in self.known:
            joined = len(marked) > 1 and _JOINED.fullmatch(prose, marked[0].end(), marked[1].start())
            return self._answer([match[1] for match in (marked if joined else marked[-1:])])
        if marked and self.labels == "letters":
            return None
        if listed:
            right = [item[1] for item in items if _POSITIVE.search(item[2]) and not _NEGATIVE.search(item[2])]
            if len(right) == 1:
                return self._answer(right)
        left = {m.label for m, verdict, _ in verdicts if verdict != "rejected" and alone_in_a_sentence(prose, m)}
        if len(left) == 1 and not listed:
            return self._answer([*left])
        bold = [label for content in _BOLD_TEXT.findall(text) if (label := self._label_of(content))]
        if len(set(bold)) == 1 and not listed:
            return self._answer(bold[:1])
        denied = {m.label for m, verdict, _ in verdicts if verdict == "rejected"}
        denied -= {m.label for m, verdict, _ in verdicts if verdict != "rejected"}
        if named := self._named(prose):
            return None if named.key in denied else named
        subject = None if listed or self._holds_labels() else sole_subject(Reply(prose), verdicts)
        return self._answer([subject]) if subject else None if listed else self._ordinal(text.strip())

    def _answer(self, labels: list[str]) -> Answer | None:
        chosen = [label for label in self.known if label in labels]
        if len(chosen) > 1 and not self.several:
            return NOTHING
        key = ",".join(chosen)
        return Answer(key, key)

    def _named(self, text: str) -> Answer | None:
        """The option whose words are in the text: the only one, the first one, or the one that it chooses."""
        reply = Reply(_bare(text))
        mentions = self._texts_in(reply.lowered)
        if len({mention.label for mention in mentions}) < 2:
            return self._answer([mentions[0].label]) if mentions else None
        verdicts = judged(reply, mentions)
        left = [verdict for verdict in verdicts if verdict.verdict != "rejected"]
        labels = {verdict.mention.label for verdict in left}
        for wanted in ("chosen", "right") if len(labels) > 1 else ():
            if named := [verdict.mention.label for verdict in left if verdict.verdict == wanted]:
                labels = {named[-1]} if wanted == "chosen" else set(named)
                break
        else:
            if len(labels) > 1 and left and ends_the_text(reply, left[-1].mention):
                labels = {left[-1].mention.label}
        if len(labels) > 1:
            labels = {verdict.mention.label for verdict in left if alone_in_a_sentence(reply.text, verdict.mention)}
        return self._answer([*labels]) if len(labels) == 1 else None

    def _holds_labels(self) -> bool:
        """Whether an option's text has a label in it as a word, such as `B cells`."""
        return self.labels == "letters" and any(_patterns("letters").mention.search(option) for option in self.options)

    def _first_named(self, text: str) -> Answer | None:
        """The option whose text a text begins with, unless it continues with `or` and another one."""
        reply = Reply(_bare(text))
        first, *others = [*self._texts_in(reply.lowered), None]
        lead = _LEAD.match(reply.lowered)
        if first is None or (lead and lead.end() < first.start):
            return None
        undecided = others[0] is not None and joined(reply.lowered, first, others[0])
        return None if undecided else self._answer([first.label])

    def _texts_in(self, lowered: str) -> list[Mention]:
        """Where a text in lower case holds options; one within a longer one does not count."""
        mentions = [
            Mention(label, start, start + len(option))
            for label, option in zip(self.known, _lowered_options(self.options), strict=True)
            for start in (occurrences(lowered, option) if option else ())
        ]
        whole = [mention for mention in mentions if not any(_within(mention, other) for other in mentions)]
        return sorted(whole, key=lambda mention: mention.start)

    def _nth(self, ordinal: str) -> str:
        """The label of the first, the second, ... or the last option; no label beyond them."""
        index = _ORDINALS.index(ordinal.lower())
        return self.known[-1] if ordinal.lower() == "last" else "".join(self.known[index : index + 1])

    def _label_of(self, text: str) -> str | None:
        plain = _bare(text).casefold()
        labels = [
            label for label, option in zip(self.known, self.options, strict=True) if _bare(option).casefold() == plain
        ]
        return labels[0] if len(labels) == 1 else None

    def _ordinal(self, text: str) -> Answer | None:
        """The option of a number where options have letters, or of a letter where they have numbers."""
        other: Labels = "numbers" if self.labels == "letters" else "letters"
        match = _patterns(other).begins.match(text)
        if match is None or (other == "numbers" and any(char.isdigit() for option in self.options for char in option)):
            return None
        if other == "letters":
            index = string.ascii_uppercase.find(match[1])
            return self._answer([self.known[index]]) if 0 <= index < len(self.options) else None
        index = int(match[1]) - 1
        return self._answer([self.known[index]]) if 0 <= index < len(self.options) else None


_PRONOUN = re.compile(r"\A(?:they|it|he|she)\s(?=(?:\S+\s){2})")
"""What begins an option that is a sentence, and is another word in a reply."""


def _within(mention: Mention, other: Mention) -> bool:
    """Whether a mention is a part of a longer one."""
    longer = other.end - other.start > mention.end - mention.start
    return longer and other.start <= mention.start and mention.end <= other.end


def _folded(reply: Reply) -> Reply:
    """The reply with full-width letters and circled numbers in ASCII."""
    return reply if reply.text.isascii() else Reply(_plain(reply.text))


def _plain(text: str) -> str:
    """The text with full-width letters and circled numbers in ASCII."""
    return text if text.isascii() else text.translate(_SIGNS)


_MARKUP = re.compile(r"\\(?:text\w*|math[a-z]+|boxed)\{([^{}]*+)\}|\\left|\\right|\\[()\[\]!,;: ]|[$*`]|\s+")


def _bare(text: str) -> str:
    """An option's text without mathematical markup, a final full stop and repeated blanks."""
    if "\\" in text or "$" in text or "*" in text or "`" in text:
        text = _MARKUP.sub(lambda match: match[1] or " ", text)
    return " ".join(text.split()).strip().rstrip(".") or text.strip()


@lru_cache(maxsize=1024)
def _lowered_options(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_PRONOUN.sub("", Reply(_bare(option)).lowered) for option in options)


def choice_in(text: str) -> ChoiceSpace | None:
    """The choice that a question lists; see `options_in`."""
    listed = options_in(text)
    return ChoiceSpace(*listed) if listed else None
