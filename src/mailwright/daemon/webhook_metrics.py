"""How webhooks are doing, as families of metrics: by state, never by URL."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mailwright.daemon.webhooks import WebhooksState


def webhook_families(state: WebhooksState) -> Iterator[Metric]:
    """Yield the families of webhooks."""
    endpoints = GaugeMetricFamily(
        "mailwright_webhooks", "Webhooks by state", labels=["state"]
    )
    for name, count in state.endpoints.items():
        endpoints.add_metric([name], count)
    yield endpoints
    attempts = CounterMetricFamily(
        "mailwright_webhook_attempts",
        "Batches that were sent, by how it ended",
        labels=["outcome"],
    )
    for name, count in state.attempts.items():
        attempts.add_metric([name], count)
    yield attempts
    yield CounterMetricFamily(
        "mailwright_webhook_events", "Events that webhooks took", state.events
    )
    yield GaugeMetricFamily(
        "mailwright_webhook_batches_in_flight",
        "Webhooks that are being served",
        state.in_flight,
    )
    yield GaugeMetricFamily(
        "mailwright_webhook_behind_seconds",
        "How long the webhook that is furthest behind has not caught up",
        state.behind_s,
    )
