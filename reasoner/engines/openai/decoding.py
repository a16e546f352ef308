"""What is made of a reply: its parts, where only the server's tokenizer can tell them, and no secrets in them."""

from dataclasses import replace

from reasoner.engines.openai.parts import Parts, unmarked
from reasoner.engines.openai.rendering import Renderer
from reasoner.engines.openai.wire import Draft
from reasoner.system.redaction import MIN_LENGTH_IN_TEXT, Secrets
from reasoner.types import Completion


async def parts_of(draft: Draft, renderer: Renderer) -> Parts:
    """The parts of a reply; where ids and text disagree about its markers, the server decodes and counts them."""
    parts, ids = draft.parts(), draft.continuation
    if draft.cut and isinstance(draft.stop, str):
        await _trim(draft, draft.stop, renderer)
    if parts is None:
        where = draft.split()
        thinking = await renderer.decode(ids[: where.thinking])
        final = await renderer.decode(ids[where.thinking :])
        if thinking is None or final is None:
            return draft.parts_by_text()._replace(tokens=where.thinking)
        return Parts(unmarked(thinking, draft.profile), final, where.unclosed, where.thinking)
    if parts.tokens is None and parts.thinking and not parts.unclosed and ids:
        final_ids = await renderer.encode(parts.final)
        return parts if final_ids is None else parts._replace(tokens=max(len(ids) - len(final_ids), 1))
    return parts


async def _trim(draft: Draft, stop: str, renderer: Renderer) -> None:
    """Drop the token ids after the one that completed a stop string, where the last event had several."""
    for _ in range(draft.last_ids - 1):
        shown = await renderer.decode(tuple(draft.token_ids[draft.split().thinking : -1]))
        if shown is None or stop not in shown:
            return
        draft.drop_last()


def without_secrets(completion: Completion, secrets: Secrets) -> Completion:
    """The sequence without the key, which a server may send back in any field."""
    text = secrets.hide(completion.text, shortest=MIN_LENGTH_IN_TEXT)
    thinking = secrets.hide(completion.thinking, shortest=MIN_LENGTH_IN_TEXT)
    if (text, thinking) == (completion.text, completion.thinking):
        return completion
    return replace(completion, text=text, thinking=thinking)
