"""One sequence while vLLM generates it: its text as it comes, where it must end, and its log-probabilities."""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

from reasoner.engine import Progress, SampleRequest, TextPiece
from reasoner.engines.vllm.parts import Before, Marks, PartReader
from reasoner.errors import EngineError
from reasoner.models.parting import first_stop
from reasoner.types import NO_LOGPROB, FinishReason, Logprobs, TokenIds


def prepare(processor: Any, progress: dict[str, Progress]) -> None:
    """Make vLLM's output processor tell how long sequences are, and decode no alternative to text.

    `progress` is that of requests that are about to be added, by their names. Outputs of single tokens would tell the
    lengths too, at a hundred times the price. Nothing here reads the text of alternatives, and it takes ten times as
    long as the text of the sequence. vLLM's own option for this, `detokenize`, also takes away the text of the sequence
    and stop strings.
    """
    add, process, states = processor.add_request, processor.process_outputs, processor.request_states
    watched: dict[str, Progress] = {}

    def add_request(request: Any, *arguments: Any, **options: Any) -> None:
        add(request, *arguments, **options)
        logprobs = states[request.request_id].logprobs_processor
        if logprobs is not None:
            logprobs.tokenizer = None
        if mine := progress.pop(request.external_req_id, None):
            watched[request.request_id] = mine

    def process_outputs(outputs: Any, *arguments: Any, **options: Any) -> Any:
        if watched:
            for output in outputs:
                if mine := watched.get(output.request_id):
                    mine.reached(mine.tokens + len(output.new_token_ids))
        processed = process(outputs, *arguments, **options)
        if len(watched) > len(states):
            for name in [name for name in watched if name not in states]:
                del watched[name]
        return processed

    processor.add_request, processor.process_outputs = add_request, process_outputs


Row = tuple[list[int], list[float]]
"""Token ids and their log-probabilities at one position: the sampled token's first, then the best or watched ones."""


def rows_of(flat: Any) -> list[Row] | None:
    """The positions of vLLM's FlatLogprobs."""
    if flat is None:
        return None
    spans = map(slice, flat.start_indices, flat.end_indices)
    return [(flat.token_ids[span], flat.logprobs[span]) for span in spans]


def read_logprobs(rows: list[Row] | None, top_k: int | None, watch: TokenIds) -> Logprobs | None:
    """The log-probabilities of a sequence.

    Raises:
        EngineError: that of a sampled token or a best alternative is missing or minus infinity. A watched token may
            have it: a model can exclude tokens.
    """
    if rows is None:
        return None
    sampled = tuple(values[0] for _, values in rows)
    top = tuple(best(row, top_k) for row in rows) if top_k and not watch else ()
    if any(len(row) < (top_k or 0) for row in top) or not all(map(math.isfinite, chain(sampled, *top))):
        raise EngineError("vLLM reported no log-probability for a sampled token or one of its best alternatives")
    if not watch:
        return Logprobs(sampled, top)
    by_id = [dict(zip(ids, values, strict=True)) for ids, values in rows]
    return Logprobs(sampled, (), tuple(tuple(max(row[token], NO_LOGPROB) for token in watch) for row in by_id))


def best(row: Row, top_k: int) -> tuple[float, ...]:
    """The best alternatives at a position, best first: they come after the sampled token."""
    # Where vLLM merges outputs that nobody took in time, a sampled token that is one of the best is there once only.
    return tuple(row[1][1 : 1 + top_k]) if len(row[1]) > top_k else tuple(sorted(row[1], reverse=True))


class Drawn(NamedTuple):
    """A sequence that ended; `computed` counts the tokens that the engine reported, also those after its end."""

    token_ids: TokenIds
    text: str
    rows: list[Row] | None
    finish_reason: FinishReason
    stop_reason: int | str | None
    computed: int

    @classmethod
    def whole(cls, sequence: Any) -> "Drawn":
        """A sequence that vLLM returned at once."""
        ids = tuple(sequence.token_ids)
        return cls(
            ids, sequence.text, rows_of(sequence.logprobs), sequence.finish_reason, sequence.stop_reason, len(ids)
        )


class SequenceStream:
    """Collects the outputs of one sequence; a call with each of them returns True where it must end.

    It ends below the request's confidence floor, or when it is due. That of a model that thinks, which is decoded here,
    also ends at a stop string in its final part, and in its thinking if asked. `on_text` receives each part without its
    markers; text that may begin a marker or a stop string is held back until it is one or is not, and at the end it is
    left.
    """

    def __init__(
        self,
        request: SampleRequest,
        before: Before,
        marks: Marks | None,
        tokenizer: Any,
        on_text: Callable[[TextPiece], None] | None,
    ) -> None:
        params = request.params
        self._stop, self._in_thinking = params.stop if marks else (), params.stop_in_thinking
        self._on_text, self._top_k = on_text, params.logprobs or 0
        reads = marks is not None and (self._stop or on_text)
        self._reader = PartReader(before, marks, tokenizer) if marks and reads else None
        self._longest = max(map(len, self._stop), default=1)
        self._tail = self._held = ""
        self._below = request.floor.watch() if request.floor else None
        self._progress = request.progress if request.progress and request.progress.due else None
        self._ids: list[int] = []
        self._rows: list[Row] | None = None
        self._texts: list[str] = []
        self._computed = 0
        self._end: tuple[FinishReason, int | str | None] | None = None

    def _completed_by(self, token: int, reader: PartReader) -> str:
        """The stop string that the next token completes, or ""; the text of the token is passed on."""
        pieces = reader.add((token,))
        if self._on_text:
            for text, thinking in pieces:
                if new := text if thinking else self._unstopped(text):
                    self._on_text(TextPiece(new, bool(thinking)))
        if not self._stop:
            return ""
        # Where stop strings hold in thinking, a marker may be one.
        new = reader.new if self._in_thinking else "".join(text for text, thinking in pieces if not thinking)
        held = "" if self._in_thinking or reader.reading.thinking else reader.reading.held
        stop = first_stop(self._tail + new + held, self._stop)
        self._tail = (self._tail + new)[1 - self._longest :] if self._longest > 1 else ""
        return stop

    def _unstopped(self, text: str) -> str:
        """What can be passed on of the final part: no beginning of a stop string."""
        text = self._held + text
        keep = 0 if first_stop(text, self._stop) else max(len(text) - self._longest + 1, 0)
        self._held = text[keep:]
        return text[:keep]

    def __call__(self, output: Any) -> bool:
        """Whether the sequence ends here."""
        delta = output.outputs[0]
        self._computed += len(delta.token_ids)
        if self._end:
            return True
        if self._on_text and self._reader is None and delta.text:
            self._on_text(TextPiece(delta.text))
        rows = rows_of(delta.logprobs)
        if rows is not None and self._rows is None:
            self._rows = []
        closing = output.finished and delta.finish_reason == "stop" and not isinstance(delta.stop_reason, str)
        self._texts.append(delta.text)
        for at, token in enumerate(delta.token_ids):
            self._ids.append(token)
            if self._rows is not None and rows is not None:
                self._rows.append(rows[at])
            is_text = not (closing and at + 1 == len(delta.token_ids))
            if self._reader and is_text and (stop := self._completed_by(token, self._reader)):
                self._end = "stop", stop
                return True
            if self._below and rows and not output.finished and self._below(best(rows[at], self._top_k)):
                self._end = "abort", None
                return True
        if self._progress and not output.finished and self._progress.reached(self._computed):
            self._end = "abort", None
        if output.finished:
            self._end = delta.finish_reason, delta.stop_reason
        return self._end is not None

    @property
    def drawn(self) -> Drawn:
        """The sequence, when it has ended."""
        finish, stop = self._end or ("abort", None)
        return Drawn(tuple(self._ids), "".join(self._texts), self._rows, finish, stop, self._computed)
