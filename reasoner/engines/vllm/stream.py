"""One sequence while vLLM generates it: its text as it comes, where it must end, and its log-probabilities."""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.vllm.parts import Before, Marks, PartReader
from reasoner.errors import EngineError
from reasoner.models.parting import first_stop
from reasoner.types import NO_LOGPROB, FinishReason, Logprobs, SamplingParams, TokenIds


def leave_alternatives_undecoded(processor: Any) -> None:
    """Make vLLM's output processor decode no alternative to text.

    Nothing here reads that text, and it takes ten times as long as the text of the sequence. vLLM's own option for
    this, `detokenize`, also takes away the text of the sequence and stop strings.
    """
    add = processor.add_request

    def add_request(request: Any, *arguments: Any, **options: Any) -> None:
        add(request, *arguments, **options)
        logprobs = processor.request_states[request.request_id].logprobs_processor
        if logprobs is not None:
            logprobs.tokenizer = None

    processor.add_request = add_request


class FlatRows:
    """Positions of FlatLogprobs, collected from a stream, in lists of the same shape."""

    __slots__ = ("end_indices", "logprobs", "start_indices", "token_ids")

    def __init__(self) -> None:
        self.start_indices: list[int] = []
        self.end_indices: list[int] = []
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []

    def add(self, flat: Any, position: int) -> None:
        """Add a position of FlatLogprobs at the end."""
        span = slice(flat.start_indices[position], flat.end_indices[position])
        self.start_indices.append(len(self.logprobs))
        self.token_ids += flat.token_ids[span]
        self.logprobs += flat.logprobs[span]
        self.end_indices.append(len(self.logprobs))


def read_logprobs(flat: Any, top_k: int | None, watch: TokenIds) -> Logprobs | None:
    """The log-probabilities of a sequence, from vLLM's FlatLogprobs.

    Raises:
        EngineError: that of a sampled token or a best alternative is missing or minus infinity. A watched token may
            have it: a model can exclude tokens.
    """
    if flat is None:
        return None
    values, spans = flat.logprobs, list(zip(flat.start_indices, flat.end_indices, strict=True))
    sampled = tuple(values[start] for start, _ in spans)
    top = tuple(best(flat, position, top_k) for position in range(len(spans))) if top_k and not watch else ()
    if any(len(row) < (top_k or 0) for row in top) or not all(map(math.isfinite, chain(sampled, *top))):
        raise EngineError("vLLM reported no log-probability for a sampled token or one of its best alternatives")
    if not watch:
        return Logprobs(sampled, top)
    rows = (dict(zip(flat.token_ids[start:end], values[start:end], strict=True)) for start, end in spans)
    return Logprobs(sampled, (), tuple(tuple(max(row[token], NO_LOGPROB) for token in watch) for row in rows))


def best(flat: Any, position: int, top_k: int) -> tuple[float, ...]:
    """The best alternatives at a position, best first: they come after the sampled token."""
    start = flat.start_indices[position] + 1
    return tuple(flat.logprobs[start : min(start + top_k, flat.end_indices[position])])


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

    def __call__(self, output: Any) -> None:
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
        held = "" if self._in_thinking or reader.reading.thinking else reader.reading.held
        stop = first_stop(self._tail + new + held, self._stop)
        self._tail = (self._tail + new)[1 - self._longest :] if self._longest > 1 else ""
        return stop


class SequenceStream:
    """Collects the outputs of one sequence; a call with each of them returns True where it must end.

    It ends below the request's confidence floor, when it is due, and with `stops` at a stop string. `pieces` passes
    its text on.
    """

    def __init__(
        self, request: SampleRequest, stops: Stops | None, pieces: Callable[[Any], None] | None = None
    ) -> None:
        self._stops, self._pieces, self._top_k = stops, pieces, request.params.logprobs or 0
        self._below = request.floor.watch() if request.floor else None
        self._due = request.due
        self._ids: list[int] = []
        self._rows: FlatRows | None = None
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
            self._pieces(delta)
        flat = delta.logprobs
        if flat is not None and self._rows is None:
            self._rows = FlatRows()
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
        if self._due and not output.finished and self._due():
            self._end = "abort", None
        if output.finished:
            self._end = delta.finish_reason, delta.stop_reason
        return self._end is not None

    @property
    def drawn(self) -> Drawn:
        """The sequence, when it has ended."""
        finish, stop = self._end or ("abort", None)
        return Drawn(tuple(self._ids), "".join(self._texts), self._rows, finish, stop, self._computed)
