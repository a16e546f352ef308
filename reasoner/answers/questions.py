"""Builds a `Question` from its text: the id, the prompt and the answer space."""

import hashlib
import re
from collections.abc import Sequence

from reasoner.answers.kinds import space_for
from reasoner.errors import UsageError, shown
from reasoner.types import AnswerSpace, Message, Prompt, Question

_SURROGATE = re.compile("[\ud800-\udfff]")


def question_of(
    text: str,
    *,
    space: AnswerSpace | str,
    context: str,
    id: str,
    system: str,
    shots: Sequence[tuple[str, str]],
    history: Sequence[Message],
) -> Question:
    """What `Question.of` returns."""
    if not isinstance(text, str) or not (isinstance(space, str) or hasattr(space, "read")):
        what, given = ("question", text) if not isinstance(text, str) else ("answer space", space)
        raise UsageError(f"the {what} must be text (got {shown(given)})")
    if not text.strip():
        raise UsageError("the question is empty: write it as the argument, or pass - to read it from standard input")
    earlier = [part for shot in shots for part in shot] + [turn.content for turn in history]
    if any(_SURROGATE.search(part) for part in (text, context, system, *earlier)):
        raise UsageError("the question is not valid text: it holds bytes that are not UTF-8")
    kind = space_for(space, text) if isinstance(space, str) else space
    if kind.instruction:
        text = text.strip()
    document = f"{context.strip()}\n\n" if context.strip() else ""
    messages = [Message("system", system)] if system else []
    for asked, answer in shots:
        messages += [Message("user", with_instruction(asked, kind)), Message("assistant", answer)]
    messages += [*history, Message("user", with_instruction(f"{document}{text}", kind))]
    content = f"{kind.name}\0{context}\0{text}"
    if len(messages) > 1:
        content += "".join(f"\0{turn.role}\0{len(turn.content)}\0{turn.content}" for turn in messages[:-1])
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return Question(id or f"q-{digest}", text, Prompt(messages=tuple(messages)), kind)


def with_instruction(text: str, kind: AnswerSpace) -> str:
    """The text of a user turn, and what it says about the form of the answer; unchanged where that is nothing."""
    return f"{text}\n\n{kind.instruction}" if kind.instruction else text
