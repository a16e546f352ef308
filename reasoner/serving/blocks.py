"""The blocks of a reply, in the order in which they are sent: its thinking, its text and the calls of tools."""

import secrets
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, NamedTuple

from pydantic import BaseModel

from reasoner.answers.tool_calls import ToolCall, read_calls
from reasoner.budget import Prices
from reasoner.engine import TextPiece
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.replies import (
    Document,
    ReplyProgress,
    Result,
    Tokens,
    vendor_object,
    winner_of,
)
from reasoner.serving.requests import ChatRequest
from reasoner.system.printing import valid_unicode
from reasoner.system.values import value
from reasoner.trace.events import Event

NOT_SURE: Final = "not sure"
"""The reply where the strategy abstains."""
LOST: Final = "lost: the sequence was drawn again after its text was streamed, so the text is not whole: ask again"
BlockKind = Literal["thinking", "text", "call"]


@value(frozen=True, slots=True)
class ReplyBlock:
    """A part of a reply: some thinking, some text with its tokens, or a call of the tool `name`.

    The text of a call is its arguments, a JSON object, and its `number` counts the calls from 0. A limit `cut` a text.
    """

    kind: BlockKind
    text: str = ""
    name: str = ""
    number: int = 0
    tokens: Tokens = ()
    cut: bool = False

    @property
    def key(self) -> tuple[BlockKind, int]:
        """What the pieces of a block have in common."""
        return self.kind, self.number

    @property
    def logprobs(self) -> list[Document]:
        """The log-probabilities of the tokens in OpenAI's form."""
        return [
            {
                "token": text,
                "bytes": list(text.encode("utf-8", "replace")),
                "logprob": logprob,
                "top_logprobs": [],
            }
            for text, logprob in self.tokens
        ]


@value(frozen=True, slots=True)
class ReplyText:
    """The reply of a solution: its text, its thinking, why it ended, the tools that it calls, and its tokens."""

    content: str
    thinking: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    calls: tuple[ToolCall, ...] = ()
    tokens: Tokens = ()

    @property
    def blocks(self) -> list[ReplyBlock]:
        """The reply as blocks. An empty text is one too, unless tools are called."""
        thought = [ReplyBlock("thinking", self.thinking)] if self.thinking else []
        cut = self.finish_reason == "length"
        said = ReplyBlock("text", self.content, tokens=self.tokens, cut=cut)
        calls = [
            ReplyBlock("call", call.arguments, call.name, number)
            for number, call in enumerate(self.calls)
        ]
        return [*thought, *([said] if self.content or not calls else []), *calls]

    @classmethod
    def of(cls, result: Result) -> "ReplyText":
        """The text of the winning completion; without an answer, that of the best there is.

        Thinking needs the solution's events. Where the job offers tools, the calls in the text are read.

        Raises:
            ApiError: the question failed before it had any text.
        """
        solution = result.solution
        if solution.error and not solution.text:
            raise api_error(solution.error)
        if solution.abstained:
            return cls(NOT_SURE, "", "stop")
        winner = winner_of(solution)
        thinking = valid_unicode(
            winner.prompt.thinking + winner.thinking if winner else ""
        )
        cut = winner is not None and winner.finish_reason == "length"
        answer = solution.answer.text if solution.answer else ""
        content = valid_unicode(solution.text or answer)
        if (
            result.job.question.prompt.tools
            and not cut
            and (read := read_calls(content))
            and read.calls
        ):
            return cls(read.text, thinking, "tool_calls", read.calls)
        cut = cut or (solution.ended_by == "budget" and solution.answer is None)
        return cls(content, thinking, "length" if cut else "stop", tokens=result.tokens)


class Step(NamedTuple):
    """What is sent next of a block, which has a `place` in the reply: that it begins, a further text, or that it ends.

    The block that ends has its whole text; the one that begins has none.
    """

    kind: Literal["begin", "text", "end"]
    block: ReplyBlock
    place: int


@dataclass(slots=True)
class BlockStream:
    """The blocks of one choice while they are streamed: a text comes in pieces, which make one block in a row."""

    progress: ReplyProgress = field(default_factory=ReplyProgress)
    _sent: defaultdict[tuple[BlockKind, int], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _open: ReplyBlock | None = None
    """The last piece of the block that was begun and has not ended."""
    _place: int = -1

    def sent(self, kind: BlockKind, number: int = 0) -> str:
        """All text of a kind that was sent, or of a call; lines of progress are thinking."""
        return "".join(self._sent[kind, number])

    def add(self, piece: ReplyBlock) -> Iterator[Step]:
        """Send a further piece."""
        if not self._is_open(piece):
            yield from self._end()
            self._place += 1
            yield Step("begin", replace(piece, text="", tokens=()), self._place)
        self._open = piece
        if piece.text:
            self._sent[piece.key].append(piece.text)
            yield Step("text", piece, self._place)

    def rest(self, blocks: Iterable[ReplyBlock]) -> Iterator[Step]:
        """Send what was not sent yet of the whole reply. Where another text was sent, nothing is added to it."""
        for block in blocks:
            sent = self.sent(*block.key)
            rest = block.text[len(sent) :] if block.text.startswith(sent) else ""
            if rest or not sent or self._is_open(block):
                yield from self.add(replace(block, text=rest))
        yield from self._end()

    def _is_open(self, block: ReplyBlock) -> bool:
        return self._open is not None and self._open.key == block.key

    def _end(self) -> Iterator[Step]:
        if block := self._open:
            self._open = None
            yield Step("end", replace(block, text=self.sent(*block.key)), self._place)


class Reply(ABC):
    """The reply to a request: `whole`, or as documents that the server sends one by one.

    Of a stream, `begin` is first; then `progress` receives the events of each choice, or `text` its text as it comes;
    `end` is last, or `fail`, and `last` closes it. `asked` is what is chosen by. `id` is random, after a `prefix`. Each
    form of replies `reads` its own requests.
    """

    reads: ClassVar[type[BaseModel]]
    prefix: ClassVar[str]
    last: ClassVar[bytes] = b""

    def __init__(self, request: Any, prices: Prices | None = None) -> None:
        self.asked: ChatRequest = request.chat
        self.id = f"{self.prefix}{secrets.token_hex(12)}"
        self.created = int(time.time())
        self._request = request
        self._prices = prices
        self._streams = defaultdict[int, BlockStream](BlockStream)

    @abstractmethod
    def whole(self, results: Sequence[Result]) -> Document:
        """The reply with all its choices, and the usage of all.

        Raises:
            ApiError: a question failed before it had any text.
        """

    @abstractmethod
    def begin(self, choices: int) -> Iterable[Document]:
        """What is sent before any text."""

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        """A line about what happened, as thinking; nothing if there is no news."""
        line = self._streams[index].progress.line(event)
        return self._add(index, ReplyBlock("thinking", f"{line}\n" if line else ""))

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        """The next text of a choice, or of its thinking."""
        kind: BlockKind = "thinking" if piece.thinking else "text"
        return self._add(index, ReplyBlock(kind, valid_unicode(piece.text)))

    def _add(self, index: int, piece: ReplyBlock) -> Iterable[Document]:
        # Nothing does not begin a block.
        return self._said(index, self._streams[index].add(piece)) if piece.text else ()

    @abstractmethod
    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """What was not streamed yet of each choice, how it ended, and the usage of all. Raises as `whole`."""

    @abstractmethod
    def fail(self, error: ApiError) -> Iterable[Document]:
        """What is sent in place of the rest of a reply that failed."""

    @abstractmethod
    def _said(self, index: int, steps: Iterable[Step]) -> list[Document]:
        """The steps of a choice in this form."""

    def _vendor(self, index: int, result: Result, content: str) -> Document:
        """How a choice was reached, and whether what was streamed is not its text."""
        vendor = vendor_object(result, self._prices)
        if not content.startswith(self._streams[index].sent("text")):
            vendor["notes"].append(LOST)
        return vendor
