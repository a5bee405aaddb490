"""Token requests to a running server: answered from memory, challenged, and refused in words."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin import tokens
from livepin.documents.token_request import MAX_SIZE, TYP, TokenRequest
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, sign_compact
from livepin.tokens import TokenError, TokenKey, verify
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.services.appraisal.verifiers import Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.model import Area, Intent, NewDomain, NewPin, Role
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.services.tokens.model import DomainTokensChange, NewTokenKey
from livepin_server.services.tokens.recording import Recording
from livepin_server.telemetry.metrics import Metrics

INTENT = Intent(author="bob", reason="a test")
HOST = "api.example.com"
TOKEN, JWKS = "/v1/acme/token", "/v1/acme/jwks.json"
PIN = NewPin(sha256=f"sha256/{'A' * 43}=")


@pytest.fixture(scope="module", autouse=True)
def protected(server) -> None:
    """`api.example.com` asks for tokens."""
    server.services.domains.add("acme", NewDomain(pattern=HOST, pins=[PIN], token=True), INTENT)
    app = Installation(server)
    app.send()
    _until(lambda: app.send()["tokens"])


class Installation:
    """An app on a device, that asks for tokens."""

    def __init__(self, server, key: PrivateKey | None = None) -> None:
        self.key = key or PrivateKey.generate()
        self.server, self.challenge = server, None

    @property
    def id(self) -> str:
        return tokens.installation_id("acme", self.key.public.kid)

    def request(self, **changes: Any) -> bytes:
        base: dict[str, Any] = {
            "account": "acme", "app": "app", "key": self.key.public, "challenge": self.challenge,
            "stream": "main", "root_version": 1, "config_version": 1, "hosts": {HOST: None},
        }  # fmt: skip
        return TokenRequest(**(base | changes)).signed(self.key)

    def send(self, raw: bytes | None = None, **changes: Any) -> dict[str, Any]:
        answer = self.server.send("POST", TOKEN, content=raw or self.request(**changes))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        self.challenge = found["challenge"]
        return found

    def token(self, **changes: Any) -> str:
        if self.challenge is None:
            self.send()
        text: str = self.send(**changes)["tokens"][HOST]["token"]
        return text


@pytest.fixture
def app(server) -> Installation:
    return Installation(server)


@pytest.fixture
def check(server):
    """Verify a token as a backend does that reads the public keys."""

    def one(token: str, **options: Any):
        keys = tokens.parse_jwks(server.send("GET", JWKS).content)
        return verify(token, keys, audience=HOST, now=server.services.clock(), **options)

    return one


def refused(server, raw: bytes, path: str = TOKEN) -> str:
    answer = server.send("POST", path, content=raw)
    assert (answer.status_code, answer.headers["content-type"]) == (
        400, "application/problem+json",
    )  # fmt: skip
    detail: str = answer.json()["detail"]
    return detail


def test_the_first_request_gets_a_challenge_and_the_second_a_token(server, app, check) -> None:
    first = app.send()
    assert first.keys() == {"challenge", "tokens", "newest", "config", "override"}
    assert (first["tokens"], first["config"], first["override"]) == (None, None, None)
    assert first["newest"] == {"root_version": 1, "version": 2}
    second = app.send()
    assert second.keys() == first.keys()
    assert check(second["tokens"][HOST]["token"]).installation == app.id
    assert second["config"] == server.send("GET", "/v1/acme/config/main").text
    assert second["newest"] == {"root_version": 1, "version": 2}


def test_requests_are_counted_by_outcome(server, app) -> None:
    def counted() -> list[float]:
        value = server.metrics.registry.get_sample_value
        labels = [{"account": "acme", "outcome": each} for each in ("challenged", "answered")]
        return [value("livepin_token_requests_total", each) or 0 for each in labels]

    challenged, answered = counted()
    app.send()
    assert counted() == [challenged + 1, answered]
    app.send()
    assert counted() == [challenged + 1, answered + 1]
    refused(server, b"x")
    assert counted() == [challenged + 1, answered + 1]


def test_an_answer_is_kept_nowhere(server, app) -> None:
    headers = server.send("POST", TOKEN, content=app.request()).headers
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"


def test_steady_state_is_one_round_trip(app) -> None:
    app.send()
    for _ in range(5):
        assert app.send()["tokens"]


def test_a_request_that_is_sent_again_gets_no_token(app) -> None:
    """A replay: by who has seen the request, or the same challenge in another one."""
    app.send()
    raw, spent = app.request(), app.challenge
    assert app.send(raw)["tokens"]
    assert app.send(raw)["tokens"] is None
    for changes in ({}, {"app": "other"}, {"config_version": 2}, {"hosts": {}}):
        again = app.request(challenge=spent, **changes)
        assert again != raw
        assert app.send(again)["tokens"] is None
    assert app.send()["tokens"]


def test_an_answer_with_decoys_is_as_any_other(server, app) -> None:
    """Status, fields and length tell nothing."""
    other = Installation(server)
    server.services.installations.decide("acme", other.id, "block", INTENT)

    def shape(each: Installation) -> tuple[Any, ...]:
        answer = server.send("POST", TOKEN, content=each.request())
        each.challenge = answer.json()["challenge"]
        fields = {name: value for name, value in answer.headers.items() if name != "date"}
        return answer.status_code, fields, len(answer.content), list(answer.json())

    first = shape(app)
    assert shape(other) == first
    _until(lambda: not _passes(server, other))
    good = shape(app)
    assert good[0] == 200
    assert good != first
    assert shape(other) == good


def _passes(server, app: Installation) -> bool:
    keys = tokens.parse_jwks(server.send("GET", JWKS).content)
    try:
        verify(app.token(), keys, audience=HOST, now=server.services.clock())
    except TokenError:
        return False
    return True


def test_the_challenge_of_another_installation_gets_no_token(server, app) -> None:
    other = Installation(server)
    app.send()
    assert other.send(challenge=app.challenge)["tokens"] is None
    assert app.send()["tokens"]


def test_a_stale_challenge_gets_a_fresh_one_and_no_decoy(server, app, check) -> None:
    app.send()
    stale = app.challenge
    server.services.clock.advance(minutes=16)
    assert app.send(challenge=stale)["tokens"] is None
    check(app.token())


@pytest.mark.parametrize("verdict", ["block", "fail"])
def test_who_is_blocked_gets_decoys_from_the_next_request_on(server, app, check, verdict) -> None:
    check(app.token())
    server.services.installations.decide("acme", app.id, verdict, INTENT)

    def blocked() -> bool:
        try:
            check(app.token())
        except TokenError as exc:
            return exc.reason == "signature"
        return False

    _until(blocked)
    server.services.installations.decide("acme", app.id, None, INTENT)
    _until(lambda: not blocked())


def test_it_is_seen_in_the_list_within_a_second(server, app) -> None:
    app.token(config_version=7)
    seen = lambda: {e.id: e for e in server.services.installations.all("acme", limit=1000)}  # noqa: E731
    _until(lambda: app.id in seen())
    assert seen()[app.id].config_version == 7


def test_a_challenge_alone_is_not_recorded(server, app) -> None:
    app.send()
    server.services.recording.keep()
    assert app.id not in {each.id for each in server.services.installations.all("acme", limit=1000)}


def test_a_stream_that_is_not_there_is_refused(server, app) -> None:
    assert "expected a stream of acme" in refused(server, app.request(stream="made-up"))


def test_what_is_no_request_is_refused_in_words(server, app) -> None:
    assert "three parts" in refused(server, b"{}")
    assert "for acme" in refused(server, app.request(account="other"))
    forged = sign_compact(app.request(), typ=TYP, signer=PrivateKey.generate())
    refused(server, forged)
    assert "nothing at this path" in server.send("POST", "/v1/nobody/token", content=b"x").text


def test_a_request_that_is_too_large_is_not_read(server) -> None:
    assert server.send("POST", TOKEN, content=b"x" * (MAX_SIZE + 1)).status_code == 413
    assert server.send("GET", TOKEN).status_code == 405


def test_a_token_request_costs_more_than_a_document(start_server) -> None:
    server = start_server(requests_per_second="0.05")  # twelve at once: two such requests
    app = Installation(server)
    for _ in range(2):
        app.send()
    answer = server.send("POST", TOKEN, content=app.request())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "80")
    assert server.send("GET", "/v1/acme/config/main").status_code == 200


@settings(max_examples=150)
@given(raw=st.binary(max_size=300) | st.lists(st.binary(max_size=40), max_size=4).map(b".".join))
def test_rubbish_is_refused_and_the_process_goes_on(server, raw: bytes) -> None:
    assert server.send("POST", TOKEN, content=raw).status_code == 400


def test_ten_thousand_damaged_requests_are_refused(server, app) -> None:
    """Each is a good one in which a byte or a piece is another, or is not there."""
    services = server.services
    verifiers = Verifiers(clock=services.clock, revoked=lambda: None)
    verifying = Verifying(services.database, verifiers)
    recording = Recording(services.database, services.verdicts)
    desk = TokenDesk(Challenges(bytes(32)), verifying, recording, Metrics(), clock=services.clock)
    desk.replace(services.tokens.load("acme"))
    good, chance = app.request(), random.Random(1)

    async def ask() -> None:
        assert await desk.answer("acme", good)
        for _ in range(10_000):
            body = bytearray(good)
            at = chance.randrange(len(body))
            end = at + chance.choice((1, 1, 2, 50))
            body[at:end] = chance.randbytes(chance.choice((0, 1, 1, 40)))
            if body != good:
                with pytest.raises(VerificationError):
                    await desk.answer("acme", bytes(body))

    asyncio.run(ask())


# -- keys ----------------------------------------------------------------------------------------


def test_the_keys_are_public_and_may_be_cached(server, app) -> None:
    app.token()
    answer = server.send("GET", JWKS)
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["vary"] == "authorization"
    (key,) = json.loads(answer.content)["keys"]
    assert {"kid", "alg", "use", "kty", "crv", "x", "y"} == key.keys()
    head = server.send("HEAD", JWKS)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))
    assert server.send("POST", JWKS).status_code == 405
    assert server.send("GET", "/v1/nobody/jwks.json").status_code == 404


def test_keys_for_backends_need_a_credential_for_them(server) -> None:
    made = server.services.token_keys.add("acme", NewTokenKey(name="ed", algorithm="EdDSA"), INTENT)
    good = server.services.api_keys.create(
        "backend", Role.VIEWER, "acme", INTENT, scopes=[Area.TOKENS]
    )[1]
    _until(lambda: made.kid in server.send("GET", JWKS, key=good).text)
    assert server.send("GET", JWKS, key=good).headers["cache-control"] == "private, max-age=300"
    assert made.kid not in server.send("GET", JWKS).text
    others = [
        server.services.api_keys.create("x", Role.VIEWER, "acme", INTENT, scopes=[Area.PINS])[1],
        server.key("pentest"),
        "lpk_" + "0" * 12 + "_" + "A" * 43,
        "x" * 300,
    ]
    for key in others:
        answer = server.send("GET", JWKS, key=key)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert made.kid not in answer.text
    assert server.send("GET", JWKS, headers={"authorization": f"Basic {good}"}).status_code == 401


def test_guessing_credentials_is_slow(start_server) -> None:
    """Each costs ten requests, also one that is no credential at all, and a good one no less."""
    for guess in ("lpk_" + "0" * 12 + "_" + "A" * 43, "x", None):
        server = start_server(requests_per_second="0.05")  # twelve at once
        key = server.key() if guess is None else guess
        assert server.send("GET", JWKS, key=key).status_code == (200 if guess is None else 401)
        answer = server.send("GET", JWKS, key=server.key())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "180")
        assert answer.json()["detail"] == "too many credentials from this address"
        assert server.send("GET", JWKS).status_code == 200
        server.stop()


def test_the_secret_of_a_domain_verifies_its_tokens(server, app) -> None:
    host = "secret.example.com"
    server.services.domains.add("acme", NewDomain(pattern=host, pins=[PIN], token=True), INTENT)
    new = NewTokenKey(name="secret", algorithm="HS256", domain=host)
    made = server.services.token_keys.add("acme", new, INTENT)
    change = DomainTokensChange(key="secret")
    server.services.token_settings.change_domain("acme", host, change, INTENT)
    _, secret = server.services.token_keys.secret("acme", "secret", INTENT)
    keys = {made.kid: TokenKey.from_secret(secret, kid=made.kid)}

    def passes() -> bool:
        app.token()
        found = app.send(hosts={host: None})["tokens"].get(host)
        try:
            verify(found["token"], keys, audience=host, now=server.services.clock())
        except (TokenError, TypeError):
            return False
        return True

    _until(passes)
    assert made.kid not in server.send("GET", JWKS, key=server.key()).text


def _until(condition) -> None:
    async def wait() -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)

    asyncio.run(wait())
