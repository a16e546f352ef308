"""Prompts made from the question's own prompt, and verdicts read from replies."""

import re
from collections.abc import Sequence
from dataclasses import replace

from reasoner.types import Completion, Message, Prompt

QUOTE = 4000
"""Characters at the end of a model's text that are shown to the model again."""


def without_reply(prompt: Prompt) -> Prompt:
    """The prompt without what was generated after it."""
    return replace(prompt, token_ids=(), text="", thinking="")


def with_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with a text at the end of its user turn, or of a raw prompt; unchanged for an empty text."""
    if not text:
        return prompt
    if prompt.raw:
        return replace(prompt, raw=f"{prompt.raw}\n\n{text}")
    last = prompt.messages[-1]
    if last.role != "user":
        return replace(prompt, messages=(*prompt.messages, Message("user", text)))
    return replace(
        prompt,
        messages=(*prompt.messages[:-1], Message("user", f"{last.content}\n\n{text}")),
    )


def with_shots(prompt: Prompt, shots: Sequence[str]) -> Prompt:
    """The prompt after worked examples, questions and answers in turn: as earlier turns, or before a raw prompt."""
    pairs = list(zip(shots[::2], shots[1::2], strict=True))
    if prompt.raw:
        return replace(
            prompt,
            raw="".join(f"{question}{answer}\n\n" for question, answer in pairs)
            + prompt.raw,
        )
    start = next(
        (i for i, message in enumerate(prompt.messages) if message.role != "system"),
        len(prompt.messages),
    )
    turns = [
        turn
        for question, answer in pairs
        for turn in (Message("user", question), Message("assistant", answer))
    ]
    return replace(
        prompt, messages=(*prompt.messages[:start], *turns, *prompt.messages[start:])
    )


def with_request(prompt: Prompt, reply: str, request: str) -> Prompt:
    """The conversation after the model's reply, which is shortened, and a further request."""
    reply = shortened(reply)
    if prompt.raw:
        return Prompt(raw=f"{prompt.raw}{reply}\n\n{request}\n\n")
    return Prompt(
        messages=(
            *prompt.messages,
            Message("assistant", reply),
            Message("user", request),
        )
    )


def shortened(text: str) -> str:
    """The end of a model's text, where its answer is."""
    text = text.strip()
    return (
        text
        if 0 < len(text) <= QUOTE
        else f"[...] {text[-QUOTE:]}"
        if text
        else "(nothing)"
    )


def verdict(reply: Completion, cue: str, allowed: Sequence[str]) -> str | None:
    """The verdict in the last line of the form `cue: verdict`; None if the reply was cut or has no allowed verdict."""
    if reply.truncated:
        return None
    line = rf"(?im)\b{cue}[^\w\n]{{0,4}}:[^\w\n-]{{0,6}}(?:(?:answer|response)[^\w\n-]{{1,3}})?(\w{{1,12}})[^\w\n]*+$"
    # Characters at the end of a reply in which a verdict is searched
    verdicts = re.findall(line, reply.text[-2000:])
    return (
        {word.lower(): word for word in allowed}.get(verdicts[-1].lower())
        if verdicts
        else None
    )
