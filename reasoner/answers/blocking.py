"""Blocks of mathematical answers: only answers that share a block can be equal.

A block is a structure and an interval of sizes; the size of a formula is its value at one point. Formulas with
different values share no block, so a vote over many answers needs one evaluation per answer and few comparisons.
"""

import math
import zlib
from collections.abc import Callable

from reasoner.answers.acceptance import by_name
from reasoner.answers.quantities import measure
from reasoner.answers.shapes import Formula, Group, Named, Number, Shape, Words, key
from reasoner.types import Blocks

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
