"""One sequence while vLLM generates it: its text as it comes, where it must end, and its log-probabilities."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from reasoner.engine import (
    NO_LOGPROB,
    EngineError,
    FinishReason,
    Logprobs,
    Progress,
    SampleRequest,
    TextPiece,
    TokenIds,
)
from reasoner.engines.vllm.parts import PartReader, SequencePrefix, ThinkingMarks
from reasoner.models.thinking import first_stop


def prepare(processor: Any, progress: dict[str, Progress]) -> None:
    """Make vLLM's output processor tell how long sequences are, and leave alternatives without texts.

    `progress` belongs to requests that are about to be added, by their names. Outputs of single tokens would tell the
    lengths too, at a hundred times the price.
    """
    add, process, states = (
        processor.add_request,
        processor.process_outputs,
        processor.request_states,
    )
    watched: dict[str, Progress] = {}

    def add_request(request: Any, *arguments: Any, **options: Any) -> None:
        add(request, *arguments, **options)
        if request.sampling_params is not None:
            # Nobody reads the texts of alternatives, and to decode them takes most of the driver's time.
            states[request.request_id].logprobs_processor.tokenizer = None
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


Row = tuple[float, ...]
"""The log-probabilities at one position: the sampled token's first, then the best or the watched ones, in order."""


def rows_of(flat: Any, watch: TokenIds) -> list[Row] | None:
    """The rows of vLLM's flat table of log-probabilities, with as many digits as numbers of 32 bits have."""
    if flat is None:
        return None
    values = np.array(flat.logprobs).round(6).tolist()
    spans = [*zip(flat.start_indices, flat.end_indices, strict=True)]
    if not watch:
        return [tuple(values[start:end]) for start, end in spans]
    tables = (
        (
            values[start],
            dict(zip(flat.token_ids[start:end], values[start:end], strict=True)),
        )
        for start, end in spans
    )
    return [(own, *(by_id[token] for token in watch)) for own, by_id in tables]


def read_logprobs(
    rows: list[Row] | None, top_k: int | None, watch: TokenIds
) -> Logprobs | None:
    """The log-probabilities of a sequence.

    Raises:
        EngineError: a sampled token's or a best alternative's is missing or minus infinity. A watched token may
            have it: a model can exclude tokens.
    """
    if rows is None:
        return None
    width = 1 if watch else 1 + (top_k or 0)
    # A sum is finite only if all of it is.
    if any(len(row) < width or not math.isfinite(sum(row[:width])) for row in rows):
        raise EngineError(
            "vLLM reported no log-probability for a sampled token or one of its best alternatives"
        )
    sampled = tuple(row[0] for row in rows)
    if watch:
        return Logprobs(
            sampled,
            (),
            tuple(tuple(max(value, NO_LOGPROB) for value in row[1:]) for row in rows),
        )
    return Logprobs(sampled, tuple(row[1:width] for row in rows) if top_k else ())


class EndedSequence(NamedTuple):
    """A sequence that ended; `computed` counts the tokens that the engine reported, also those after its end."""

    token_ids: TokenIds
    text: str
    rows: list[Row] | None
    finish_reason: FinishReason
    stop_reason: int | str | None
    computed: int

    @classmethod
    def whole(cls, sequence: Any, watch: TokenIds) -> "EndedSequence":
        """A sequence that vLLM returned at once."""
        ids = tuple(sequence.token_ids)
        return cls(
            ids,
            sequence.text,
            rows_of(sequence.logprobs, watch),
            sequence.finish_reason,
            sequence.stop_reason,
            len(ids),
        )


class SequenceStream:
    """Collects the outputs of one sequence; a call with each of them returns True where it must end.

    A sequence of a model that thinks, which is decoded here, ends at a stop string in its final part, and in its
    thinking if asked. `on_text` receives each part without its markers; text that may begin a marker or a stop string
    is held back until it is one or is not, and at the end it is left.
    """

    def __init__(
        self,
        request: SampleRequest,
        before: SequencePrefix,
        marks: ThinkingMarks | None,
        tokenizer: Any,
        on_text: Callable[[TextPiece], None] | None,
    ) -> None:
        params = request.params
        self._stop, self._in_thinking = (
            params.stop if marks else (),
            params.stop_in_thinking,
        )
        self._on_text = on_text
        reads = marks is not None and (self._stop or on_text)
        self._reader = PartReader(before, marks, tokenizer) if marks and reads else None
        self._longest = max(map(len, self._stop), default=1)
        self._tail = self._held = ""
        self._watch = request.watch
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
        new = (
            reader.new
            if self._in_thinking
            else "".join(text for text, thinking in pieces if not thinking)
        )
        held = (
            "" if self._in_thinking or reader.reading.thinking else reader.reading.held
        )
        stop = first_stop(self._tail + new + held, self._stop)
        self._tail = (
            (self._tail + new)[1 - self._longest :] if self._longest > 1 else ""
        )
        return stop

    def _unstopped(self, text: str) -> str:
        """What can be passed on of the final part: no beginning of a stop string."""
        text = self._held + text
        keep = (
            0 if first_stop(text, self._stop) else max(len(text) - self._longest + 1, 0)
        )
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
        rows = rows_of(delta.logprobs, self._watch)
        if rows is not None and self._rows is None:
            self._rows = []
        closing = (
            output.finished
            and delta.finish_reason == "stop"
            and not isinstance(delta.stop_reason, str)
        )
        self._texts.append(delta.text)
        for at, token in enumerate(delta.token_ids):
            self._ids.append(token)
            if self._rows is not None and rows is not None:
                self._rows.append(rows[at])
            is_text = not (closing and at + 1 == len(delta.token_ids))
            if (
                self._reader
                and is_text
                and (stop := self._completed_by(token, self._reader))
            ):
                self._end = "stop", stop
                return True
        if output.finished:
            self._end = delta.finish_reason, delta.stop_reason
        return self._end is not None

    @property
    def drawn(self) -> EndedSequence:
        """The sequence, when it has ended."""
        finish, stop = self._end or ("abort", None)
        return EndedSequence(
            tuple(self._ids),
            "".join(self._texts),
            self._rows,
            finish,
            stop,
            self._computed,
        )
