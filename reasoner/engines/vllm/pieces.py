"""The text of a sequence while vLLM generates it, in the parts of a model that thinks."""

from collections.abc import Callable
from typing import Any

from reasoner.engine import TextPiece
from reasoner.engines.vllm.parts import Before, Marks, PartReader
from reasoner.models.parting import first_stop


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

    Text that may begin a marker, or a stop string, is held back until it is one or is not; at the end it is left.
    """

    def __init__(
        self,
        on_text: Callable[[TextPiece], None],
        before: Before,
        marks: Marks,
        tokenizer: Any,
        stop: tuple[str, ...] = (),
    ) -> None:
        self._on_text, self._stop, self._held = on_text, stop, ""
        self._reader = PartReader(before, marks, tokenizer)

    def add(self, output: Any) -> None:
        """Pass on the new text of an output."""
        for text, thinking in self._reader.add(output.token_ids):
            new = text if thinking else self._unstopped(text)
            if new:
                self._on_text(TextPiece(new, bool(thinking)))

    def _unstopped(self, text: str) -> str:
        """What can be passed on of the final part: no beginning of a stop string."""
        text = self._held + text
        if first_stop(text, self._stop):
            self._held = text
            return ""
        longest = max(map(len, self._stop), default=1)
        keep = len(text) - longest + 1
        self._held = text[max(keep, 0) :]
        return text[: max(keep, 0)]
