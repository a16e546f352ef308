"""What a model is asked besides the bare question: prompts made from the question's own, and verdicts in replies."""

import re
from collections.abc import Sequence
from dataclasses import replace

from reasoner.types import Completion, Message, Prompt

QUOTE = 4000
"""Characters at the end of a model's text that are shown to a model again."""
CLOSING = 2000
"""Characters at the end of a reply in which a verdict is looked for."""


def bare(prompt: Prompt) -> Prompt:
    """The prompt without what was generated after it."""
    return replace(prompt, token_ids=(), text="")


def said(prompt: Prompt, text: str) -> Prompt:
    """The prompt with a text at the end of its user turn, or of a raw prompt; no text changes nothing."""
    if not text:
        return prompt
    if prompt.raw:
        return replace(prompt, raw=f"{prompt.raw}\n\n{text}")
    last = prompt.messages[-1]
    if last.role != "user":
        return replace(prompt, messages=(*prompt.messages, Message("user", text)))
    return replace(prompt, messages=(*prompt.messages[:-1], Message("user", f"{last.content}\n\n{text}")))


def shown(prompt: Prompt, shots: Sequence[str]) -> Prompt:
    """The prompt after worked examples, questions and answers in turn: as earlier turns, or before a raw prompt."""
    pairs = list(zip(shots[::2], shots[1::2], strict=True))
    if prompt.raw:
        return replace(prompt, raw="".join(f"{asked}{told}\n\n" for asked, told in pairs) + prompt.raw)
    start = next((at for at, message in enumerate(prompt.messages) if message.role != "system"), len(prompt.messages))
    turns = [turn for asked, told in pairs for turn in (Message("user", asked), Message("assistant", told))]
    return replace(prompt, messages=(*prompt.messages[:start], *turns, *prompt.messages[start:]))


def answered(prompt: Prompt, reply: str, request: str) -> Prompt:
    """The conversation that goes on: the model replied, bounded, and is now asked for more."""
    reply = quoted(reply)
    if prompt.raw:
        return Prompt(raw=f"{prompt.raw}{reply}\n\n{request}\n\n")
    return Prompt(messages=(*prompt.messages, Message("assistant", reply), Message("user", request)))


def quoted(text: str) -> str:
    """The end of a model's text, where its answer is."""
    text = text.strip()
    return text if 0 < len(text) <= QUOTE else f"[...] {text[-QUOTE:]}" if text else "(nothing)"


def verdict(reply: Completion, cue: str, allowed: Sequence[str]) -> str | None:
    """What the last line of the form `cue: verdict` says; None where the reply was cut or says nothing allowed."""
    if reply.truncated:
        return None
    line = rf"(?im)\b{cue}[^\w\n]{{0,4}}:[^\w\n-]{{0,6}}(?:(?:answer|response)[^\w\n-]{{1,3}})?(\w{{1,12}})[^\w\n]*+$"
    found = re.findall(line, reply.text[-CLOSING:])
    return {one.lower(): one for one in allowed}.get(found[-1].lower()) if found else None
