"""What copies are made of, versions that go on above others, and the note of a backup."""

from __future__ import annotations

import json
import time

import pytest
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, parse_general, sign_general
from livepin_server.services.model import NewStream
from livepin_server.services.numbering import HIGHEST
from livepin_server.storage.schema import keys, roots
from sqlalchemy import delete, insert, select

ACME = "/v1/accounts/acme"


@pytest.fixture
def ask(start_server):
    """Ask a server of the test's own, as an admin."""
    server = start_server()
    key = server.key()

    def one(method, path, **options):
        return server.send(method, path, to="management", key=key, **options)

    one.server = server
    return one


def test_the_documents_are_those_of_delivery_byte_for_byte(ask, intent):
    services = ask.server.services
    services.streams.add("acme", NewStream(name="canary"), intent)
    for stream in ("main", "canary"):
        found = ask("GET", f"{ACME}/documents", params={"stream": stream}).json()
        (root,) = found["roots"]
        assert root["version"] == 1
        assert root["document"].encode() == ask.server.send("GET", "/v1/acme/root/1").content
        served = ask.server.send("GET", f"/v1/acme/config/{stream}")
        assert found["document"].encode() == served.content
        assert served.headers["etag"] == f'"{found["root_version"]}.{found["version"]}"'


def test_a_stream_that_there_is_not_is_not_found(ask, intent):
    ask.server.services.streams.add("acme", NewStream(name="canary"), intent)
    answer = ask("GET", f"{ACME}/documents", params={"stream": "canari"})
    assert (answer.status_code, answer.json()["hint"]) == (404, "did you mean canary?")


def test_versions_go_on_above_one_that_apps_hold(ask):
    body = {"above": 1000, "reason": "an older backup was put back"}
    (done,) = ask("POST", f"{ACME}/versions", json=body).json()["items"]
    assert (done["version"], done["reason"]) == (1001, "an older backup was put back")
    deadline = time.monotonic() + 20  # to be delivered takes a moment
    while ask.server.send("GET", "/v1/acme/config/main").headers["etag"] != '"1.1001"':
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"above": 1}, 409), ({"above": HIGHEST + 1}, 422), ({"above": 0}, 400), ({}, 400),
        ({"above": 2**53}, 400), ({"above": "x"}, 400), ({"above": 5, "more": 1}, 400),
    ],
)  # fmt: skip
def test_versions_that_cannot_be_gone_above_are_refused(ask, body, status):
    assert ask("POST", f"{ACME}/versions", json=body).status_code == status
    assert ask.server.send("GET", "/v1/acme/config/main").headers["etag"] == '"1.1"'


def test_a_backup_is_noted_for_the_metrics(ask, clock):
    body = {"recipients": 2, "size": 5000, "rows": 70}
    assert ask("POST", "/v1/backups", json=body).json() == {"noted": "2026-11-23T12:00:00Z"}
    line = f"livepin_backup_timestamp_seconds {clock().timestamp():.9g}"
    text = ask("GET", "/metrics").text
    (found,) = [each for each in text.splitlines() if each.startswith("livepin_backup_")]
    assert float(found.split()[1]) == clock().timestamp(), line
    for wrong in ({}, body | {"recipients": -1}, body | {"size": "x"}, body | {"key": "x"}):
        assert ask("POST", "/v1/backups", json=wrong).status_code == 400


# -- a server that cannot sign ---------------------------------------------------------------------


def test_the_status_asks_for_a_new_root_where_the_server_cannot_sign(ask):
    services = ask.server.services
    assert not [each for each in ask("GET", "/v1/status").json()["warnings"] if "root 2" in each]
    with services.database.reading() as connection:
        row = connection.execute(select(roots)).one()
    payload = json.loads(parse_general(row.document, typ=TYP).payload) | {"version": 2}
    payload["roles"]["config"]["keys"] = [dict(PrivateKey.generate().public.jwk())]
    raw = sign_general(json.dumps(payload).encode(), typ=TYP, signers=[PrivateKey.generate()])
    values = row._asdict() | {"version": 2, "document": raw}
    services.database.write(lambda each: each.execute(insert(roots).values(**values)))
    (text,) = [each for each in ask("GET", "/v1/status").json()["warnings"] if "root 2" in each]
    assert text == (
        "the server holds no config key that root 2 of acme names, so nothing can be published "
        "there; make root 3 with its keys: livepin root prepare"
    )
    answer = ask("POST", f"{ACME}/versions", json={"above": 1000})
    assert (answer.status_code, answer.json()["title"]) == (409, "Conflict")
    services.database.write(lambda each: each.execute(delete(keys)))
    assert services.accounts.unsigned() == [("acme", 2)]


def test_what_needs_attention_is_in_the_status(ask):
    from livepin_server.telemetry.attention import Note

    ask.server.metrics.attention.add(lambda: [Note("look here"), Note("and here", "beta")])
    assert ask("GET", "/v1/status").json()["warnings"][-3:-1] == ["look here", "and here"]
    key = ask.server.key("viewer", "acme")
    found = ask.server.send("GET", "/v1/status", to="management", key=key).json()["warnings"]
    assert not {"look here", "and here"} & {*found}
