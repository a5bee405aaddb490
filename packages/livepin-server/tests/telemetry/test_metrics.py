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
    metrics.reports.labels("acme", "main").inc(2)
    metrics.versions.labels("acme", "main").set(7)
    metrics.streams.inc()
    metrics.publications.labels("acme", "main").inc()
    found = samples(metrics)
    assert found["livepin_requests_total", ("front", "delivery"), ("status", "200")] == 1
    assert found["livepin_reports_total", ("account", "acme"), ("stream", "main")] == 2
    assert found["livepin_config_version", ("account", "acme"), ("stream", "main")] == 7
    assert found["livepin_event_streams",] == 1
    assert found["livepin_publications_total", ("account", "acme"), ("stream", "main")] == 1
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_two_servers_in_one_process_count_apart(metrics):
    metrics.reports.labels("acme", "main").inc()
    assert ("livepin_reports_total", ("account", "acme"), ("stream", "main")) not in samples(
        Metrics()
    )


def fetches(metrics):
    name = "livepin_config_fetches_total"
    found = {k[1:]: v for k, v in samples(metrics).items() if k[0] == name}
    return {(account[1], held[1]): v for (account, held, _), v in found.items()}


def test_fetches_are_counted_by_the_version_that_was_held(metrics):
    for held in ("none", "1", "1", "2"):
        metrics.fetched("acme", "main", held, 2)
    found = samples(metrics)
    name = "livepin_config_fetches_total"
    assert found[name, ("account", "acme"), ("held", "none"), ("stream", "main")] == 1
    assert found[name, ("account", "acme"), ("held", "1"), ("stream", "main")] == 2


def test_made_up_versions_fill_no_memory_and_hide_no_real_one(metrics):
    for held in range(1000, 3000):
        metrics.fetched("acme", "main", str(held), 7)
    for _ in range(2):
        metrics.fetched("acme", "main", "7", 7)
        metrics.fetched("acme", "main", "0007", 7)
    assert fetches(metrics) == {("acme", "other"): 2000, ("acme", "7"): 4}


def test_a_stream_that_rests_is_counted_on_while_another_one_publishes(metrics):
    """Both have versions from one counter: that of one soon is far ahead of that of the other."""
    for newest in (5, 500):
        metrics.fetched("acme", "main", "5", 5)
        metrics.fetched("acme", "canary", str(newest), newest)
    found = samples(metrics)
    name, account = "livepin_config_fetches_total", ("account", "acme")
    assert found[name, account, ("held", "5"), ("stream", "main")] == 2
    assert found[name, account, ("held", "500"), ("stream", "canary")] == 1


def test_the_latest_versions_are_counted_apart_however_many_there_were(metrics):
    for newest in range(1, 1001):
        metrics.fetched("acme", "main", str(newest - 1) if newest > 1 else "none", newest)
        metrics.fetched("other", "main", "1", 1)
        if newest % 50 == 0:
            assert len(fetches(metrics)) <= 103
    metrics.fetched("acme", "main", "3", 1000)
    found = fetches(metrics)
    assert found["acme", "999"] == found["acme", "none"] == found["acme", "other"] == 1
    assert found["other", "1"] == 1000
    assert ("acme", "3") not in found
