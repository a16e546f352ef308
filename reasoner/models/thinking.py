"""How a model thinks before it answers: its markers, how it is asked, and where its thinking ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from reasoner.tokens import TokenIds


@dataclass(frozen=True, slots=True)
class ThinkingProfile:
    """How one model thinks.

    `when` says whether it thinks "always", or "on_request", where its chat template can turn thinking off. `start` and
    `end` are the token ids of the markers, one or more each; `end` may be the header of the final channel. The texts of
    the markers are for engines that take text. `closing` is the text that ends thinking which was cut, marker included,
    and leads to the answer. `skip` is the text that follows a prompt so that the model does not think at all; it is
    needed where the template cannot turn thinking off. `levels` are the arguments of the chat template for each
    thinking level, by name: "none", "low", "medium", "high"; a level that is missing has no arguments. `parser` is the
    name of vLLM's reasoning parser.
    """

    when: Literal["always", "on_request"]
    start: TokenIds
    end: TokenIds
    start_text: str
    end_text: str
    closing: str
    skip: str = ""
    levels: Mapping[str, Mapping[str, str | int | bool]] = field(default_factory=dict, hash=False)
    parser: str = ""


class Split(NamedTuple):
    """Where thinking ends in a sequence.

    The first `thinking` token ids are thinking, markers included; `unclosed` says whether it continues after the last.
    """

    thinking: int
    unclosed: bool


class Forced(NamedTuple):
    """A text that is appended to a reply: the part that belongs to thinking, markers included, and the rest."""

    thinking: str
    text: str


def forced(
    text: str, thinking: Literal["", "open", "close"], profile: ThinkingProfile | None, *, in_thinking: bool
) -> Forced:
    """What is appended to a reply: a text, after the marker that opens or closes thinking where it is needed."""
    if profile is None:
        return Forced("", text)
    if thinking == "open":
        return Forced(f"{'' if in_thinking else profile.start_text}{text}", "")
    if thinking == "close":
        return Forced(profile.closing if in_thinking else "", text)
    if not in_thinking:
        return Forced("", text)
    thought, marker, rest = text.partition(profile.end_text)
    return Forced(thought + marker, rest)


def split(ids: TokenIds, profile: ThinkingProfile, *, opened: bool) -> Split:
    """Where thinking ends in generated token ids; `opened` says whether what comes before them opened it.

    A closing marker without an opening one ends thinking that the prompt began, unless an answer came before it. Linear
    in the number of ids. A profile whose markers have no ids splits nothing.
    """
    start, end = profile.start, profile.end
    thinking, closed, position = 0, False, 0
    while position < len(ids):
        if not opened and start and ids[position] == start[0] and ids[position : position + len(start)] == start:
            opened, position = True, position + len(start)
        elif end and (opened or not closed) and ids[position] == end[0] and ids[position : position + len(end)] == end:
            opened, closed = False, True
            position += len(end)
            thinking = position
        else:
            position += 1
    return Split(len(ids), True) if opened else Split(thinking, False)


def still_thinking(ids: TokenIds, profile: ThinkingProfile | None, *, opened: bool) -> bool:
    """Whether a model is in its thinking after generated token ids; `opened` is what it was before them."""
    return profile is not None and split(ids, profile, opened=opened).unclosed
