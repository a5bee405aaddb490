"""The text of an API key gets where it does not belong, and whoever reads there wants it."""

from __future__ import annotations

import logging

import pytest
from livepin_server.services.model import Intent, Role
from livepin_server.telemetry.logs import JsonFormatter, TextFormatter

INTENT = Intent(author="bob")


@pytest.fixture
def server(start_server):
    """A running server."""
    return start_server()


@pytest.mark.parametrize(
    "query", ["api_key={}", "access_token={}", "token={}", "key={}", "authorization=Bearer {}"]
)
def test_a_key_in_a_url_is_not_taken(server, query: str) -> None:
    """URLs stand in the logs of proxies, in the history of browsers, in Referer headers."""
    path = f"/v1/whoami?{query.format(server.key())}"
    assert server.send("GET", path, to="management").status_code == 401


@pytest.mark.parametrize("header", ["x-api-key", "cookie", "proxy-authorization", "api-key"])
def test_a_key_in_another_header_is_not_taken(server, header: str) -> None:
    headers = {header: f"Bearer {server.key()}"}
    answer = server.send("GET", "/v1/whoami", to="management", headers=headers)
    assert answer.status_code == 401


def test_no_log_of_a_failed_request_holds_a_key(server, caplog) -> None:
    view, key = server.services.api_keys.create("ci", Role.ADMIN, None, INTENT)
    server.services.api_keys.revoke(view.id, INTENT)
    admin = server.key()
    with caplog.at_level(logging.DEBUG):
        for sent in (key, admin):
            secret = sent.split("_", 2)[2]
            assert server.send("GET", f"/v1/{sent}", to="management", key=key).status_code >= 400
            for method, path, body in (
                ("GET", "/v1/whoami", None), ("GET", f"/v1/api-keys/{sent}", None),
                ("DELETE", f"/v1/api-keys/{sent}?reason={sent}", None),
                ("POST", f"/v1/api-keys/{sent}/rotate", {}),
                ("POST", "/v1/api-keys", {"name": sent, "role": "admin"}),
                ("POST", "/v1/accounts/acme/domains", {"pattern": sent, "pins": []}),
                ("GET", f"/v1/accounts/{sent}/domains", None),
                ("GET", f"/v1/accounts/acme/configs?stream={sent}", None),
            ):  # fmt: skip
                for by in (key, f"{admin}x"):
                    answer = server.send(method, path, to="management", key=by, json=body)
                    assert answer.status_code in (401, 429)
                    assert secret not in answer.text
                if path != "/v1/whoami":
                    answer = server.send(method, path, to="management", key=admin, json=body)
                    assert answer.status_code in (400, 404, 422), answer.text
    assert len(caplog.records) > 40
    for formatter in (JsonFormatter(), TextFormatter()):
        text = "\n".join(formatter.format(each) for each in caplog.records)
        assert view.id in text
        for each in (key, admin):
            assert each.split("_", 2)[2] not in text


def test_the_log_tells_who_guesses_from_where(server, caplog) -> None:
    with caplog.at_level(logging.INFO, "livepin.management"):
        server.send("GET", "/v1/whoami", to="management", key="lpk_000000000000_" + "A" * 43)
        server.send("GET", "/v1/whoami", to="management", key=server.key())
    guessed, used = (each for each in caplog.records if each.message == "request")
    assert (guessed.status, guessed.address, guessed.caller, guessed.key_id) == (
        401, "127.0.0.1", None, None,
    )  # fmt: skip
    assert (used.status, used.address, len(used.key_id)) == (200, "127.0.0.1", 12)
