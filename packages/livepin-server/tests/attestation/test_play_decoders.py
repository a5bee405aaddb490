"""Opening tokens: here by the app's keys, or by a Google on a real socket."""

from __future__ import annotations

import json

import msgspec
import pytest
from livepin.testing import FakeClock, RecordingServer, make_chain
from livepin_server.attestation import play
from livepin_server.attestation.asking import Asking
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.play_decoders import GoogleDecoder, LocalDecoder, decoder
from minted_android import PACKAGE, asked
from minted_play import Google, Keys, payload

ASKED = asked()
KEYS = Keys()
DECODE = f"/v1/{PACKAGE}:decodeIntegrityToken"


@pytest.fixture(scope="module")
def chain():
    """What the Google of these tests presents."""
    return make_chain("localhost")


@pytest.fixture(scope="module")
def account():
    """A service account; to make its key takes a while."""
    return Google(keys=KEYS)


@pytest.fixture
def google(chain, account):
    """A Google that answers on a socket, with a decoder that asks it."""
    found = Google(keys=KEYS)
    found.__dict__["key"] = account.key
    with RecordingServer(chain, post=found.post) as server:
        url = f"https://localhost:{server.port}"
        found.clock = FakeClock()
        asking = Asking(ca=chain.authority.pem)
        found.decoder = GoogleDecoder(
            found.app(), clock=found.clock, asking=asking, api=url, tokens=f"{url}/token"
        )
        yield found
        asking.close()


def refusal(opens, token):
    with pytest.raises(EvidenceError) as caught:
        opens.decode(token)
    assert str(caught.value).isprintable()
    return caught.value.check


# -- here --------------------------------------------------------------------------------------


def test_a_classic_token_is_opened_here():
    app = KEYS.app()
    here = decoder(app, clock=FakeClock())
    assert isinstance(here, LocalDecoder)
    found = play.verify({"token": KEYS.token(payload(ASKED))}, ASKED, app, here)
    assert found.level == "hardware_app"


@pytest.mark.parametrize(
    ("token", "check"),
    [
        ("x", "decryption"),
        ("a.b.c.d.e", "decryption"),
        ("....", "decryption"),
        (Keys(opens=bytes(32)).token(payload(ASKED)), "decryption"),
        (KEYS.token(payload(ASKED), alg="dir"), "decryption"),
        (KEYS.token(payload(ASKED), zip="DEF"), "decryption"),  # it may expand without end
        (Keys().token(payload(ASKED)), "signature"),
        (KEYS.sealed("x"), "signature"),
        (KEYS.sealed("e30.e30.AA"), "signature"),
        (KEYS.sealed("eyJhbGciOiJub25lIn0.e30."), "signature"),
        (KEYS.token(b"[]"), "malformed"),
        (KEYS.token(b"\xff"), "malformed"),
        (KEYS.token(b'{"a":1,"a":2}'), "malformed"),
        (KEYS.token(b"[" * 5000), "malformed"),
    ],
)
def test_what_is_not_googles_to_the_app_is_refused(token, check):
    assert refusal(LocalDecoder(KEYS.app()), token) == check


# -- by Google ---------------------------------------------------------------------------------


def test_google_opens_a_token_for_the_service_account(google):
    assert isinstance(decoder(google.app(), clock=FakeClock()), GoogleDecoder)
    token = KEYS.token(payload(ASKED))
    found = play.verify({"token": token}, ASKED, google.app(), google.decoder)
    assert found.level == "hardware_app"
    assert [path for path, _, _ in google.asked] == ["/token", DECODE]
    assert google.decoder.decode(token) == payload(ASKED)
    assert [path for path, _, _ in google.asked] == ["/token", DECODE, DECODE]


def test_an_access_token_is_fetched_anew_before_it_ends(google):
    token = KEYS.token(payload(ASKED))
    for seconds, fetched in ((0, 1), (3539, 1), (1, 2)):
        google.clock.advance(seconds=seconds)
        google.decoder.decode(token)
        assert sum(path == "/token" for path, _, _ in google.asked) == fetched


def test_an_access_token_that_google_takes_no_more_is_not_used_again(google):
    google.answers[DECODE] = 401, {}, b'{"error":{"status":"UNAUTHENTICATED"}}'
    assert refusal(google.decoder, "x") == "unavailable"
    google.decoder._forget("ya29.1")  # another thread was told so, too
    del google.answers[DECODE]
    google.decoder.decode(KEYS.token(payload(ASKED)))
    assert [path for path, _, _ in google.asked] == ["/token", DECODE] * 2


def test_what_google_does_not_open_is_refused(google):
    assert refusal(google.decoder, "x") == "decryption"
    assert refusal(google.decoder, Keys(opens=bytes(32)).token(payload(ASKED))) == "decryption"


@pytest.mark.parametrize(
    ("path", "status", "body", "check", "said"),
    [
        (DECODE, 403, b'{"error":{"status":"PERMISSION_DENIED"}}', "unavailable", "403 PERMISSION"),
        (DECODE, 429, b'{"error":{"status":"ya29.1"}}', "unavailable", "Google answers 429$"),
        (DECODE, 503, b"[" * 5000, "unavailable", "answers 503$"),
        (DECODE, 302, b"[]", "unavailable", "answers 302$"),
        (DECODE, 200, b"{}", "malformed", "tokenPayloadExternal"),
        (DECODE, 200, b'{"tokenPayloadExternal":[]}', "malformed", "tokenPayloadExternal"),
        (DECODE, 200, b"x", "malformed", "the payload"),
        (DECODE, 200, b" " * 70_000, "unavailable", "at most 65536 bytes"),
        ("/token", 400, b'{"error":"invalid_grant"}', "unavailable", "token endpoint .* 400$"),
        ("/token", 200, b"{}", "unavailable", "an access token"),
        ("/token", 200, b"[]", "unavailable", "an access token"),
        ("/token", 200, b'{"access_token":"a","expires_in":"x"}', "unavailable", "access token"),
        ("/token", 200, b'{"access_token":"a","expires_in":1e400}', "unavailable", "access token"),
        ("/token", 200, b'{"access_token":"a\\r\\nb: c","expires_in":9}', "unavailable", "access"),
        ("/token", 200, b'{"access_token":1,"expires_in":9}', "unavailable", "access token"),
    ],
)
def test_another_answer_proves_nothing_and_nothing_secret_is_told(
    google, path, status, body, check, said
):
    google.answers[path] = status, {}, body
    with pytest.raises(EvidenceError, match=said) as caught:
        google.decoder.decode(KEYS.token(payload(ASKED)))
    assert caught.value.check == check
    assert "ya29" not in str(caught.value)


def test_while_google_does_not_answer_requests_do_not_queue_for_it(google, chain):
    with RecordingServer(chain) as gone:
        url = f"https://localhost:{gone.port}"
    clock = FakeClock()
    asking = Asking(ca=chain.authority.pem)
    silent = GoogleDecoder(google.app(), clock=clock, asking=asking, api=url, tokens=f"{url}/token")
    said = []
    for seconds in (0, 9, 1):
        clock.advance(seconds=seconds)
        with pytest.raises(EvidenceError, match="unavailable: ") as caught:
            silent.decode("x")
        said.append("just now" in str(caught.value))
    assert said == [False, True, False]
    asking.close()


def test_a_service_account_whose_key_has_no_id_says_none(google, chain):
    account = msgspec.structs.replace(google.account(), private_key_id="")
    app = msgspec.structs.replace(google.app(), service_account=account)
    url = google.decoder._tokens
    asking = Asking(ca=chain.authority.pem)
    other = GoogleDecoder(
        app, clock=google.clock, asking=asking, api=url.removesuffix("/token"), tokens=url
    )
    assert other.decode(KEYS.token(payload(ASKED))) == payload(ASKED)
    asking.close()


def test_an_app_without_a_service_account_cannot_ask_google():
    with pytest.raises(ValueError, match="service account"):
        GoogleDecoder(KEYS.app(), clock=FakeClock())


def test_the_service_account_is_named_and_its_key_is_not_sent(google):
    google.decoder.decode(KEYS.token(payload(ASKED)))
    sent = b"".join(body for _, _, body in google.asked)
    assert google.account().private_key.encode()[40:80] not in sent
    (_, fields, body) = google.asked[1]
    assert fields["authorization"] == "Bearer ya29.1"
    assert set(json.loads(body)) == {"integrityToken"}
