"""livepin export: from the server to the software that is to pin, curl for real among it."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from livepin.testing import make_chain
from livepin_server.cli.export import Format
from livepin_server.exports.formats import FORMATS

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="


@pytest.fixture
def domain(run, data) -> str:
    """A domain with two pins of leaves."""
    run("domain", "add", "a.test", "--pin", PIN)
    run("pin", "add", "a.test", NEXT, "--pin-level", "leaf", "--backup")
    return "a.test"


def test_the_command_offers_what_there_is() -> None:
    assert list(Format.__args__) == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_on_standard_output_and_its_limits_on_standard_error(
    run, domain, name
) -> None:
    done = run("export", name, domain, "--pin-level", "leaf")
    assert done.code == 0
    assert PIN.removeprefix("sha256/") in done.out
    assert NEXT.removeprefix("sha256/") in done.out
    lines = done.err.splitlines()
    assert all(each.startswith("warning: ") for each in lines)
    assert lines[-1].endswith("export again after each change")
    found = run("export", name, domain, "--pin-level", "leaf", "--json").json
    assert found["text"] + "\n" == done.out
    assert [f"warning: {each}" for each in found["notes"]] == lines


def test_a_domain_that_follows_a_shared_set_says_so(run, domain) -> None:
    run("pinset", "add", "payments", PIN)
    run("domain", "add", "b.test", "--pin-set", "payments", "--yes")
    done = run("export", "json")
    assert set(json.loads(done.out)) == {"a.test", "b.test"}
    assert "warning: b.test follows the pin set payments\n" in done.err
    assert "a.test follows" not in done.err


def test_all_domains_are_exported_unless_some_are_named(run, domain) -> None:
    run("domain", "add", "b.test", "--pin", NEXT, "--token")
    assert set(json.loads(run("export", "json").out)) == {"a.test", "b.test"}
    done = run("export", "json", "B.TEST", "b.test")
    assert set(json.loads(done.out)) == {"b.test"}
    assert "warning: b.test needs a token, which it lacks\n" in done.err
    run("domain", "set-stale", "b.test", "refuse")
    never = "warning: b.test is refused where a config is stale; an export never is\n"
    assert never in run("export", "json").err
    run("domain", "set-mode", "b.test", "off", "--yes")
    done = run("export", "json")
    assert set(json.loads(done.out)) == {"a.test"}
    assert "warning: b.test is off, and not in it\n" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (
            ("ios",),
            2,
            f"NSPinnedDomains needs to know whether {PIN} of a.test is the key of a leaf "
            "or of a CA",
            "say it: --pin-level leaf, intermediate or root",
        ),
        (("json", "b.test"), 3, "there is no domain 'b.test'", "did you mean a.test?"),
        (("json", "a b"), 2, "expected a host name, found 'a b'", None),
        (("nginx",), 2, 'Invalid value "nginx" for FORMAT.', None),
        ((), 2, "expected FORMAT", "livepin export --help"),
    ],
)
def test_what_cannot_be_exported_prints_nothing(run, domain, arguments, code, error, hint) -> None:
    done = run("export", *arguments)
    assert (done.code, done.out) == (code, "")
    lines = done.err.splitlines()
    assert lines[0].startswith(f"error: {error}")
    assert hint is None or lines[1] == f"hint:  {hint}"


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_replaced_by_a_newer_export_and_nothing_else(run, domain, name) -> None:
    done = run("export", name, domain, "--pin-level", "leaf", "--out", "pins")
    assert done.out == "pins holds the pins of 1 domain.\n"
    assert done.err.endswith("export again after each change\n")
    printed = run("export", name, domain, "--pin-level", "leaf")
    assert (printed.out, printed.err) == (Path("pins").read_text(), done.err)

    run("domain", "add", "b.test", "--pin", PIN, "--pin", NEXT)
    again = run("export", name, "b.test", "--pin-level", "leaf", "--out", "pins", "--json").json
    assert (again["file"], again["format"], "text" in again) == ("pins", name, False)
    assert "b.test" in Path("pins").read_text()

    Path("pins").write_text("the only one")
    done = run("export", name, domain, "--pin-level", "leaf", "--out", "pins")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: pins exists, and is no export for {name}\n"
        "hint:  name another file; it was left alone\n"
    )
    assert Path("pins").read_text() == "the only one"


@pytest.mark.parametrize("name", ["android", "trustkit", "okhttp"])
def test_a_file_is_replaced_whatever_its_first_domain_is(run, domain, name) -> None:
    word = {"android": "version", "trustkit": "xml", "okhttp": "pinner"}[name]
    for pattern in ("0.test", "*.0.test", word):
        run("domain", "add", pattern, "--pin", PIN, "--pin", NEXT)
    for hosts in (("0.test", "*.0.test"), (domain,), (word,), ("0.test", "*.0.test")):
        assert run("export", name, *hosts, "--out", "pins").code == 0
        assert hosts[0] in Path("pins").read_text()


def test_a_declined_export_leaves_the_older_file(run, domain) -> None:
    run("export", "curl", domain, "--pin-level", "leaf", "--out", "pins.curl")
    older = Path("pins.curl").read_text()
    run("pin", "add", domain, "sha256/" + "C" * 42 + "A=", "--not-after", "2090-01-01")
    assert run("export", "curl", "--pin-level", "leaf", "--out", "pins.curl").code == 2
    assert Path("pins.curl").read_text() == older


def test_a_pin_that_ends_is_not_exported(run, domain) -> None:
    run("pin", "add", domain, "sha256/" + "C" * 42 + "A=", "--not-after", "2090-01-01")
    done = run("export", "android")
    assert (done.code, done.out) == (2, "")
    assert "cannot say when a pin of a.test begins or ends" in done.err


def test_levels_come_from_where_the_pins_came_from(run, data, api, ca) -> None:
    added = run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    assert added.code == 0
    run("pin", "new-backup", "localhost", "--out", "b.key")
    found = plistlib.loads(run("export", "ios").out.encode())
    host = found["NSAppTransportSecurity"]["NSPinnedDomains"]["localhost"]
    assert len(host["NSPinnedLeafIdentities"]) == 2
    assert "warning: localhost has a private CA: trust it there too" in run("export", "ios").err


# -- curl ----------------------------------------------------------------------------------------

CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_UNSUPPORTED_PROTOCOL = 90, 1


@pytest.fixture
def curl(counterpart, ca, tmp_path):
    """Fetch a URL with an exported file; return curl's exit code."""
    program = counterpart("curl")

    def one(config: str, url: str, *more: str) -> int:
        file = tmp_path / "pins.curl"
        file.write_text(config)
        command = [program, "--disable", "--silent", "--cacert", str(ca), "--max-time", "20"]
        command += ["--noproxy", "*", *more, "--config", str(file), url]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode

    return one


def test_curl_connects_by_the_exported_pins_and_refuses_another_key(
    run, data, api, ca, authority, curl
) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    config = run("export", "curl").out
    url = f"https://localhost:{api.port}/"
    assert curl(config, url) == 0
    seen = api.requests
    api.present(make_chain("localhost", authority=authority))
    assert curl(config, url) == CURLE_SSL_PINNEDPUBKEYNOTMATCH
    assert api.requests == seen, "the request was sent to the wrong key"
    assert curl("", url) == 0, "it is the pin that refuses"
    assert curl(config, f"http://localhost:{api.port}/") == CURLE_UNSUPPORTED_PROTOCOL


def test_curl_takes_the_backup_key_after_the_change(run, data, api, ca, authority, curl) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("pin", "new-backup", "localhost", "--out", "b.key")
    config = run("export", "curl").out
    key = load_pem_private_key(Path("b.key").read_bytes(), None)
    api.present(make_chain("localhost", authority=authority, key=key))
    assert curl(config, f"https://localhost:{api.port}/") == 0


# -- Android -------------------------------------------------------------------------------------

FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")


def test_androids_own_tool_builds_an_app_with_the_file(run, domain, counterpart) -> None:
    program = counterpart("aapt2")
    Path("res/xml").mkdir(parents=True)
    Path("res/xml/network_security_config.xml").write_text(run("export", "android").out)
    Path("AndroidManifest.xml").write_text(
        '<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="a.test">'
        '<application android:networkSecurityConfig="@xml/network_security_config"/></manifest>'
    )

    def aapt2(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    aapt2("compile", "-o", "res.zip", "--dir", "res")
    link = ("link", "-o", "a.apk", "--manifest", "AndroidManifest.xml", "-I", str(FRAMEWORK))
    aapt2(*link, "res.zip")
    tree = aapt2("dump", "xmltree", "a.apk", "--file", "res/xml/network_security_config.xml")
    pins = [PIN.removeprefix("sha256/"), NEXT.removeprefix("sha256/")]
    assert re.findall(r"T: '([^']+)'", tree) == ["a.test", *pins]
    assert "expiration" not in tree
