"""What one reply may take, in seconds and bytes, and how many requests may be in flight."""

import resource
from typing import Final

from reasoner.protocols import SampleRequest

CONCURRENCY: Final = 1024
"""Requests at once, where the process may open as many connections."""
OTHER_FILES: Final = 256
"""Open files that the rest of the process may need."""
SECONDS_PER_TOKEN: Final = 1.0
"""The slowest generation that is waited for by default; `timeout` is added once, for the queue and the prompt."""
BASE_BYTES: Final = 2**18
TOKEN_BYTES: Final = 2048
"""For each generated token: its text, its part of the event around it, and what a server adds."""
ALTERNATIVE_BYTES: Final = 256
"""For each log-probability of a token, with the alternative's text."""
PROMPT_BYTES: Final = 16
"""For each prompt token: vLLM sends its id back."""


def longest(request: SampleRequest, timeout: float) -> float:
    """Seconds that one reply may take in all, by the tokens that were asked for."""
    return timeout + request.params.max_tokens * SECONDS_PER_TOKEN


def largest(request: SampleRequest, sequences: int) -> int:
    """Bytes that one reply with so many sequences may have, by the tokens and log-probabilities that were asked for."""
    told = 1 + max(request.params.logprobs or 0, len(request.watch))
    each = request.params.max_tokens * (TOKEN_BYTES + told * ALTERNATIVE_BYTES)
    return BASE_BYTES + sequences * (each + PROMPT_BYTES * request.rendered.tokens)


def at_once() -> int:
    """Requests for which this process may open a connection each."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return CONCURRENCY
    return max(1, min(CONCURRENCY, allowed - OTHER_FILES))
