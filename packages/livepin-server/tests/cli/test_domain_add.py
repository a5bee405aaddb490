"""livepin domain add: from a live endpoint to a published pin, and every way not to get there."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from livepin.pins import fingerprint_text
from livepin.testing import (
    Authority,
    Chain,
    RecordingServer,
    make_authority,
    make_chain,
    pin_of,
    server_context,
)

from .conftest import NOBODY, no_backup

Endpoint = Callable[[Chain], RecordingServer]


def text_of(certificate: object) -> str:
    return fingerprint_text(pin_of(certificate).sha256)


@pytest.fixture
def plain() -> Iterator[int]:
    """A port that answers, but not with TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(1024)
                    sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken, and at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_the_verified_chain_is_shown_and_the_leaf_pinned(run, data, api, ca, chain) -> None:
    done = run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    assert (done.code, done.err) == (0, no_backup("localhost") + NOBODY)
    expires = f"{chain.leaf.not_valid_after_utc:%Y-%m-%d}"
    assert done.out.splitlines() == [
        "leaf          CN=localhost",
        f"              expires {expires} (in 99 days), EC secp256r1",
        f"              {text_of(chain.leaf)}",
        "intermediate  CN=Test Intermediate CA",
        f"              expires {expires} (in 99 days), EC secp256r1",
        f"              {text_of(chain.intermediate.certificate)}",
        "root          CN=Corp CA",
        f"              expires {expires} (in 99 days), EC secp256r1",
        f"              {text_of(chain.authority.certificate)}",
        "issued by     CN=Corp CA",
        "localhost is pinned (enforce), in config version 2.",
        f"This certificate expires on {expires}, in 99 days; its key will",
        "probably change then.",
        "Pin a backup key now, and use it for the next certificate:",
        "  livepin pin new-backup localhost --out localhost-backup.key",
    ]
    shown = run("config", "show", "--json").json["payload"]
    assert shown["pin_sets"]["localhost."] == [{"sha256": text_of(chain.leaf)[7:]}]
    assert api.received == b""  # a look sends nothing


@pytest.mark.parametrize(("level", "place"), [("leaf", 0), ("intermediate", 1), ("root", 2)])
def test_the_level_says_whose_key_is_pinned(run, data, api, ca, chain, level, place) -> None:
    done = run(
        "domain", "add", "localhost", "--port", api.port, "--ca", ca,
        "--pin-level", level, "--json",
    )  # fmt: skip
    certificates = [*chain.presented, chain.authority.certificate]
    (pin,) = done.json["domain"]["pins"]
    assert (done.code, pin["sha256"]) == (0, text_of(certificates[place]))
    assert pin["label"] == level
    assert [each["sha256"] for each in done.json["chain"]] == [text_of(c) for c in certificates]


def test_a_chain_without_intermediate_has_none_to_pin(run, data, ca, authority, endpoint) -> None:
    server = endpoint(make_chain("localhost", authority=authority))
    done = run(
        "domain", "add", "localhost", "--port", server.port, "--ca", ca,
        "--pin-level", "intermediate",
    )  # fmt: skip
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: the chain has 2 certificates, so no intermediate",
        "hint:  --pin-level leaf, or --pin-level root",
    ]
    assert run("domain", "list", "--json").json == []


def test_the_command_for_the_backup_pin_works_as_printed(run, data, api, ca, monkeypatch) -> None:
    monkeypatch.delenv("LIVEPIN_DATA")
    done = run(
        "domain", "add", "localhost", "--port", api.port, "--ca", ca,
        "--data", data, "--account", "acme",
    )  # fmt: skip
    printed = done.out.splitlines()[-1].split()
    assert printed[0] == "livepin"
    assert run(*printed[1:]).code == 0
    pins = run("pin", "list", "localhost", "--data", data, "--json").json
    assert [pin["backup"] for pin in pins] == [False, True]


@pytest.fixture
def flipping(chain: Chain, api: RecordingServer) -> Callable[[Chain], RecordingServer]:
    """Make the endpoint present another chain to everybody but the first who connects."""

    def flip(other: Chain) -> RecordingServer:
        context, names = server_context(other), []

        def choose(sock, name, _context) -> None:
            names.append(name)
            if len(names) > 1:
                sock.context = context

        api.context.sni_callback = choose
        return api

    return flip


def test_two_views_that_differ_are_refused_with_both_chains(
    run, data, ca, chain, authority, flipping
) -> None:
    other = make_chain("localhost", authority=authority)
    server = flipping(other)
    done = run("domain", "add", "localhost", "--port", server.port, "--ca", ca)
    assert done.code == 1
    assert done.out == ""
    lines = done.err.splitlines()
    here, there = lines.index("seen from here:"), lines.index("seen from the server:")
    assert f"              {text_of(chain.leaf)}" in lines[here:there]
    assert f"              {text_of(other.leaf)}" in lines[there:]
    assert lines[-2:] == [
        "error: localhost does not look the same from here and from the server",
        "hint:  a proxy on this network? if both are right, name the pin: --pin sha256/...",
    ]
    assert run("domain", "list", "--json").json == []


def test_a_server_that_cannot_verify_what_it_sees_is_another_view(
    run, data, ca, chain, flipping
) -> None:
    server = flipping(make_chain("localhost"))  # a CA that nobody named
    done = run("domain", "add", "localhost", "--port", server.port, "--ca", ca)
    assert done.code == 1
    assert "by the given CA: unable to get local issuer certificate" in done.err
    assert run("domain", "list", "--json").json == []


def test_json_gives_both_views(run, data, ca, chain, authority, flipping) -> None:
    other = make_chain("localhost", authority=authority)
    server = flipping(other)
    done = run("domain", "add", "localhost", "--port", server.port, "--ca", ca, "--json")
    assert done.code == 1
    assert done.json["here"]["chain"][0]["sha256"] == text_of(chain.leaf)
    assert done.json["server"]["chain"][0]["sha256"] == text_of(other.leaf)


def test_a_pin_that_is_named_needs_no_look(run, data, nobody) -> None:
    pin = "sha256/" + "A" * 43 + "="
    done = run("domain", "add", "localhost", "--port", nobody, "--pin", pin)
    assert done.code == 0
    shown = run("domain", "show", "localhost", "--json").json
    assert [each["sha256"] for each in shown["pins"]] == [pin]
    assert shown["connect"] == f"localhost:{nobody}"


def test_a_private_ca_has_to_be_named(run, data, api, chain) -> None:
    done = run("domain", "add", "localhost", "--port", api.port)
    assert done.code == 4
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0] == f"localhost:{api.port} presented, unverified:"
    assert "sent 2        CN=Test Intermediate CA" in lines
    assert lines[-2:] == [
        "error: the certificate is not valid for localhost by the system's CAs: "
        "unable to get local issuer certificate",
        "hint:  if a private CA issued it: --ca FILE",
    ]


def test_another_ca_is_refused(run, data, api, tmp_path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(make_authority("Other CA").pem)
    done = run("domain", "add", "localhost", "--port", api.port, "--ca", other)
    assert done.code == 4
    assert done.err.endswith("hint:  its issuer is CN=Corp CA: is that the CA in the file?\n")


def test_an_expired_certificate_is_refused_with_its_date(
    run, data, ca, authority, endpoint
) -> None:
    past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=2)
    server = endpoint(make_chain("localhost", authority=authority, not_after=past))
    done = run("domain", "add", "localhost", "--port", server.port, "--ca", ca)
    assert done.code == 4
    assert f"expires {past:%Y-%m-%d} (expired)" in done.err
    assert done.err.endswith(
        "certificate has expired\n"
        f"hint:  it expired on {past:%Y-%m-%d}: renew it first\n"
    )  # fmt: skip


def test_the_wrong_hostname_is_refused_with_the_right_ones(run, data, api, ca) -> None:
    done = run("domain", "add", "other.test", "--connect", f"localhost:{api.port}", "--ca", ca)
    assert done.code == 4
    assert "not valid for other.test by the given CA: Hostname mismatch" in done.err
    assert done.err.endswith(
        "hint:  the certificate is for localhost, *.example.test, 127.0.0.1, ::1\n"
    )


def test_a_port_without_tls_is_refused(run, data, plain, ca) -> None:
    done = run("domain", "add", "localhost", "--port", plain, "--ca", ca)
    assert done.code == 4
    assert done.err.splitlines() == [
        f"error: localhost:{plain} does not speak TLS as expected: WRONG_VERSION_NUMBER",
        f"hint:  does it speak TLS at localhost:{plain}? see --port PORT, --connect HOST:PORT",
    ]


def test_a_port_at_which_nobody_listens_is_refused(run, data, nobody) -> None:
    done = run("domain", "add", "localhost", "--port", nobody, "--json")
    assert done.code == 4
    assert done.err.startswith(f"error: localhost:{nobody} refused the connection\nhint:  ")
    assert done.json["here"]["verified"] is False


def test_a_name_that_does_not_resolve_is_refused(run, data) -> None:
    done = run("domain", "add", "nowhere.invalid")
    assert done.code == 4
    assert done.err.splitlines() == [
        "error: nowhere.invalid does not resolve to an address",
        "hint:  is the name right? --connect HOST:PORT goes to another address",
    ]


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("LocalHost.", "localhost")],
)
def test_addresses_and_names_are_pinned_in_their_canonical_form(
    run, data, api, ca, host, name
) -> None:
    address = f"127.0.0.1:{api.port}"
    done = run("domain", "add", host, "--connect", address, "--ca", ca)
    assert done.code == 0
    assert f"{name} is pinned" in done.out
    assert run("domain", "check", host).code == 0


def test_a_wildcard_is_looked_at_by_a_host_that_it_covers(run, data, api, ca, chain) -> None:
    done = run(
        "domain", "add", "*.example.test", "--look-at", "api.example.test",
        "--connect", f"localhost:{api.port}", "--ca", ca,
    )  # fmt: skip
    assert done.code == 0
    assert done.out.endswith(
        "  livepin pin new-backup '*.example.test' --out any.example.test-backup.key\n"
    )
    assert run("domain", "check", "deep.api.example.test").code == 4  # TLS wildcards are one label
    assert run("domain", "check", "api.example.test").code == 0


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ("*.example.test",),
            "*.example.test is no host that one can look at",
            "name one: --look-at www.example.test, or the pin: --pin sha256/...",
        ),
        (
            ("*.example.test", "--look-at", "www.example.org"),
            "*.example.test does not cover www.example.org",
            "such as www.example.test",
        ),
        (
            ("api.example.test", "--look-at", "www.example.test"),
            "--look-at goes with *.host, and api.example.test is a host",
            "--connect HOST:PORT looks at it at another address",
        ),
        (
            ("https://api.example.test:8443/v1",),
            "expected a host name, found 'https://api.example.test:8443/v1'",
            "give the bare host: api.example.test --port 8443",
        ),
        (
            ("api.example.test:8443",),
            "expected a host name, found 'api.example.test:8443'",
            "give the bare host: api.example.test --port 8443",
        ),
        (
            ("api.example.test/",),
            "expected a host name, found 'api.example.test/'",
            "give the bare host: api.example.test",
        ),
        (
            ("a b",),
            "expected a host name, found 'a b'",
            "give the bare host, without scheme, port or path",
        ),
        (
            ("",),
            "expected a host name, found ''",
            "give the bare host, without scheme, port or path",
        ),
        (
            ("*.test",),
            "expected *.name.tld, found '*.test'",
            "a wildcard stands before a name of at least two labels",
        ),
        (
            ("127.1",),
            "expected a host name or a full IP address, found '127.1'",
            "write IPv4 addresses with four decimal numbers",
        ),
        (
            ("a.test", "--connect", "a.test"),
            "--connect: expected HOST:PORT, found 'a.test'",
            "such as --connect 10.0.0.5:8443, or [2001:db8::5]:8443",
        ),
        (
            ("a.test", "--connect", "a.test:https"),
            "--connect: expected HOST:PORT, found 'a.test:https'",
            "such as --connect 10.0.0.5:8443, or [2001:db8::5]:8443",
        ),
        (
            ("a.test", "--port", "0"),
            'Invalid value "0" for --port. Must be >= 1.',
            "livepin domain add --help",
        ),
        (
            ("a.test", "--port", "https"),
            'Invalid value for --port: unable to convert "https" into int.',
            "livepin domain add --help",
        ),
        (
            ("a.test", "--ca", "nowhere.pem"),
            "cannot read nowhere.pem: No such file or directory",
            "--ca takes certificates in PEM",
        ),
        (
            ("a.test", "--ca", "empty.pem"),
            "empty.pem holds no PEM certificates",
            "--ca takes certificates in PEM",
        ),
        (
            ("a.test", "--ca", "binary.pem"),
            "cannot read binary.pem: it is not text",
            "--ca takes certificates in PEM",
        ),
        (
            ("a.test", "--ca", "many.pem"),
            "many.pem holds more than 64 KiB",
            "give the CA of this endpoint alone",
        ),
        (
            ("a.test", "--pin", "sha256/short"),
            "expected base64 of 32 bytes, found 'short'",
            "a pin looks like sha256/BASE64",
        ),
        (
            ("a.test", "--pin", "sha256/" + "A" * 43 + "=", "--pin-level", "leaf"),
            "expected --pin or --pin-level, found both",
            "livepin domain add --help",
        ),
        (
            ("a.test", "--reason", "x" * 501),
            f'Invalid value "{"x" * 65} ... {"x" * 41}" for --reason. '
            "Expected at most 500 characters, found 501.",
            "livepin domain add --help",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(
    run, data, tmp_path: Path, authority: Authority, arguments, error, hint
) -> None:
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "binary.pem").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "many.pem").write_text(authority.pem * 200)
    done = run("domain", "add", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (2, "", expected)


def test_a_host_that_is_pinned_already_is_not_looked_at(run, data, nobody) -> None:
    pin = "sha256/" + "A" * 43 + "="
    run("domain", "add", "localhost", "--pin", pin)
    done = run("domain", "add", "LOCALHOST", "--port", nobody)
    assert done.code == 3
    assert done.err.splitlines() == [
        "error: localhost is pinned already",
        "hint:  see: livepin domain show localhost; to add a key: livepin pin add localhost PIN",
    ]


def test_report_mode_and_tokens_are_published(run, data) -> None:
    pin = "sha256/" + "A" * 43 + "="
    arguments = ("a.test", "--pin", pin, "--mode", "report", "--token", "--reason", "why")
    asked = run("domain", "add", *arguments)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err.startswith(
        "error: apps will connect to a.test whatever key it has, and only report it, though it "
        "takes tokens, and nobody is here to agree"
    )
    assert run("config", "show", "--json").json["payload"]["domains"] == []
    assert run("domain", "add", *arguments, "--yes").code == 0
    (domain,) = run("config", "show", "--json").json["payload"]["domains"]
    assert (domain["mode"], domain["token"]) == ("report", True)
    assert run("config", "log", "--json").json[0]["reason"] == "why"


def test_what_a_hostile_certificate_says_cannot_rewrite_the_terminal(
    run, data, ca, authority, endpoint
) -> None:
    server = endpoint(make_chain("\x1b[2J\x1b]0;owned\x07", "localhost", authority=authority))
    done = run("domain", "add", "localhost", "--port", server.port, "--ca", ca)
    assert done.code == 0
    assert "leaf          CN=\\x1b[2J\\x1b]0\\\\;owned\\x07" in done.out.replace("\\;", "\\\\;")
    assert "\x1b" not in done.out
    refused = run("domain", "check", "localhost", "--connect", f"localhost:{server.port}")
    assert "\x1b" not in refused.out + refused.err
