"""The parts of a sequence, read from its tokens: thinking, the final part, and the calls of tools in it."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, Self

from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.answers.whole import LONGEST
from reasoner.engines import ReplyParts
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import AUTO
from reasoner.models.parting import PartSplitter, Piece
from reasoner.models.thinking import HARMONY, ThinkingProfile
from reasoner.types import Completion, TokenIds

CONTEXT: Final = 8
"""Token ids before a part that its text is decoded after, so that blanks and letters of several tokens are right."""


GPT_OSS: Final = "openai"
"""vLLM's name for the calls of gpt-oss, for which its parser reads nothing: they are messages of their own."""
_TO_FUNCTION: Final = re.compile(
    r"to=functions\.([\w.-]{1,256})[^<]*(?:<\|[a-z]+\|>[^<]*)??<\|message\|>(.*)", re.DOTALL
)


class Marks(NamedTuple):
    """How a model's thinking is marked, and the token ids of its tokenizer that are no text."""

    profile: ThinkingProfile
    special: frozenset[int] = frozenset()

    @classmethod
    def of(cls, profile: ThinkingProfile, tokenizer: Any) -> Self:
        """The marks of a profile for a tokenizer."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        return cls(
            profile, frozenset((*tokenizer.all_special_ids, *(at for at, token in added.items() if token.special)))
        )


@dataclass(frozen=True, slots=True)
class Before:
    """What a sequence continues.

    That is the rendered ids, how many of them were generated, and whether the head `opened` thinking.
    """

    token_ids: TokenIds
    generated: int
    opened: bool

    @property
    def head(self) -> TokenIds:
        """The ids that were not generated."""
        return self.token_ids[: len(self.token_ids) - self.generated]

    @property
    def chain(self) -> TokenIds:
        """The generated ids."""
        return self.token_ids[len(self.token_ids) - self.generated :]


class PartReader:
    """Reads the parts of a sequence, token by token or many at once, after what it continues.

    Marks are looked for in the text, as a tokenizer may join them with what is around them. `new` is the text that
    was added last, with marks and special tokens, and `ends` the positions in the whole text at which its tokens end.
    """

    def __init__(self, before: Before, marks: Marks, tokenizer: Any) -> None:
        self._special, self._decoder = marks.special, Decoder(before.head, tokenizer, special=True)
        self.reading = PartSplitter(marks.profile, opened=before.opened)
        self.add(before.chain)
        self.reading.restart()

    def add(self, ids: Iterable[int], *, last: bool = False) -> list[Piece]:
        """The pieces that further tokens settle; with `last`, the sequence ends with them."""
        texts, ends, special, at = list[str](), list[int](), list[tuple[int, int]](), self.reading.size
        for token in ids:
            text = self._decoder.add(token)
            texts.append(text)
            if token in self._special:
                special.append((at, at + len(text)))
            at += len(text)
            ends.append(at)
        self.new, self.ends = "".join(texts), ends
        return self.reading.add(self.new, special, last=last)


def split_parts(ids: TokenIds, before: Before, marks: Marks, tokenizer: Any) -> ReplyParts:
    """The parts of a sequence. `ids` are without a closing token that is no text.

    A token that holds the end of thinking and the beginning of the final part counts as thinking.
    """
    reader = PartReader(before, marks, tokenizer)
    begin = reader.reading.size
    pieces, reading = reader.add(ids, last=True), reader.reading
    thought = reading.thinking or reading.end > 0
    texts = {True: "", False: ""}
    for text, thinking in pieces:
        texts[thought if thinking is None else thinking] += text
    length = len(ids) if reading.thinking else 0
    if not reading.thinking and reading.end > begin:
        length = bisect_left(reader.ends, reading.end) + 1
    return ReplyParts(texts[True], texts[False], reading.thinking, length)


def decode(ids: Iterable[int], before: TokenIds, tokenizer: Any, *, special: bool = False) -> str:
    """The text of token ids after others, with special tokens or without."""
    decoder = Decoder(before, tokenizer, special=special)
    return "".join(map(decoder.add, ids))


class Decoder:
    """The text of token ids after others, decoded one by one by vLLM's own detokenizer."""

    __slots__ = ("_detokenizer",)

    def __init__(self, before: TokenIds, tokenizer: Any, *, special: bool = False) -> None:
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        params = SimpleNamespace(
            stop=[],
            min_tokens=0,
            include_stop_str_in_output=False,
            skip_special_tokens=not special,
            spaces_between_special_tokens=not special,
        )
        request: Any = SimpleNamespace(
            request_id="", sampling_params=params, prompt_token_ids=list(before[-CONTEXT:]), prompt_embeds=None
        )
        self._detokenizer: Any = IncrementalDetokenizer.from_new_request(tokenizer, request)

    def add(self, token: int) -> str:
        """The text that the next token adds."""
        self._detokenizer.token_ids.append(token)
        text: str = self._detokenizer.decode_next(token)
        return text


@dataclass(frozen=True, slots=True)
class CallReader:
    """Rewrites the calls in a reply into the form of all engines, in which `read_calls` reads them."""

    parser: Any
    """vLLM's class; None for gpt-oss."""
    marks: Marks | None
    tokenizer: Any

    @classmethod
    def of(cls, name: str, tokenizer: Any, marks: Marks | None) -> Self | None:
        """The reader of a parser of vLLM, by its name; None for "auto" where only the common forms are read.

        Raises:
            UnknownName: vLLM has no such parser.
            UsageError: it does not fit the tokenizer.
        """
        harmony = marks is not None and marks.profile.parser == HARMONY
        if harmony and name in (AUTO, GPT_OSS):
            return cls(None, marks, tokenizer)
        if name == AUTO:
            return None
        from vllm.tool_parsers import ToolParserManager

        known = ToolParserManager.list_registered()
        if name not in known:
            raise UnknownName("tool call parser", name, [AUTO, *known])
        misfit = f"tool_call_parser={name} does not fit this model's tokenizer: choose another, or {AUTO}"
        if name == GPT_OSS:
            raise UsageError(misfit)
        try:
            parser = ToolParserManager.get_tool_parser(name)
            parser(tokenizer)
        except Exception as error:  # a parser raises what it likes where the tokenizer lacks its markers
            raise UsageError(misfit) from error
        return cls(parser, marks, tokenizer)

    def rewritten(self, completion: Completion, before: Before) -> Completion:
        """The completion with its calls in the common form; unchanged where it has none that can be read."""
        raw = self._raw(completion.continuation, before)
        if completion.unclosed or len(raw) > LONGEST:
            return completion
        text, calls = (
            self._parsed(raw, completion.prompt.tools) if self.parser else (completion.text, _to_functions(raw))
        )
        return (
            replace(completion, text="\n".join(filter(None, (text.strip(), call_text(calls))))) if calls else completion
        )

    def _raw(self, ids: TokenIds, before: Before) -> str:
        """The text after thinking with special tokens, which the markers of calls may be."""
        if self.marks is None:
            return decode(ids, before.token_ids, self.tokenizer, special=True)
        reader = PartReader(before, self.marks, self.tokenizer)
        begin = reader.reading.size
        reader.add(ids, last=True)
        return reader.new[max(0, reader.reading.end - begin) :]

    def _parsed(self, raw: str, tools: str) -> tuple[str, list[ToolCall]]:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        try:
            request = ChatCompletionRequest(messages=[], tools=json.loads(tools))
            extracted = self.parser(self.tokenizer, request.tools).extract_tool_calls(raw, request)
            calls = [ToolCall(call.function.name, call.function.arguments) for call in extracted.tool_calls]
        except Exception:  # a parser raises what it likes on a text that a model wrote
            return "", []
        return extracted.content or "", calls


def _to_functions(raw: str) -> list[ToolCall]:
    """The calls of gpt-oss: messages to a function."""
    calls = map(_TO_FUNCTION.search, raw.split("<|start|>"))
    return [ToolCall(call[1], call[2].partition("<|")[0].strip()) for call in calls if call]
