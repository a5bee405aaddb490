"""livepin delivery show, set, check and renew-keys."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from livepin.certificates import pem_to_ders, spki_fingerprint
from livepin.pins import fingerprint_text
from livepin.testing import make_chain

CDN = "https://cdn.example.net/livepin"


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken, and at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def own(data) -> Iterator[str]:
    """A URL of this machine where the data folder's own TLS identity answers."""
    import ssl
    import threading

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(data / "tls" / "server.pem", data / "tls" / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(sock, server_side=True).close()
                except OSError:
                    sock.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_what_is_delivered_where_is_shown(run, data) -> None:
    found = run("delivery", "show", "--json").json
    assert run("delivery", "show").out.splitlines() == [
        "delivery   https://pins.example.com:8443",
        "recovery   none",
        f"pins       {found['pins'][0]}",
        f"           {found['pins'][1]}",
        "refreshed  every 300 s",
    ]


def test_what_is_not_said_stays(run, data) -> None:
    done = run("delivery", "set", "--recovery-url", CDN, "--reason", "a CDN")
    assert done.out == "main: config version 2 carries the new settings\n"
    run("delivery", "set", "--refresh-interval", "60", "--json")
    found = run("delivery", "show", "--json").json
    assert (found["recovery_urls"], found["refresh_interval"]) == ([CDN], 60)
    done = run("delivery", "set", "--no-recovery", "--json")
    assert done.json["items"][0]["version"] == 4
    found = run("delivery", "show", "--json").json
    assert (found["recovery_urls"], found["refresh_interval"]) == ([], 60)
    assert found["urls"] == ["https://pins.example.com:8443"]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            (),
            "there is nothing to change",
            "--url, --recovery-url, --no-recovery, --refresh-interval",
        ),
        (
            ("--url", "http://pins.example.com"),
            "--url: expected an https URL, found 'http://pins.example.com'",
            "such as https://pins.example.com:8443",
        ),
        (
            ("--recovery-url", ""),
            "--recovery-url: expected an https or http URL, found ''",
            "such as https://cdn.example.net/livepin",
        ),
        (
            ("--recovery-url", CDN, "--no-recovery"),
            "expected --recovery-url or --no-recovery, found both",
            "livepin delivery set --help",
        ),
        (
            ("--refresh-interval", "0"),
            'Invalid value "0" for --refresh-interval. Must be >= 1.',
            "livepin delivery set --help",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, data, arguments, error, hint) -> None:
    done = run("delivery", "set", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (2, "", expected)


def test_a_url_where_apps_would_be_refused_is_not_published(run, data, endpoint) -> None:
    url = f"https://localhost:{endpoint(make_chain('localhost')).port}"
    done = run("delivery", "set", "--url", url)
    assert done.code == 3
    assert done.err.splitlines() == [
        f"error: apps would refuse {url}: the certificate is not valid for localhost by the "
        "given CA: unable to get local issuer certificate",
        "hint:  does a server with the keys of delivery answer there? its host belongs into "
        "delivery_urls of livepin.toml, then: livepin delivery renew-keys; "
        "to publish it all the same: --force --reason TEXT",
    ]
    assert run("config", "log", "--json").json[0]["version"] == 1
    forced = run("delivery", "set", "--url", url, "--force", "--reason", "CHG-9")
    assert (forced.code, "published all the same: apps would refuse" in forced.err) == (0, True)
    assert run("delivery", "check").code == 1


def test_a_url_that_does_not_answer_yet_is_published_by_who_agrees(run, data, nobody) -> None:
    url = f"https://localhost:{nobody}"
    asked = run("delivery", "set", "--url", url)
    assert (asked.code, "nowhere that apps could fetch the next config" in asked.err) == (2, True)
    assert run("config", "log", "--json").json[0]["version"] == 1
    assert run("delivery", "set", "--url", url, "--yes").code == 0
    assert run("delivery", "check").code == 4


def test_one_more_url_that_does_not_answer_yet_is_published_with_a_warning(
    run, data, own, nobody
) -> None:
    run("delivery", "set", "--url", own)
    done = run("delivery", "set", "--url", own, "--url", f"https://localhost:{nobody}")
    assert done.code == 0
    (warning,) = done.err.splitlines()
    assert warning.startswith(
        "warning: the server could not see whether apps can fetch their configs at "
        f"https://localhost:{nobody}: "
    )
    assert warning.endswith("; look from where one can: livepin delivery check")


def test_a_url_where_the_server_answers_is_published(run, data, own) -> None:
    assert run("delivery", "set", "--url", own).code == 0
    done = run("delivery", "check")
    assert (done.code, done.out) == (0, f"{own}: apps can fetch their configs here\n")
    assert run("delivery", "check", "--json").json[0]["passes"] is True


def test_renewed_keys_are_published_and_what_serves_the_old_ones_is_refused(run, data, own) -> None:
    before = run("delivery", "show", "--json").json["pins"]
    run("delivery", "set", "--url", own, "--recovery-url", "https://cdn.example.net/livepin")
    assert run("delivery", "renew-keys").out == (
        "delivery has new keys; start the server again with: livepin serve\n"
    )
    after = run("delivery", "show", "--json").json
    assert not set(before) & set(after["pins"])
    leaf = pem_to_ders((data / "tls" / "server.pem").read_text())[0]
    assert fingerprint_text(spki_fingerprint(leaf)) in after["pins"]
    assert run("delivery", "check").code == 1  # the old keys still answer
    assert run("delivery", "renew-keys", "--json").json == {"renewed": True}


def test_apps_are_not_cut_off_by_new_keys_unless_that_is_said(run, data) -> None:
    before = run("delivery", "show", "--json").json["pins"]
    done = run("delivery", "renew-keys")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "error: the apps of acme would be cut off until a release: no recovery URL",
        "hint:  livepin delivery set --recovery-url URL, and wait until apps know it; "
        "or, after a theft: --without-recovery",
    ]
    assert run("delivery", "show", "--json").json["pins"] == before
    assert run("delivery", "renew-keys", "--without-recovery").code == 0
    assert run("delivery", "show", "--json").json["pins"] != before


def test_a_delivery_key_that_is_not_pinned_is_found(run, data, own) -> None:
    """The CA may vouch for it: apps go by the pin."""
    run("delivery", "set", "--url", own)
    from livepin_server.cli.api import Common, connected

    with connected(Common()) as api:
        pin = "sha256/" + "A" * 43 + "="
        body = {"pins": [pin], "reason": "CHG-9"}
        api.call("PUT", f"{api.base}/delivery", body, force="true")
    done = run("delivery", "check")
    text = f"{own}: none of the delivery pins matches its key, sha256/"
    assert (done.code, done.out[: len(text)]) == (1, text)


def test_renewing_takes_a_data_folder(run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    assert run("delivery", "renew-keys", "--data", tmp_path / "none").code == 2
