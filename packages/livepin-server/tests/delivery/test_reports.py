"""Mismatch reports from strangers: taken if they are ones, bounded, logged as members only."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.delivery.claims import Claims
from livepin_server.delivery.reports import MAX_SIZE, Reports
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.telemetry.logs import JsonFormatter
from livepin_server.telemetry.metrics import Metrics

REPORTS = "/v1/acme/reports"
REPORT = {
    "host": "api.example.com",
    "chain": ["sha256/" + "A" * 43 + "="],
    "config_version": 7,
    "at": 1795435200,
    "stream": "main",
}


def reports_of(server, stream: str = "main") -> float:
    """How many reports of a stream were counted."""
    labels = {"account": "acme", "stream": stream}
    return server.metrics.registry.get_sample_value("livepin_reports_total", labels) or 0


def test_a_report_is_counted_and_answered_with_nothing(server) -> None:
    before = reports_of(server)
    answer = server.send("POST", REPORTS, json=REPORT)
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert reports_of(server) == before + 1


def test_reports_are_counted_by_stream_and_made_up_streams_fill_no_memory(server) -> None:
    before = reports_of(server), reports_of(server, "?")
    for stream in ("canary", "?", "main\n"):
        assert server.send("POST", REPORTS, json=REPORT | {"stream": stream}).status_code == 202
        assert reports_of(server, stream) == (before[1] + 2 if stream == "?" else 0)
    assert (reports_of(server), reports_of(server, "?")) == (before[0], before[1] + 3)


def test_members_that_are_not_known_are_ignored(server) -> None:
    assert server.send("POST", REPORTS, json=REPORT | {"later": {"x": 1}}).status_code == 202


@pytest.mark.parametrize(
    "change",
    [
        {"host": "h" * 256}, {"host": None}, {"chain": []}, {"chain": REPORT["chain"] * 17},
        {"chain": ["sha256/A"]}, {"chain": ["sha256/" + "A" * 43 + "=\n"]}, {"config_version": 0},
        {"config_version": 2**53}, {"config_version": "7"}, {"config_version": True},
        {"at": -1}, {"at": 253402300800}, {"stream": "s" * 64},
    ],
)  # fmt: skip
def test_what_is_not_a_report_is_a_problem_and_not_counted(server, change) -> None:
    before = reports_of(server)
    answer = server.send("POST", REPORTS, json=REPORT | change)
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert reports_of(server) == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 16000, b'{"a":' * 3000]
)
def test_what_is_not_json_is_a_problem(server, body: bytes) -> None:
    assert server.send("POST", REPORTS, content=body).status_code == 400


def test_a_report_may_be_as_large_as_the_limit_and_no_byte_larger(server) -> None:
    text = json.dumps(REPORT).encode()
    assert server.send("POST", REPORTS, content=text.ljust(MAX_SIZE)).status_code == 202
    answer = server.send("POST", REPORTS, content=text.ljust(MAX_SIZE + 1))
    assert (answer.status_code, answer.json()["detail"]) == (413, "expected at most 16384 bytes")
    assert answer.headers["connection"] == "close"


def test_a_body_of_unsaid_length_is_bounded_too(server) -> None:
    def pieces(count: int):
        yield json.dumps(REPORT).encode()
        for _ in range(count):
            yield b" " * 1024

    assert server.send("POST", REPORTS, content=pieces(10)).status_code == 202
    assert server.send("POST", REPORTS, content=pieces(17)).status_code == 413


def test_reports_cost_more_than_documents(start_server) -> None:
    server = start_server(requests_per_second="0.05")  # twelve at once: one report, not two
    assert server.send("POST", REPORTS, json=REPORT).status_code == 202
    assert server.send("POST", REPORTS, json={}).status_code == 429
    server = start_server(requests_per_second="4")  # sixteen: one report with its request
    assert server.send("POST", REPORTS, json=REPORT).status_code == 202
    answer = server.send("POST", REPORTS, json=REPORT)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert answer.json()["detail"] == "too many reports from this address"
    assert server.send("GET", "/v1/acme/config/main").status_code == 200


def test_a_report_is_logged_as_members_that_cannot_pass_for_our_own_words(caplog) -> None:
    forged = 'x", "level": "error", "message": "forged\n{'
    with caplog.at_level(logging.INFO, "livepin.reports"):
        Reports(Metrics(), Claims(Snapshot(), Metrics())).take(
            "acme", json.dumps(REPORT | {"host": forged}).encode(), streams=["main"]
        )
    (record,) = caplog.records
    assert record.getMessage() == "a client reports a mismatch"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["report_host"], found["level"], found["account"]) == (forged, "info", "acme")


@settings(deadline=None, max_examples=60)
@given(body=st.binary(max_size=200))
def test_no_bytes_are_more_than_a_bad_report(server, body: bytes) -> None:
    assert server.send("POST", REPORTS, content=body).status_code in (202, 400)
