"""One sequence collected from a stream, and where it must end before the engine would end it."""

from typing import Any, NamedTuple

from reasoner.engine import SampleRequest
from reasoner.engines.vllm.logprobs import Rows, best
from reasoner.engines.vllm.parts import Before, Marks, PartReader
from reasoner.engines.vllm.pieces import PartPieces, PlainPieces
from reasoner.models.parting import first_stop
from reasoner.types import FinishReason, SamplingParams, TokenIds


class Drawn(NamedTuple):
    """A sequence that ended; `computed` counts the tokens that the engine reported, also those after its end."""

    token_ids: TokenIds
    text: str
    logprobs: Any
    finish_reason: FinishReason
    stop_reason: int | str | None
    computed: int

    @classmethod
    def whole(cls, sequence: Any) -> "Drawn":
        """A sequence that vLLM returned at once."""
        ids = tuple(sequence.token_ids)
        return cls(ids, sequence.text, sequence.logprobs, sequence.finish_reason, sequence.stop_reason, len(ids))


class Stops:
    """The stop strings of a sequence of a model that thinks: they hold in its final part, and in thinking if asked."""

    def __init__(self, params: SamplingParams, before: Before, marks: Marks, tokenizer: Any) -> None:
        self._stop, self._in_thinking = params.stop, params.stop_in_thinking
        self._reader = PartReader(before, marks, tokenizer)
        self._longest = max(map(len, params.stop))
        self._tail = ""

    def completed_by(self, token: int) -> str:
        """The stop string that the next token completes, or ""."""
        reader = self._reader
        pieces = reader.add((token,))
        # Where stop strings hold in thinking, a marker may be one.
        new = reader.new if self._in_thinking else "".join(text for text, thinking in pieces if not thinking)
        begun = "" if self._in_thinking or reader.reading.thinking else reader.reading.held
        stop = first_stop(self._tail + new + begun, self._stop)
        self._tail = (self._tail + new)[1 - self._longest :] if self._longest > 1 else ""
        return stop


class Stream:
    """Collects the outputs of one sequence; a call with each of them returns True where it must end.

    It ends below the request's confidence floor, and with `stops` at a stop string. `pieces` passes its text on.
    """

    def __init__(
        self, request: SampleRequest, stops: Stops | None, pieces: PlainPieces | PartPieces | None = None
    ) -> None:
        self._stops, self._pieces, self._top_k = stops, pieces, request.params.logprobs or 0
        self._below = request.floor.watch() if request.floor else None
        self._ids: list[int] = []
        self._rows: Rows | None = None
        self._texts: list[str] = []
        self._computed = 0
        self._end: tuple[FinishReason, int | str | None] | None = None

    def __call__(self, output: Any) -> bool:
        """Whether the sequence ends here."""
        delta = output.outputs[0]
        self._computed += len(delta.token_ids)
        if self._end:
            return True
        if self._pieces:
            self._pieces.add(delta)
        flat = delta.logprobs
        if flat is not None and self._rows is None:
            self._rows = Rows()
        closing = output.finished and delta.finish_reason == "stop" and not isinstance(delta.stop_reason, str)
        self._texts.append(delta.text)
        for at, token in enumerate(delta.token_ids):
            self._ids.append(token)
            if self._rows is not None and flat is not None:
                self._rows.add(flat, at)
            is_text = not (closing and at + 1 == len(delta.token_ids))
            if self._stops and is_text and (stop := self._stops.completed_by(token)):
                self._end = "stop", stop
                return True
            if self._below and flat and not output.finished and self._below(best(flat, at, self._top_k)):
                self._end = "abort", None
                return True
        if output.finished:
            self._end = delta.finish_reason, delta.stop_reason
        return self._end is not None

    @property
    def drawn(self) -> Drawn:
        """The sequence, when it has ended."""
        finish, stop = self._end or ("abort", None)
        return Drawn(tuple(self._ids), "".join(self._texts), self._rows, finish, stop, self._computed)
