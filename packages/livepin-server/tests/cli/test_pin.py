"""livepin pin add, remove, list and new-backup."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from livepin.certificates import spki_fingerprint
from livepin.pins import fingerprint_text
from livepin.testing import make_chain, pin_of

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="
PATTERNS = ("a.test", "*.example.test", "192.0.2.7", "2001:db8::5")


@pytest.fixture
def domain(run, data) -> str:
    """A domain with one pin."""
    run("domain", "add", "a.test", "--pin", PIN)
    return "a.test"


def pins(run, host: str) -> list[str]:
    return [each["sha256"] for each in run("pin", "list", host, "--json").json]


def test_a_pin_is_added_with_its_label(run, domain) -> None:
    done = run("pin", "add", "A.TEST", NEXT, "--label", "next key", "--backup", "--reason", "plan")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{NEXT} is pinned for a.test, in config version 3.\n"
    today = run("pin", "list", domain, "--json").json[0]["created"][:10]
    assert run("pin", "list", domain).out.splitlines() == [
        f"{'pin':51}  label     backup  added",
        f"{PIN}  -         no      {today}",
        f"{NEXT}  next key  yes     {today}",
    ]
    assert run("config", "log", "--json").json[0]["reason"] == "plan"


def test_a_pin_is_removed(run, domain) -> None:
    run("pin", "add", domain, NEXT)
    done = run("pin", "remove", domain, PIN)
    assert done.out == f"{PIN} is no longer pinned for a.test, from config version 4 on.\n"
    assert pins(run, domain) == [NEXT]
    assert run("pin", "add", domain, PIN, "--json").json["domain"]["pattern"] == domain
    assert run("pin", "remove", domain, PIN, "--json").json["domain"]["pins"][0]["sha256"] == NEXT


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (("add", "a.test"), 2, "expected SOURCE or --live", "livepin pin add --help"),
        (("add",), 2, "expected HOST", "livepin pin add --help"),
        (
            ("add", "a.test", "md5/x"),
            2,
            "cannot read md5/x: No such file or directory",
            "expected a file, - for standard input, or sha256/BASE64",
        ),
        (
            ("add", "a.test", "sha256/AAAA"),
            2,
            "expected canonical base64 of 32 bytes, found 'AAAA'",
            "a pin looks like sha256/BASE64",
        ),
        (("add", "a.test", PIN), 3, f"a.test has the pin {PIN} already", None),
        (("add", "b.test", PIN), 3, "there is no domain 'b.test'", "did you mean a.test?"),
        (
            ("remove", "a.test", NEXT),
            3,
            f"a.test has no pin {NEXT}",
            "see: livepin pin list a.test",
        ),
        (
            ("remove", "a.test", PIN),
            3,
            f"{PIN} is the last pin of a.test",
            "add another pin first, or remove the domain",
        ),
        (("list", "b.test"), 3, "there is no domain 'b.test'", "did you mean a.test?"),
        (
            ("list", "a.test/x"),
            2,
            "expected a host name, found 'a.test/x'",
            "give the bare host: a.test",
        ),
        (("new-backup", "a.test"), 2, "expected --out FILE", "livepin pin new-backup --help"),
        (
            ("new-backup", "b.test", "--out", "b.key"),
            3,
            "there is no domain 'b.test'",
            "did you mean a.test?",
        ),
        (
            ("new-backup", "a.test", "--out", "taken"),
            2,
            "taken exists already",
            "name a new file",
        ),
        (
            ("new-backup", "a.test", "--out", "nowhere/b.key"),
            2,
            "cannot write nowhere/b.key: No such file or directory",
            "is its folder there, and yours to change?",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, domain, arguments, code, error, hint) -> None:
    Path("taken").write_text("mine")
    done = run("pin", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)
    assert pins(run, domain) == [PIN]
    assert Path("taken").read_text() == "mine"
    assert not Path("b.key").exists()


@pytest.fixture
def served_pin(run, data, api, ca, chain) -> str:
    """The pin of the key that an endpoint serves now, of a domain that has another one, too."""
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("pin", "add", "localhost", NEXT)
    return fingerprint_text(chain.pin.sha256)


def test_the_key_that_is_served_now_stays(run, served_pin) -> None:
    done = run("pin", "remove", "localhost", served_pin)
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: localhost serves this key now: without its pin, apps would be refused",
        "hint:  change the certificate first; to remove it all the same: --force --reason TEXT",
    ]
    assert served_pin in pins(run, "localhost")
    assert run("pin", "remove", "localhost", NEXT).code == 0


def test_the_key_that_is_served_now_goes_if_told_so(run, served_pin) -> None:
    assert run("pin", "remove", "localhost", served_pin, "--force", "--reason", "test").code == 0
    assert pins(run, "localhost") == [NEXT]


def test_the_key_that_is_served_now_goes_if_another_one_matches(run, served_pin, chain) -> None:
    other = fingerprint_text(pin_of(chain.intermediate.certificate).sha256)
    run("pin", "add", "localhost", other)
    refused = run("pin", "remove", "localhost", served_pin)
    assert (refused.code, refused.out) == (3, "")
    assert f"only {other}, the key of a CA, lets apps in" in refused.err
    forced = ("--force", "--reason", "renewals need no new pin from now on")
    assert run("pin", "remove", "localhost", served_pin, *forced).code == 0
    assert run("domain", "check").code == 0


def test_a_key_that_was_served_goes_after_the_change(run, served_pin, api, authority) -> None:
    changed = make_chain("localhost", authority=authority)
    api.present(changed)
    refused = run("pin", "remove", "localhost", served_pin)
    assert refused.err.startswith(
        "error: no pin of localhost matches what localhost serves at this"
    )
    assert run("pin", "add", "localhost", fingerprint_text(changed.pin.sha256)).code == 0
    assert run("pin", "remove", "localhost", served_pin).code == 0


def test_a_wildcard_is_not_looked_at(run, data) -> None:
    run("domain", "add", "*.example.test", "--pin", PIN, "--pin", NEXT)
    assert run("pin", "remove", "*.example.test", PIN).code == 0


@pytest.mark.parametrize("host", PATTERNS)
def test_a_backup_key_fits_the_pin_and_the_request_that_is_printed(
    run, data, shell, host, tmp_path
) -> None:
    import shlex
    import subprocess

    run("domain", "add", host, "--pin", PIN)
    done = run("pin", "new-backup", host, "--out", "next key.pem")
    assert (done.code, done.err) == (0, "")
    path = tmp_path / "next key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_pem_private_key(path.read_bytes(), None)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = done.out.split()[0]
    assert pins(run, host) == [PIN, pin]
    command = shlex.split(done.out.splitlines()[-1])
    request = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout
    loaded = x509.load_pem_x509_csr(request)
    assert loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == [host]
    chain = make_chain("a.test", key=key)
    assert fingerprint_text(spki_fingerprint(chain.leaf.public_bytes(Encoding.DER))) == pin


def test_the_private_key_is_in_no_output(run, domain) -> None:
    done = run("pin", "new-backup", domain, "--out", "b.key", "--json")
    assert done.json["file"] == "b.key"
    assert done.json["pin"] in pins(run, domain)
    secret = "".join(Path("b.key").read_text().splitlines()[1:-1])
    assert secret[-60:] not in done.out.replace("\\n", "")
    assert "PRIVATE" not in done.out


def test_a_refused_backup_leaves_no_key_behind(run, domain) -> None:
    run("domain", "add", "other.test", "--pin", PIN)
    done = run("pin", "new-backup", domain, "--out", "b.key", "--reason", "x", "--stream", "none")
    assert done.code == 3
    assert not Path("b.key").exists()
