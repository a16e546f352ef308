"""The text of a sequence while vLLM generates it, in the parts of a model that thinks."""

from collections.abc import Callable
from typing import Any

from reasoner.engine import TextPiece
from reasoner.engines.vllm.parts import Before, Marks, Text
from reasoner.models.thinking import split
from reasoner.types import TokenIds


class PlainPieces:
    """Passes on what vLLM decodes, for a model whose sequences have one part."""

    def __init__(self, on_text: Callable[[TextPiece], None]) -> None:
        self._on_text = on_text

    def add(self, output: Any) -> None:
        """Pass on the new text of an output."""
        if output.text:
            self._on_text(TextPiece(output.text))


class PartPieces:
    """Decodes the tokens of a model that thinks, and passes on each part without its markers.

    Tokens that may begin a marker are held back until they are one or are not; at the end of a sequence they are left.
    """

    def __init__(
        self,
        on_text: Callable[[TextPiece], None],
        before: Before,
        marks: Marks,
        tokenizer: Any,
        stop: tuple[str, ...] = (),
    ) -> None:
        self._on_text, self._before, self._marks, self._tokenizer, self._stop = on_text, before, marks, tokenizer, stop
        self._head = before.token_ids[: len(before.token_ids) - before.generated]
        self._chain = list(before.chain)
        self._held: list[int] = []
        self._in_header = False
        self._begin_part(thinking=self._still_thinking())

    def _still_thinking(self) -> bool:
        return split(tuple(self._chain), self._marks.profile, opened=self._before.opened).unclosed

    def _begin_part(self, *, thinking: bool) -> None:
        self._thinking = thinking
        self._text = Text(self._head + tuple(self._chain), self._tokenizer, () if thinking else self._stop)

    def add(self, output: Any) -> None:
        """Pass on the new text of an output."""
        for token in output.token_ids:
            self._held.append(token)
            self._decide()
        self._flush()

    def _decide(self) -> None:
        profile = self._marks.profile
        while self._held:
            ids: TokenIds = tuple(self._held)
            if ids in (profile.start, profile.end):
                self._held.clear()
                self._take_marker(ids)
            elif ids in (profile.start[: len(ids)], profile.end[: len(ids)]):
                return
            else:
                self._decode(self._held.pop(0))

    def _take_marker(self, ids: TokenIds) -> None:
        """End the part at a marker; it is text where it ends no part."""
        self._flush()
        self._chain += ids
        thinking = self._still_thinking()
        if thinking != self._thinking:
            self._begin_part(thinking=thinking)
        elif not thinking:
            self._text.add(ids)

    def _decode(self, token: int) -> None:
        self._chain.append(token)
        self._in_header = self._in_header or token in self._marks.headers
        if not self._in_header:
            self._text.add((token,))
        self._in_header = self._in_header and token != self._marks.header_end

    def _flush(self) -> None:
        if new := self._text.new:
            self._on_text(TextPiece(new, self._thinking))
