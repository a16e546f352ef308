"""A question: its text, its prompt and its kind of answer."""

import hashlib
import re
from collections.abc import Sequence

from reasoner.answers.kinds import space_for
from reasoner.errors import UsageError, shown
from reasoner.system.values import value
from reasoner.types import Answer, AnswerSpace, Completion, Message, Prompt

_SURROGATE = re.compile("[\ud800-\udfff]")


@value(frozen=True, slots=True)
class Question:
    """A question without its reference answer, so nothing that receives it can leak one."""

    id: str
    text: str
    prompt: Prompt
    space: AnswerSpace

    def asked_by(self, prompt: Prompt) -> bool:
        """Whether a prompt is this question's own, or continues a reply to it."""
        return prompt.messages == self.prompt.messages

    @classmethod
    def of(
        cls,
        text: str,
        *,
        space: AnswerSpace | str = "auto",
        context: str = "",
        id: str = "",
        system: str = "",
        shots: Sequence[tuple[str, str]] = (),
        history: Sequence[Message] = (),
    ) -> "Question":
        """A question from its text, optionally about a document (`context`).

        The prompt is the `system` turn, worked examples (`shots`, each a question and a reply), earlier turns
        (`history`), and the question after its document. So all samples and all questions about one document share a
        cached prefix. `space` is an answer space or its name. Without an `id`, the id is a hash of the content.

        Raises:
            UsageError: the text is empty or not valid text, or there is no such space.
        """
        if not isinstance(text, str) or not (
            isinstance(space, str) or hasattr(space, "read")
        ):
            what, given = (
                ("question", text)
                if not isinstance(text, str)
                else ("answer space", space)
            )
            raise UsageError(f"the {what} must be text (got {shown(given)})")
        if not text.strip():
            raise UsageError(
                "the question is empty: write it as the argument, or pass - to read it from standard input"
            )
        earlier = [part for shot in shots for part in shot] + [
            turn.content for turn in history
        ]
        if any(_SURROGATE.search(part) for part in (text, context, system, *earlier)):
            raise UsageError(
                "the question is not valid text: it holds bytes that are not UTF-8"
            )
        kind = space_for(space, text) if isinstance(space, str) else space
        if kind.instruction:
            text = text.strip()
        document = f"{context.strip()}\n\n" if context.strip() else ""
        messages = [Message("system", system)] if system else []
        for asked, answer in shots:
            messages += [
                Message("user", with_instruction(asked, kind)),
                Message("assistant", answer),
            ]
        messages += [
            *history,
            Message("user", with_instruction(f"{document}{text}", kind)),
        ]
        content = f"{kind.name}\0{context}\0{text}"
        if len(messages) > 1:
            content += "".join(
                f"\0{turn.role}\0{len(turn.content)}\0{turn.content}"
                for turn in messages[:-1]
            )
        digest = hashlib.blake2b(
            content.encode("utf-8", "surrogatepass"), digest_size=6
        ).hexdigest()
        return cls(id or f"q-{digest}", text, Prompt(messages=tuple(messages)), kind)

    def read(self, completion: Completion) -> Answer | None:
        """The answer in a completion, by a form or by its probe; None if there is none.

        A sequence that was cut has an answer only by its probe.
        """
        if completion.extraction:
            return completion.extraction.answer
        if completion.truncated:
            return None
        return completion.reading.by(
            self.space, completion.prompt.text, completion.text
        )


def with_instruction(text: str, kind: AnswerSpace) -> str:
    """The text of a user turn, and what it says about the form of the answer; unchanged where that is nothing."""
    return f"{text}\n\n{kind.instruction}" if kind.instruction else text
