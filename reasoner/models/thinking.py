"""How a model thinks before it answers: its markers, how it is asked, and where its thinking ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from reasoner.types import TokenIds

HARMONY: Final = "openai_gptoss"
"""VLLM's reasoning parser of gpt-oss: its replies are messages on channels."""


@dataclass(frozen=True, slots=True)
class ThinkingProfile:
    """How one model thinks.

    `when` says whether it thinks "always", or "on_request", where its chat template can turn thinking off. `start` and
    `end` are the token ids of the markers, one or more each; none where the tokenizer joins a marker with other text,
    so that only text shows it. `end` may be the header of the final channel. `closing` is the text that ends
    thinking which was cut, marker included, and leads to the answer. `skip` is the text that follows a prompt so that
    the model does not think at all; it is needed where the template cannot turn thinking off. `levels` are the
    arguments of the chat template for each thinking level, by name: "none", "low", "medium", "high"; a level that is
    missing has no arguments. `parser` is the name of vLLM's reasoning parser. `also` are further pairs of markers that
    the model may write, `calls` the texts that begin a call of a tool and so end thinking, `voids` the marks in the
    final part that are no text.
    """

    when: Literal["always", "on_request"]
    start: TokenIds
    end: TokenIds
    start_text: str
    end_text: str
    closing: str
    skip: str = ""
    levels: Mapping[str, Mapping[str, str | int | bool]] = field(
        default_factory=dict, hash=False
    )
    parser: str = ""
    also: tuple[tuple[str, str], ...] = ()
    calls: tuple[str, ...] = ()
    voids: tuple[str, ...] = ()


class ThinkingSplit(NamedTuple):
    """Where thinking ends in a sequence.

    The first `thinking` token ids are thinking, markers included; `unclosed` says whether it continues after the last.
    """

    thinking: int
    unclosed: bool


class ForcedText(NamedTuple):
    """A text that is appended to a reply: the part that belongs to thinking, markers included, and the rest."""

    thinking: str
    text: str


def forced(
    text: str,
    thinking: Literal["", "open", "close"],
    profile: ThinkingProfile | None,
    *,
    in_thinking: bool,
) -> ForcedText:
    """What is appended to a reply: a text, after the marker that opens or closes thinking where it is needed."""
    if profile is None:
        return ForcedText("", text)
    if thinking == "open":
        return ForcedText(f"{'' if in_thinking else profile.start_text}{text}", "")
    if thinking == "close":
        return ForcedText(profile.closing if in_thinking else "", text)
    if not in_thinking:
        return ForcedText("", text)
    thought, marker, rest = text.partition(profile.end_text)
    return ForcedText(thought + marker, rest)


def split(ids: TokenIds, profile: ThinkingProfile, *, opened: bool) -> ThinkingSplit:
    """Where thinking ends in generated token ids; `opened` says whether what comes before them opened it.

    A closing marker without an opening one ends thinking that the prompt began. Thinking that ended is not opened
    again: a marker in an answer is text. A profile without ids of its markers splits nothing.
    """
    end = find(ids, profile.end)
    if end >= 0:
        return ThinkingSplit(end + len(profile.end), False)
    return (
        ThinkingSplit(len(ids), True)
        if opened or find(ids, profile.start) >= 0
        else ThinkingSplit(0, False)
    )


def find(ids: TokenIds, marker: TokenIds) -> int:
    """Where a marker is first in token ids; -1 if it is nowhere."""
    at = -1
    while marker:
        try:
            at = ids.index(marker[0], at + 1)
        except ValueError:
            break
        if ids[at : at + len(marker)] == marker:
            return at
    return -1
