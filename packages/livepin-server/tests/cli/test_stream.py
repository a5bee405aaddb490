"""livepin stream: a copy, a canary, a move; what apps would lose is asked about first."""

from __future__ import annotations

from pathlib import Path

import pytest
from livepin.bootstrap import Bootstrap
from livepin.pins import fingerprint_text
from livepin.testing import make_chain, pin_of
from livepin.trust import TrustedState

from .conftest import no_backup

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="


def text_of(certificate: object) -> str:
    return fingerprint_text(pin_of(certificate).sha256)


@pytest.fixture
def canary(run, data) -> str:
    """The domain a.test, and a copy of it in the stream canary."""
    run("domain", "add", "a.test", "--pin", PIN)
    assert run("stream", "add", "canary").code == 0
    return "canary"


def patterns(run, stream: str) -> list[str]:
    found = run("domain", "list", "--stream", stream, "--json").json
    return [each["pattern"] for each in found]


def test_a_stream_is_added_and_says_how_an_app_follows_it(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    done = run("stream", "add", "canary", "--reason", "5 % of the fleet")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines == [
        "The stream canary is a copy of main, in config version 3.",
        "An app follows it that embeds a bootstrap of it:",
        "  livepin bootstrap --stream canary --out bootstrap-canary.json",
    ]
    (record,) = run("config", "log", "--stream", "canary", "--json").json
    assert (record["reason"], record["changed"]) == (
        "5 % of the fleet", ["+ stream canary, a copy of main"],
    )  # fmt: skip
    assert run(*lines[-1].split()[1:]).code == 0
    bootstrap = Bootstrap.parse(Path("bootstrap-canary.json").read_bytes())
    state = TrustedState.from_bootstrap(bootstrap)
    assert (state.config.stream, state.config.version) == ("canary", 3)


def test_streams_are_listed(run, canary) -> None:
    run("domain", "add", "b.test", "--pin", PIN, "--stream", canary)
    run("pinset", "add", "payments", PIN)
    found = run("stream", "list", "--json").json
    issued, expires = (found[0][name][:10] for name in ("issued", "expires"))
    assert run("stream", "list").out.splitlines() == [
        "stream  version  domains  pin sets  issued      expires",
        f"canary  4        2        0         {issued}  {expires}",
        f"main    5        1        1         {issued}  {expires}",
    ]


def test_a_move_asks_first_for_apps_of_the_old_stream_pin_the_host_no_more(run, canary) -> None:
    run("domain", "add", "b.test", "--pin", PIN, "--mode", "report")
    done = run("stream", "move", "b.test", "--from", "main", "--to", canary)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: apps that follow main will no longer pin b.test, and nobody is here to agree",
        "hint:  to agree: --yes",
    ]
    assert (patterns(run, "main"), patterns(run, canary)) == (["a.test", "b.test"], ["a.test"])
    done = run("stream", "move", "b.test", "--from", "main", "--to", canary, "--yes")
    assert done.out.splitlines() == [
        "canary, config version 5: + domain b.test, from main",
        "main, config version 6: - domain b.test, to canary",
    ]
    assert (patterns(run, "main"), patterns(run, canary)) == (["a.test"], ["a.test", "b.test"])
    done = run("stream", "move", "b.test", "--from", canary, "--to", "main", "--yes", "--json")
    assert [each["stream"] for each in done.json] == ["main", "canary"]


def test_a_canary_tries_what_main_takes_over_later(run, data, api, ca, chain) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("stream", "add", "canary")
    run("pin", "add", "localhost", NEXT, "--stream", "canary")
    done = run("stream", "copy", "localhost", "--from", "canary", "--to", "main")
    assert (done.code, done.err) == (0, no_backup("localhost"))
    at = f"at localhost:{api.port}, private CA"
    assert done.out == f"main, config version 5: * domain localhost, as it is in canary, {at}\n"
    pins = [each["sha256"] for each in run("pin", "list", "localhost", "--json").json]
    assert pins == [text_of(chain.leaf), NEXT]


def test_a_copy_that_weakens_or_shuts_out_asks_first(run, data, api, ca, authority) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("stream", "add", "canary")
    copied = ("stream", "copy", "localhost", "--from", "canary", "--to", "main")
    run("domain", "set-mode", "localhost", "off", "--yes", "--stream", "canary")
    assert run(*copied).err.startswith(
        "error: apps will connect to localhost whatever key it has, and nobody"
    )
    run("domain", "set-mode", "localhost", "enforce", "--stream", "canary")
    api.present(make_chain("localhost", authority=authority))
    forced = ("--force", "--reason", "the certificate comes back tonight")
    run("pin", "add", "localhost", NEXT, "--stream", "canary", *forced)
    assert run(*copied, *forced).code == 0  # what only adds shuts nobody out who was not before
    run("domain", "add", "*.example.test", "--pin", PIN, "--stream", "canary")
    done = run("stream", "copy", "*.example.test", "--from", "canary", "--to", "main")
    assert done.err.startswith("error: apps may be refused: *.example.test is no host")


def test_a_copy_that_limits_the_time_of_the_key_that_is_served_asks_first(
    run, data, api, ca, chain
) -> None:
    leaf = text_of(chain.leaf)
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("stream", "add", "canary")
    run("pin", "add", "localhost", NEXT, "--stream", "canary")
    run("pin", "remove", "localhost", leaf, "--force", "--reason", "test", "--stream", "canary")
    run("pin", "add", "localhost", leaf, "--not-before", "2099-01-01", "--stream", "canary")
    done = run("stream", "copy", "localhost", "--from", "canary", "--to", "main")
    assert done.code == 2
    assert done.err.startswith(
        "error: apps would be refused: no pin matches what localhost serves now"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (
            ("add", "Canary"),
            2,
            "expected a stream name of a-z, 0-9 and hyphens, at most 63, found 'Canary'",
            "such as canary",
        ),
        (("add", "canary"), 3, "the stream canary is there already", "see: livepin stream list"),
        (
            ("add", "beta", "--from", "canray"),
            3,
            "there is no stream 'canray'",
            "did you mean canary?",
        ),
        (
            ("move", "a.test", "--from", "main", "--to", "canary", "--yes"),
            3,
            "a.test is in canary already",
            "to have it there as it is here: livepin stream copy",
        ),
        (
            ("copy", "a.test", "--from", "main", "--to", "canary"),
            3,
            "a.test is in canary as it is in main already",
            None,
        ),
        (
            ("copy", "a.test", "--from", "main", "--to", "canray"),
            3,
            "there is no stream 'canray'",
            "did you mean canary?",
        ),
        (
            ("move", "a.tst", "--from", "main", "--to", "canary"),
            3,
            "there is no domain 'a.tst'",
            "did you mean a.test?",
        ),
        (
            ("move", "a.test", "--from", "main", "--to", "main", "--yes"),
            2,
            "expected two streams, found main twice",
            "see: livepin stream list",
        ),
        (
            ("move", "a.test", "--to", "canary"),
            2,
            "expected --from NAME",
            "livepin stream move --help",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, canary, arguments, code, error, hint) -> None:
    before = run("stream", "list", "--json").json
    done = run("stream", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)
    assert run("stream", "list", "--json").json == before


def test_json_is_what_the_api_gives(run, data) -> None:
    done = run("stream", "add", "canary", "--json").json
    assert (done["stream"]["name"], done["publication"]["version"]) == ("canary", 2)
