"""How replies in each language give an answer: the data of `languages.toml`, as patterns."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
# After a noun, before its verb: `the answer to the first question, then, is`.
_TOKEN = re.compile(r"[^\W_]+")
_APART = bytes(code if code > 127 or chr(code).isalnum() else 32 for code in range(256))
"""Puts blanks for all that separates tokens in ASCII."""
_BETWEEN = (
    r"(?:\s(?:to|of|for|in|a|de|del|zu|auf|à|dari|untuk|của|на)\s[^.\n:=|?]{1,60}?)?"
    r"(?:,?\s(?:then|therefore|thus|hence|here|now|also|simply),?)?"
)
_SIGNS = r"[:\uff1a\u3011=\u2192\u21d2|]|->|[-\u2013\u2014](?=\s)"
_MARKS = r"\s*+[*_\"'`\u201d\u300d\u300f]*+\s*+"


def alternatives(phrases: Iterable[str]) -> str:
    """A pattern of whole phrases, longest first, each with any blanks between its words."""
    after: dict[str, list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        pattern = r"\s+".join(map(re.escape, phrase.split()))
        if _UNSPACED.search(phrase):
            before = "" if len(phrase) > 1 else r"(?<!\w)"
        else:
            before = r"(?<![^\W_])" if phrase[0].isalnum() else ""
            pattern += r"(?![^\W_])" if phrase[-1].isalnum() else ""
        after.setdefault(before, []).append(pattern)
    # What is asserted before them is tried once at each place, not once for each phrase.
    return "|".join(f"{before}(?:{'|'.join(patterns)})" for before, patterns in after.items())


def following(phrases: Iterable[str]) -> str:
    """The same for words that follow another one, where no word has to end before them."""
    return "|".join(
        r"\s+".join(map(re.escape, phrase.split()))
        + ("" if _UNSPACED.search(phrase) or not phrase[-1].isalnum() else r"(?![^\W_])")
        for phrase in sorted(phrases, key=len, reverse=True)
    )


@dataclass(frozen=True, eq=False)
class Language:
    """The words by which replies in one language give an answer; see `languages.toml`."""

    name: str
    answer: tuple[str, ...]
    adjectives: tuple[str, ...]
    # `is` is a keyword.
    verbs: tuple[str, ...]
    yes: tuple[str, ...]
    no: tuple[str, ...]
    option: tuple[str, ...]
    choose: tuple[str, ...]
    correct: tuple[str, ...]
    correction: tuple[str, ...]
    decimal: str
    common: tuple[str, ...]
    offer: tuple[str, ...]
    verb_final: bool = False
    endings: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    statement: tuple[str, ...] = ()

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """The nouns in lower case."""
        return tuple(noun.lower() for noun in self.answer)

    def nouns_in(self, reply: "Reply") -> list[int]:
        """The offsets of its nouns in a reply, in order."""
        lowered, offsets = reply.lowered, set()
        for noun in self.nouns:
            offset = lowered.find(noun)
            while offset >= 0:
                offsets.add(offset)
                offset = lowered.find(noun, offset + len(noun))
        return sorted(offsets)

    @cached_property
    def announcement(self) -> re.Pattern[str]:
        """What comes before an announced answer: `The final answer to this is`, `答案是`, `Respuesta:`."""
        around = rf"(?:\s*(?:{following(self.adjectives)}))"
        verbs = following(self.verbs)
        separator = rf"(?:(?:{verbs})(?:\s*+[:\uff1a])?+|{_SIGNS})"
        if self.verb_final:
            separator = rf"(?:{separator}|(?=\s*[\d$\u20ac(*\"\u201c`\\A-J-])|(?<=\s))"
        return re.compile(
            rf"(?:{alternatives(self.answer)}){around}{{0,4}}{_BETWEEN}{_MARKS}{separator}", re.IGNORECASE
        )

    @cached_property
    def heading(self) -> re.Pattern[str]:
        """A line that is a heading over the answer, up to the text below it: `### Final answer`, `**答案**`."""
        around = rf"(?:(?:{following(self.adjectives)})\s*)"
        after = rf"(?:\s*(?:{following(self.adjectives)}))"
        return re.compile(
            rf"^[ \t>]*+(?:\#{{1,6}}[ \t]*+)?[*_]{{0,3}}[^\w\n]{{0,4}}{around}{{0,3}}(?:{following(self.answer)})"
            rf"{after}{{0,3}}[ \t]*+[:\uff1a]?[ \t]*+[*_]{{0,3}}[:\uff1a]?[ \t\#]*+$",
            re.IGNORECASE | re.MULTILINE,
        )

    @cached_property
    def corrections(self) -> re.Pattern[str]:
        """A word that withdraws what was said before it."""
        return re.compile(alternatives(self.correction), re.IGNORECASE)


@cache
def languages() -> tuple[Language, ...]:
    """All languages, English first."""
    table = tomllib.loads(Path(__file__).with_name("languages.toml").read_text(encoding="utf-8"))
    return tuple(_language(name, words) for name, words in table.items())


def _language(name: str, words: dict[str, Any]) -> Language:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in words.items()}
    return Language(name=name, verbs=fields.pop("is"), **fields)


def english() -> Language:
    """The language that every reply is read in."""
    return languages()[0]


Phrases = Literal["answer", "correction", "statement"]


class _Index(NamedTuple):
    """What tells of which languages a text may hold phrases."""

    words: dict[str, frozenset[int]]
    """A word of each phrase, with the languages that have it; a text without any holds none of the phrases."""
    unspaced: tuple[tuple[int, tuple[str, ...]], ...]
    """The phrases of languages that are written without blanks."""


@cache
def _index(phrases: Phrases) -> _Index:
    words, unspaced = dict[str, frozenset[int]](), []
    for number, language in enumerate(languages()):
        lowered = [phrase.lower() for phrase in getattr(language, phrases)]
        for phrase in lowered:
            if not _UNSPACED.search(phrase):
                tokens = _TOKEN.findall(phrase)
                # Corrections begin with words such as `on` and `my`; a noun's first word alone may show the language.
                word = max(reversed(tokens), key=len) if phrases == "correction" else tokens[0]
                words[word] = words.get(word, frozenset()) | {number}
        if rest := tuple(phrase for phrase in lowered if _UNSPACED.search(phrase)):
            unspaced.append((number, rest))
    return _Index(words, tuple(unspaced))


@cache
def _all_endings() -> tuple[str, ...]:
    return tuple(ending for language in languages() for ending in language.endings)


@cache
def _frequent() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Frequent words of the languages with a decimal point, and of those with a decimal comma."""
    return tuple(
        re.compile(alternatives({word for language in languages() if language.decimal == sign
                                 for word in language.common}), re.IGNORECASE)
        for sign in ".,"
    )  # type: ignore[return-value]  # fmt: skip


class Reply:
    """The text that answers are read from, and what is known of its languages; computed when it is needed."""

    __slots__ = ("_announcing", "_comma", "_words", "lowered", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.lowered = text.lower()
        if len(self.lowered) != len(text):
            # Offsets must be those of the text.
            self.lowered = "".join(char if len(low := char.lower()) > 1 else low for char in text)
        self._announcing: tuple[Language, ...] | None = None
        self._words: frozenset[str] | None = None
        self._comma: bool | None = None

    @property
    def words(self) -> frozenset[str]:
        """Its words in lower case, to exclude quickly what it cannot hold."""
        if self._words is None:
            apart = self.lowered.encode("utf-8", "surrogatepass").translate(_APART).decode("utf-8", "surrogatepass")
            words = frozenset(apart.split())
            mixed = [word for word in words if not word.isascii()]
            self._words = words.union(_TOKEN.findall(" ".join(mixed))) if mixed else words
        return self._words

    def speaking(self, phrases: Phrases) -> tuple[Language, ...]:
        """The languages of which it may hold one of the phrases."""
        index, every = _index(phrases), languages()
        held = index.words.keys() & self.words
        numbers = {number for word in held for number in index.words[word]}
        if not self.lowered.isascii() and _UNSPACED.search(self.lowered):
            numbers |= {number for number, rest in index.unspaced if any(phrase in self.lowered for phrase in rest)}
        return tuple(every[number] for number in sorted(numbers)) if numbers else ()

    @property
    def announcing(self) -> tuple[Language, ...]:
        """The languages in which it may announce an answer."""
        if self._announcing is None:
            self._announcing = self.speaking("answer")
        return self._announcing

    @property
    def languages(self) -> tuple[Language, ...]:
        """The same without English."""
        return self.announcing[1:] if self.announcing[:1] == (english(),) else self.announcing

    @property
    def known_languages(self) -> tuple[Language, ...]:
        """English, and the others if they were looked for or there is more than ASCII."""
        return (english(), *self.languages) if self._announcing is not None or not self.text.isascii() else (english(),)

    @property
    def decimal_comma(self) -> bool:
        """Whether its language writes 3,5 for three and a half."""
        if self._comma is None:
            point, comma = (sum(1 for _ in pattern.finditer(self.text)) for pattern in _frequent())
            self._comma = comma > point
        return self._comma

    def without_ending(self, text: str) -> str:
        """A text without a verb at its end, where its language has one there: `東京` of `東京です`."""
        plain = text.strip().rstrip(".\u3002\u0964")
        if not plain.endswith(_all_endings()):
            return text
        for language in self.languages:
            for ending in language.endings:
                if plain.endswith(ending) and plain != ending:
                    return plain[: -len(ending)].strip()
        return text
