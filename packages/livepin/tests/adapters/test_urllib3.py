"""urllib3, beyond what every adapter promises: settings that would unpin, and proxies."""

from __future__ import annotations

from typing import Any

import pytest
from livepin.client import Client
from livepin.errors import ConfigurationError, PinMismatchError, UnlistedHostError, find
from livepin.jose import b64url_decode
from livepin.jsontext import parse_object
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

urllib3 = pytest.importorskip("urllib3", reason="the livepin wheel alone brings no urllib3")
adapter = pytest.importorskip("livepin.adapters.urllib3")

HOST, FAR = "localhost", "api.example.com"
QUICK = pytest.mark.usefixtures("quick_healing")
SETTINGS = {
    "assert_fingerprint": "AA" * 32,
    "assert_hostname": False,
    "ca_cert_data": "PEM",
    "ca_cert_dir": "/etc/ssl/certs",
    "ca_certs": "/etc/ssl/certs/ca-certificates.crt",
    "cert_file": "client.pem",
    "cert_reqs": 0,
    "server_hostname": "www.example.org",
    "ssl_context": urllib3.util.ssl_.create_urllib3_context(cert_reqs=0),
    "ssl_minimum_version": 0x301,
    "ssl_version": 2,
}


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_tls_can_be_given(pins: Client, setting: str) -> None:
    settings = {setting: SETTINGS[setting]}
    with pytest.raises(ConfigurationError, match=f"{setting}: TLS is set by Livepin"):
        adapter.PinnedPoolManager(pins, **settings)
    with pytest.raises(ConfigurationError, match=setting):
        adapter.PinnedProxyManager(pins, "http://127.0.0.1:9", **settings)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_single_pool_cannot_be_given_one_either(pins: Client, setting: str) -> None:
    settings = {setting: SETTINGS[setting]}
    http = adapter.PinnedPoolManager(pins)
    with pytest.raises(ConfigurationError, match=setting):
        http.connection_from_host(HOST, 9, "https", pool_kwargs=settings)
    with pytest.raises(ConfigurationError, match=setting):
        http.connection_from_url(f"https://{HOST}:9/", pool_kwargs=settings)
    with pytest.raises(ConfigurationError, match=setting):
        http.connection_from_context({"scheme": "https", "host": HOST, "port": 9, **settings})


def test_a_setting_given_later_cannot_be_either(pins: Client) -> None:
    http = adapter.PinnedPoolManager(pins)
    http.connection_pool_kw["cert_reqs"] = "CERT_NONE"
    with pytest.raises(ConfigurationError, match="cert_reqs"):
        http.request("GET", f"https://{HOST}:9/")


@QUICK
@pytest.mark.parametrize("way", ["host", "url", "context"])
def test_a_single_pool_is_pinned(pins: Client, other: Chain, serve: Any, way: str) -> None:
    evil = serve(other)
    http = adapter.PinnedPoolManager(pins)
    pool = {
        "host": lambda: http.connection_from_host(HOST, evil.port, "https"),
        "url": lambda: http.connection_from_url(f"https://{HOST}:{evil.port}/"),
        "context": lambda: http.connection_from_context(
            {"scheme": "https", "host": HOST, "port": evil.port}
        ),
    }[way]()
    with pytest.raises(urllib3.exceptions.SSLError) as caught:
        pool.request("GET", "/", retries=False)
    assert isinstance(find(caught.value), PinMismatchError)
    assert silent(evil)


@pytest.mark.parametrize("url", ["http://LOCALHOST./", "HTTP://localhost/", "localhost"])
@pytest.mark.filterwarnings("ignore:URLs without a scheme:FutureWarning")
def test_cleartext_is_refused_in_each_spelling(pins: Client, url: str) -> None:
    with pytest.raises(urllib3.exceptions.LocationValueError, match="without TLS"):
        adapter.PinnedPoolManager(pins).request("GET", url)


def test_each_retry_is_stopped_too(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    with simulator.client(ca=authority.pem, unlisted="refuse") as pins:
        with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
            adapter.PinnedPoolManager(pins).request("GET", f"https://{HOST}:{server.port}/")
    assert isinstance(find(caught.value), UnlistedHostError)
    assert silent(server)
    assert server.connections == 4


def test_other_contexts_of_the_client_keep_their_protocols(
    pins: Client, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    http = adapter.PinnedPoolManager(pins)
    assert http.request("GET", f"https://{HOST}:{server.port}/").status == 200
    assert pins.context(alpn=("http/1.1",)) is not pins.context()


# -- proxies -----------------------------------------------------------------------------------


def test_a_proxy_may_not_end_tls_itself(pins: Client) -> None:
    with pytest.raises(ConfigurationError, match="use_forwarding_for_https"):
        adapter.PinnedProxyManager(pins, "https://127.0.0.1:9", use_forwarding_for_https=True)


@QUICK
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_tls_within_the_tls_of_a_proxy_is_pinned(
    pins: Client,
    chain: Chain,
    serve: Any,
    tls_tunnel: Any,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    server, proxy = serve(request.getfixturevalue(presented)), tls_tunnel(chain)
    http = adapter.PinnedProxyManager(pins, proxy.url, retries=False, timeout=10)
    url = f"https://{FAR}:{server.port}/"
    if presented == "chain":
        assert http.request("GET", url).status == 200
    else:
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            http.request("POST", url, body=b"card=4111")
        assert isinstance(find(caught.value), PinMismatchError)
        assert silent(server)
    assert [line.partition(":")[0] for line in proxy.asked] == [f"CONNECT {FAR}"]


@QUICK
def test_the_proxy_itself_is_judged(
    pins: Client, chain: Chain, other: Chain, serve: Any, tls_tunnel: Any
) -> None:
    server, proxy = serve(chain), tls_tunnel(other)
    http = adapter.PinnedProxyManager(pins, proxy.url, retries=False, timeout=10)
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        http.request("GET", f"https://{FAR}:{server.port}/")
    assert isinstance(find(caught.value), PinMismatchError)
    assert proxy.asked == []


def test_a_proxy_may_have_a_context_of_its_own(
    pins: Client, stranger: Chain, chain: Chain, serve: Any, tls_tunnel: Any
) -> None:
    import ssl

    server, proxy = serve(chain), tls_tunnel(stranger)
    own = ssl.create_default_context(cadata=stranger.authority.pem)
    http = adapter.PinnedProxyManager(pins, proxy.url, proxy_ssl_context=own, timeout=10)
    assert http.request("GET", f"https://{FAR}:{server.port}/").status == 200


# -- proofs ------------------------------------------------------------------------------------


def test_each_hop_and_retry_of_a_pool_has_a_proof_for_what_it_sends(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    """Pools encode paths, follow redirects and retry by themselves."""
    answers = [(302, {"Location": "/b"}), (503, {}), (200, {})]
    good = serve(chain, respond=lambda *_: (*answers.pop(0), b""))
    simulator.pin(HOST, chain.pin, token=True)
    with simulator.client(ca=authority.pem, proof=True) as pins:
        http = adapter.PinnedPoolManager(
            pins, retries=urllib3.Retry(3, status_forcelist=[503], backoff_factor=0)
        )
        pool = http.connection_from_url(f"https://{HOST}:{good.port}/")
        assert pool.request("GET", "/\u00e4 [?page=1").status == 200
    lines = bytes(good.received).decode().split("\r\n")
    paths = [line.split(" ")[1].partition("?")[0] for line in lines if line.startswith("GET ")]
    said = [
        parse_object(b64url_decode(line.split(".")[1].encode()))
        for line in lines
        if line.startswith("DPoP: ")
    ]
    assert [each["htu"] for each in said] == [f"https://{HOST}:{good.port}{path}" for path in paths]
    assert paths == ["/%C3%A4%20%5B", "/b", "/b"]
    assert len({each["jti"] for each in said}) == 3
