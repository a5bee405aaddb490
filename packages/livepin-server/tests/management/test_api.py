"""The management API in use: what a change answers, and what each error looks like."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from livepin.bootstrap import Bootstrap
from livepin.documents import config, root
from livepin.jose import PrivateKey, b64url_decode, parse_compact, sign_general
from livepin.testing import FakeClock, RecordingServer, make_chain
from livepin_server.storage.schema import roots
from sqlalchemy import delete

DOMAINS = "/v1/accounts/acme/domains"


def digest_of(number: int) -> bytes:
    """A fingerprint, another for each number."""
    return hashlib.sha256(f"key {number}".encode()).digest()


def pin(number: int = 1, **members: object) -> dict[str, object]:
    """A pin to add."""
    return {"sha256": "sha256/" + base64.b64encode(digest_of(number)).decode(), **members}


@pytest.fixture
def call(start_server):
    """Call the API of a server of this test's own, as an admin."""
    server = start_server()
    key = server.key()

    def one(method: str, path: str, body: object = None, **options: object):
        return server.send(method, path, to="management", key=key, json=body, **options)

    one.server = server
    return one


def test_a_domain_from_its_first_pin_to_its_end(call) -> None:
    body = {"pattern": "API.example.com.", "pins": [pin(1)], "reason": "launch"}
    made = call("POST", DOMAINS, body)
    assert made.status_code == 201
    assert made.json()["domain"]["pattern"] == "api.example.com"
    assert made.json()["publication"]["version"] == 2
    assert made.json()["publication"]["reason"] == "launch"
    path = f"{DOMAINS}/api.example.com"
    more = call("POST", f"{path}/pins", {"pins": [pin(2, backup=True, label="next")]})
    assert more.status_code == 201
    assert [each["backup"] for each in more.json()["domain"]["pins"]] == [False, True]
    digest = base64.urlsafe_b64encode(digest_of(1)).rstrip(b"=").decode()
    less = call("DELETE", f"{path}/pins/{digest}?reason=retired")
    assert [each["label"] for each in less.json()["domain"]["pins"]] == ["next"]
    assert less.json()["publication"]["reason"] == "retired"
    assert call("GET", path).json() == less.json()["domain"]
    assert [each["pattern"] for each in call("GET", DOMAINS).json()] == ["api.example.com"]
    gone = call("DELETE", f"{path}?reason=closed")
    assert gone.json()["publication"]["changed"] == ["- domain api.example.com"]
    assert call("GET", path).status_code == 404
    history = call("GET", "/v1/accounts/acme/configs").json()["items"]
    assert [each["version"] for each in history] == [5, 4, 3, 2, 1]
    assert [each["reason"] for each in history][:2] == ["closed", "retired"]


def test_mode_token_and_stale_are_changed_member_by_member(call) -> None:
    call("POST", DOMAINS, {"pattern": "api.example.com", "pins": [pin(1, level="leaf")]})
    path = f"{DOMAINS}/api.example.com"
    before = call("GET", path).json()
    assert before["pins"][0]["level"] == "leaf"
    done = call("PATCH", f"{path}/settings", {"mode": "report", "reason": "trial"})
    assert done.status_code == 200
    assert done.json()["domain"] == call("GET", path).json() == before | {"mode": "report"}
    assert done.json()["publication"]["reason"] == "trial"
    assert done.json()["publication"]["changed"] == [
        "* domain api.example.com: mode enforce -> report"
    ]
    assert call("PATCH", f"{path}/settings", {"mode": "report"}).status_code == 409
    assert call("PATCH", f"{path}/settings", {"reason": "none"}).status_code == 422
    assert call("PATCH", f"{path}/settings", {"mode": "loose"}).status_code == 400
    assert call("PATCH", f"{path}/settings", {"pattern": "b.example.com"}).status_code == 400
    shown = call("GET", "/v1/accounts/acme/configs/latest").json()
    assert shown["payload"]["domains"][0]["mode"] == "report"


def test_what_was_published_is_what_delivery_serves(call) -> None:
    call("POST", DOMAINS, {"pattern": "api.example.com", "pins": [pin()]})
    shown = call("GET", "/v1/accounts/acme/configs/latest").json()
    deadline = time.monotonic() + 20
    while (answer := call.server.send("GET", "/v1/acme/config/main")).headers["etag"] != '"1.2"':
        assert time.monotonic() < deadline
    assert answer.text == shown["document"]
    assert shown["payload"]["version"] == shown["publication"]["version"] == 2
    found = config.Config.parse(parse_compact(answer.content, typ=config.TYP).payload)
    assert [each.pattern for each in found.domains] == ["api.example.com"]
    older = call("GET", "/v1/accounts/acme/configs/1").json()
    assert older["payload"]["version"] == 1


def test_a_new_account_is_prepared_signed_elsewhere_and_published(call) -> None:
    key = PrivateKey.generate()
    body = {"root_keys": [dict(key.public.jwk())]}
    prepared = call("POST", "/v1/accounts/beta/prepare", body).json()
    payload = b64url_decode(prepared["payload"].encode())
    document = sign_general(payload, typ=root.TYP, signers=[key])
    made = call("PUT", "/v1/accounts/beta/root", {"document": json.loads(document)})
    assert (made.status_code, made.json()["publication"]["account"]) == (200, "beta")
    assert [each["name"] for each in call("GET", "/v1/accounts").json()] == ["acme", "beta"]
    again = call("PUT", "/v1/accounts/beta/root", {"document": json.loads(document)})
    assert again.status_code == 409


def test_where_documents_are_delivered_is_changed_member_by_member(call) -> None:
    path = "/v1/accounts/acme/delivery"
    before = call("GET", path).json()
    changed = call("PUT", path, {"refresh_interval": 60, "reason": "faster"}).json()["items"]
    assert [each["reason"] for each in changed] == ["faster"]
    assert call("GET", path).json() == before | {"refresh_interval": 60}


def test_the_bootstrap_is_of_today_and_holds_no_secret(call) -> None:
    found = call("GET", "/v1/accounts/acme/bootstrap").json()
    bootstrap = Bootstrap.parse(json.dumps(found))
    payload = parse_compact(bootstrap.config, typ=config.TYP).payload
    assert config.Config.parse(payload).account == "acme"
    assert '"d"' not in json.dumps(found)


def test_the_status_warns_of_a_root_key_on_the_server_and_of_a_root_that_ends(
    start_server, data_folder, open_folder
) -> None:
    server = start_server()
    key = server.key()
    clock = server.services.clock
    assert isinstance(clock, FakeClock)
    found = server.send("GET", "/v1/status", to="management", key=key).json()
    *others, nobody = found["warnings"]
    assert others == ["the root key of acme is on the server"]
    assert nobody.startswith("nobody will be told ")
    clock.advance(days=3 * 365 - 89)
    found = server.send("GET", "/v1/status", to="management", key=key).json()
    assert found["warnings"][1].startswith("root 1 of acme expires on 2029-11-")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("GET", "/nothing", None, 404, "Not Found"),
        ("GET", "/v1/accounts/nobody/domains", None, 404, "there is no account 'nobody'"),
        ("GET", "/v1/accounts/acme/bootstrap?stream=x", None, 404, "there is no stream 'x'"),
        ("OPTIONS", "/v1/whoami", None, 403, "expected the role none"),
        ("OPTIONS", "/metrics", None, 403, "expected the role none"),
        ("POST", DOMAINS, None, 400, "a body is missing"),
        ("POST", "/v1/whoami", None, 405, "Method Not Allowed"),
        ("POST", DOMAINS, {"pattern": "x.example", "pins": []}, 422, "expected at least one pin"),
        ("POST", DOMAINS, {"pins": []}, 400, "pattern"),
        ("POST", DOMAINS, {"pattern": 7, "pins": []}, 400, "pattern: Expected `str`, got `int`"),
        ("POST", DOMAINS, {"pattern": "a", "pins": [], "mode": "of"}, 400, "mode"),
        ("POST", DOMAINS, {"pattern": "a", "pins": [], "more": 1}, 400, "more"),
        ("DELETE", f"{DOMAINS}/x.example/pins/AA", None, 422, "of 32 bytes, found 'AA=='"),
        ("DELETE", f"{DOMAINS}/x.example/pins/A", None, 422, "expected a SHA-256 in base64url"),
        ("DELETE", f"{DOMAINS}/x.example/pins/é", None, 422, "expected a SHA-256 in base64url"),
    ],
)  # fmt: skip
def test_an_error_says_what_is_wrong(
    call, assert_problem, method, path, body, status, detail
) -> None:
    assert detail in assert_problem(call(method, path, body), status)["detail"]


def test_a_wrong_method_says_which_are_right(call) -> None:
    assert "GET" in call("PUT", DOMAINS).headers["allow"]


def test_the_server_looks_at_a_live_endpoint(call, assert_problem) -> None:
    chain = make_chain("api.example.test", intermediate=True)
    with RecordingServer(chain) as endpoint:
        body = {
            "host": "API.example.test", "connect": f"127.0.0.1:{endpoint.port}",
            "ca": chain.authority.pem,
        }  # fmt: skip
        seen = call("POST", "/v1/accounts/acme/probes", body)
        assert (seen.status_code, seen.json()["verified"]) == (200, True)
        assert len(seen.json()["chain"]) == 3
        assert bytes(endpoint.received) == b""
    for change in ({"ca": "é"}, {"connect": "nowhere"}, {"host": "a b"}):
        assert_problem(call("POST", "/v1/accounts/acme/probes", body | change), 422)


def test_a_few_probes_run_at_once_and_the_others_wait(call) -> None:
    go_on, arrived, lock = threading.Event(), threading.Semaphore(0), threading.Lock()
    at_once, most = 0, 0

    def hold() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        arrived.release()
        go_on.wait(20)
        with lock:
            at_once -= 1

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(16) as pool:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    pool.submit(lambda held: (hold(), held.close()), sock)

        pool.submit(serve)
        body = {"host": "x.example", "connect": f"127.0.0.1:{listener.getsockname()[1]}"}
        path = "/v1/accounts/acme/probes"
        asked = [pool.submit(call, "POST", path, body) for _ in range(6)]
        for _ in range(4):
            assert arrived.acquire(timeout=20)
        assert not arrived.acquire(timeout=1)  # a fifth would be here by now
        go_on.set()
        assert [each.result().status_code for each in asked] == [200] * 6
        listener.shutdown(socket.SHUT_RDWR)
    assert most == 4


def test_no_answer_is_kept_in_a_cache_or_shown_in_a_frame(call) -> None:
    for path in ("/v1/whoami", "/healthz", "/openapi.json"):
        headers = call("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_request_from_a_web_page_is_refused(call, assert_problem) -> None:
    for origin in ("https://evil.example", "null", "https://localhost:8444", ""):
        found = assert_problem(call("GET", "/v1/whoami", headers={"origin": origin}), 403)
        assert found["detail"] == "requests from web pages are not taken"


def test_a_mistake_of_ours_is_a_problem_without_a_traceback(call, assert_problem, caplog) -> None:
    # A database that no release of ours has written: an account without a root.
    call.server.services.database.write(lambda connection: connection.execute(delete(roots)))
    found = assert_problem(call("GET", "/v1/accounts"), 500)
    assert found["detail"] == "an unexpected error; the server's log has it"
    assert "KeyError" in caplog.text
