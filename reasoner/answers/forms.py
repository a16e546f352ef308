r"""Explicit forms of an answer in a reply, and how a probe opens one.

The forms are `\boxed{42}`, `<answer>42</answer>`, `#### 42`, `{"answer": 42}`, and a sentence or a heading that
announces the answer, in the languages of `languages.toml`. A model wrote the text: only its tail is read, and every
pattern runs in linear time.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

MAX_OCCURRENCES = 6
"""Boxes, and occurrences of nouns, from the end, that are looked at."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a probe opens a form: the `text` that is forced, and the `stop` strings after at most `tokens` tokens.

    What the model says is read between `before` and `after`. It must be one of the `words`, where there are any.
    """

    text: str
    before: str
    after: str = ""
    stop: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    # The most tokens of a probe, except for kinds with long answers
    tokens: int = 24


BOX = Opening("\n\nThe final answer is \\boxed{", "\\boxed{", "}", ("}", "\n"))
SENTENCE = Opening("\n\nThe final answer is", "The final answer is ", stop=("\n", ". "))
"""For numbers: small models put the first operand into a box, but end a sentence with the result."""
LONG_BOX = Opening(
    "\n\nThe final answer is \\boxed{", "\\boxed{", "}", ("\n",), tokens=48
)
"""For answers that hold braces."""


class Form(NamedTuple):
    """A form in a reply, and where it begins and ends.

    `text` is the answer; of an announcement, the clause that begins with the answer, where `end` is.
    """

    text: str
    start: int
    end: int


_TAG = re.compile(r"<[aA][nN][sS][wW][eE][rR]>")
_CLOSED = re.compile(r"</answer>", re.IGNORECASE)
_JSON = re.compile(
    r"[\"'](?:the_|final_|correct_)?answer[\"']\s*+:\s*+(\"(?:[^\"\\]|\\.)*+\"|'[^'\n]*+'|[^\s,{}\[\]\"']++)",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####[^\S\n]*+([^\n#]++)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_BRACE = re.compile(r"[{}]")
_AMID = re.compile(r"(?:[^\w\n.]*+[^\W\d_]++){4}")
_LETTER = re.compile(r"[^\W\d_]")
JOINT = re.compile(
    r"\s*+(?:,\s*+(?:and|or)\b|,|(?:and|or|y|und|et|e|o|ou|oder|\u0438(?:\u043b\u0438)?)\b"
    r"|[\u548c\u6216\u3068\u3001\uff0c])\s*+"
)
"""The words and marks that join formulas to one answer."""
_TYPESET = re.compile(
    r"\\(?:q?quad(?![a-z])|[,;:! ()\[\]\\])|\\(?:text\w*|mbox|mathrm)\s?\{([^{}]*+)\}|[~$&*]"
)
"""Blanks, dollars and upright type of TeX and Markdown."""
_OPENED = re.compile(r"(?<!\\)[(\[]")
"""The opening bracket of a point or an interval: two boxes in it are its parts."""
_STOP = re.compile(r"[.!?;](?=\s)|\n|[\u3002\uff01\uff1b\u0964]")
"""The end of a clause."""


def machine_forms(text: str) -> list[Form]:
    """The last form of each machine-readable kind, the last in the text first."""
    # A single sign is looked for first: that is some fifty times as fast as any longer text.
    forms = []
    if "\\" in text:
        forms.append(boxes(text))
    if "<" in text:
        forms.append(_tag(text))
    if "#" in text and (line := _last(_HASHES, text)):
        # Markdown writes headings so, too: words are an answer only at the end.
        content = line[1].strip()
        if content and not (content[0].isalpha() and text[line.end() :].strip()):
            forms.append(Form(content, line.start(), line.end()))
    quoted = ('"' in text and text.rfind('nswer"') >= 0) or (
        "'" in text and text.rfind("nswer'") >= 0
    )
    if quoted and (field := _last(_JSON, text)):
        # The other fields of the object are no words after the answer.
        forms.append(
            Form(
                _json_value(field[1]),
                field.start(),
                max(field.end(), text.find("}", field.end()) + 1),
            )
        )
    return (
        sorted((form for form in forms if form), key=lambda form: -form.end)
        if forms
        else []
    )


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


def _tag(text: str) -> Form | None:
    opening = _last(_TAG, text)
    if opening is None:
        return None
    closing = _CLOSED.search(text, opening.end())
    end = closing.start() if closing else len(text)
    return Form(
        text[opening.end() : end].strip(),
        opening.start(),
        closing.end() if closing else end,
    )


def _json_value(literal: str) -> str:
    if literal[0] == '"':
        try:
            # LaTeX with a backslash that is not escaped: JSON reads one as a control character.
            return str(
                json.loads(
                    re.sub(r"(?<!\\)\\(?=[a-zA-Z]{2})", r"\\\\", literal), strict=False
                )
            )
        except ValueError:
            return literal[1:-1]
    return literal[1:-1] if literal[0] == "'" else literal


def sign_of(joint: str) -> str:
    """A joint of two formulas, in one spelling for all languages."""
    return (
        " or "
        if joint.strip(" ,")
        in ("or", "o", "ou", "oder", "\u0438\u043b\u0438", "\u6216")
        else ", "
    )


def clause_end(text: str, start: int) -> int:
    """Where the clause ends in which an offset is."""
    end = _STOP.search(text, start)
    return end.end() if end else len(text)


def boxes(text: str) -> Form | None:
    r"""The last closed `\boxed{...}` and those joined to it; empty where its sentence has a different one."""
    last: Form | None = None
    for opening in reversed(list(_BOX.finditer(text))[-MAX_OCCURRENCES:]):
        end = _closing(text, opening.end())
        if end < 0:
            continue
        box = Form(text[opening.end() : end], opening.start(), end + 1)
        if last is None:
            last = box
        elif box.end <= last.start:
            between = _TYPESET.sub(
                lambda mark: mark[1] or " ", text[box.end : last.start]
            )
            joint = " ".join(between.split())
            if JOINT.fullmatch(joint) and not _OPENED.match(
                text, max(0, box.start - 1)
            ):
                last = Form(box.text + sign_of(joint) + last.text, box.start, last.end)
            else:
                clear = (
                    _STOP.search(between)
                    and _LETTER.search(between)
                    and not _AMID.match(text, last.end)
                )
                return (
                    last if clear or box.text == last.text else last._replace(text="")
                )
    return last


def _closing(text: str, start: int) -> int:
    """Where the brace closes that opened before an offset; -1 if it does not."""
    depth = 1
    for sign in _BRACE.finditer(text, start):
        depth += 1 if sign[0] == "{" else -1
        if depth == 0:
            return sign.start()
    return -1


_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_MARKS = r"[*_\s\"'`\u201c\u300c\u300d\u300e\u300f\u3011)]*+"
_SIGNS = r"[:\uff1a=]"
_HEADING = r"[*_]*+[:\uff1a]?[*_ \t#]*+\n"
_SENTENCE_START = re.compile(
    r"[.!?:\n\u3002\uff01\uff1f\u061f\u0964][*_)\"']*(?=\s|\n|[\u3040-\u9fff])|\n"
)
_LEAD = re.compile(
    r"(?:(?=[^\n]*,)(?!.*\b(?:if|unless|suppose|assum\w+|when|whether|not)\b)[^\n]*,)?(?:[\W\d_]|(?:so|thus|therefore|hence|then|finally|and|but|in|conclusion|summary|now|the|my|our|a|final|correct|right"
    r"|best|exact|short|overall|i|we|think|believe|get|got|have|find|see|conclude|know|say|means?|meaning|this|that"
    r"|which|gives|with|as|a|result|since|step|ok|okay)(?![^\W_]))*+\Z",
    re.IGNORECASE,
)
_OTHER_LEAD = re.compile(
    r"(?!.*(?:\b(?:si|se|wenn|ob|jika|apakah|n\u1ebfu|e\u011fer|\u0435\u0441\u043b\u0438|\u043d\u0435|no|nicht)\b|\u5982\u679c|\u3082\u3057|\ub9cc\uc57d|\u0905\u0917\u0930|\u0625\u0630\u0627|\u09af\u09a6\u09bf)).{0,24}\Z",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[^.?!\n\u3002\uff1f\u061f]{0,120}[?\uff1f\u061f]")
_LIST = re.compile(r"\d{1,2}[.)]\s+\S[^\n]*\n\s*\d{1,2}[.)]\s")


class _Language(NamedTuple):
    head: re.Pattern[str]
    """From a noun up to the answer."""
    lead: re.Pattern[str]
    """What may come before the noun in its sentence."""


def _words(words: Iterable[str]) -> str:
    return "|".join(
        r"\s+".join(map(re.escape, word.split()))
        + ("" if _UNSPACED.search(word) else r"(?![^\W_])")
        for word in sorted(words, key=len, reverse=True)
    )


@cache
def table() -> dict[str, dict[str, list[str]]]:
    """The words of each language, English first."""
    return tomllib.loads(
        Path(__file__).with_name("languages.toml").read_text(encoding="utf-8")
    )


@cache
def _nouns() -> dict[str, _Language]:
    """Each noun and its language."""
    rows: dict[str, _Language] = {}
    for name, words in table().items():
        nouns = words["nouns"]
        around = rf"(?:\s*(?:{_words(words['around'])}))" + "{0,3}"
        to = r"(?:\s(?:to|of|for)\s[^.\n:=?]{1,60}?)?" if name == "english" else ""
        then = r"(?:,?\s(?:then|therefore|thus|hence))?"
        verbs = rf"(?:{then}{_MARKS}(?:{_words(words['verbs'])})(?:{_MARKS}{_SIGNS})?|{_MARKS}{_SIGNS}|{_HEADING})"
        head = re.compile(
            rf"(?:{_words(nouns)}){around}{to}{verbs}{_MARKS}(?:(?:therefore|thus|simply|then|clearly|indeed)\s+)?",
            re.IGNORECASE,
        )
        language = _Language(head, _LEAD if name == "english" else _OTHER_LEAD)
        # Of a noun within another one, all occurrences are those of the shorter one.
        rows |= {
            noun: language
            for noun in nouns
            if not any(o in noun for o in nouns if o != noun)
        }
    return rows


@cache
def _nouns_in(*, ascii_only: bool) -> tuple[str, ...]:
    """The nouns that a text may have."""
    return tuple(noun for noun in _nouns() if not ascii_only or noun.isascii())


def announcements(text: str, start: int = 0) -> Iterator[Form]:
    """The sentences and headings after an offset that announce an answer, the last first."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    nouns = _nouns_in(ascii_only=lowered.isascii())
    offsets = {
        noun: lowered.rfind(noun, start) if noun[0] in lowered else -1 for noun in nouns
    }
    for _ in range(MAX_OCCURRENCES):
        noun = max(offsets, key=offsets.__getitem__)
        at = offsets[noun]
        if at < 0:
            return
        offsets[noun] = lowered.rfind(noun, start, at)
        language = _nouns()[noun]
        head = language.head.match(text, at)
        if head is None:
            continue
        before = text[max(start, at - 80) : at]
        breaks = [mark.end() for mark in _SENTENCE_START.finditer(before)]
        # Characters after an announcement that are read
        clause = text[head.end() : head.end() + 600]
        lead = before[breaks[-1] :] if breaks else before
        if (
            clause.strip()
            and language.lead.match(lead)
            and not _QUESTION.match(clause)
            and not _LIST.match(clause)
        ):
            yield Form(clause, at, head.end())


_SENTENCES = re.compile(r"(?<=[.!?])\s|(?<=[\u3002\uff01\uff1f])|\n")
_WORD = re.compile(r"\w")
_VALUE = re.compile(r"[\d$\\=]")


@cache
def _reader() -> re.Pattern[str]:
    words = {word for row in table().values() for word in row.get("reader", ())}
    begin = rf"(?:(?<![^\W_])|(?={_UNSPACED.pattern}))"
    return re.compile(rf"{begin}(?:{_words(words)})", re.IGNORECASE)


_REMARK = re.compile(
    r"(?i)(?:(?!.*(?:\b(?:actually|however|but|although|though|wait|no|not|never|none|neither|cannot|wrong|incorrect"
    r"|bad|mistakes?|errors?|sorry|oops|corrections?|instead|rather|unless|except|should|would|could|might|may|maybe|perhaps"
    r"|if|or|other|another|different|alternatively|let|more|less|fewer|than|minus|plus|about|approximately|nearly"
    r"|roughly|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty"
    r"|seventy|eighty|ninety|hundreds?|thousands?|millions?|dozens?|twice|thrice|doubled?|tripled?|half|halves|thirds?"
    r"|quarters?|zero|re-?\w*check\w*|re\w*consider\w*)\b|n['\u2019]t\b))"
    r"\W*(?:note|this|that|these|it|the|here|check|verification|explanation|because|since|as|which|where|assuming)\b"
    r".*[.!)\]]\W*)\Z"
)
"""An English sentence that begins as a note, a check or an explanation does, and has no doubt, correction, comparison
or number in words. Other languages are not tried."""


def adds_nothing(
    text: str,
    *,
    remarks: bool = False,
    gives_value: Callable[[str], object] = _VALUE.search,
) -> bool:
    """Whether what follows an answer gives no value, as each sentence is said to the reader, such as an offer of help.

    With `remarks`, an English note, check or explanation may follow, too. `gives_value` says whether a sentence gives
    another value; by default a digit or a sign of a formula does.
    """
    return not any(announcements(text)) and all(
        not gives_value(each)
        and (_reader().search(each) or (remarks and _REMARK.match(each)))
        for each in map(str.strip, _SENTENCES.split(text))
        if _WORD.search(each)
    )
