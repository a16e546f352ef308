"""The range of what can be counted: what engines and verifiers report is checked here before it is booked."""

from collections.abc import Sequence
from typing import Final

MOST_IN_A_REQUEST: Final = 10**9
"""The most tokens, and the most calls, that one request or one rating can have used."""
MOST_IN_A_QUESTION: Final = 10**15
"""The most that all requests of one question can have used together; sums of it fit 64 bits."""
MOST_FLOPS: Final = 10**30
"""More than any computation that one question can have asked for."""


def fault_in(counts: Sequence[tuple[str, object]], *, most: int = MOST_IN_A_REQUEST) -> str:
    """What is wrong with the first count that is not a whole number from 0 to `most`; empty if all are fine."""
    for name, count in counts:
        if not isinstance(count, int) or isinstance(count, bool):
            return f"{name} is {type(count).__name__} and no whole number"
        if not 0 <= count <= most:
            # Python refuses to write out integers of over 4,300 digits.
            shown = str(count) if count.bit_length() < 128 else f"a number of {count.bit_length():,} bits"
            return f"{name}={shown} is out of range: a count is 0 to {most:,}"
    return ""
