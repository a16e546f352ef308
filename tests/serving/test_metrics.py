"""What a server counts."""

from prometheus_client.parser import text_string_to_metric_families

from reasoner.serving.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All samples by name and the values of their labels, in the order of the names of these."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_labels_are_bounded() -> None:
    metrics = Metrics(["single"])
    for name in ("single", "none", *map(str, range(1000))):
        metrics.end(name, "answered", 0.2)
    counted = samples(metrics)
    requests = {key[1:]: value for key, value in counted.items() if key[0] == "reasoner_requests_total"}
    assert requests == {("answered", "single"): 1, ("answered", "none"): 1, ("answered", "other"): 1000}
    assert counted["reasoner_request_seconds_count",] == 1002
