r"""Mathematical answers: numbers, formulas, tuples, intervals, sets; `docs/answers.md` says which are equal."""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import math_worker
from reasoner.answers.acceptance import accepts
from reasoner.answers.blocking import blocks, exact
from reasoner.answers.latex import bare, too_complex
from reasoner.answers.numerals import last_number
from reasoner.answers.reading import CUE, ReadsSegment, boxed, last_match
from reasoner.answers.shapes import Number, Words, key, shape
from reasoner.errors import require
from reasoner.types import Answer, Blocks

MAX_CLAUSE = 500
"""Characters after an answer cue that are read."""

# Possessive, as in `reading`, so that hostile text costs linear time.
_MATH = re.compile(
    r"\$\$([^$]++)\$\$|\$(?=\S)([^$\n]++)(?<=\S)\$(?!\d)"
    r"|\\\(((?:[^\\]|\\(?![()]))*+)\\\)|\\\[((?:[^\\]|\\(?![\[\]]))*+)\\\]"
)
_AND = re.compile(r"\s*+(?:,\s*+(?:and|or)\b|,|and\b|or\b)\s*+")
_HASHES = re.compile(r"####[^\S\n]*+([^\n]++)")
_FINAL = re.compile(r"(?i:final\s++answer\s++is)\s*+:?+\s*+(?=\$|\\[(\[])")
_CUED = re.compile(rf"{CUE}\**\s*+")
# The end of the clause after a cue: the sentence ends or continues in words.
_END = re.compile(
    r"\.(?=\s|\*|\Z)|;|\*\*|\s(?:because|since|as|which|so|where|for|when|if|but)\b|,\s(?!and\b|or\b)(?=[a-zA-Z]{2})"
)
_TEXTED = re.compile(r"\\(?:text\w*|mbox|math[a-z]+|operatorname|begin|end)\s*\{[^{}]*+\}|\\[a-zA-Z]++")
_PLAIN_WORD = re.compile(r"(?<![a-zA-Z])(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|or|and)(?![a-z]))[a-zA-Z]{2,}")
_AMOUNT = re.compile(r"(\$?-?[\d.,]*\d)\s+(?!(?:and|or)\b)(?=[a-zA-Z]{2})[^=]*+")
_SAYS = re.compile(r"[^\W_]|\\[a-z]")
_MORE = re.compile(r"(?<![\^{])\d")
MAX_WORDS = 3
"""Maximum words of an answer after a cue; more are a sentence."""


@dataclass(frozen=True, slots=True)
class MathSpace(ReadsSegment):
    """A mathematical answer; `docs/answers.md` says when two are equal.

    `seconds`, above 0, limits the processor time for comparing all answers of one question. Answers that are not
    compared in time count as different, and the solution has a note that says so.
    """

    name: ClassVar[str] = "math"
    version: ClassVar[int] = 2
    instruction: ClassVar[str] = "Put the final answer in \\boxed{}."

    # Functions of `SlowSpace`; the first two run in a worker.
    accepts = staticmethod(math_worker.accepts)
    find_blocks = staticmethod(math_worker.find_blocks)
    refusal = staticmethod(too_complex)

    seconds: float = 10.0

    def __post_init__(self) -> None:
        require(self.seconds, "seconds", above=0, below=math.inf)

    def read_segment(self, segment: str) -> Answer | None:
        """The last box, the text after `####` or an answer cue, the last line, formula or number; in this order.

        `Answer.rule` says which it was. A line counts if it is a formula without words around it.
        """
        candidates = (
            ("boxed", boxed(segment)),
            ("hashes", hashes[1] if (hashes := last_match(_HASHES, segment)) else None),
            ("final", _after(_FINAL, segment)),
            ("cue", _after(_CUED, segment)),
            ("line", _line(segment)),
            ("formula", _formula(segment)),
            ("number", last_number(segment)),
        )
        for rule, written in candidates:
            if written and (answer := self.answer(written, rule)):
                return answer
        return None

    def answer(self, written: str, rule: str = "given") -> Answer | None:
        """An answer as written, such as a reference answer; None if it holds no letter or digit."""
        name = key(shape(written))
        return Answer(bare(written), name, rule) if _SAYS.search(name) else None

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether `a`, taken as the reference, accepts `b`; None if only a slow comparison can decide."""
        return a.key == b.key or accepts(shape(a.text), shape(b.text), lambda _gold, _answer: None)

    def blocks(self, answer: Answer) -> Blocks | None:
        """By size and structure; None if that needs the value of a formula."""
        answer_shape = shape(answer.text)
        return blocks(answer_shape, lambda _: None) if exact(answer_shape) else None


def _formulas_at(text: str, position: int) -> list[str]:
    """The formulas from a position on, joined by `and` or commas."""
    formulas: list[str] = []
    while formula := _MATH.match(text, position):
        formulas.append(next(filter(None, formula.groups()), ""))
        joint = _AND.match(text, formula.end())
        position = joint.end() if joint else len(text)
    return formulas


def _after(cue: re.Pattern[str], text: str) -> str | None:
    """The text after the last cue that is not followed by a sentence."""
    for match in reversed(list(cue.finditer(text))):
        if formulas := _formulas_at(text, match.end()):
            return ", ".join(formulas) if len(formulas) > 1 else formulas[0]
        line = text[match.end() : match.end() + MAX_CLAUSE].partition("\n")[0]
        clause = line[: end.start()] if (end := _END.search(line)) else line
        if amount := _AMOUNT.fullmatch(clause.strip()):
            unit = len(_words(clause)) <= MAX_WORDS and not _MORE.search(clause, amount.end(1))
            return clause if unit else amount[1]
        if clause.strip(" .*$") and len(_words(clause)) <= MAX_WORDS:
            return clause
    return None


def _words(text: str) -> list[str]:
    return _PLAIN_WORD.findall(_TEXTED.sub(" ", text))


def _line(text: str) -> str | None:
    """The last line if it is a formula without words around it, or the only line if it is short."""
    lines = text.strip().splitlines()
    if not lines:
        return None
    last = lines[-1].strip()
    words = len(_words(last))
    named = len(lines) == 1 and words < MAX_WORDS and isinstance(shape(last), Number | Words)
    return last if words == 0 or named else None


def _formula(text: str) -> str | None:
    last = None
    for match in _MATH.finditer(text):
        last = next(filter(None, match.groups()), last)
    return last
