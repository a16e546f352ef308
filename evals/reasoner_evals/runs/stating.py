"""Which rules find an answer that was stated, and which are fallbacks: the difference of strict and flexible accuracy.

A stated form says that what it holds is the answer: a box, `####`, an answer cue, tags, a code block, a label alone on
its line. A fallback takes what stands at a place or has a shape, such as the last number: it may be no answer at all.
"""

from typing import Final

STATED: Final = frozenset({"alone", "boxed", "cue", "fence", "final", "given", "hashes", "likelihood", "tags"})
"""Rules of stated forms, and of answers that were read out of no text."""
FALLBACKS: Final = frozenset({"first", "formula", "last", "line", "marked", "number", "span", "text", "unclosed"})
"""Rules that find an answer by its place or shape; `marked` is any label in bold or brackets."""


def stated(rule: str) -> bool | None:
    """Whether a rule finds answers in a stated form; None without a rule, which is not known.

    A rule that neither set holds is taken for a fallback, so that strict accuracy claims nothing that is not known.
    """
    return rule in STATED if rule else None
