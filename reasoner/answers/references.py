"""The kind of answer that the reference answers of a file share.

It is a fact about the file. Of a single reference answer nothing is kept, so no question can learn of it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from reasoner.answers.choices import choice_in
from reasoner.answers.forms import machine_forms
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.texts import YesNoSpace
from reasoner.system.printing import counted

_FORMULA: Final = re.compile(
    r"\\[a-zA-Z]|\^|[\u221a\u03c0\u221e\u2264\u2265]|\b(?:sqrt|pi|sin|cos|tan|log|ln)\b"
    r"|\A[(\[](?=[^,]*,)(?:(?![^\W\d_]{2}).)*[)\]]\Z"
)
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_PREFERRED: Final = ("choice", "yes_no", "number", "math", "text")
_AMOUNT: Final = frozenset({"number", "text"})
"""The kinds of a number with a word, which is a unit or part of a name: `5 apples`, `31 May`."""


@dataclass(slots=True)
class ReferenceKinds:
    """The kinds of the reference answers of a file, counted."""

    _counts: Counter[str] = field(default_factory=Counter)
    _shared: frozenset[str] = frozenset(_PREFERRED)

    def add(self, question: str, reference: str) -> None:
        """Count the reference answer of a question, which may be a worked solution that states it in a form."""
        kinds = _kinds_of(question, reference)
        self._shared &= kinds
        self._counts[_named(kinds)] += 1

    @property
    def kind(self) -> str | None:
        """The kind of all of them; None if there are none, or if they do not decide it."""
        decided = self._counts and self._shared and self._shared != _AMOUNT
        return _named(self._shared) if decided else None

    def note(self, change: str) -> str:
        """What was found, and how to `change` it, in one line; empty if there is no reference answer."""
        counts = self._counts
        if not counts:
            return ""
        if self.kind:
            total = counts.total()
            all_of_them = f"{total:,} of {counted(total, 'reference answer')}"
            return (
                f"kind of answer: {self.kind}, by {all_of_them}; {change} sets another"
            )
        mix = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
        return (
            f"kind of answer: guessed from the wording of each question, because the reference answers do not decide "
            f"it ({mix}); {change} sets one"
        )


def _kinds_of(question: str, reference: str) -> frozenset[str]:
    """The kinds that a reference answer may be of."""
    forms = machine_forms(reference)
    text = (forms[0].text if forms else reference).strip()
    choice = choice_in(question)
    kinds = {"choice"} if choice and choice.inside(text, text) else set[str]()
    word, formula = _WORD.search(text), _FORMULA.search(text)
    if YesNoSpace().alone(text, text):
        kinds.add("yes_no")
    elif NumberSpace().inside(text, text):
        kinds |= _AMOUNT if word and not formula else {"number", "math"}
    elif formula:
        kinds.add("math")
    elif word:
        kinds.add("text")
    return frozenset(kinds)


def _named(kinds: frozenset[str]) -> str:
    """The most special of some kinds, in words."""
    if kinds == _AMOUNT:
        return "number or text"
    return next((kind for kind in _PREFERRED if kind in kinds), "other")
