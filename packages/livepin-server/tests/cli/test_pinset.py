"""livepin pinset: one set for many domains, the way back, and what is asked before."""

from __future__ import annotations

from pathlib import Path

import pytest
from livepin.pins import fingerprint_text
from livepin.testing import make_authority, make_chain, pin_of

from .conftest import NOBODY, no_backup

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="


def text_of(certificate: object) -> str:
    return fingerprint_text(pin_of(certificate).sha256)


@pytest.fixture
def payments(run, data) -> str:
    """A pin set with one pin, which no domain follows yet."""
    assert run("pinset", "add", "payments", PIN, "--label", "key of 2026").code == 0
    return "payments"


@pytest.fixture
def shared(run, payments) -> str:
    """The pin set, followed by a.test and b.test, which cannot be looked at."""
    for host in ("a.test", "b.test"):
        assert run("domain", "add", host, "--pin-set", payments, "--yes").code == 0
    return str(payments)


@pytest.fixture
def pinned(run, data, api, ca):
    """The endpoint, pinned as localhost by its leaf."""
    assert run("domain", "add", "localhost", "--port", api.port, "--ca", ca).code == 0
    return api


def published(run, stream: str = "main") -> tuple[int, dict[str, str], dict[str, list[str]]]:
    """The version, the set that each domain follows, and the pins of each set."""
    shown = run("config", "show", "--json", "--stream", stream).json
    sets = {
        name: [f"sha256/{each['sha256']}" for each in pins]
        for name, pins in shown["payload"]["pin_sets"].items()
    }
    follows = {each["pattern"]: each["pin_set"] for each in shown["payload"]["domains"]}
    return shown["publication"]["version"], follows, sets


# -- adding and showing --------------------------------------------------------------------------


def test_a_set_is_added_and_says_how_to_go_on(run, data) -> None:
    assert run("pinset", "list").out == (
        "no pin sets yet; add one with: livepin pinset add NAME SOURCE\n"
    )
    done = run("pinset", "add", "payments", PIN, "--pin", NEXT, "--reason", "one for all")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"+ {PIN}",
        f"+ {NEXT}",
        "The pin set payments holds 2 pins, in config version 2.",
        "No domain follows it yet:",
        "  livepin pinset use HOST payments",
    ]
    assert run("config", "log", "--json").json[0]["reason"] == "one for all"
    assert run("pinset", "list").out.splitlines() == [
        "pin set   pins  keys of  domains",
        "payments  2     unknown  none",
    ]


def test_files_are_read_as_pin_add_reads_them(run, data, ca, authority) -> None:
    done = run("pinset", "add", "corporate", ca, "--pin-level", "root", "--backup")
    assert done.out.splitlines()[0] == f"+ {text_of(authority.certificate)} of CN=Corp CA"
    (pin,) = run("pinset", "show", "corporate", "--json").json["pins"]
    assert (pin["level"], pin["backup"]) == ("root", True)


def test_a_set_is_shown_with_the_domains_that_follow_it(run, shared) -> None:
    found = run("pinset", "show", shared, "--json").json
    assert (found["name"], found["domains"]) == ("payments", ["a.test", "b.test"])
    added = found["pins"][0]["created"][:10]
    assert run("pinset", "show", shared).out.splitlines() == [
        "payments",
        "  stream    main",
        "  domains   a.test, b.test",
        f"{'pin':51}  label        backup  added",
        f"{PIN}  key of 2026  no      {added}",
    ]
    assert run("pinset", "list", "--json").json == [found]
    assert run("pinset", "list").out.splitlines()[1] == "payments  1     unknown  a.test and b.test"


def test_json_is_what_the_api_gives(run, data) -> None:
    done = run("pinset", "add", "payments", PIN, "--json").json
    assert (done["pin_set"]["name"], done["publication"]["version"]) == ("payments", 2)
    run("domain", "add", "a.test", "--pin", PIN)
    done = run("pinset", "use", "a.test", "payments", "--json").json
    assert (done["domain"]["pin_set"], done["domain"]["shared"]) == ("payments", True)
    done = run("pinset", "use", "a.test", "--own", "--json").json
    assert (done["domain"]["pin_set"], done["domain"]["shared"]) == ("a.test", False)
    assert run("pinset", "remove", "payments", "--json").json["publication"]["version"] == 6


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (
            ("add", "api.example.com", PIN),
            2,
            "expected a pin set name of a-z, 0-9 and hyphens, at most 63, found 'api.example.com'",
            "such as payments, or trust-roots",
        ),
        (
            ("add", "other"),
            2,
            "expected one of SOURCE, --roots and --system-roots, found none",
            "livepin pinset add --help",
        ),
        (
            ("update", "payments", PIN, "--system-roots"),
            2,
            "expected one of SOURCE, --roots and --system-roots, "
            "found SOURCE or --pin and --system-roots",
            "livepin pinset update --help",
        ),
        (
            ("add", "other", "-x"),
            2,
            "Unknown option: -x.",
            "livepin pinset add --help; a file: ./-name",
        ),
        (
            ("add", "other", "--pin", "sha256/AAAA"),
            2,
            "expected canonical base64 of 32 bytes, found 'AAAA'",
            "a pin looks like sha256/BASE64",
        ),
        (
            ("add", "payments", NEXT),
            3,
            "the pin set payments is there already",
            "livepin pinset update payments",
        ),
        (("show", "paymets"), 3, "there is no pin set 'paymets'", "did you mean payments?"),
        (("remove", "paymets"), 3, "there is no pin set 'paymets'", "did you mean payments?"),
        (("update", "paymets", PIN), 3, "there is no pin set 'paymets'", "did you mean payments?"),
        (
            ("use", "a.test", "paymets"),
            3,
            "there is no pin set 'paymets'",
            "did you mean payments?",
        ),
        (("use", "a.tst", "payments"), 3, "there is no domain 'a.tst'", "did you mean a.test?"),
        (
            ("use", "a.test"),
            2,
            "expected NAME or --own, found neither",
            "livepin pinset use --help",
        ),
        (
            ("use", "a.test", "payments", "--own"),
            2,
            "expected NAME or --own, found both",
            "livepin pinset use --help",
        ),
        (("use", "a.test", "payments"), 3, "a.test follows the pin set payments already", None),
        (
            ("use", "a.test", "payments", "--look-at", "b.test"),
            2,
            "--look-at goes with *.host, and a.test is a host",
            "--connect HOST:PORT looks at it at another address",
        ),
        (
            ("remove", "payments"),
            3,
            "the pin set payments is followed by a.test, b.test",
            "give each another one first: livepin pinset use a.test --own",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, shared, arguments, code, error, hint) -> None:
    before = published(run)
    done = run("pinset", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)
    assert published(run) == before


# -- following -----------------------------------------------------------------------------------


def test_a_domain_follows_a_set_that_has_the_key_it_serves(run, pinned, chain) -> None:
    run("pinset", "add", "edge", text_of(chain.leaf), NEXT)
    done = run("pinset", "use", "localhost", "edge", "--reason", "CHG-1")
    assert (done.code, done.err) == (0, no_backup("localhost"))
    assert done.out == "localhost follows the pin set edge, from config version 4 on.\n"
    _, follows, sets = published(run)
    assert (follows, sets) == ({"localhost": "edge"}, {"edge": [text_of(chain.leaf), NEXT]})
    assert run("config", "log", "--json").json[0]["changed"] == [
        "* domain localhost: pin set its own -> edge"
    ]


def test_a_set_without_the_key_that_is_served_asks_first(run, pinned, payments) -> None:
    before = published(run)
    done = run("pinset", "use", "localhost", payments)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: apps would be refused: no pin matches what localhost serves now, "
        "and nobody is here to agree",
        "hint:  to agree: --yes",
    ]
    assert run("pinset", "use", "localhost", payments, "--yes").err.startswith(
        "error: localhost serves "  # who agrees without a look does not shut apps out either
    )
    assert published(run) == before
    forced = ("--yes", "--force", "--reason", "the new key comes tonight")
    assert run("pinset", "use", "localhost", payments, *forced).code == 0


def test_keys_of_cas_where_a_single_key_was_pinned_ask_first(run, pinned, authority, chain) -> None:
    Path("roots.pem").write_text(authority.pem + make_authority("Other CA").pem)
    run("pinset", "add", "trust-roots", "--roots", "roots.pem")
    done = run("pinset", "use", "localhost", "trust-roots")
    assert done.err.splitlines()[0] == (
        "error: apps will accept any certificate for localhost that one of 2 CAs issued, "
        "and nobody is here to agree"
    )
    refused = run("pinset", "use", "localhost", "trust-roots", "--yes")
    assert f"only {text_of(authority.certificate)}, the key of a CA, lets apps in" in refused.err
    forced = ("--yes", "--force", "--reason", "renewals need no new pin from now on")
    assert run("pinset", "use", "localhost", "trust-roots", *forced).code == 0
    assert run("domain", "check").out.splitlines() == [
        f"localhost: the pin {text_of(authority.certificate)} matches CN=Corp CA",
        f"  certificate of CN=localhost until {chain.leaf.not_valid_after_utc:%Y-%m-%d}, "
        "EC secp256r1",
    ]
    # From roots to fewer keys nothing is weakened.
    run("pinset", "add", "edge", text_of(chain.leaf))
    assert run("pinset", "use", "localhost", "edge").code == 0


def test_in_report_mode_nobody_is_shut_out_so_nothing_is_asked(run, payments) -> None:
    run("domain", "add", "a.test", "--pin", NEXT, "--mode", "report")
    assert run("pinset", "use", "a.test", payments).code == 0


def test_the_way_back_is_a_copy_and_asks_nothing(run, shared) -> None:
    done = run("pinset", "use", "a.test", "--own")
    assert (done.code, done.err) == (0, "")
    assert done.out == "a.test has pins of its own, those that it had, from config version 5 on.\n"
    run("pin", "add", "a.test", NEXT)
    _, follows, sets = published(run)
    assert follows == {"a.test": "a.test", "b.test": "payments"}
    assert sets == {"a.test": [PIN, NEXT], "payments": [PIN]}


def test_a_set_that_nobody_follows_is_removed(run, payments) -> None:
    done = run("pinset", "remove", payments, "--reason", "old")
    assert done.out == "The pin set payments is removed, from config version 3 on.\n"
    assert run("pinset", "list", "--json").json == []


# -- adding a domain that follows ----------------------------------------------------------------


def test_a_domain_is_added_that_follows_a_set(run, data, api, ca, chain) -> None:
    run("pinset", "add", "edge", text_of(chain.leaf))
    done = run("domain", "add", "localhost", "--port", api.port, "--ca", ca, "--pin-set", "edge")
    assert (done.code, done.err) == (0, no_backup("localhost") + NOBODY)
    assert done.out == ("localhost is pinned (enforce) by the pin set edge, in config version 3.\n")
    shown = run("domain", "show", "localhost", "--json").json
    assert (shown["pin_set"], shown["connect"]) == ("edge", f"localhost:{api.port}")
    assert run("domain", "check").code == 0


def test_a_domain_whose_host_serves_no_key_of_the_set_asks_first(run, payments, api, ca) -> None:
    address = ("--port", api.port, "--ca", ca, "--pin-set", payments)
    done = run("domain", "add", "localhost", *address)
    assert done.err.startswith(
        "error: apps would be refused: no pin matches what localhost serves now"
    )
    assert run("domain", "list", "--json").json == []
    assert run("domain", "add", "localhost", *address, "--mode", "report").code == 0


def test_a_wildcard_that_follows_a_set_is_looked_at_by_a_host(run, data, api, ca, chain) -> None:
    run("pinset", "add", "edge", text_of(chain.leaf))
    named = ("--pin-set", "edge", "--connect", f"localhost:{api.port}", "--ca", ca)
    done = run("domain", "add", "*.example.test", "--pin-set", "edge")
    assert done.err.startswith("error: apps may be refused: *.example.test is no host")
    assert run("domain", "add", "*.example.test", *named, "--look-at", "a.example.test").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--pin", PIN), 2, "expected --pin or --pin-set, found both"),
        (("--pin-level", "root"), 2, "expected --pin-level or --pin-set, found both"),
    ],
)
def test_one_way_to_pin_is_enough(run, payments, arguments, code, error) -> None:
    done = run("domain", "add", "a.test", "--pin-set", payments, *arguments)
    assert (done.code, done.err.splitlines()[0]) == (code, f"error: {error}")


def test_a_set_that_is_not_there_suggests_the_nearest_to_a_new_domain(run, payments) -> None:
    done = run("domain", "add", "a.test", "--pin-set", "paymets")
    assert (done.code, done.err.splitlines()[1]) == (3, "hint:  did you mean payments?")


# -- pins of a shared set ------------------------------------------------------------------------

WARNING = "warning: a.test follows the pin set payments: this holds for b.test too\n"
SINGLE = no_backup("a.test") + no_backup("b.test")


def test_a_pin_of_one_is_a_pin_of_all_and_says_so(run, shared) -> None:
    done = run("pin", "add", "a.test", NEXT)
    assert (done.code, done.err) == (0, WARNING + SINGLE)
    assert published(run)[2] == {"payments": [PIN, NEXT]}
    done = run("pin", "remove", "a.test", PIN, "--force", "--reason", "test", "--json")
    assert done.code == 0
    assert done.err.startswith(f"{WARNING}warning: the server could not see whether apps get in")
    assert published(run)[2] == {"payments": [NEXT]}
    done = run("pin", "new-backup", "a.test", "--out", "next.key")
    assert (done.code, done.err) == (0, WARNING)
    listed = run("pin", "list", "b.test").out.splitlines()
    assert listed[0] == "pin set payments, as a.test does"
    assert len(listed) == 4


def test_who_follows_a_set_is_shown_with_the_domain(run, shared) -> None:
    assert "  pin set   payments, as b.test does\n" in run("domain", "show", "a.test").out
    run("domain", "add", "c.test", "--pin-set", shared, "--yes")
    assert "  pin set   payments, as b.test and c.test do\n" in run("domain", "show", "a.test").out
    assert run("domain", "list").out.splitlines()[1].split()[4] == "payments"
    for host in ("b.test", "c.test"):
        run("domain", "remove", host)
    assert "  pin set   payments\n" in run("domain", "show", "a.test").out
    assert run("pin", "add", "a.test", NEXT, "--backup").err == ""


def test_the_key_that_another_domain_of_the_set_serves_stays(run, pinned, chain) -> None:
    run("pinset", "add", "edge", text_of(chain.leaf), NEXT)
    run("pinset", "use", "localhost", "edge")
    run("domain", "add", "a.test", "--pin-set", "edge", "--yes")
    done = run("pin", "remove", "a.test", text_of(chain.leaf))
    assert done.code == 1
    assert done.err.startswith("error: localhost serves this key now: without its pin")


def test_a_pin_that_counts_only_later_is_no_other_way_in(run, pinned, chain) -> None:
    leaf, issuer = text_of(chain.leaf), text_of(chain.presented[1])
    run("pin", "add", "localhost", issuer, "--not-before", "2099-01-01")
    done = run("pin", "remove", "localhost", leaf)
    assert done.code == 1
    assert done.err.startswith("error: localhost serves this key now: without its pin")


# -- replacing -----------------------------------------------------------------------------------


def test_a_set_is_replaced_and_shows_what_comes_and_goes(run, shared) -> None:
    done = run("pinset", "update", shared, NEXT, "--yes", "--reason", "next year")
    assert done.out.splitlines() == [
        f"- {PIN} key of 2026",
        f"+ {NEXT}",
        "The pin set payments holds 1 pin, in config version 5.",
    ]
    assert published(run)[2] == {"payments": [NEXT]}


def test_a_replacement_that_takes_keys_away_asks_first(run, shared) -> None:
    before = published(run)
    done = run("pinset", "update", shared, NEXT)
    assert done.code == 2
    assert done.err.splitlines()[0] == (
        "error: apps may be refused: a.test does not resolve to an address; "
        "apps may be refused: b.test does not resolve to an address, and nobody is here to agree"
    )
    assert published(run) == before
    # What only adds shuts nobody out.
    assert run("pinset", "update", shared, PIN, NEXT).code == 0


def test_many_that_may_be_shut_out_are_counted(run, payments) -> None:
    for number in range(5):
        run("domain", "add", f"h{number}.test", "--pin-set", payments, "--yes")
    done = run("pinset", "update", payments, NEXT)
    first = done.err.splitlines()[0]
    assert first.count("apps may be refused") == 3
    assert first.endswith("; and 2 more like these, and nobody is here to agree")


def test_a_replacement_that_leaves_what_is_served_asks_nothing(run, pinned, chain) -> None:
    run("pinset", "add", "edge", text_of(chain.leaf), PIN)
    run("pinset", "use", "localhost", "edge")
    done = run("pinset", "update", "edge", text_of(chain.leaf), NEXT)
    assert (done.code, done.err) == (0, no_backup("localhost"))


def test_a_pin_that_stays_keeps_its_limits_so_it_may_match_nothing_yet(run, pinned, chain) -> None:
    """The key that is served stays in the set, but counts from 2099 on: all else is what it is."""
    leaf, issuer = text_of(chain.leaf), text_of(chain.presented[1])
    run("pinset", "add", "edge", issuer, PIN)
    run("pinset", "use", "localhost", "edge", "--force", "--reason", "by the intermediate")
    assert run("pin", "add", "localhost", leaf, "--not-before", "2099-01-01").code == 0
    before = published(run)
    done = run("pinset", "update", "edge", leaf)
    assert done.code == 2
    assert done.err.startswith(
        "error: apps would be refused: no pin matches what localhost serves now"
    )
    assert published(run) == before


def test_a_replacement_by_the_same_pins_publishes_nothing(run, shared) -> None:
    before = published(run)
    done = run("pinset", "update", shared, PIN)
    assert (done.code, done.err) == (0, "")
    assert done.out == "The pin set payments holds these pins already: nothing is published.\n"
    found = run("pinset", "update", shared, PIN, "--json").json
    assert (found["publication"], found["added"], found["removed"]) == (None, [], [])
    assert published(run) == before


# -- managed trust roots -------------------------------------------------------------------------


def test_roots_are_added_and_kept_up_to_date(run, data, authority) -> None:
    first, second = make_authority("First CA"), make_authority("Second CA")
    Path("roots.pem").write_text(first.pem + second.pem)
    done = run("pinset", "add", "trust-roots", "--roots", "roots.pem")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    until = f"{first.certificate.not_valid_after_utc:%Y-%m-%d}"
    assert lines[:4] == [
        "2 roots from roots.pem",
        f"+ {text_of(first.certificate)} CN=First CA, until {until}",
        f"+ {text_of(second.certificate)} CN=Second CA, until {until}",
        "The pin set trust-roots holds 2 pins, in config version 2.",
    ]
    pins = run("pinset", "show", "trust-roots", "--json").json["pins"]
    assert [(each["label"], each["level"]) for each in pins] == [
        ("CN=First CA", "root"), ("CN=Second CA", "root"),
    ]  # fmt: skip
    Path("roots.pem").write_text(second.pem + authority.pem)
    done = run("pinset", "update", "trust-roots", "--roots", "roots.pem")
    assert done.out.splitlines() == [
        "2 roots from roots.pem",
        f"- {text_of(first.certificate)} CN=First CA",
        f"+ {text_of(authority.certificate)} CN=Corp CA, until {until}",
        "The pin set trust-roots holds 2 pins, in config version 3.",
    ]
    (newest, *_) = run("config", "log", "--json").json
    assert newest["changed"] == [
        f"- pin set trust-roots {text_of(first.certificate)} CN=First CA",
        f"+ pin set trust-roots {text_of(authority.certificate)} CN=Corp CA",
    ]


def test_the_roots_of_this_machine_are_named_loudly(run, data, tmp_path, monkeypatch) -> None:
    (tmp_path / "store.pem").write_text(make_authority("Added by a proxy").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    done = run("pinset", "add", "trust-roots", "--system-roots")
    assert done.err == (
        "warning: a trust store also holds what was added to it, such as a proxy's CA: "
        "read the list\n"
    )
    assert done.out.startswith(f"1 root from {tmp_path}/store.pem, the trust store of this machine")


def test_roots_protect_from_a_ca_that_is_not_among_them(
    run, pinned, authority, endpoint, ca
) -> None:
    Path("roots.pem").write_text(authority.pem)
    run("pinset", "add", "trust-roots", "--roots", "roots.pem")
    forced = ("--yes", "--force", "--reason", "renewals need no new pin from now on")
    run("pinset", "use", "localhost", "trust-roots", *forced)
    pinned.present(make_chain("localhost", authority=authority))  # a renewal: no new pin is needed
    assert run("domain", "check").code == 0
    other = make_authority("Installed by somebody")
    Path("other.pem").write_text(other.pem)
    pinned.present(make_chain("localhost", authority=other))
    done = run("domain", "check", "localhost", "--ca", "other.pem")
    assert (done.code, done.out.splitlines()[0]) == (
        1, "localhost: no pin matches; apps are refused",
    )  # fmt: skip
