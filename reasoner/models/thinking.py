"""How a model thinks before it answers: its markers, how it is asked, and the parts of a reply while it arrives."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from reasoner.types import Prompt, TokenIds

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


_CHANNELS: Final = (
    r"(?:<\|start\|>[^<]*| to=functions\.[^<]{0,200})?"
    r"<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"|(?P<void><\|(?:end|return|call)\|>)"
)
"""The headers of the messages of gpt-oss, and what ends a message."""
_HEADER_BEGUN: Final = re.compile(
    r"(?:<\|(?:start|channel)\|>| to=functions\.)(?:(?!<\|message\|>).){0,200}\Z",
    re.DOTALL,
)


def still_thinking(
    prompt: Prompt, profile: ThinkingProfile | None, *, opened: bool
) -> bool:
    """Whether a model is in its thinking at the end of a prompt; `opened` says whether its head opened thinking."""
    if profile is None or prompt.text.strip():
        return False
    if profile.end:
        return split(prompt.token_ids, profile, opened=opened).unclosed
    reading = PartSplitter(profile, opened=opened)
    reading.add(prompt.thinking, last=True)
    return reading.thinking


def first_stop(text: str, stops: tuple[str, ...]) -> str:
    """The stop string that comes first in a text, or ""."""
    starts = [(start, stop) for stop in stops if (start := text.find(stop)) >= 0]
    return min(starts)[1] if starts else ""


class Piece(NamedTuple):
    """A piece of a reply without marks; `thinking` is None where only what follows shows whether it was thought."""

    text: str
    thinking: bool | None


class _Grammar(NamedTuple):
    """The marks of a family: their pattern, with groups of kinds, and the texts that begin them."""

    pattern: re.Pattern[str]
    texts: tuple[str, ...]
    channels: bool = False
    leads: frozenset[str] = frozenset()
    longest: int = 0

    @classmethod
    def of(
        cls, pattern: str, texts: tuple[str, ...], *, channels: bool = False
    ) -> "_Grammar":
        """The grammar of a pattern."""
        return cls(
            re.compile(pattern),
            texts,
            channels,
            frozenset(text[0] for text in texts),
            max(map(len, texts), default=1),
        )

    def settled(self, text: str, *, last: bool) -> int:
        """How much of a text no mark can begin in that ends after it; of the last text, all but a header."""
        if self.channels and (header := _HEADER_BEGUN.search(text)):
            return header.start()
        if last or self.leads.isdisjoint(text[-self.longest :]):
            return len(text)
        lengths = (
            next(
                (
                    n
                    for n in range(min(len(mark) - 1, len(text)), 0, -1)
                    if text.endswith(mark[:n])
                ),
                0,
            )
            for mark in self.texts
        )
        return len(text) - max(lengths, default=0)


@lru_cache
def _grammar(profile: ThinkingProfile) -> _Grammar:
    if profile.parser == HARMONY:
        return _Grammar.of(
            _CHANNELS,
            (
                "<|channel|>",
                "<|start|>",
                "<|end|>",
                "<|return|>",
                "<|call|>",
                " to=functions.",
            ),
            channels=True,
        )
    pairs = (
        (profile.start_text, profile.end_text),
        (profile.start_text.strip(), ""),
        *profile.also,
    )
    kinds = {
        "open": [start for start, _ in pairs],
        "close": [end for _, end in pairs],
        "call": profile.calls,
        "void": profile.voids,
    }
    listed = [(text, kind) for kind, texts in kinds.items() for text in texts if text]
    # The longest mark counts. A text of two kinds is of the first.
    listed.sort(key=lambda mark: -len(mark[0]))
    pattern = "|".join(
        f"(?P<{kind}{at}>{re.escape(text)})" for at, (text, kind) in enumerate(listed)
    )
    return _Grammar.of(pattern or r"(?!)", tuple(text for text, _ in listed))


class PartSplitter:
    """Splits a reply into its parts while its text arrives; `opened` says whether what is before it opened thinking.

    Thinking is a prefix. It ends at a closing mark, or where a call of a tool begins, and an opening mark after that is
    text. A closing mark without an opening one ends thinking that began with the reply. gpt-oss writes messages on
    channels, and may think again.

    `thinking` is whether the reply is in its thinking, `closed` whether that ended, and `end` the number of characters
    up to the end of thinking, marks included.
    """

    def __init__(self, profile: ThinkingProfile, *, opened: bool) -> None:
        self._profile, self._grammar = profile, _grammar(profile)
        self.thinking, self.end = opened, 0
        self.closed = self._muted = self._called = False
        self._wrote = {True: False, False: False}
        self.held, self._at, self._begin = "", 0, 0
        """The text that is not settled, its position, and the position of the first text that is passed on."""
        self._special: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        """The characters that were added."""
        return self._at + len(self.held)

    def restart(self) -> None:
        """Pass on nothing of what is there already, even if it is not settled."""
        self._begin = self.size

    def add(
        self, text: str, special: Iterable[tuple[int, int]] = (), *, last: bool = False
    ) -> list[Piece]:
        """The pieces that a further text settles; with `last`, the reply ends with it.

        `special` are positions in the whole text, from and to, that hold a special token: it is read only as a mark.
        """
        self._special += special
        if self._settles(text):
            self._at += len(text)
            self._wrote[self.thinking] = True
            return [Piece(text, self.thinking)]
        held, position, pieces = self.held + text, 0, list[Piece]()
        settled = self._grammar.settled(held, last=last)
        # Characters of blanks at the start of a reply that are held until it is clear whether thinking
        # follows them
        if settled <= 200 and not (
            last or self.thinking or self.closed or held[:settled].strip()
        ):
            settled = 0
        for mark in self._grammar.pattern.finditer(held):
            if mark.start() >= settled:
                break
            settled = max(settled, mark.end())
            self._write(pieces, held, position, mark.start())
            position = mark.end()
            if not self._takes(mark, pieces):
                # A mark that is text is text, though a token may be special.
                begin, position = self._at + mark.start(), mark.start()
                self._special = [
                    span
                    for span in self._special
                    if not begin <= span[0] < self._at + mark.end()
                ]
        self._write(pieces, held, position, settled)
        self.held, self._at = held[settled:], self._at + settled
        self._special = [(begin, end) for begin, end in self._special if end > self._at]
        return pieces

    def _settles(self, text: str) -> bool:
        """Whether a text is surely all of one part: most tokens are."""
        plain = (self.thinking or self.closed) and not (
            self.held or self._special or self._muted
        )
        return (
            plain
            and bool(text)
            and self._at >= self._begin
            and self._grammar.leads.isdisjoint(text)
        )

    def _write(self, pieces: list[Piece], held: str, begin: int, end: int) -> None:
        """Pass on what is held from one position to another, without its special tokens, which a call is written in."""
        if self._muted or begin >= end:
            return
        position, texts = max(begin, self._begin - self._at), []
        for first, after in () if self._called else self._special:
            if position <= first - self._at < end:
                texts.append(held[position : first - self._at])
                position = after - self._at
        if text := "".join((*texts, held[position:end])):
            pieces.append(
                Piece(text, self.thinking if self.thinking or self.closed else None)
            )
            self._wrote[self.thinking] = True

    def _takes(self, mark: re.Match[str], pieces: list[Piece]) -> bool:
        """Take a mark, unless it is text here."""
        kind = (mark.lastgroup or "").rstrip("0123456789")
        if kind == "channel":
            return self._header(mark, pieces)
        if kind == "void":
            return self.closed or self._grammar.channels
        if kind == "open":
            opens = self.thinking or not self.closed
            self.thinking = opens
            return opens
        if self.closed:
            return mark[0] in self._profile.voids
        if kind == "close" or self.thinking:
            self.end = self._at + (mark.end() if kind == "close" else mark.start())
        self.thinking, self.closed, self._called = False, True, kind == "call"
        return kind == "close"

    def _header(self, mark: re.Match[str], pieces: list[Piece]) -> bool:
        """Begin a message: of thinking, of the answer, or of a call, which is no text."""
        thought, self._muted = self.thinking or not self.closed, "to=" in mark[0]
        self.thinking = not self._muted and mark["channel"].strip() == "analysis"
        if thought and not self.thinking:
            self.closed, self.end = (
                True,
                self._at + (mark.start() if self._muted else mark.end()),
            )
        if self._wrote[self.thinking] and not self._muted:
            pieces.append(Piece("\n", self.thinking))
        return True
