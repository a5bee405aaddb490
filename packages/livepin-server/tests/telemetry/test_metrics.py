"""Metrics: counted apart for each server, with a bounded number of labels."""

import pytest
from livepin_server.telemetry.metrics import CONTENT_TYPE, Metrics
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def metrics():
    return Metrics()


def samples(metrics):
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (each.name, *sorted(each.labels.items())): each.value
        for family in families
        for each in family.samples
        if not each.name.endswith("_created")
    }


def test_everything_is_in_the_exposition_format(metrics):
    metrics.requests.labels("delivery", "200").inc()
    metrics.reports.labels("acme").inc(2)
    metrics.versions.labels("acme", "main").set(7)
    metrics.streams.inc()
    metrics.publications.labels("acme", "main").inc()
    found = samples(metrics)
    assert found["livepin_requests_total", ("front", "delivery"), ("status", "200")] == 1
    assert found["livepin_reports_total", ("account", "acme")] == 2
    assert found["livepin_config_version", ("account", "acme"), ("stream", "main")] == 7
    assert found["livepin_event_streams",] == 1
    assert found["livepin_publications_total", ("account", "acme"), ("stream", "main")] == 1
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_two_servers_in_one_process_count_apart(metrics):
    metrics.reports.labels("acme").inc()
    assert ("livepin_reports_total", ("account", "acme")) not in samples(Metrics())


def test_fetches_are_counted_by_the_version_that_was_held(metrics):
    for held in ("none", "1", "1", "2"):
        metrics.fetched("acme", held)
    found = samples(metrics)
    name = "livepin_config_fetches_total"
    assert found[name, ("account", "acme"), ("held", "none")] == 1
    assert found[name, ("account", "acme"), ("held", "1")] == 2


def test_made_up_versions_cannot_fill_the_memory(metrics):
    for held in range(1000):
        metrics.fetched("acme", str(held))
    metrics.fetched("acme", "5")
    metrics.fetched("other", "5")
    fetches = {k: v for k, v in samples(metrics).items() if k[0] == "livepin_config_fetches_total"}
    name = "livepin_config_fetches_total"
    assert len(fetches) == 202
    assert fetches[name, ("account", "acme"), ("held", "other")] == 800
    assert fetches[name, ("account", "acme"), ("held", "5")] == 2
    assert fetches[name, ("account", "other"), ("held", "other")] == 1
