"""What a server counts for Prometheus, in a registry of its own."""

from collections.abc import Callable, Collection
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from reasoner.budget import Cost

Outcome = Literal["answered", "not_sure", "budget", "refused", "error", "cancelled"]
"""How a request ended: with an answer, abstained, at the end of a budget before any answer, with a 4xx, a 5xx, or
because its client left or the server stopped."""
KINDS: Final = ("prompt", "cached", "generated", "verifier", "cancelled")
"""The kinds of tokens; each token counts in one of them."""
NO_STRATEGY: Final = "none"
"""The strategy of a request that was refused before one was chosen."""
SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
"""The limits of the histogram of durations."""


class Metrics:
    """The counters of a server. `strategies` are the names that a label may have: any other is counted as "other"."""

    def __init__(self, strategies: Collection[str]) -> None:
        self._names = frozenset([*strategies, NO_STRATEGY])
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "reasoner_requests",
            "Requests, by strategy and how they ended.",
            ["strategy", "outcome"],
            registry=registry,
        )
        self._tokens = Counter(
            "reasoner_tokens", "Tokens, by kind.", ["kind"], registry=registry
        )
        self._samples = Counter("reasoner_samples", "Samples drawn.", registry=registry)
        self._saved = Counter(
            "reasoner_samples_saved",
            "Samples not drawn because a vote ended early.",
            registry=registry,
        )
        self._seconds = Histogram(
            "reasoner_request_seconds",
            "From the whole request to the end of its reply, the queue included.",
            buckets=SECONDS,
            registry=registry,
        )
        self._kinds = [(f"{kind}_tokens", self._tokens.labels(kind)) for kind in KINDS]

    def gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A value that is read whenever the metrics are."""
        Gauge(name, what, registry=self._registry).set_function(read)

    def spend(self, cost: Cost) -> None:
        """Count what a request computed."""
        for field, counter in self._kinds:
            if tokens := getattr(cost, field):
                counter.inc(tokens)
        self._samples.inc(cost.samples)

    def end(
        self, strategy: str, outcome: Outcome, seconds: float, *, saved: int = 0
    ) -> None:
        """Count a request that ended, and the samples that a vote did without."""
        self._requests.labels(
            strategy if strategy in self._names else "other", outcome
        ).inc()
        self._seconds.observe(seconds)
        self._saved.inc(saved)

    def text(self) -> bytes:
        """All of them in the format that Prometheus reads."""
        return generate_latest(self._registry)
