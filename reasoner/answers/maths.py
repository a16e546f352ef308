r"""Mathematical answers: numbers, formulas, tuples, intervals, sets; `docs/answers.md` says which are equal."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from reasoner.answers import math_worker
from reasoner.answers.forms import JOINT, LONG_BOX, Opening, adds_nothing, sign_of
from reasoner.answers.latex import balanced, bare, canonical, too_complex
from reasoner.answers.numbers import MAX_UNIT_WORDS, decimal_comma
from reasoner.answers.reading import BULLET, FormReader
from reasoner.specs import Seconds
from reasoner.types import Answer, Blocks

MAX_FORMULA = 1000
"""Characters of a formula that is read from a form."""

# Possessive, so that hostile text costs linear time.
_MATH = re.compile(
    r"\$\$([^$]++)\$\$|\$(?=\S)([^$\n]++)(?<=\S)\$(?!\d)"
    r"|\\\(((?:[^\\]|\\(?![()]))*+)\\\)|\\\[((?:[^\\]|\\(?![\[\]]))*+)\\\]"
)
_INLINE = re.compile(r"(?<!\\)\\[()]")
_LATER = re.compile(r"(?!,|\s?\()[^$\\\n]*+(?:\$|\\[(\[])(?=.)")
"""A formula later in a clause, not after a comma or in brackets."""
_END = re.compile(
    r"[.!](?=\s|\*|\Z)|[;\u3002\uff1b\uff01\u0964]|\*\*|\s\((?=[a-zA-Z]{3}|or\b|\u2248|\\approx)|,\s(?=[a-zA-Z]{3})"
)
_TEXTED = re.compile(
    r"\\(?:text\w*|mbox|math[a-z]+|operatorname|begin|end)\s*\{[^{}]*+\}|\\[a-zA-Z]++"
)
_PLAIN_WORD = re.compile(
    r"(?<![^\W\d_])(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|or|and)(?![a-z]))"
    r"(?:(?![\u00b2\u00b3\u00b9\u2070-\u209f])[^\W\d_]){2,}"
)
_AMOUNT = re.compile(
    r"\$?-?[\d.,]*\d\s+(?!(?:and|or)\b)(?=[^\W\d_]{2})(?:\^\{?\d\}?|[^=\d])*+"
)
_CONTINUED = re.compile(
    r"\s*(?:[-+*/=<>^\u00d7\u00f7\u2248]|\\(?:times|cdot|approx)|(?:or|to|and|plus|minus|times|if|when|where|for|over|mod)\b)"
)
_DECIMAL_COMMA = re.compile(r"(?<![\d,(\[{])(-?\d+),(\d+)(?![\d,])")
_CUT = re.compile(r"(?<!\A)(?<!\A-)\$|\$(?!\s?[\d.])")
_ROWS = re.compile(
    r"\\(?:begin|end)\{(?:align|gather|equation|eqnarray|multline|split)"
)
_SAYS = re.compile(r"[^\W_]|\\[a-z]")


@dataclass(frozen=True, slots=True)
class MathSpace(FormReader):
    """A mathematical answer; `docs/answers.md` says when two are equal.

    `seconds`, above 0, limits the processor time for comparing all answers of one question. Answers that are not
    compared in time count as different, and the solution has a note that says so.
    """

    name: ClassVar[str] = "math"
    version: ClassVar[int] = 10
    instruction: ClassVar[str] = "Put the final answer in \\boxed{}."
    opening: ClassVar[Opening | None] = LONG_BOX

    # Functions of `SlowSpace`; the first two run in a worker.
    accepts = staticmethod(math_worker.accepts)
    find_blocks = staticmethod(math_worker.find_blocks)
    refusal = staticmethod(too_complex)

    seconds: Seconds = field(default=10.0, kw_only=True)

    def inside(self, text: str, reply: str) -> Answer | None:
        """All of the text if it is a formula, or a number with its unit; a sentence is none."""
        text = text.strip().strip("`")
        # A placeholder, as in `your answer`, names an answer and gives none.
        if not 0 < len(text) <= MAX_FORMULA or "answer" in text.lower():
            return None
        if BULLET.match(text) and "\\" not in text and _words(text):
            return None
        written = _bare_formulas(text.rstrip("., "))
        return (
            self._answer(written, reply)
            if len(_words(written)) <= MAX_UNIT_WORDS
            else None
        )

    def begins(self, text: str, reply: str) -> Answer | None:
        """The formulas with which it begins, or its first clause where that is a formula or a number with its unit."""
        text = text[:MAX_FORMULA].lstrip("\"'\u201c` ")
        formulas, end = _formulas_at(text)
        if formulas:
            return (
                None
                if _CONTINUED.match(text, end)
                else self._answer("".join(formulas), reply)
            )
        line = text.partition("\n")[0]
        clause = line[: stop.start()] if (stop := _END.search(line)) else line
        clause = clause.lstrip(" *`").rstrip(" .*`")
        if "$" in clause.lstrip("$") or not clause or BULLET.match(text):
            return None
        return self._answer(clause, reply) if _is_answer(clause) else None

    def alone(self, text: str, reply: str) -> Answer | None:
        """A formula without words around it, or a number with its unit."""
        written = _bare_formulas(text.lstrip(" *").rstrip(" .*"))
        # A dollar that is left is a currency, or opens a formula that was cut.
        if BULLET.match(text) or _CUT.search(written):
            return None
        return self._answer(written, reply) if _is_answer(written) else None

    def _answer(self, written: str, reply: str) -> Answer | None:
        """The answer of a formula in a reply, which may write 3,5 for three and a half.

        None for rows of formulas, and for a formula that was cut.
        """
        if (
            _ROWS.search(written)
            or not balanced(written)
            or written.count("\\begin") != written.count("\\end")
        ):
            return None
        if _DECIMAL_COMMA.search(written) and decimal_comma(reply):
            written = _DECIMAL_COMMA.sub(r"\1.\2", written)
        return self.answer(written)

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether more than remarks follow, or the answer's clause has another formula."""
        end = _formulas_at(clause)[1]
        return not adds_nothing(text, remarks=True) or (
            end > 0 and _LATER.match(clause, end) is not None
        )

    def answer(self, text: str) -> Answer | None:
        """An answer as written, such as a reference answer; None if it holds no letter or digit."""
        text = _INLINE.sub("$", text)
        name = canonical(text).key
        return Answer(bare(text), name, "given") if _SAYS.search(name) else None

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether `a`, taken as the reference, accepts `b`; None if only a slow comparison can decide."""
        if a.key == b.key:
            return True
        first, second = canonical(a.text), canonical(b.text)
        if "words" in (first.kind, second.kind) or (
            first.unit and second.unit and first.unit != second.unit
        ):
            return False
        return (
            first.text == second.text if first.kind == second.kind == "number" else None
        )

    def blocks(self, answer: Answer) -> Blocks | None:
        """By value and structure; None if that needs the value of a formula."""
        given = canonical(answer.text)
        if given.kind != "number":
            return Blocks() if given.kind == "words" else None
        try:
            cells = math_worker.cells(abs(float(Fraction(given.text))))
        except OverflowError:
            return Blocks()
        # Without a unit, numbers are equal only if their keys are.
        return Blocks(cells) if given.unit else Blocks(guest=cells)


def _formulas_at(text: str) -> tuple[list[str], int]:
    """The formulas with which a text begins and what joins them, `or` or commas, and where they end."""
    formulas, position, end = list[str](), 0, 0
    while formula := _MATH.match(text, position):
        if formulas:
            formulas.append(sign_of(text[end:position]))
        formulas.append(next(filter(None, formula.groups()), ""))
        end = formula.end()
        joint = JOINT.match(text, end)
        position = joint.end() if joint else len(text)
    return formulas, end


def _bare_formulas(text: str) -> str:
    """The formulas that a text is, without dollars; any other text as it is."""
    formulas, end = _formulas_at(text)
    return "".join(formulas) if formulas and end == len(text) else text


def _is_answer(text: str) -> bool:
    """Whether a text has no words but those of a unit."""
    words = len(_words(text))
    return words == 0 or (
        words <= MAX_UNIT_WORDS and _AMOUNT.fullmatch(text) is not None
    )


def _words(text: str) -> list[str]:
    return _PLAIN_WORD.findall(_TEXTED.sub(" ", text) if "\\" in text else text)
