"""What Prometheus sees of monitoring: as it was read, in the exposition format, whatever it is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from livepin_server.errors import UnavailableError
from livepin_server.telemetry.metrics import Metrics
from livepin_server.telemetry.monitoring import EndpointReading, MonitoringCollector, Readings
from prometheus_client.parser import text_string_to_metric_families

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
LABELS = ("acme", "*.example.com", "a.example.com", 8443, "eu-west")
NAMED = dict(zip(("account", "domain", "host", "port", "vantage"), map(str, LABELS), strict=True))


@pytest.fixture
def scrape():
    """Return what is scraped, by name and labels, where this was read."""

    def one(read):
        metrics = Metrics()
        metrics.registry.register(MonitoringCollector(read))
        return {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for family in text_string_to_metric_families(metrics.text().decode())
            for each in family.samples
        }

    return one


def key(name, **labels):
    return name, tuple(sorted(labels.items()))


def test_an_endpoint_has_its_pins_its_certificate_and_its_last_look(scrape):
    reading = EndpointReading(LABELS, False, NOW + timedelta(days=9), NOW, 41)
    found = scrape(lambda: Readings(endpoints=[reading]))
    assert found[key("livepin_endpoint_pin_match", **NAMED)] == 0
    expires = key("livepin_endpoint_certificate_expires_timestamp_seconds", **NAMED)
    assert found[expires] == (NOW + timedelta(days=9)).timestamp()
    assert found[key("livepin_endpoint_last_probe_timestamp_seconds", **NAMED)] == NOW.timestamp()
    assert found[key("livepin_endpoint_probe_duration_seconds", **NAMED)] == 0.041


def test_what_was_not_seen_has_no_value_rather_than_a_wrong_one(scrape):
    found = scrape(lambda: Readings(endpoints=[EndpointReading(LABELS, None, None, None, None)]))
    assert not [name for name, _ in found if name.startswith("livepin_endpoint_")]


def test_counts_and_moments_have_the_labels_of_what_they_count(scrape):
    found = scrape(
        lambda: Readings(
            monitored={("acme", "here"): 3},
            incidents={("acme", "partial", "critical"): 2},
            waiting={"acme": 1},
            dead={"acme": 0},
            looks={"here": NOW},
            beats={"eu-west": NOW},
        )
    )
    of_kind = {"account": "acme", "kind": "partial", "severity": "critical"}
    assert found[key("livepin_endpoints", account="acme", vantage="here")] == 3
    assert found[key("livepin_incidents", **of_kind)] == 2
    assert found[key("livepin_notices_waiting", account="acme")] == 1
    assert found[key("livepin_notices_dead", account="acme")] == 0
    last = key("livepin_monitor_last_look_timestamp_seconds", vantage="here")
    assert found[last] == NOW.timestamp()
    heard = key("livepin_monitor_heartbeat_timestamp_seconds", vantage="eu-west")
    assert found[heard] == NOW.timestamp()


def test_a_label_cannot_break_out_of_its_quotes(scrape):
    evil = 'a"} 1\nlivepin_in_step{x="\\'
    labels = ("acme", evil, "a.example.com", 443, "here")
    found = scrape(lambda: Readings(endpoints=[EndpointReading(labels, True, None, None, None)]))
    (seen,) = [dict(each) for name, each in found if name == "livepin_endpoint_pin_match"]
    assert seen["domain"] == evil


def test_a_database_that_is_away_takes_no_other_metric_along_and_is_logged_once(caplog):
    away = UnavailableError("the database is away")
    answers = [away, away, Readings(waiting={"acme": 1})]

    def read():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    metrics = Metrics()
    metrics.registry.register(MonitoringCollector(read))
    metrics.in_step.set(1)
    for _ in range(2):
        text = metrics.text()
        assert b"livepin_in_step 1.0" in text
        assert b"livepin_notices_waiting" not in text
    assert b'livepin_notices_waiting{account="acme"} 1.0' in metrics.text()
    assert caplog.text.count("the metrics of monitoring cannot be read") == 1
