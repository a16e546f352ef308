"""Blocks of mathematical answers: what two of them must have in common to be the same.

That is how they are built, and how large they are at one point. Formulas of different values never meet, so a vote over
many answers costs one evaluation each and few comparisons.
"""

import math
import zlib
from collections.abc import Callable

from reasoner.answers.shapes import Formula, Matrix, Named, Number, Ordered, Shape, Unordered, Words, key
from reasoner.types import Blocks

SAME = 1e-9
"""Values that differ by more, relative to their size, belong to formulas that differ."""
WIDTH = 1e-6
"""How far apart, relative to their size, the ends of a block of values are."""
MARGIN = 10 * SAME / WIDTH
"""A value so near to the end of its block, in blocks, is in the next one too."""

Value = Callable[[str], complex | None]
"""The value of a formula in LaTeX at a point that is the same for all formulas; None where it has none."""


def exact(shape: Shape) -> bool:
    """Whether an answer is known in full by its key: numbers and words, and what is made of them."""
    match shape:
        case Number() | Words():
            return True
        case Formula() | Named():
            return False
        case _:
            return all(map(exact, _parts(shape)))


def blocks(shape: Shape, value: Value) -> Blocks:
    """The blocks of an answer: answers that accept each other meet."""
    if isinstance(shape, Words):
        return Blocks()
    kind, size = _kind(shape), _size(shape, value)
    cells = () if size is None else tuple(f"{kind} {cell}" for cell in _cells(size))
    if exact(shape):
        # Among themselves they are known by their keys.
        return Blocks(guest=cells)
    if isinstance(shape, Named) and size is not None and shape.name not in key(shape.value):
        # An equation without a value may say the same; another `y = ...` does only where the values are equal.
        return Blocks(cells, ("value ?",))
    unknown = (f"{kind} ?",) if size is None or _names_any(shape) else ()
    return Blocks(tuple(dict.fromkeys(cells + unknown + (("value ?",) if isinstance(shape, Named) else ()))))


def _parts(shape: Shape) -> tuple[Shape, ...]:
    match shape:
        case Ordered(_, parts) | Unordered(_, parts):
            return parts
        case Matrix(rows):
            return sum(rows, ())
        case _:
            return ()


def _kind(shape: Shape) -> str:
    match shape:
        case Named(_, inner):
            return _kind(inner)
        case Ordered(brackets, parts):
            return f"{brackets}{len(parts)}"
        case Unordered(kind, parts):
            return f"{kind}{len(parts)}"
        case Matrix(rows):
            return "x".join(str(len(row)) for row in rows)
        case _:
            return "value"


def _names_any(shape: Shape) -> bool:
    return isinstance(shape, Named) or any(map(_names_any, _parts(shape)))


def _size(shape: Shape, value: Value) -> float | None:
    """One number, 0 or more, that is equal for answers which accept each other; None where it cannot be computed.

    Parts are summed up in order with weights, or without order by a power that keeps 1 + 4 apart from 2 + 3.
    """
    try:
        match shape:
            case Number(number):
                size = abs(float(number))
            case Formula(latex):
                result = value(latex)
                size = math.nan if result is None else abs(result)
            case Words(text):
                size = 1 + zlib.crc32(text.encode("utf-8", "surrogatepass")) / 2**32
            case Named(_, inner):
                return _size(inner, value)
            case _:
                sizes = [_size(part, value) for part in _parts(shape)]
                if None in sizes:
                    return None
                ordered = not isinstance(shape, Unordered)
                size = math.fsum(
                    part_size * (1 + 0.618 * index) if ordered else part_size**1.5
                    for index, part_size in enumerate(part_size for part_size in sizes if part_size is not None)
                )
    except OverflowError:
        return None
    return size if math.isfinite(size) else None


def _cells(size: float) -> list[int | str]:
    """The block of a size on a scale of equal ratios; two where it is near the end of one. Zero has its own."""
    if size == 0:
        return ["0"]
    position = math.log(size) / WIDTH
    cell = math.floor(position)
    near = [cell - 1] if position - cell < MARGIN else [cell + 1] if cell + 1 - position < MARGIN else []
    return [cell, *near]
