"""requests, beyond what every adapter promises: settings that would unpin, and proxies."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.client import Client
from livepin.errors import CleartextError, ConfigurationError, PinMismatchError, find
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

requests = pytest.importorskip("requests", reason="the livepin wheel alone brings no requests")
adapter = pytest.importorskip("livepin.adapters.requests")
Retry = pytest.importorskip("urllib3").Retry

HOST, FAR = "localhost", "api.example.com"
QUICK = pytest.mark.usefixtures("quick_healing")


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@pytest.fixture
def strangers(stranger: Chain, tmp_path: Path) -> str:
    """A bundle with the CA of a stranger."""
    path = tmp_path / "strangers.pem"
    path.write_text(stranger.authority.pem)
    return str(path)


@pytest.mark.parametrize("at", ["request", "session"])
def test_verification_cannot_be_turned_off(
    pins: Client, stranger: Chain, serve: Any, at: str
) -> None:
    evil = serve(stranger)
    with adapter.session(pins) as http:
        http.verify = at != "session"
        options = {"verify": False} if at == "request" else {}
        with pytest.raises(requests.exceptions.SSLError, match="always verified") as caught:
            http.get(f"https://{HOST}:{evil.port}/", timeout=10, **options)
    assert isinstance(find(caught.value), ConfigurationError)
    assert evil.connections == 0


def by_request(http: Any, bundle: str, _: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"verify": bundle}


def by_session(http: Any, bundle: str, _: pytest.MonkeyPatch) -> dict[str, Any]:
    http.verify = bundle
    return {}


def by_environment(http: Any, bundle: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    return {}


@QUICK
@pytest.mark.parametrize("give", [by_request, by_session, by_environment])
def test_no_bundle_adds_authorities(
    pins: Client,
    chain: Chain,
    other: Chain,
    stranger: Chain,
    serve: Any,
    strangers: str,
    monkeypatch: pytest.MonkeyPatch,
    give: Callable[..., dict[str, Any]],
) -> None:
    good, evil, unknown = serve(chain), serve(other), serve(stranger)
    with adapter.session(pins) as http:
        options = give(http, strangers, monkeypatch)
        assert http.get(f"https://{HOST}:{good.port}/", timeout=10, **options).status_code == 200
        for server, text in ((evil, "no pinned key"), (unknown, "unable to get local issuer")):
            with pytest.raises(requests.exceptions.SSLError, match=text):
                http.get(f"https://{HOST}:{server.port}/", timeout=10, **options)
    assert len(pins.context(alpn=("http/1.1",)).get_ca_certs()) == 1
    assert silent(evil)
    assert silent(unknown)


@pytest.mark.parametrize("cert", ["client.pem", ("client.pem", "key.pem")])
def test_a_client_certificate_is_not_loaded_for_all_hosts_in_passing(
    pins: Client, cert: Any
) -> None:
    with adapter.session(pins) as http, pytest.raises(requests.exceptions.SSLError) as caught:
        http.get(f"https://{HOST}:9/", cert=cert, timeout=10)
    assert "load_cert_chain" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://LOCALHOST:9/", "HTTP://localhost.:9/", "http://user@[::ffff:127.0.0.1]:9/"]
)
def test_cleartext_is_refused_in_each_spelling(pins: Client, url: str) -> None:
    with adapter.session(pins) as http:
        with pytest.raises(requests.exceptions.InvalidSchema, match="without TLS") as caught:
            http.get(url, timeout=10)
    assert isinstance(find(caught.value), CleartextError)


def test_cleartext_to_a_host_that_cannot_be_compared_is_refused(pins: Client) -> None:
    with adapter.session(pins) as http:
        with pytest.raises(requests.exceptions.InvalidSchema, match="no domain can be found"):
            http.get("http://127.1:9/", timeout=10)


@QUICK
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_a_proxy_of_the_environment_is_tunnelled_through(
    pins: Client,
    serve: Any,
    tunnel: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    presented: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
    server = serve(request.getfixturevalue(presented))
    url = f"https://{FAR}:{server.port}/"
    with adapter.session(pins) as http:
        if presented == "chain":
            assert http.get(url, timeout=10).status_code == 200
        else:
            with pytest.raises(requests.exceptions.SSLError, match="no pinned key"):
                http.get(url, timeout=10)
            assert silent(server)
    assert {line.partition(":")[0] for line in tunnel.asked} == {f"CONNECT {FAR}"}


@QUICK
def test_a_proxy_over_tls_is_judged_and_so_is_what_is_behind(
    pins: Client, chain: Chain, other: Chain, serve: Any, tls_tunnel: Any
) -> None:
    good, evil = serve(chain), serve(other)
    proxy, foreign = tls_tunnel(chain), tls_tunnel(other)
    for server, way in ((good, proxy), (evil, proxy), (good, foreign)):
        with adapter.session(pins) as http:
            url, proxies = f"https://{FAR}:{server.port}/", {"https": way.url}
            if (server, way) == (good, proxy):
                assert http.get(url, proxies=proxies, timeout=10).status_code == 200
                continue
            with pytest.raises(requests.exceptions.RequestException) as caught:
                http.get(url, proxies=proxies, timeout=10)
            assert isinstance(find(caught.value), PinMismatchError)
    assert foreign.asked == []
    assert silent(evil)


def test_an_adapter_cannot_be_pickled(pins: Client) -> None:
    """A copy would have no pins."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(adapter.PinnedAdapter(pins))


def test_the_request_that_an_app_is_shown_has_no_token(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    """It ends in logs; and it is what a digest authentication sends again."""
    simulator.pin(HOST, chain.pin, token=True)
    good = serve(chain)
    with simulator.client(ca=authority.pem) as pins, adapter.session(pins) as http:
        answer = http.get(f"https://{HOST}:{good.port}/", timeout=10)
        token = pins.token(HOST).value
    assert token.encode() in bytes(good.received)
    assert token not in answer.request.headers.values()


# -- proofs ------------------------------------------------------------------------------------


def proofs(server: RecordingServer) -> list[str]:
    lines = bytes(server.received).decode("latin-1").split("\r\n")
    return [line.removeprefix("DPoP: ") for line in lines if line.startswith("DPoP: ")]


@pytest.mark.parametrize("through", ["nothing", "a proxy"])
def test_a_request_that_is_sent_again_has_a_proof_of_its_own(
    simulator: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    serve: Any,
    tunnel: Any,
    through: str,
) -> None:
    """Backends take each once, and the library retries on its own."""
    simulator.pin(FAR, chain.pin, token=True)
    answers = [503, 503, 200]
    good = serve(chain, respond=lambda *_: (answers.pop(0), {}, b""))
    retries = Retry(3, status_forcelist=[503], backoff_factor=0)
    with simulator.client(ca=authority.pem, proof=True) as pins:
        with adapter.session(pins, max_retries=retries) as http:
            http.proxies = {"https": tunnel.url}
            if through == "nothing":
                http.proxies = {}
                simulator.pin(HOST, chain.pin, token=True)
                pins.refresh()
            host = HOST if through == "nothing" else FAR
            answer = http.get(f"https://{host}:{good.port}/", timeout=10)
    assert answer.status_code == 200
    assert "DPoP" not in answer.request.headers
    assert len({*proofs(good)}) == 3
