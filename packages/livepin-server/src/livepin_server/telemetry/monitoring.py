"""What Prometheus sees of monitoring, read when it asks; nothing of it is kept in between.

Who reads it is given: this is below the database. What cannot be read is left out of an answer,
and the rest of the metrics is given all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_ENDPOINT = ("account", "domain", "host", "port", "vantage")

logger = logging.getLogger("livepin.monitor")

EndpointLabels = tuple[str, str, str, int, str]


@dataclass(frozen=True, slots=True)
class EndpointReading:
    """An endpoint as a vantage sees it: `labels` are account, domain, host, port and vantage."""

    labels: EndpointLabels
    pins_match: bool | None
    expires: datetime | None  # the first certificate of it that does
    looked: datetime | None
    took: int | None  # milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read: counts by their labels, and moments by vantage."""

    endpoints: list[EndpointReading] = field(default_factory=list)
    monitored: dict[tuple[str, str], int] = field(default_factory=dict)  # by account, vantage
    incidents: dict[tuple[str, str, str], int] = field(default_factory=dict)  # account, kind, sev.
    waiting: dict[str, int] = field(default_factory=dict)  # notices by account
    dead: dict[str, int] = field(default_factory=dict)
    looks: dict[str, datetime] = field(default_factory=dict)  # the last by vantage
    beats: dict[str, datetime] = field(default_factory=dict)


class MonitoringCollector(Collector):
    """Gives what `read` returns as gauges."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read
        self._failing = False

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Give nothing: to register reads no database."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give everything as it is now."""
        try:
            found = self._read()
        except Exception:  # the other metrics are needed then most of all
            if not self._failing:
                logger.exception("the metrics of monitoring cannot be read")
            self._failing = True
            return
        self._failing = False
        yield from _of_endpoints(found.endpoints)
        yield from _counts(found)
        yield _moments("livepin_monitor_last_look", "When somebody last looked", found.looks)
        yield _moments("livepin_monitor_heartbeat", "When a worker was last heard of", found.beats)


def _of_endpoints(endpoints: list[EndpointReading]) -> Iterator[GaugeMetricFamily]:
    match = _gauge("pin_match", "1 if what is served satisfies the pins, 0 if it does not")
    expires = _gauge(
        "certificate_expires_timestamp_seconds",
        "The first certificate that is served expires, in seconds since 1970",
    )
    looked = _gauge(
        "last_probe_timestamp_seconds", "When it was last looked at, in seconds since 1970"
    )
    took = _gauge("probe_duration_seconds", "How long the last look at all its addresses took")
    for each in endpoints:
        account, domain, host, port, vantage = each.labels
        labels = (account, domain, host, str(port), vantage)
        if each.pins_match is not None:
            match.add_metric(labels, float(each.pins_match))
        if each.expires is not None:
            expires.add_metric(labels, each.expires.timestamp())
        if each.looked is not None:
            looked.add_metric(labels, each.looked.timestamp())
        if each.took is not None:
            took.add_metric(labels, each.took / 1000)
    yield from (match, expires, looked, took)


def _counts(found: Readings) -> Iterator[GaugeMetricFamily]:
    monitored = GaugeMetricFamily(
        "livepin_endpoints", "Endpoints that are monitored", labels=("account", "vantage")
    )
    for of_vantage, count in found.monitored.items():
        monitored.add_metric(of_vantage, count)
    incidents = GaugeMetricFamily(
        "livepin_incidents",
        "Incidents that are not resolved",
        labels=("account", "kind", "severity"),
    )
    for of_kind, count in found.incidents.items():
        incidents.add_metric(of_kind, count)
    waiting = GaugeMetricFamily(
        "livepin_notices_waiting", "Notices that were not delivered yet", labels=("account",)
    )
    for account, count in found.waiting.items():
        waiting.add_metric((account,), count)
    dead = GaugeMetricFamily("livepin_notices_dead", "Notices nobody got", labels=("account",))
    for account, count in found.dead.items():
        dead.add_metric((account,), count)
    yield from (monitored, incidents, waiting, dead)


def _moments(name: str, text: str, moments: dict[str, datetime]) -> GaugeMetricFamily:
    found = GaugeMetricFamily(
        f"{name}_timestamp_seconds", f"{text}, in seconds since 1970", labels=("vantage",)
    )
    for vantage, moment in moments.items():
        found.add_metric((vantage,), moment.timestamp())
    return found


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"livepin_endpoint_{name}", text, labels=_ENDPOINT)
