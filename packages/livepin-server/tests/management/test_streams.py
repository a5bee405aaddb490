"""Streams over the API and at delivery: each is served by itself, and an app follows its own."""

from __future__ import annotations

import json
import time

import pytest
from livepin import Client
from livepin.bootstrap import Bootstrap
from livepin.errors import VerificationError
from livepin.trust import TrustedState

BASE = "/v1/accounts/acme"
PIN = {"sha256": "sha256/" + "A" * 43 + "="}


@pytest.fixture
def call(start_server):
    """Call the API of a server of this test's own, as an admin."""
    server = start_server()
    key = server.key()

    def one(method: str, path: str, body: object = None):
        return server.send(method, BASE + path, to="management", key=key, json=body)

    one.server = server
    return one


def delivered(call, stream: str, version: int):
    """Return the config of a stream as delivery serves it, once it has that version."""
    deadline = time.monotonic() + 20
    while True:
        answer = call.server.send("GET", f"/v1/acme/config/{stream}")
        if answer.headers.get("etag") == f'"1.{version}"':
            return answer
        assert time.monotonic() < deadline, answer.text


def test_a_new_stream_is_delivered_and_its_bootstrap_follows_it(call) -> None:
    call("POST", "/domains", {"pattern": "a.example.com", "pins": [PIN]})
    assert call.server.send("GET", "/v1/acme/config/canary").status_code == 404
    made = call("POST", "/streams", {"name": "canary", "reason": "a share of the fleet"})
    assert made.status_code == 201
    assert made.json()["publication"]["reason"] == "a share of the fleet"
    assert call("GET", "/streams").json()[0] == made.json()["stream"]
    raw = delivered(call, "canary", 3).content
    bootstrap = Bootstrap.parse(json.dumps(call("GET", "/bootstrap?stream=canary").json()))
    assert bootstrap.config == raw
    history = call("GET", "/configs?stream=canary").json()["items"]
    assert [each["version"] for each in history] == [3]
    line = b'livepin_config_version{account="acme",stream="canary"} 3.0'
    assert line in call.server.metrics.text()


def test_a_domain_that_moves_is_in_one_stream_or_the_other(call) -> None:
    call("POST", "/streams", {"name": "canary"})
    call("POST", "/domains", {"pattern": "a.example.com", "pins": [PIN]})
    body = {"pattern": "a.example.com", "source": "main", "reason": "trial"}
    moved = call("POST", "/streams/canary/domains", body)
    assert moved.status_code == 200
    assert [(e["stream"], e["version"], e["reason"]) for e in moved.json()["items"]] == [
        ("canary", 4, "trial"), ("main", 5, "trial"),
    ]  # fmt: skip
    delivered(call, "canary", 4)
    delivered(call, "main", 5)
    kept = call("POST", "/streams/main/domains", body | {"source": "canary", "keep": True})
    assert [each["stream"] for each in kept.json()["items"]] == ["main"]
    for stream in ("main", "canary"):
        assert len(call("GET", f"/domains?stream={stream}").json()) == 1


def test_an_app_of_a_canary_gets_what_the_canary_gets_and_nothing_else(call) -> None:
    port = call.server.ports["delivery"]
    call("PUT", "/delivery?confirmed=true", {"urls": [f"https://localhost:{port}"]})
    call("POST", "/streams", {"name": "canary"})
    bootstraps = {
        stream: Bootstrap.parse(json.dumps(call("GET", f"/bootstrap?stream={stream}").json()))
        for stream in ("main", "canary")
    }
    call("POST", "/domains", {"pattern": "a.example.com", "pins": [PIN], "stream": "canary"})
    delivered(call, "canary", 4)
    listed = {}
    for stream, bootstrap in bootstraps.items():
        with Client(bootstrap, push=False, reports=False) as client:
            client.refresh()
            listed[stream] = list(client.pins("public-key-sha256"))
    assert listed == {"main": [], "canary": ["a.example.com"]}
    # Whoever sits in between and swaps the files of two streams gets nowhere.
    of_canary = delivered(call, "canary", 4).content
    with pytest.raises(VerificationError) as caught:
        TrustedState.from_bootstrap(bootstraps["main"]).advance_config(of_canary)
    assert caught.value.rule == 5
