"""The parts of a sequence, read from its tokens: thinking, the final part, and the calls of tools in it."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, Self

from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.answers.whole import LONGEST
from reasoner.engines import ReplyParts
from reasoner.models.thinking import PartSplitter, Piece, ThinkingProfile
from reasoner.types import Completion, TokenIds

CONTEXT: Final = 8
"""Token ids before a part that its text is decoded after, so that blanks and letters of several tokens are right."""


_TO_FUNCTION: Final = re.compile(
    r"to=functions\.([\w.-]{1,256})[^<]{0,200}(?:<\|[a-z]+\|>[^<]*)??<\|message\|>(.*)",
    re.DOTALL,
)


class ThinkingMarks(NamedTuple):
    """How a model's thinking is marked, and the token ids of its tokenizer that are no text."""

    profile: ThinkingProfile
    special: frozenset[int] = frozenset()

    @classmethod
    def of(cls, profile: ThinkingProfile, tokenizer: Any) -> Self:
        """The marks of a profile for a tokenizer."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        return cls(
            profile,
            frozenset(
                (
                    *tokenizer.all_special_ids,
                    *(at for at, token in added.items() if token.special),
                )
            ),
        )


@dataclass(frozen=True, slots=True)
class SequencePrefix:
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

    def __init__(
        self, before: SequencePrefix, marks: ThinkingMarks, tokenizer: Any
    ) -> None:
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        self._special = marks.special
        params = SimpleNamespace(
            stop=[],
            min_tokens=0,
            include_stop_str_in_output=False,
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
        )
        request: Any = SimpleNamespace(
            request_id="",
            sampling_params=params,
            prompt_token_ids=list(before.head[-CONTEXT:]),
            prompt_embeds=None,
        )
        # vLLM's own detokenizer, token by token
        self._decoder: Any = IncrementalDetokenizer.from_new_request(tokenizer, request)
        self.reading = PartSplitter(marks.profile, opened=before.opened)
        self.add(before.chain)
        self.reading.restart()

    def add(self, ids: Iterable[int], *, last: bool = False) -> list[Piece]:
        """The pieces that further tokens settle; with `last`, the sequence ends with them."""
        texts, ends, special, at = (
            list[str](),
            list[int](),
            list[tuple[int, int]](),
            self.reading.size,
        )
        for token in ids:
            self._decoder.token_ids.append(token)
            text = self._decoder.decode_next(token)
            texts.append(text)
            if token in self._special:
                special.append((at, at + len(text)))
            at += len(text)
            ends.append(at)
        self.new, self.ends = "".join(texts), ends
        return self.reading.add(self.new, special, last=last)


def split_parts(
    ids: TokenIds, before: SequencePrefix, marks: ThinkingMarks, tokenizer: Any
) -> ReplyParts:
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


def with_calls(
    completion: Completion, before: SequencePrefix, marks: ThinkingMarks, tokenizer: Any
) -> Completion:
    """A reply of gpt-oss with its calls, which are messages of their own, in the form that `read_calls` reads."""
    if completion.unclosed:
        return completion
    reader = PartReader(before, marks, tokenizer)
    begin = reader.reading.size
    reader.add(completion.continuation, last=True)
    raw = reader.new[max(0, reader.reading.end - begin) :]
    calls = harmony_calls(raw) if len(raw) <= LONGEST else []
    text = "\n".join(filter(None, (completion.text.strip(), call_text(calls))))
    return replace(completion, text=text) if calls else completion


def harmony_calls(raw: str) -> list[ToolCall]:
    """The calls of gpt-oss: messages to a function."""
    calls = map(_TO_FUNCTION.search, raw.split("<|start|>"))
    return [
        ToolCall(call[1], call[2].partition("<|")[0].strip()) for call in calls if call
    ]
