"""Whether one mathematical answer accepts another, shape by shape; only two formulas are left to the caller."""

import re
from collections.abc import Callable

from reasoner.answers.relations import as_inequality
from reasoner.answers.shapes import Formula, Group, Named, Number, Shape, Words, key

Decide = Callable[[str, str], bool | None]
"""Whether the first formula, taken as the reference, accepts the second; None if unknown."""

_RELATION = re.compile(r"[<>]|\\le|\\ge|\\ne(?![a-z])")


def accepts(gold: Shape, answer: Shape, decide: Decide) -> bool | None:
    """Whether `gold` accepts `answer`; None if `decide` was necessary and returned None."""
    if key(gold) == key(answer):
        return True
    match gold, answer:
        case (Named(), _) | (_, Named()):
            return _accepts_named(gold, answer, decide)
        case (Group("label", parts), Words() as label) | (Words() as label, Group("label", parts)):
            return parts[0] == label
        case Group("()"), Group("list") if named := by_name(answer):
            return _all(gold.parts, named, decide)
        case Group("list"), Group("()") if named := by_name(gold):
            return _all(named, answer.parts, decide)
        case Group("list"), Group("list") if _all_named(gold) != _all_named(answer):
            return False
        case Group(), Group() if gold.kind == answer.kind:
            compare = _matched if gold.kind in ("list", "union") else _all
            return compare(gold.parts, answer.parts, decide)
        case (Formula(), (Number() | Formula())) | (Number(), Formula()):
            gold_latex, answer_latex = key(gold), key(answer)
            # An equation is not the value of one of its sides.
            return ("=" in gold_latex) == ("=" in answer_latex) and decide(gold_latex, answer_latex)
        case _:
            return False


def by_name(group: Group) -> tuple[Shape, ...]:
    """The values of `x=3, y=4` as a tuple, if their names are neighbours in the alphabet; empty for another group."""
    named = sorted((part for part in group.parts if isinstance(part, Named)), key=lambda part: part.name)
    first = ord(named[0].name[0]) if named else 0
    if [part.name for part in named] != [chr(first + index) for index in range(len(group.parts))]:
        return ()
    return tuple(part.value for part in named if part.sign == "=")


def _all_named(group: Group) -> bool:
    return all(isinstance(part, Named) for part in group.parts)


def _accepts_named(gold: Shape, answer: Shape, decide: Decide) -> bool | None:
    """`accepts` if a side names its value: `y = 2x` equals 2x and `2x - y = 0` but not `z = 2x`."""
    match gold, answer:
        case Named(), Named():
            verdict = gold.name == answer.name and accepts(gold.value, answer.value, decide)
            both_equations = gold.sign == answer.sign == "="
            return decide(gold.latex, answer.latex) if verdict is False and both_equations else verdict
        case (Named(name, Group() as value, _, "\\in"), Formula(latex)) if _RELATION.search(latex):
            relation = as_inequality(name, key(value))
            return bool(relation) and decide(relation, latex)
        case (Formula(latex), Named(name, Group() as value, _, "\\in")) if _RELATION.search(latex):
            relation = as_inequality(name, key(value))
            return bool(relation) and decide(latex, relation)
        case Named(), Formula(latex) if "=" in latex:
            return decide(gold.latex, latex)
        case Formula(latex), Named() if "=" in latex:
            return decide(latex, answer.latex)
    gold_value, answer_value = (shape.value if isinstance(shape, Named) else shape for shape in (gold, answer))
    return accepts(gold_value, answer_value, decide)


def _all(gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide) -> bool | None:
    """Whether each part accepts the other side's part at the same index."""
    if len(gold) != len(answer):
        return False
    verdicts = [accepts(part, other, decide) for part, other in zip(gold, answer, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _matched(gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide) -> bool | None:
    """Whether the parts of both sides can be paired so that each accepts the other."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    unsure = False
    for part in sorted(gold, key=key):
        verdicts = [accepts(part, other, decide) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True
