"""Prometheus metrics of one server; a registry of its own, so that several live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from .attention import Attention

CONTENT_TYPE = "text/plain; version=0.0.4"  # and the charset, which Litestar adds
_MOST_VERSIONS = 100  # of a stream, that are counted apart


class Metrics:
    """The counters and gauges of a server, and what needs attention in it."""

    def __init__(self) -> None:
        self.attention = Attention()
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "livepin_requests_total", "Answers by front end and status", ["front", "status"]
        )
        self.fetches = self._counter(
            "livepin_config_fetches_total",
            "Config fetches by the version that the client held before (none: unconditional)",
            ["account", "stream", "held"],
        )
        self.reports = self._counter(
            "livepin_reports_total", "Mismatch reports", ["account", "stream"]
        )
        self.token_requests = self._counter(
            "livepin_token_requests_total",
            "Token requests: answered, or challenged once more",
            ["account", "outcome"],
        )
        self.refused = self._counter(
            "livepin_appraisals_refused_total",
            "Token requests that an appraisal refused (fail), or would have (report), by its rule",
            ["account", "verdict", "rule"],
        )
        self.versions = Gauge(
            "livepin_config_version",
            "Newest config version delivered",
            ["account", "stream"],
            registry=self.registry,
        )
        self.streams = Gauge("livepin_event_streams", "Open event streams", registry=self.registry)
        self.publications = self._counter(
            "livepin_publications_total", "Config versions published", ["account", "stream"]
        )
        self.in_step = Gauge(
            "livepin_in_step",
            "1 while everything that is published is served; 0 while news are missed",
            registry=self.registry,
        )
        self.claimed = Gauge(
            "livepin_config_claimed_version",
            "Config version above the newest that clients claim to hold; 0 where none does",
            ["account", "stream"],
            registry=self.registry,
        )
        self.exported = Gauge(
            "livepin_export_in_step",
            "1 while a target has everything that is published; 0 while it could not be written",
            ["target"],
            registry=self.registry,
        )
        self.overrides = Gauge(
            "livepin_overrides",
            "Installations with an override in force, which may unpin them",
            ["account"],
            registry=self.registry,
        )
        self.backed_up = Gauge(
            "livepin_backup_timestamp_seconds",
            "When a backup was last made since the start, in seconds since 1970",
            registry=self.registry,
        )
        self.config_expires = self._moment("config", "The newest config", ["account", "stream"])
        self.root_expires = self._moment("root", "The newest root", ["account"])
        self.delivery_expires = self._moment("delivery_certificate", "The delivery certificate", [])
        self._fetches: dict[tuple[str, str, str], Counter] = {}

    def fetched(self, account: str, stream: str, held: str, newest: int) -> None:
        """Count a fetch of the config `newest` by one who says to hold `held`, or `none`.

        Anybody can say anything: only the latest versions that there are have a label.
        """
        counter = self._fetches.get((account, stream, held))
        (counter or self._fetches_of(account, stream, held, newest)).inc()

    def _fetches_of(self, account: str, stream: str, held: str, newest: int) -> Counter:
        oldest = max(newest - _MOST_VERSIONS, 0)
        if held.isdecimal():
            number = int(held)
            held = str(number) if oldest < number <= newest else "other"
        key = (account, stream, held)
        if key not in self._fetches:
            for each in [k for k in self._fetches if k[:2] == key[:2] and k[2].isdecimal()]:
                if int(each[2]) <= oldest:
                    del self._fetches[each]
                    self.fetches.remove(*each)
            self._fetches[key] = self.fetches.labels(*key)
        return self._fetches[key]

    def text(self) -> bytes:
        """Return everything in the exposition format."""
        return generate_latest(self.registry)

    def _moment(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(
            f"livepin_{name}_expires_timestamp_seconds",
            f"{text} expires, in seconds since 1970",
            labels,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)
