"""The parts of a sequence that a thinking model generates: read from its token ids, and ended at stop strings."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from reasoner.models.thinking import ThinkingProfile, split
from reasoner.types import TokenIds

CONTEXT: Final = 8
"""Token ids before a part that its text is decoded after, so that blanks and letters of several tokens are right."""
HARMONY: Final = "openai_gptoss"


class Marks(NamedTuple):
    """How a model's thinking is marked in token ids.

    From one of the `headers` to `header_end` is no text: gpt-oss writes who speaks, and on which channel.
    """

    profile: ThinkingProfile
    headers: TokenIds = ()
    header_end: int = -1

    @classmethod
    def of(cls, profile: ThinkingProfile, tokenizer: Any) -> "Marks":
        """The marks of a profile in the token ids of a tokenizer."""
        if profile.parser != HARMONY:
            return cls(profile)
        *headers, end = tokenizer.convert_tokens_to_ids(["<|start|>", "<|channel|>", "<|message|>"])
        return cls(profile, tuple(headers), end)


@dataclass(frozen=True, slots=True)
class Before:
    """What a sequence continues.

    That is the rendered ids, how many of them were generated, and whether the head `opened` thinking.
    """

    token_ids: TokenIds
    generated: int
    opened: bool

    @property
    def chain(self) -> TokenIds:
        """The generated ids."""
        return self.token_ids[len(self.token_ids) - self.generated :]


class Parts(NamedTuple):
    """The first `length` token ids are thinking; both parts as text, without markers."""

    length: int
    unclosed: bool
    thinking: str
    final: str


def split_parts(ids: TokenIds, before: Before, marks: Marks, tokenizer: Any) -> Parts:
    """The parts of a sequence. `ids` are without a closing token that is no text."""
    chain, profile = before.chain + ids, marks.profile
    where = split(chain, profile, opened=before.opened)
    length = max(0, where.thinking - before.generated)
    if not length:
        return Parts(0, where.unclosed, "", decode(ids, before.token_ids, tokenizer))
    whole = before.token_ids + ids
    boundary = len(whole) - len(ids) + length
    hidden = _hidden(chain[: where.thinking], marks)
    thought = [token for at, token in enumerate(ids[:length], before.generated) if at not in hidden]
    thinking = decode(thought, before.token_ids, tokenizer)
    return Parts(length, where.unclosed, thinking, decode(ids[length:], whole[:boundary], tokenizer))


def _hidden(ids: TokenIds, marks: Marks) -> set[int]:
    """The positions of markers and headers."""
    hidden: set[int] = set()
    for marker in (marks.profile.start, marks.profile.end):
        for at in _positions(ids, marker):
            hidden.update(range(at, at + len(marker)))
    inside = False
    for at, token in enumerate(ids if marks.headers else ()):
        inside = inside or token in marks.headers
        if inside:
            hidden.add(at)
        inside = inside and token != marks.header_end
    return hidden


def _positions(ids: TokenIds, marker: TokenIds) -> Iterable[int]:
    at = -1
    while True:
        try:
            at = ids.index(marker[0], at + 1)
        except ValueError:
            return
        if ids[at : at + len(marker)] == marker:
            yield at


def decode(ids: Iterable[int], before: TokenIds, tokenizer: Any, *, special: bool = False) -> str:
    """The text of token ids after others, with special tokens or without."""
    text = Text(before, tokenizer, special=special)
    text.add(ids)
    return text.text


class Text:
    """The text of token ids, decoded one by one by vLLM's own detokenizer, and the first stop string in it."""

    __slots__ = ("_detokenizer",)

    def __init__(self, before: TokenIds, tokenizer: Any, stop: tuple[str, ...] = (), *, special: bool = False) -> None:
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        params = SimpleNamespace(
            stop=list(stop),
            min_tokens=0,
            include_stop_str_in_output=False,
            skip_special_tokens=not special,
            spaces_between_special_tokens=True,
        )
        request: Any = SimpleNamespace(
            request_id="", sampling_params=params, prompt_token_ids=list(before[-CONTEXT:]), prompt_embeds=None
        )
        self._detokenizer = IncrementalDetokenizer.from_new_request(tokenizer, request)

    def add(self, ids: Iterable[int]) -> str | None:
        """Add token ids; the stop string that they completed, which is cut from the text."""
        stop: str | None = self._detokenizer.update(list(ids), False)
        return stop

    @property
    def text(self) -> str:
        """All text so far."""
        text: str = self._detokenizer.get_next_output_text(True, False)
        return text

    @property
    def new(self) -> str:
        """The text since the last call, without an end that may become a stop string."""
        text: str = self._detokenizer.get_next_output_text(False, True)
        return text
