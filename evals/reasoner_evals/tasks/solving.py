"""A solution of a small arithmetic puzzle, by trying all pairs: what a person is shown, and what tests check with."""

from fractions import Fraction
from itertools import permutations


def solution(numbers: tuple[int, ...], target: int) -> str | None:
    """An expression that uses each of up to six numbers once and comes to the target; None where there is none."""
    return _found([(Fraction(number), str(number)) for number in numbers], Fraction(target))


def _found(left: list[tuple[Fraction, str]], target: Fraction) -> str | None:
    if len(left) == 1:
        value, written = left[0]
        return written if value == target else None
    for i, j in permutations(range(len(left)), 2):
        rest = [one for place, one in enumerate(left) if place not in (i, j)]
        (a, x), (b, y) = left[i], left[j]
        joined = [(a - b, f"({x} - {y})")]
        if i < j:
            joined += [(a + b, f"({x} + {y})"), (a * b, f"{x} * {y}")]
        if b:
            joined.append((a / b, f"{x} / ({y})" if "*" in y or "/" in y else f"{x} / {y}"))
        for one in joined:
            if (answer := _found([*rest, one], target)) is not None:
                return answer
    return None
