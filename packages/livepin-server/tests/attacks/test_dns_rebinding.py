"""A web page makes its own name point to management on loopback, and asks from the browser."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8444", "localhost.evil.example", "127.0.0.1.evil.example", ""],
)
def test_a_name_that_was_made_to_point_here_is_refused(server, host: str) -> None:
    for path in ("/healthz", "/openapi.json", "/v1/whoami", "/metrics"):
        answer = server.send("GET", path, to="management", key=server.key(), headers={"host": host})
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8444", "[::1]", "pins.example.com:8444"])
def test_our_own_names_are_taken(server, host: str) -> None:
    answer = server.send(
        "GET", "/v1/whoami", to="management", key=server.key(), headers={"host": host}
    )
    assert answer.status_code == 200


def test_a_request_without_or_with_two_names_is_refused(server) -> None:
    for names in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        request = b"GET /healthz HTTP/1.1\r\n" + names + b"Connection: close\r\n\r\n"
        assert server.raw(request, "management").startswith(b"HTTP/1.1 421 ")


def test_another_page_on_this_machine_is_refused_by_its_origin(server) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = server.send(
            method, "/v1/api-keys", to="management", key=server.key(),
            headers={"origin": "https://localhost:3000"},
        )  # fmt: skip
        assert answer.status_code in (403, 405)
        assert "access-control-allow-origin" not in answer.headers
