"""What a server counts."""

from prometheus_client.parser import text_string_to_metric_families

from reasoner.budget import Cost
from reasoner.serving.metrics import KINDS, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All samples by name and the values of their labels, in the order of the names of these."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_each_token_counts_in_one_kind() -> None:
    metrics = Metrics(["single"])
    metrics.spend(Cost(1, 2, 4, 8, 16, requests=3, samples=2, thinking_tokens=3))
    metrics.spend(Cost(1, 2, 4, 8, 16, requests=3, samples=2))
    counted = samples(metrics)
    assert [counted["reasoner_tokens_total", kind] for kind in KINDS] == [2, 4, 8, 16, 32]
    assert counted["reasoner_samples_total",] == 4


def test_labels_are_bounded() -> None:
    metrics = Metrics(["single"])
    for name in ("single", "none", *map(str, range(1000))):
        metrics.end(name, "answered", 0.2)
    counted = samples(metrics)
    requests = {key[1:]: value for key, value in counted.items() if key[0] == "reasoner_requests_total"}
    assert requests == {("answered", "single"): 1, ("answered", "none"): 1, ("answered", "other"): 1000}
    assert counted["reasoner_request_seconds_count",] == 1002


def test_two_servers_count_apart_and_gauges_are_read_when_asked() -> None:
    first, second = Metrics([]), Metrics([])
    value = 1.0
    first.gauge("reasoner_in_flight", "Requests that are answered.", lambda: value)
    first.save(3)
    value = 2.0
    assert samples(first)["reasoner_in_flight",] == 2
    assert samples(first)["reasoner_samples_saved_total",] == 3
    assert samples(second)["reasoner_samples_saved_total",] == 0
