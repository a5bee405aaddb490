"""Roots and the master key over HTTP: what is answered, and what is in no answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from livepin import jsontext
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, b64url_decode, sign_general
from livepin_server.services import key_rows
from livepin_server.services.model import Intent
from livepin_server.storage.schema import keys
from sqlalchemy import update

INTENT = Intent(author="bob")
KEY = PrivateKey.generate()
BASE = "/v1/accounts/beta/root"


@pytest.fixture
def call(start_server) -> Any:
    """Send a request as an admin, with the account `beta` whose root key is elsewhere."""
    server = start_server()
    payload = server.services.accounts.prepare("beta", [dict(KEY.public.jwk())], INTENT)
    server.services.accounts.create("beta", sign_general(payload, typ=TYP, signers=[KEY]), INTENT)
    admin = server.key()

    def one(method: str, path: str, body: object = None, status: int = 200) -> Any:
        options = {} if body is None else {"json": body}
        answer = server.send(method, path, to="management", key=admin, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    one.server = server  # type: ignore[attr-defined]
    return one


def signed(prepared: dict[str, Any]) -> dict[str, Any]:
    payload = b64url_decode(prepared["payload"].encode())
    return dict(json.loads(sign_general(payload, typ=TYP, signers=[KEY])))


def test_a_root_goes_out_to_be_signed_and_comes_back_to_be_published(call) -> None:
    before = call("GET", BASE)
    prepared = call("POST", f"{BASE}/prepare", {"replace_online": True, "reason": "stolen"})
    assert set(prepared) == {"payload", "previous"}
    assert set(prepared["previous"]) == {"payload", "signatures"}
    body = {"document": signed(prepared), "reason": "the server was stolen"}
    (published,) = call("POST", f"{BASE}/publish", body)["items"]
    assert (published["root_version"], published["reason"]) == (2, "the server was stolen")
    after = call("GET", BASE)
    assert (before["version"], after["version"]) == (1, 2)
    assert after["roles"]["config"] != before["roles"]["config"]
    # And delivery has both at once.
    server = call.server
    assert server.send("GET", "/v1/beta/root/2").json() == body["document"]
    assert server.send("GET", "/v1/beta/config/main").headers["etag"] == '"2.2"'


def test_what_the_server_signs_it_signs_for_accounts_whose_root_key_it_has(call) -> None:
    prepared = call("POST", "/v1/accounts/acme/root/prepare", {"replace_online": True})
    answer = call("POST", "/v1/accounts/acme/root/sign", {"payload": prepared["payload"]})
    call("POST", "/v1/accounts/acme/root/publish", {"document": answer["document"]})
    prepared = call("POST", f"{BASE}/prepare", {"replace_online": True})
    found = call("POST", f"{BASE}/sign", {"payload": prepared["payload"]}, 409)
    assert found["detail"] == "no root key of beta is on the server"


@pytest.mark.parametrize("payload", ["é", "a", "=", "e30="])
def test_what_is_no_payload_is_refused(call, payload) -> None:
    found = call("POST", f"{BASE}/sign", {"payload": payload}, 422)
    assert found["detail"] == "expected the payload in base64url"


def test_no_answer_about_keys_holds_a_key(call) -> None:
    services = call.server.services
    master = (call.server.folder.data / "master.key").read_bytes()
    answers = [
        call("POST", "/v1/accounts/acme/root/prepare", {"replace_online": True}),
        call("GET", "/v1/accounts/acme/root"),
        call("POST", "/v1/custody/rekey", {"reason": "an administrator has left"}),
        call("GET", "/v1/status"),
    ]
    after = (call.server.folder.data / "master.key").read_bytes()
    assert after != master
    with services.database.reading() as connection:
        sealed = [each.data for each in key_rows.sealed(connection)]
        private = [
            services.private_keys._custody.open(each.data, each.label)
            for each in key_rows.sealed(connection)
        ]
    raw = [key.key.private_numbers().private_value.to_bytes(32, "big") for key in private]
    raw += [*sealed, base64.b64decode(master), base64.b64decode(after)]
    text = json.dumps(answers)
    assert len(raw) >= 8
    for each in raw:
        for form in (base64.b64encode(each), base64.urlsafe_b64encode(each), each.hex().encode()):
            assert form.decode().rstrip("=") not in text


def test_a_key_that_does_not_open_is_said_and_is_no_fault_of_ours(call) -> None:
    services = call.server.services
    services.database.write(
        lambda each: each.execute(
            update(keys).where(keys.c.account == "beta").values(sealed=b"\x01damaged")
        )
    )
    body = {"urls": ["https://other.example.com"]}
    found = call("PUT", "/v1/accounts/beta/delivery?confirmed=true", body, 503)
    assert found["detail"].startswith("the config key ")
    assert found["detail"].endswith(" of beta does not open")
    assert "the master key in force" in found["hint"]


def test_a_document_that_nests_too_deeply_is_refused(call) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    found = call("POST", f"{BASE}/publish", {"document": {"payload": deep}}, 422)
    assert found["detail"].startswith("not a signed root: ")
    assert jsontext.MAX_DEPTH == 8
