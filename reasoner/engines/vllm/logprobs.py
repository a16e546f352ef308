"""Log-probabilities as vLLM's front-end reports them, in flat lists and without the text of alternatives."""

import math
from itertools import chain
from typing import Any

from reasoner.errors import EngineError
from reasoner.types import NO_LOGPROB, Logprobs, TokenIds


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


class Rows:
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
