"""Builds a `Question` from its text: the id, the prompt and the answer space."""

import hashlib
import re

from reasoner.answers import space_for
from reasoner.errors import UsageError, shown
from reasoner.types import AnswerSpace, Prompt, Question

_SURROGATE = re.compile("[\ud800-\udfff]")


def question_of(text: str, *, space: AnswerSpace | str, context: str, id: str) -> Question:
    """What `Question.of` returns."""
    if not isinstance(text, str) or not (isinstance(space, str) or hasattr(space, "read")):
        what, given = ("question", text) if not isinstance(text, str) else ("answer space", space)
        raise UsageError(f"the {what} must be text (got {shown(given)})")
    if not text.strip():
        raise UsageError("the question is empty: write it as the argument, or pass - to read it from standard input")
    if _SURROGATE.search(text) or _SURROGATE.search(context):
        raise UsageError("the question is not valid text: it holds bytes that are not UTF-8")
    text = text.strip()
    kind = space_for(space, text) if isinstance(space, str) else space
    document = f"{context.strip()}\n\n" if context.strip() else ""
    prompt = Prompt.chat(f"{document}{text}\n\n{kind.instruction}")
    content = f"{kind.name}\0{context}\0{text}".encode("utf-8", "surrogatepass")
    return Question(id or "q-" + hashlib.blake2b(content, digest_size=6).hexdigest(), text, prompt, kind)
