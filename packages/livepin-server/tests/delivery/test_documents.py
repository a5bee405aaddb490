"""Documents over the wire: versions, caches, compression, and what is not there."""

from __future__ import annotations

import gzip

import pytest
from livepin.documents import config, root
from livepin.jose import parse_compact, parse_general
from livepin_server.services.model import NewDomain

CONFIG = "/v1/acme/config/main"
ROOT = "/v1/acme/root/1"


def version_of(server) -> int:
    """The newest version of `main`."""
    return server.services.published.history("acme", "main", limit=1)[0].version


def test_the_config_is_the_newest_signed_one(server) -> None:
    answer = server.send("GET", CONFIG)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jose"
    payload = config.Config.parse(parse_compact(answer.content, typ=config.TYP).payload)
    assert (payload.account, payload.stream) == ("acme", "main")
    assert answer.headers["etag"] == f'"1.{payload.version}"' == f'"1.{version_of(server)}"'
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_the_root_never_changes_so_any_cache_may_keep_it(server) -> None:
    answer = server.send("GET", ROOT)
    assert answer.headers["content-type"] == "application/jose+json"
    assert "immutable" in answer.headers["cache-control"]
    assert root.Root.parse(parse_general(answer.content, typ=root.TYP).payload).version == 1


def test_a_cache_keeps_a_config_for_a_minute_and_longer_only_while_delivery_fails(server) -> None:
    caching = server.send("GET", CONFIG).headers["cache-control"]
    assert caching == "public, max-age=60, stale-if-error=1209600"


@pytest.mark.parametrize("form", ['"1.{}"', 'W/"1.{}"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_holds_the_version_gets_no_body(server, method: str, form: str) -> None:
    held = form.format(version_of(server))
    answer = server.send(method, CONFIG, headers={"if-none-match": held})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"1.{version_of(server)}"'
    assert "max-age=60" in answer.headers["cache-control"]


@pytest.mark.parametrize("held", ['"0"', '"99999999999999999999"', "1", "*", "", '"', "W/", "\xff"])
def test_who_holds_anything_else_gets_the_document(server, held: str) -> None:
    header = {"if-none-match": held.encode("latin-1")}
    assert server.send("GET", CONFIG, headers=header).status_code == 200


def test_head_says_how_long_the_body_would_be(server) -> None:
    full, head = server.send("GET", CONFIG), server.send("HEAD", CONFIG)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "vary", "cache-control"):
        assert head.headers[name] == full.headers[name]


@pytest.mark.parametrize(
    "accepted",
    ["gzip", "GZIP", "br, gzip", "gzip;q=0.001", "gzip; q=1.0, *;q=0", "deflate,gzip ,br"],
)
def test_who_takes_gzip_gets_it(server, accepted: str) -> None:
    plain = server.send("GET", CONFIG)
    with server.connect() as sock:
        sock.sendall(
            f"GET {CONFIG} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accepted}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        found = b""
        while more := sock.recv(65536):
            found += more
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    assert gzip.decompress(body) == plain.content
    assert plain.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "accepted",
    ["identity", "br", "gzip;q=0", "gzip; q=0.000", "xgzip", "gzipx", "gzip;q=0, br", "gzip;q=x"],
)
def test_who_refuses_gzip_gets_the_bytes_as_they_are(server, accepted: str) -> None:
    answer = server.send("GET", CONFIG, headers={"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.content == server.send("GET", CONFIG).content


def test_a_long_list_of_encodings_is_no_work(server) -> None:
    for text in ("gzip;q=0." + "1" * 30_000 + "x", "gzip" + " " * 30_000 + "x", "gzip;q=0," * 3000):
        answer = server.send("GET", CONFIG, headers={"accept-encoding": text})
        assert "content-encoding" not in answer.headers
        assert answer.elapsed.total_seconds() < 5


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/acme", "/v1/acme/config", "/v1/acme/config/", "/v1/acme/config/other",
        "/v1/nobody/config/main", "/v1/acme/root/0", "/v1/acme/root/2", "/v1/acme/root/01",
        "/v1/acme/root/x", "/v1/nobody/events", "/v1/acme/eventsx", "/v1/ACME/events",
        "/v1/acme/events/", "/v1/acme/../acme/config/main", "/v1/acme%2Fconfig/main/x",
        "/v1/acme/config/main%00", "//v1/acme/config/main", "/metrics", "/openapi.json",
        "/v1/accounts", "/v1/nobody/token", "/v1/nobody/jwks.json", "/v1/acme/override/x",
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_problem(server, path: str) -> None:
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"content-type: application/problem+json" in head
    assert body == b'{"title":"Not Found","status":404,"detail":"there is nothing at this path"}'


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        (method, path, allowed)
        for path, allowed in [
            (CONFIG, "GET, HEAD"),
            (ROOT, "GET, HEAD"),
            ("/v1/acme/events", "GET"),
            ("/v1/acme/reports", "POST"),
        ]
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND")
        if method not in allowed
    ],
)
def test_another_method_is_refused_and_says_which_is_right(server, method, path, allowed) -> None:
    answer = server.send(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_query_does_not_change_what_is_meant(server) -> None:
    assert server.send("GET", f"{CONFIG}?after=3").content == server.send("GET", CONFIG).content


def test_a_new_version_is_served_at_once_and_the_others_stay(start_server, new_pin, intent) -> None:
    server = start_server()
    before = server.send("GET", CONFIG)
    new = NewDomain(pattern="api.example.com", pins=[new_pin()])
    publication = server.services.domains.add("acme", new, intent)
    with server.connect() as sock:
        sock.sendall(b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while f'"version":{publication.version}'.encode() not in found:
            found += sock.recv(4096)
    after = server.send("GET", CONFIG, headers={"if-none-match": before.headers["etag"]})
    assert (after.status_code, after.headers["etag"]) == (200, f'"1.{publication.version}"')
    assert server.send("GET", ROOT).status_code == 200
