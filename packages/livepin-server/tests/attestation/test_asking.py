"""Asking over HTTPS: verified, bounded, and nowhere else than asked."""

from __future__ import annotations

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.attestation.asking import AskError, Asking

CHAIN = make_chain("localhost")


@pytest.fixture
def ask():
    """Ask a server that gives one answer; return what came of it."""

    def one(status=200, headers=None, body=b"ok", **options):
        answer = status, headers or {}, body
        with RecordingServer(CHAIN, respond=lambda _path, _headers: answer) as server:
            asking = Asking(ca=CHAIN.authority.pem, **options)
            try:
                found = asking.ask("GET", f"https://localhost:{server.port}/x", limit=10)
            finally:
                asking.close()
                assert server.requests == 1
            return found

    return one


def test_an_answer_is_given_whatever_its_status(ask):
    found = ask(headers={"ETag": '"v1"'}, body=b"x" * 10)
    assert (found.status, found.etag, found.body) == (200, '"v1"', b"x" * 10)
    found = ask(302, {"Location": "/elsewhere"}, b"")
    assert (found.status, found.etag) == (302, None)  # it is not followed


@pytest.mark.parametrize("etag", ["v1", '"\u00e4"', '"' + "x" * 300 + '"', 'W/"a" "b"'])
def test_an_etag_that_cannot_be_sent_back_is_none(ask, etag):
    assert ask(headers={"ETag": etag}).etag is None


def test_more_than_the_bounds_is_refused(ask):
    with pytest.raises(AskError, match="at most 10 bytes"):
        ask(body=b"x" * 11)
    with pytest.raises(AskError, match="no content encoding"):
        ask(headers={"Content-Encoding": "gzip"})
    with pytest.raises(AskError, match="no complete answer in time"):
        ask(in_all=-1.0)


def test_who_is_not_verified_is_not_asked():
    with RecordingServer(make_chain("localhost")) as server:
        for ca in (CHAIN.authority.pem, None):
            asking = Asking(ca=ca)
            with pytest.raises(AskError, match="CERTIFICATE_VERIFY_FAILED"):
                asking.ask("GET", f"https://localhost:{server.port}/", limit=10)
            asking.close()
        assert server.requests == 0


def test_nothing_but_https_is_asked_and_who_does_not_listen_is_told():
    asking = Asking(ca=CHAIN.authority.pem)
    for url, reason in (
        ("http://localhost/", "expected an https URL"),
        ("https://localhost:1/", "refused"),
        ("https://nowhere.invalid/", "."),
    ):
        with pytest.raises(AskError, match=reason):
            asking.ask("GET", url, limit=10)
    asking.close()
