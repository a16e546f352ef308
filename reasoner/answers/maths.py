r"""Mathematical answers: numbers, formulas, tuples, intervals, sets; `docs/answers.md` says which are equal."""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import math_worker
from reasoner.answers.acceptance import POLICIES, Policy, accepts
from reasoner.answers.blocking import blocks, exact
from reasoner.answers.corrections import declines, is_remark
from reasoner.answers.forms import Statement, forms
from reasoner.answers.languages import Reply
from reasoner.answers.latex import bare, too_complex
from reasoner.answers.numerals import last_number
from reasoner.answers.reading import ReadsSegment
from reasoner.answers.shapes import NO_SOLUTION, Group, Number, Shape, Words, key, shape
from reasoner.errors import UnknownName, require
from reasoner.specs import Seconds
from reasoner.types import Answer, Blocks

MAX_CLAUSE = 500
"""Characters of an announced answer that are read."""

# Possessive, as in `reading`, so that hostile text costs linear time.
_ROWS = r"(?:align|aligned|alignat|gather|gathered|equation|eqnarray|multline|split)"
_MATH = re.compile(
    r"\$\$([^$]++)\$\$|\$(?=\S)([^$\n]++)(?<=\S)\$(?!\d)"
    r"|\\\(((?:[^\\]|\\(?![()]))*+)\\\)|\\\[((?:[^\\]|\\(?![\[\]]))*+)\\\]"
    rf"|\\begin\{{{_ROWS}\*?\}}((?:[^\\]|\\(?!end\b|begin\{{{_ROWS}))*+)\\end\{{{_ROWS}\*?\}}"
)
_INLINE = re.compile(r"(?<!\\)\\[()]")
_ENVIRONMENT = re.compile(rf"\\(?:begin|end)\{{{_ROWS}\*?\}}(?:\{{\w*\}})?")
_LEADING_RELATION = re.compile(
    r"(?:\s|=|\\(?:implies|Rightarrow|iff|Leftrightarrow|therefore|to|quad|qquad)\b|\u21d2|\u2234)*+"
)
_AND = re.compile(
    r"\s*+(?:,\s*+(?:and|or|y|und|et|e|\u0438)\b|,|(?:and|or|y|und|et|e|o|ou|oder|\u0438|\u0438\u043b\u0438)\b"
    r"|[\u548c\u6216\u3001\uff0c\u3068])\s*+"
)
# The end of the clause after an announcement: the sentence ends or continues in words.
_END = re.compile(
    r"[.!](?=\s|\*|\Z)|:(?=\s[a-zA-Z])|[;\u3002\uff1b\uff01\u0964]|\*\*|\s(?:because|since|as|which|so|where|for|when"
    r"|if|but|at|porque|car|weil|wenn|quand|cuando)\b"
    r"|,\s(?!and\b|or\b)(?=[a-zA-Z]{2})|\s\((?=[a-zA-Z]{3}|or\s|\u2248|\\approx|i\.e\.)"
)
_CONDITION = re.compile(r"\s(?:when|if|where|for|at|as|because|since)\s")
_TEXTED = re.compile(r"\\(?:text\w*|mbox|math[a-z]+|operatorname|begin|end)\s*\{[^{}]*+\}|\\[a-zA-Z]++")
_PLAIN_WORD = re.compile(
    r"(?<![^\W\d_])(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|or|and)(?![a-z]))"
    r"(?:(?![\u00b2\u00b3\u00b9\u2070-\u209f])[^\W\d_]){2,}"
)
_AMOUNT = re.compile(r"(\$?-?[\d.,]*\d)\s+(?!(?:and|or)\b)(?=[^\W\d_]{2})[^=]*+")
_SAYS = re.compile(r"[^\W_]|\\[a-z]")
_MORE = re.compile(r"(?<![\^{])\d")
_LEADING_WORDS = re.compile(
    r"\W{0,4}(?:(?:so|therefore|thus|hence|then|finally|that|is|we (?:get|have|find|obtain|conclude)|which gives"
    r"|giving)\b"
    r"[\s,:]*+)++",
    re.IGNORECASE,
)
# What follows the main statement of a sentence: a reason, a condition, an approximation, a detail.
_DETAIL = re.compile(
    r"[\s,;(\u2014\u2013]*+(?:and\s+|or\s+|which\s+is\s+|(?:that\s+is|i\.e\.),?\s+)?"
    r"(?:which|when|where|since|because|for|as|at|with|using|given|if|reached|attained|occurr\w+|obtained|taking|by"
    r"|from|approximately|approx\.?|about|roughly|around)\b"
    r"(?![^\n]*?(?:,\s(?:so|then|we|it|this|and\s(?:so|thus))\b|\b(?:therefore|thus|hence|we\s(?:get|have|find"
    r"|obtain)|gives|giving|is\s*\Z|are\s*\Z)|:\s))[^\n]*\Z|\s*\([a-zA-Z][^()\n]*\Z"
)
_LONE_NAME = re.compile(r"[a-zA-Z]|\\(?!pi|infty|emptyset)[a-z]+")
_CONTINUED = re.compile(r",?\s+[a-z]")
_REJECTED = re.compile(
    r"\s*(?:(?:is|are|was)\s+(?:rejected|discarded|extraneous|invalid|impossible|not\b)|does\s+not\b|doesn['\u2019]t\b)"
)
_CONDITION_BEFORE = re.compile(
    r"\b(?:when|if|for|since|as|with|where|given|at|let|because|suppose)\s*\Z", re.IGNORECASE
)
_PLURAL = re.compile(r"(?:\b(?:are|were|son|sont|sind|s\u00e3o|sono)|:)\s*\Z", re.IGNORECASE)
# What ends a proof or ticks a line, and is no answer.
_DECORATION = re.compile(
    r"(?:\s|\\(?:blacksquare|square|Box|checkmark|therefore|because|qed|quad)\b|[\u25a0\u25a1\u2713\u2714\u220e])*+"
)
_LABEL = re.compile(r"\W{0,6}[^\W\d_]{3,30}(?:\s[^\W\d_]{2,30}){0,4}:[*_]*\s+(?=\S)")
# What a last sentence without a formula in dollars ends with: `The closed form is n(n+1)/2.`, `... the pair (2, -1).`
_TAIL = re.compile(
    r"\b(?:is|are|equals|becomes|gives|get|obtain|:|es|est|ist|\u00e8|\u00e9|adalah|l\u00e0)\s+\**"
    r"([^.!?\n]*[^.!?\n\s]|\S*\.\d\S*)\W{0,3}\Z"
)
_TUPLE = re.compile(r"(\(\s*-?[\w./\u221a\u2212]+(?:\s*,\s*[-\u2212]?[\w./\u221a]+){1,5}\s*\))\W{0,3}\Z")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])")
_NUMBERED = re.compile(r"[ \t>*#-]{0,20}\d{1,2}[.)]?")
_SIDE = re.compile(r"\s*+[([]?\\?[a-zA-Z]\w*+(?:_\{?\w+\}?)?'*(?:\([^()=]*\))?\s*+(?:,\s*+[a-z]\s*+)*+[)\]]?\s*+=")
_BREAK = re.compile(r"(?<!i\.e)(?<!e\.g)[.!?\u3002](?=\s)|\n")
_BOX = re.compile(r"\\boxed\s?\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*+\})*+\})*+)\}")
_BETWEEN_BOXES = re.compile(rf"[\s$]*+{_AND.pattern}\$*+")
_DECIMAL_COMMA = re.compile(r"(?<![\d,(\[{])(-?\d+),(\d+)(?![\d,])")
MAX_FORMULAS = 40
"""Formulas that are looked at, from the end."""
MAX_BETWEEN = 120
"""Characters between a main formula and one in a detail."""
MAX_WORDS = 3
"""Maximum words of an announced answer; more are a sentence."""


@dataclass(frozen=True, slots=True)
class MathSpace(ReadsSegment):
    """A mathematical answer; `docs/answers.md` says when two are equal.

    `seconds`, above 0, limits the processor time for comparing all answers of one question. Answers that are not
    compared in time count as different, and the solution has a note that says so. `loose` names the policies of
    `docs/answers.md` that are loosened; all answers of a vote are then compared with each other.
    """

    name: ClassVar[str] = "math"
    version: ClassVar[int] = 5
    instruction: ClassVar[str] = "Put the final answer in \\boxed{}."

    # Functions of `SlowSpace`; the first one and `accepts` run in a worker.
    find_blocks = staticmethod(math_worker.find_blocks)
    refusal = staticmethod(too_complex)

    seconds: Seconds = 10.0
    loose: tuple[Policy, ...] = ()

    def __post_init__(self) -> None:
        ReadsSegment.__post_init__(self)
        for policy in self.loose:
            if policy not in POLICIES:
                raise UnknownName("loose policy", policy, POLICIES, of="answer kind math")
        require(self.seconds, "seconds", above=0, below=math.inf)

    def forms(self, reply: Reply) -> Iterator[Statement]:
        r"""The forms of every kind; boxes joined by `and` are one, as in `\boxed{1} and \boxed{2}`."""
        boxes = list(_BOX.finditer(reply.text)) if reply.text.count("\\boxed") > 1 else []
        first = len(boxes) - 1
        while first > 0 and _BETWEEN_BOXES.fullmatch(reply.text, boxes[first - 1].end(), boxes[first].start()):
            first -= 1
        if boxes[first + 1 :]:
            yield Statement(", ".join(box[1] for box in boxes[first:]), boxes[-1].end(), enclosed=True)
        yield from forms(reply)

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """All of the text, or its last formula if it is a sentence."""
        if len(_words(_MATH.sub(" ", text))) > MAX_WORDS and (formula := _formula(text)):
            return self.answer(formula)
        return self._read(text, reply)

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The formulas with which it begins, its first clause, or the only formula of its first sentence."""
        written = _beginning(text)
        return self._read(written, reply) if written else None

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """A formula without words around it, or a number with its unit; a condition may follow."""
        if (condition := _CONDITION.search(text)) and condition.start():
            text = text[: condition.start()]
        if (label := _LABEL.match(text)) and not is_remark(text):
            text = text[label.end() :]
        if not text.strip() or len(text) > MAX_CLAUSE or _half(text):
            return None
        words = len(_words(text))
        if words == 0 or (words <= MAX_WORDS and _AMOUNT.fullmatch(text.strip(" .*$"))):
            formula = _MATH.fullmatch(text.strip(" .*,"))
            return self._read(_result(formula) if formula else text, reply)
        return None

    def last(self, text: str, reply: Reply) -> Answer | None:
        """The only line, a last line that is a formula but for words such as `so`, the last formula or number."""
        if declines(text):
            return None
        closing = text.strip().rpartition("\n")[2][:80] if "solution" in text else ""
        if closing and shape(closing) == NO_SOLUTION:
            return self._read(closing, reply)
        tail = self._tail(text.strip().rpartition("\n")[2], reply)
        for written in (_line(text), self._bold(text, reply) or tail or _formula(text), last_number(text)):
            if written and (answer := self._read(written, reply)):
                return answer
        return None

    def _bold(self, text: str, reply: Reply) -> str | None:
        """The last formula in bold, as `The point is **(2, 3)**.` has it, unless formulas follow its line."""
        for bold in reversed(list(_BOLD.finditer(text))[-MAX_FORMULAS:]):
            end = text.find("\n", bold.end())
            if end >= 0 and _MATH.search(text, end):
                return None
            line_before = text[: bold.start()].rpartition("\n")[2]
            if not _NUMBERED.fullmatch(line_before + bold[1]):
                written = bold[1] if self.alone(bold[1], reply) else self._tail(bold[1], reply)
                if written:
                    return written
        return None

    def _tail(self, line: str, reply: Reply) -> str | None:
        """The formula, written without dollars, with which the last sentence of a line ends."""
        sentence = _SENTENCE.split(line[-MAX_CLAUSE:])[-1]
        if "$" in sentence or "\\(" in sentence:
            return None
        for tail in filter(None, (_TUPLE.search(sentence), _TAIL.search(sentence))):
            if _MORE.search(tail[1]) and self.alone(tail[1], reply):
                return tail[1]
        return None

    def _read(self, written: str, reply: Reply) -> Answer | None:
        written = written.strip("` ")
        if not written.isascii():
            written = reply.without_ending(written).strip("\u3002\uff01\u0964 ")
        if "," in written and _DECIMAL_COMMA.search(written) and reply.decimal_comma:
            written = _DECIMAL_COMMA.sub(r"\1.\2", written)
        return self.answer(written)

    def answer(self, written: str, rule: str = "given") -> Answer | None:
        """An answer as written, such as a reference answer; None if it holds no letter or digit."""
        written = _INLINE.sub("$", written)
        name = key(shape(written))
        return Answer(bare(written), name, rule) if _SAYS.search(name) else None

    @property
    def accepts(self) -> Callable[[str, str], bool]:
        """Whether a reference answer accepts another one; runs in a worker."""
        return math_worker.LooselyAccepts(self.loose) if self.loose else math_worker.accepts

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether `a`, taken as the reference, accepts `b`; None if only a slow comparison can decide."""
        return a.key == b.key or accepts(shape(a.text), shape(b.text), lambda _gold, _answer: None, self.loose)

    def blocks(self, answer: Answer) -> Blocks | None:
        """By size and structure; None if that needs the value of a formula."""
        if self.loose:
            return Blocks(("loose",))
        answer_shape = shape(answer.text)
        return blocks(answer_shape, lambda _: None) if exact(answer_shape) else None


def _formulas_at(text: str, position: int) -> list[str]:
    """The formulas from a position on, joined by `and` or commas."""
    formulas: list[str] = []
    while formula := _MATH.match(text, position):
        formulas.append(_result(formula))
        joint = _AND.match(text, formula.end())
        position = joint.end() if joint else len(text)
    return formulas


def _result(formula: re.Match[str]) -> str:
    """The content of a formula; of several rows the last one, without a relation before it."""
    content = next(filter(None, formula.groups()), "")
    if not _ENVIRONMENT.search(formula[0]):
        return content
    rows = [row for row in _ENVIRONMENT.sub("", content).split("\\\\") if row.strip()]
    row = rows[-1].replace("&", "") if rows else ""
    lead = _LEADING_RELATION.match(row)
    return row[lead.end() if lead else 0 :].strip()


def _beginning(text: str) -> str | None:
    """The answer with which a statement begins, as written."""
    text = text.lstrip("\"'\u201c` ")
    if formulas := _formulas_at(text, 0):
        return ", ".join(formulas) if len(formulas) > 1 else formulas[0]
    line = text[:MAX_CLAUSE].partition("\n")[0]
    clause = line[: end.start()] if (end := _END.search(line)) else line
    if amount := _AMOUNT.fullmatch(clause.strip()):
        unit = len(_words(clause)) <= MAX_WORDS and not _MORE.search(clause, amount.end(1))
        return clause if unit else amount[1]
    if not clause.strip(" .*$"):
        return None
    inner = [_result(formula) for formula in _MATH.finditer(clause)]
    if len(inner) == 1 and _words(_MATH.sub(" ", clause)):
        return inner[0]
    if len(_words(clause)) <= MAX_WORDS and not clause.lower().startswith(("not ", "in ", "that ")):
        return clause
    return None


def _half(text: str) -> bool:
    """Whether the text holds only one end of an environment."""
    return "\\end{" in text if "\\begin{" not in text else "\\end{" not in text


def _words(text: str) -> list[str]:
    return _PLAIN_WORD.findall(_TEXTED.sub(" ", text) if "\\" in text else text)


def _line(text: str) -> str | None:
    """The last line if it is a formula without words around it, or the only line if it is short."""
    lines = text.strip().splitlines()
    if not lines:
        return None
    last = lines[-1].strip()
    if _half(last):
        return None
    if "$" not in last and "\\(" not in last and (lead := _LEADING_WORDS.match(last)) and "=" in last:
        last = last[lead.end() :]
    words = len(_words(last))
    named = len(lines) == 1 and words < MAX_WORDS and _plain_amount(shape(last))
    return last if words == 0 or named else None


def _plain_amount(answer: Shape) -> bool:
    return isinstance(answer, Number | Words) or (isinstance(answer, Group) and answer.kind == "unit")


def _is_aside(text: str, formula: re.Match[str]) -> bool:
    """Whether a formula is rejected, or only a name, about which the sentence then speaks."""
    name = _LONE_NAME.fullmatch(_result(formula)) and _CONTINUED.match(text, formula.end())
    return bool(name or _REJECTED.match(text, formula.end()))


def _formula(text: str) -> str | None:
    """The last formula of the main statement; a reason, a condition or another detail after it is skipped."""
    formulas = [formula for formula in _MATH.finditer(text) if not _DECORATION.fullmatch(_result(formula))]
    formulas = formulas[-MAX_FORMULAS:]
    if not formulas:
        return None
    while len(formulas) > 1 and _is_aside(text, formulas[-1]):
        formulas.pop()
    first = len(formulas) - 1
    while first and not _BREAK.search(text, formulas[first - 1].end(), formulas[first].start()):
        first -= 1
    sentence = formulas[first:]
    while len(sentence) > 1 and (
        _LONE_NAME.fullmatch(_result(sentence[-1])) or _REJECTED.match(text, sentence[-1].end())
    ):
        sentence.pop()
    if len(sentence) > 1:
        last, before, head = sentence[-1], sentence[-2], text[: sentence[-2].start()]
        equations = (
            _SIDE.match(_result(before)) and _SIDE.match(_result(last)) and not _CONDITION_BEFORE.search(head[-40:])
        )
        if (equations or _PLURAL.search(head[-20:])) and _AND.fullmatch(text, before.end(), last.start()):
            return f"{_result(before)}, {_result(last)}"
        for main, detail in itertools.pairwise(sentence):
            between = text[main.end() : detail.start()]
            rest = _MATH.sub(" ", text[detail.end() : last.start()])
            if len(between) < MAX_BETWEEN and _DETAIL.fullmatch(between + rest):
                return _result(main)
    return _result(sentence[-1])
