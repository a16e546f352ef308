r"""Statements of an answer, as readers find them in a reply: tags, JSON, boxes, sentences, headings, lines.

Each reader yields the last statement first. A model wrote the text, so every pattern runs in linear time.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from reasoner.answers.languages import Language, Reply, english

MAX_CLAUSE = 600
"""Characters after an announcement that are read."""
MAX_HEADING = 120
"""Characters of a heading."""
MAX_STATEMENTS = 40
"""Statements of each form that are looked at, from the end."""


class Statement(NamedTuple):
    """A part of a reply that states an answer, and the offset from which it may be corrected."""

    text: str
    end: int
    enclosed: bool = False
    """Whether the text ends where the answer does, instead of beginning with it."""
    whole: bool = False
    """Whether a model may put its whole reply into this form."""


_TAG = re.compile(r"(?:<|\[|<\|)((?:final[ _-]?)?answer|result)(?:>|\]|\|>)", re.IGNORECASE)
_JSON = re.compile(
    r"[\"']((?:the[ _]?|final[ _]?|correct[ _]?|my[ _]?)*(?:answer|result|choice|答案|respuesta|resposta"
    r"|antwort|r\u00e9ponse|ответ|答え|정답|jawaban)(?:[ _]?(?:choice|letter|value))?)[\"']\s*+:\s*+"
    r"(\"(?:[^\"\\]|\\.)*+\"|'[^'\n]*+'|\[[^\[\]]*+\]|[^\s,{}\[\]\"']++)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBERED = re.compile(r"\s*\d{1,2}[.)][^\S\n]+\S")
_HASHES = re.compile(r"####[^\S\n]*+([^\n]++)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")


def forms(reply: Reply) -> Iterator[Statement]:
    """Machine-readable forms: tags, a JSON field, the last box, `####`; each from the last on."""
    text = reply.text
    if "<" in text or "[" in text:
        yield from _tags(text)
    if '"' in text or "'" in text:
        for field in reversed(list(_JSON.finditer(text))[-MAX_STATEMENTS:]):
            yield Statement(_json_value(field[2]), field.end(), enclosed=True, whole=True)
    if "\\boxed" in text or "\\fbox" in text:
        yield from _boxes(text)
    if "####" in text:
        for line in reversed(list(_HASHES.finditer(text))[-MAX_STATEMENTS:]):
            content = line[1].strip()
            # Markdown writes headings so, too: words count as an answer only at the end.
            words = content[:1].isalpha() and text[line.end() :].strip() != ""
            if not (words or _NUMBERED.match(line[1]) or english().heading.match(line[0].strip())):
                yield Statement(line[1], line.end())


def _tags(text: str) -> Iterator[Statement]:
    begins = len(text)
    for tag in reversed(list(_TAG.finditer(text))[-MAX_STATEMENTS:]):
        closing = {"<": "</", "[": "[/"}[tag[0][0]] + tag[1]
        end = text.find(closing, tag.end(), begins)
        # A tag inside this one was looked at before it: no text is read twice.
        content = text[tag.end() : end if end >= 0 else begins].strip()
        if content:
            yield Statement(content, end if end >= 0 else begins, enclosed=True, whole=True)
        begins = tag.start()


# LaTeX whose backslash is not escaped: JSON reads one as a control character.
_COMMAND = re.compile(r"(?<!\\)\\(?=[bf]|t(?:ext\{|imes|heta|frac|an\b)|r(?:ight|ho\b)|n(?:eq\b|abla))")


def _json_value(literal: str) -> str:
    if literal.startswith("'"):
        return literal[1:-1]
    if not literal.startswith('"'):
        return "" if literal == "null" else literal
    try:
        return str(json.loads(_COMMAND.sub(r"\\\\", literal), strict=False))
    except ValueError:
        return literal[1:-1]


def _boxes(text: str) -> Iterator[Statement]:
    for opening in reversed(list(_BOX.finditer(text))[-MAX_STATEMENTS:]):
        if closing := _closing_brace(text, opening.end()):
            yield Statement(text[opening.end() : closing.start()], closing.end(), enclosed=True)
            return


def _closing_brace(text: str, start: int) -> re.Match[str] | None:
    """The brace that closes the one before an offset; None if none does."""
    depth = 1
    for sign in _BRACE.finditer(text, start):
        depth += 1 if sign[0] == "{" else -1
        if depth == 0:
            return sign
    return None


_BRACE = re.compile(r"[{}]")


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces close; None if there is none."""
    return next((box.text for box in _boxes(text)), None)


_FINAL = re.compile(r"\bfinal|\u6700\u7ec8|\u6700\u7d42", re.IGNORECASE)
_NEGATED_CLAUSE = re.compile(
    r"\b(?:if|whether|why|what|which|how|not|nothing|neither|that|this|it)\s*\Z", re.IGNORECASE
)
_LEAD = re.compile(
    r"[\s*_:\uff1a>]*+(?:(?:clearly|definitely|obviously|likely|most likely|probably"
    r"|therefore|thus|indeed|then|simply|just"
    r"|actually|still|always|now)\b[\s,*_:]*+)*+"
)
_REVERSED = re.compile(
    r"[^\n]?\b(?:is|would be|must be|should be)\s+(?:therefore |thus |then |clearly )?(?:the|my|our)\s+"
    r"(?:(?:final|correct|right|best|only|single)\s+)*(?:answer|result)\b(?!\s+(?:to|choice|is|key)\s+(?:a|another)\b)",
    re.IGNORECASE,
)
_SENTENCE_START = re.compile(r"(?:[.!?]\s|\n)(?!.*(?:[.!?]\s|\n))", re.DOTALL)
_HEDGED = re.compile(
    r"(?:\b(?:if|whether|unless|suppos\w+|assum\w+|say|claim\w*|until)(?:\s+that)?"
    r"|\b(?:one|you|some|someone|somebody|many|most|people|students?|others?|they|he|she)\s+(?:\w+\s+){0,5}?"
    r"(?:think|thought|say|said|says|guess|guessed|believe|argue|claim|assume|conclude|expect)s?(?:\s+that)?"
    r"|\b(?:wrong|incorrect|mistaken|naive|common|tempting|first|initial|previous|earlier|old|intermediate|partial"
    r"|student'?s|his|her|their|expected|example|sample|possible|alternative)|\bnot\b[^.\n]{0,20}|\bwhat"
    r"|\bis|\bcould|\bwould)\s+(?:(?:the|an?|that|my|our)\s+)?(?:(?:final|correct|right)\s+)*[\"'\u201c*]*\Z",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"\u201c]\s*(?:the\s+)?(?:final\s+|correct\s+)?\Z", re.IGNORECASE)
ASKED = re.compile(r"[^.?!\n\uff1f]{0,80}[?\uff1f]|\s*(?:not\b|n't|unclear|unknown)")


def hedged(text: str, start: int) -> bool:
    """Whether what begins at an offset is only supposed, said by others or quoted."""
    before = text[max(0, start - 70) : start]
    return _HEDGED.search(before) is not None or _QUOTED.search(before) is not None


LIST = re.compile(r"\d{1,2}[.)]\s+\S[^\n]*\n\s*\d{1,2}[.)]\s")
_TABLE = re.compile(r"[^\n]*\n[ \t]*\|?[ \t]*:?-{2,}")


def announcements(reply: Reply) -> Iterator[Statement]:
    """Sentences that announce the answer: `The final answer is ...`, `答案是...`, `... is the correct answer`."""
    yield from _announced(reply, (english(),))
    if reply.languages:
        yield from _announced(reply, reply.languages)


def _announced(reply: Reply, spoken: tuple[Language, ...]) -> Iterator[Statement]:
    text = reply.text
    matches = sorted(_announcing(reply, spoken), key=lambda match: match.start())[-MAX_STATEMENTS:]
    if len(matches) > 1:
        # A final answer is more explicit than an answer.
        matches.sort(key=lambda match: _FINAL.search(text, max(0, match.start() - 14), match.end()) is not None)
    for match in reversed(matches):
        if match.re is _REVERSED:
            clause = text[_sentence_start(text, match.start()) : match.start() + 1].strip()
            if clause and not _NEGATED_CLAUSE.search(clause):
                yield Statement(clause, match.end(), enclosed=True)
        elif not hedged(text, match.start()) and (statement := _after(text, match)):
            yield statement


def _announcing(reply: Reply, spoken: tuple[Language, ...]) -> Iterator[re.Match[str]]:
    for language in spoken:
        for offset in language.nouns_in(reply):
            match = language.announcement.match(reply.text, offset)
            if match is None and language is english():
                match = _REVERSED.search(reply.text, max(0, offset - 40), offset + 6)
            if match:
                yield match


def _after(text: str, announcement: re.Match[str]) -> Statement | None:
    """What follows an announcement; None if that is a list, the head of a table, a question or a denial."""
    lead = _LEAD.match(text, announcement.end())
    start = lead.end() if lead else announcement.end()
    clause = text[start : start + MAX_CLAUSE]
    if "\n" in text[announcement.end() : start] and LIST.match(clause):
        return None
    if announcement[0].endswith("|"):
        if _TABLE.match(clause):
            return None
        clause = clause.partition("|")[0]
    return Statement(clause, start) if clause and not ASKED.match(clause) else None


def _sentence_start(text: str, end: int) -> int:
    start = max(0, end - 200)
    ends = [
        text.rfind(mark, start, end) + len(mark) for mark in (". ", "! ", "? ", "\n", ": ") if mark in text[start:end]
    ]
    return max(ends, default=start)


_FENCE_LINE = re.compile(r"[`~]{3,}[^\n`]*\n")
_ITEM = re.compile(r"(?:[-+\u2022>][ \t]+|\*[ \t]+)?(?:\*{2,3}|__)?")


def headings(reply: Reply) -> Iterator[Statement]:
    """What is below a heading over the answer, such as `### Final answer`."""
    text, matches = reply.text, []
    for language in reply.announcing:
        for offset in language.nouns_in(reply):
            start, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset)
            if 0 < end - start < MAX_HEADING and (match := language.heading.match(text, start)):
                matches.append(match)
    matches.sort(key=lambda match: match.start())
    for match in reversed(matches[-MAX_STATEMENTS:]):
        start = _start_of_content(text, match.end())
        if text[start : start + 1] and not LIST.match(text, start):
            yield Statement(text[start : start + MAX_CLAUSE], start)


def _start_of_content(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    fence = _FENCE_LINE.match(text, start)
    start = fence.end() if fence else start
    item = _ITEM.match(text, start)
    return item.end() if item else start


_EMPHASIS = re.compile(
    r"^[ \t>]*+(?:[-+\u2022*][ \t]+)?(?:[$]{0,2}\\(?:textbf|mathbf)\{|(?P<mark>\*{1,3}|_{1,3}|`+|==|<b>|<strong>))"
    r"(?P<rest>[^\n]++)$",
    re.MULTILINE,
)
_WORDS_AFTER = re.compile(r"[\s.!]*(?:[^\W\d_]+[\s.!]*){0,2}\Z")


_OPENING = re.compile(r"[^\n.]{1,40}\.(?=\s+[A-Z])")
_LISTED = re.compile(r"\W*\d{1,2}\.")


def lines(reply: Reply) -> Iterator[Statement]:
    """Lines that are nothing but an answer: one in bold or another emphasis, then the last line, then the first."""
    text = reply.text
    if any(mark in text for mark in ("*", "_", "`", "==", "bf{", "<")):
        for line in reversed(list(_EMPHASIS.finditer(text))[-MAX_STATEMENTS:]):
            if (content := _emphasised(line)) is not None:
                yield Statement(content, line.end(), enclosed=True)
    plain = text.strip()
    start = plain.rfind("\n") + 1
    yield Statement(plain[start:].strip(), len(text), enclosed=True)
    if (opening := _OPENING.match(plain)) and not _LISTED.match(opening[0]):
        yield Statement(opening[0].strip(), opening.end(), enclosed=True)
    first, newline, rest = plain.partition("\n")
    if newline and "=" not in first and (rest[:1] == "\n" or _EXPLAINS.match(rest)):
        yield Statement(first.strip(), len(first), enclosed=True)


def _emphasised(line: re.Match[str]) -> str | None:
    """What a line emphasises, with at most two words after it; None if more follows or the emphasis does not end."""
    mark, rest = line["mark"], line["rest"]
    if mark is None:
        closing = _closing_brace(rest, 0)
        content, after = (rest[: closing.start()], rest[closing.end() :].lstrip("$")) if closing else ("", rest)
    else:
        content, closed, after = rest.rpartition(mark.replace("<", "</"))
        # Formulas have single underscores of their own; any other mark ends and begins another emphasis.
        content = content if mark == "_" else content.replace(closed, "")
    if not content or not _WORDS_AFTER.match(after):
        return None
    inner = _EMPHASIS.match(content)
    # A formula may hold commands in any depth.
    return (_emphasised(inner) if inner and inner["mark"] else None) or (content + after).strip()


_EXPLAINS = re.compile(
    r"\W*(?:explanation|because|reason|this|that|note|here|since|confidence|i used)\b", re.IGNORECASE
)
