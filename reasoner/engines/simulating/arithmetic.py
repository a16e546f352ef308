"""Questions of arithmetic: the value of what a prompt asks, and the answers that it shows."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

from reasoner.answers.expressions import evaluate

_ASKED: Final = re.compile(
    r"(?:what is|what's|how much is|calculate|compute|evaluate|work out)?\s*([^?=]+?)\s*(?:=\s*)?\??\.?",
    re.IGNORECASE,
)
_WORDS: Final = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "x": "*",
}


def arithmetic(text: str) -> Fraction | None:
    """The value of the last paragraph that is only an arithmetic question; None without one."""
    return read_arithmetic(text)[0]


@lru_cache(maxsize=4096)
def read_arithmetic(text: str) -> tuple[Fraction | None, tuple[str, ...]]:
    """The value of what `arithmetic` finds, and the answers that are stated after it."""
    after = list[str]()
    for paragraph in reversed(text.split("\n\n")):
        # The longest paragraph, in characters, that is read as arithmetic
        if len(paragraph) <= 1000 and (match := _ASKED.fullmatch(paragraph.strip())):
            expression = evaluate(
                re.sub(
                    r"\s(multiplied by|divided by|plus|minus|times|x)\s",
                    lambda word: f" {_WORDS[word[1].lower()]} ",
                    match[1],
                    flags=re.IGNORECASE,
                )
            )
            if expression and len(expression.constants) > 1:
                return expression.value, tuple(
                    re.findall(
                        r"The answer is (-?\d+(?:[./]\d+)?)", "\n".join(reversed(after))
                    )
                )
        after.append(paragraph)
    return None, ()


def written(value: Fraction) -> str:
    """A value as a decimal number of at most 6 decimal places, else as a fraction."""
    decimal = value * 10**6
    return f"{float(value):.12g}" if decimal.denominator == 1 else str(value)
