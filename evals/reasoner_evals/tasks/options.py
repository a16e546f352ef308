"""Multiple choice as the tasks put it: a question, then its options with letters before them."""

import hashlib
import string
from collections.abc import Sequence

from reasoner.answers import ChoiceSpace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.prompts import Template

END = "Reason step by step, and end with `The answer is`, followed by the letter of one option. {kind}"


def listed(question: str, options: Sequence[str]) -> str:
    """The question with its options, one a line."""
    lines = (f"{letter}) {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False))
    return f"{question}\n\n" + "\n".join(lines)


def choice(
    template: Template,
    question: str,
    options: Sequence[str],
    right: int,
    *,
    id: str,
    level: str = "",
    context: str = "",
) -> GradedQuestion:
    """A question whose reference answer is the letter of the option at place `right`."""
    space = ChoiceSpace(tuple(options))
    asked = template.ask(listed(question, options), space, id=id, context=context)
    return GradedQuestion(asked, space.known[right], level=level)


def shuffled(count: int, *, id: str, repeat: int) -> list[int]:
    """An order of the options that depends on the question's id and `repeat` alone, in every process."""

    def key(place: int) -> bytes:
        return hashlib.blake2b(f"{id}\0{repeat}\0{place}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return sorted(range(count), key=key)
