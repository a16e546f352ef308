"""Whether one mathematical answer accepts another, shape by shape, and which answers are compared at all.

Only two formulas are left to the caller. Only answers that share a block can be equal: a block is a structure and an
interval of sizes, and the size of a formula is its value at one point. Formulas with different values share no block,
so a vote over many answers needs one evaluation per answer and few comparisons.
"""

import math
import re
import zlib
from collections.abc import Callable, Collection
from fractions import Fraction
from typing import Literal, get_args

from reasoner.answers.quantities import measure
from reasoner.answers.relations import as_inequality
from reasoner.answers.shapes import Formula, Group, Named, Number, Shape, Words, key
from reasoner.types import Blocks

Policy = Literal["units", "percent", "degrees", "order", "rounding"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""What may be loosened: units that differ are dropped, 50% is also 0.5, 30 degrees are also pi/6, tuples and sets are
compared in any order, and a decimal equals what rounds to it."""
MAX_DECIMALS = 15
"""Digits after the point of a decimal that may be rounded."""

Decide = Callable[[str, str], bool | None]
"""Whether the first formula, taken as the reference, accepts the second; None if unknown."""

_RELATION = re.compile(r"[<>]|\\le|\\ge|\\ne(?![a-z])")


def accepts(gold: Shape, answer: Shape, decide: Decide, loose: Collection[Policy] = ()) -> bool | None:
    """Whether `gold` accepts `answer`; None if `decide` was necessary and returned None."""
    if key(gold) == key(answer):
        return True
    match gold, answer:
        case (Group("unit"), _) | (_, Group("unit")):
            return _accepts_amount(gold, answer, decide, loose)
        case (Named(), _) | (_, Named()):
            return _accepts_named(gold, answer, decide, loose)
        case (Group("label", parts), Words() as label) | (Words() as label, Group("label", parts)):
            return parts[0] == label
        case Group(), Group():
            return _accepts_group(gold, answer, decide, loose)
        case Number(value), Number(other):
            return "rounding" in loose and (rounds_to(value, other) or rounds_to(other, value))
        case (Formula(), (Number() | Formula())) | (Number(), Formula()):
            gold_latex, answer_latex = key(gold), key(answer)
            # An equation is not the value of one of its sides.
            return ("=" in gold_latex) == ("=" in answer_latex) and decide(gold_latex, answer_latex)
        case _:
            return False


def _accepts_group(gold: Group, answer: Group, decide: Decide, loose: Collection[Policy]) -> bool | None:
    """`accepts` of two groups, part by part."""
    kinds = {gold.kind, answer.kind}
    if "order" in loose and kinds <= {"()", "list"}:
        return _matched(gold.parts, answer.parts, decide, loose)
    if kinds == {"()", "list"}:
        parts, others = (by_name(group) if group.kind == "list" else group.parts for group in (gold, answer))
        return bool(parts and others) and _all(parts, others, decide, loose)
    if len(kinds) > 1 or (gold.kind == "list" and _all_named(gold) != _all_named(answer)):
        return False
    compare = _matched if gold.kind in ("list", "union") else _all
    return compare(gold.parts, answer.parts, decide, loose)


def rounds_to(value: Fraction, decimal: Fraction) -> bool:
    """Whether a decimal with at least two digits after the point is the value rounded to its digits."""
    digits = next((count for count in range(2, MAX_DECIMALS + 1) if (decimal * 10**count).denominator == 1), 0)
    return digits > 0 and abs(value - decimal) <= Fraction(1, 2 * 10**digits)


def _accepts_amount(gold: Shape, answer: Shape, decide: Decide, loose: Collection[Policy]) -> bool | None:
    """`accepts` if a side has a unit: two units convert, and one that only one side has is dropped."""
    (amount, unit), (other, another) = _amount(gold), _amount(answer)
    if unit and another and "units" not in loose:
        first, second = measure(unit), measure(another)
        if first.dimension != second.dimension:
            turned = "degrees" in loose and {first.dimension, second.dimension} == {"degree^1", "radian^1"}
            return turned and accepts(_scaled(amount, unit, turned), _scaled(other, another, turned), decide, loose)
        size = first.size / second.size
        return accepts(amount if size == 1 else _times(amount, str(size)), other, decide, loose)
    verdict = accepts(amount, other, decide, loose)
    if verdict is not False or bool(unit) == bool(another):
        return verdict
    percent, degrees = "percent" in loose, "degrees" in loose
    scaled = _scaled(amount, unit, degrees, percent), _scaled(other, another, degrees, percent)
    return scaled != (amount, other) and accepts(*scaled, decide, loose)


def _amount(shape: Shape) -> tuple[Shape, str]:
    """An amount and its unit, which is "" if there is none."""
    if isinstance(shape, Group) and shape.kind == "unit":
        return shape.parts[0], key(shape.parts[1])
    return shape, ""


def _scaled(amount: Shape, unit: str, degrees: bool, percent: bool = False) -> Shape:
    """The number that an amount is if percent are hundredths and degrees are angles."""
    if percent and unit == "%":
        return _times(amount, "1/100")
    return _times(amount, "1/180", "\\pi ") if degrees and unit == "degree" else amount


def _times(amount: Shape, factor: str, constant: str = "") -> Shape:
    value = Fraction(factor)
    if isinstance(amount, Number) and not constant:
        return Number(amount.value * value)
    return Formula(f"\\frac{{{value.numerator}}}{{{value.denominator}}}{constant}\\cdot({key(amount)})")


def by_name(group: Group) -> tuple[Shape, ...]:
    """The values of `x=3, y=4` as a tuple, if their names are neighbours in the alphabet; empty for another group."""
    named = sorted((part for part in group.parts if isinstance(part, Named)), key=lambda part: part.name)
    first = ord(named[0].name[0]) if named else 0
    if [part.name for part in named] != [chr(first + index) for index in range(len(group.parts))]:
        return ()
    return tuple(part.value for part in named if part.sign == "=")


def _all_named(group: Group) -> bool:
    return all(isinstance(part, Named) for part in group.parts)


def _accepts_named(gold: Shape, answer: Shape, decide: Decide, loose: Collection[Policy]) -> bool | None:
    """`accepts` if a side names its value: `y = 2x` equals 2x and `2x - y = 0` but not `z = 2x`."""
    match gold, answer:
        case Named(), Named():
            verdict = gold.name == answer.name and accepts(gold.value, answer.value, decide, loose)
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
    return accepts(gold_value, answer_value, decide, loose)


def _all(gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide, loose: Collection[Policy]) -> bool | None:
    """Whether each part accepts the other side's part at the same index."""
    if len(gold) != len(answer):
        return False
    verdicts = [accepts(part, other, decide, loose) for part, other in zip(gold, answer, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _matched(
    gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide, loose: Collection[Policy]
) -> bool | None:
    """Whether the parts of both sides can be paired so that each accepts the other."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    unsure = False
    for part in sorted(gold, key=key):
        verdicts = [accepts(part, other, decide, loose) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


SAME = 1e-9
"""Relative difference of two values above which their formulas differ."""
WIDTH = 1e-6
"""Relative width of a block of values."""
MARGIN = 10 * SAME / WIDTH
"""Distance from the end of a block, in blocks, below which a value is in the next block too."""

Value = Callable[[str], complex | None]
"""The value of a formula in LaTeX at a point that is the same for all formulas; None if it has none."""


def exact(shape: Shape) -> bool:
    """Whether keys decide equality: true for numbers, words, and groups of these."""
    match shape:
        case Number() | Words():
            return True
        case Group(_, parts):
            return all(map(exact, parts))
        case _:
            return False


def blocks(shape: Shape, value: Value) -> Blocks:
    """The blocks of an answer; answers that accept each other share one."""
    if isinstance(shape, Words):
        return Blocks(guest=(f"label {shape.text}",) if len(shape.text) == 1 else ())
    if isinstance(shape, Group) and shape.kind == "label":
        return Blocks((f"label {key(shape.parts[0])}",))
    if isinstance(shape, Group) and shape.kind == "unit":
        return _blocks_of_amount(shape, value)
    kind, size = _kind(shape), _size(shape, value)
    cells = () if size is None else tuple(f"{kind} {cell}" for cell in _cells(size))
    if isinstance(shape, Group) and shape.kind == "list" and (values := by_name(shape)):
        # `x=3, y=4` may equal (3,4).
        pair = blocks(Group("()", values), value)
        return Blocks((*cells, f"{kind} ?", *pair.home, *pair.guest))
    if exact(shape):
        # Their keys decide equality among themselves.
        return Blocks(guest=cells)
    if isinstance(shape, Named) and size is not None and shape.name not in key(shape.value):
        # It may equal any equation without a value, but another `y = ...` only if the values are equal.
        return Blocks(cells, ("value ?",))
    unknown = (f"{kind} ?",) if size is None or _names_any(shape) else ()
    return Blocks(tuple(dict.fromkeys(cells + unknown + (("value ?",) if isinstance(shape, Named) else ()))))


def _blocks_of_amount(shape: Group, value: Value) -> Blocks:
    """It may equal the amount without a unit, and another one whose unit converts."""
    amount, unit = shape.parts[0], measure(key(shape.parts[1]))
    size = _size(amount, value)
    if size is None:
        return Blocks((f"{_kind(amount)} ?", f"{unit.dimension} ?"))
    converted = _cells(size * float(unit.size))
    cells = tuple(f"{_kind(amount)} {cell}" for cell in _cells(size))
    return Blocks((*cells, *(f"{unit.dimension} {cell}" for cell in converted)))


def _kind(shape: Shape) -> str:
    match shape:
        case Named(_, inner):
            return _kind(inner)
        case Group(kind, parts):
            return f"{kind}{len(parts)}"
        case _:
            return "value"


def _names_any(shape: Shape) -> bool:
    return any(map(_names_any, shape.parts)) if isinstance(shape, Group) else isinstance(shape, Named)


def _size(shape: Shape, value: Value) -> float | None:
    """A number, 0 or more, that is equal for answers that accept each other; None if it cannot be computed.

    Ordered parts are added with weights; unordered ones with a power, so that 1 + 4 differs from 2 + 3.
    """
    try:
        match shape:
            case Number(exact_value):
                size = abs(float(exact_value))
            case Formula(latex):
                result = value(latex)
                size = math.nan if result is None else abs(result)
            case Words(text):
                size = 1 + zlib.crc32(text.encode("utf-8", "surrogatepass")) / 2**32
            case Named(_, inner):
                return _size(inner, value)
            case _:
                sizes = [number for part in shape.parts if (number := _size(part, value)) is not None]
                if len(sizes) < len(shape.parts):
                    return None
                if shape.kind in ("list", "union"):
                    size = math.fsum(part**1.5 for part in sizes)
                else:
                    size = math.fsum(part * (1 + 0.618 * index) for index, part in enumerate(sizes))
    except OverflowError:
        return None
    return size if math.isfinite(size) else None


def _cells(size: float) -> list[int | str]:
    """The block of a size on a logarithmic scale; two near the end of a block. Zero has its own."""
    if size == 0:
        return ["0"]
    position = math.log(size) / WIDTH
    cell = math.floor(position)
    near = [cell - 1] if position - cell < MARGIN else [cell + 1] if cell + 1 - position < MARGIN else []
    return [cell, *near]
