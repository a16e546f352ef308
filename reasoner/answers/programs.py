"""What a program printed, as an answer and as a part of a reply."""

from typing import Final

from reasoner.answers.asking import harmless, opening_of, read_probe
from reasoner.answers.forms import Opening
from reasoner.types import Answer, AnswerSpace

OUTPUT: Final = "```output"
"""What opens a block of output in a reply."""
SHOWN: Final = 1000
"""The most characters of an output in a reply, from its end."""
PRINTED: Final = Opening("", "The answer is ")
"""Reads what a program printed where its kind of answer has no form to open."""


def printed_answer(space: AnswerSpace, output: str) -> Answer | None:
    """The answer in what a program printed: by a form of its kind, else its last line."""
    lines = output.strip().splitlines()
    if not lines:
        return None
    return space.read(output) or read_probe(
        space, lines[-1].strip(), opening_of(space) or PRINTED, cut=False
    )


def output_block(output: str, failure: str) -> str:
    """The rest of a block of output: it neither ends early nor means anything to a chat template."""
    printed = harmless(output[-SHOWN:]).replace("```", "'''").strip()
    lines = filter(None, (printed, failure and f"({failure})"))
    return "\n".join(("", *lines, "```\n"))
