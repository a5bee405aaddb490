"""Stories of changes that would hurt, against real endpoints: what the guards say to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import pytest
from livepin.documents import Config
from livepin.pins import Pin, PinSet, fingerprint_text
from livepin.testing import (
    Authority,
    Chain,
    RecordingServer,
    make_authority,
    make_chain,
    make_key,
    pin_of,
)
from livepin_server.probing.addresses import look_at_each
from livepin_server.probing.many import Lookout
from livepin_server.probing.probe import Observation, Target
from livepin_server.services.publishing.difference import difference
from livepin_server.services.publishing.findings import Findings, Limits
from livepin_server.services.publishing.guards import judge, needed

API, SHOP = "api.example.test", "shop.example.test"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
BACKUP, TYPO = 50, 60  # keys that nobody serves


class Endpoints:
    """Hosts with real TLS servers, each maybe at several addresses; all of one private CA."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self._stack = stack
        self._authority = authority
        self._places: dict[str, list[str]] = {}
        self.known: dict[str, Target] = {}

    def serve(self, host: str, *chains: Chain) -> None:
        """Serve each chain at an address of its own."""
        servers = [self._stack.enter_context(RecordingServer(each)) for each in chains]
        self._places[host] = [f"127.0.0.1:{each.port}" for each in servers]
        connect = self._places[host][0]
        self.known[host] = Target(host=host, connect=connect, ca=self._authority.pem)

    def chain(self, host: str, **said: object) -> Chain:
        """Return a new certificate of the private CA for a host."""
        return make_chain(host, authority=self._authority, intermediate=True, **said)

    def look(self, targets: Sequence[Target]) -> dict[Target, list[Observation]]:
        """Return what is seen of each, at all of its addresses."""
        found: dict[Target, list[Observation]] = {each: [] for each in targets}
        places = look_at_each(targets, seconds=60, resolve=lambda each: self._places[each.host])
        for at, seen in places:
            found[targets[at]].append(seen)
        return found


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A private CA."""
    return make_authority("Corp CA")


@pytest.fixture
def endpoints(authority) -> Iterator[Endpoints]:
    """Endpoints that end with the test."""
    with ExitStack() as stack:
        yield Endpoints(stack, authority)


@pytest.fixture
def api(endpoints) -> Chain:
    """The certificate that the API serves now, of a key, an intermediate CA and a root."""
    found = endpoints.chain(API)
    endpoints.serve(API, found)
    return found


@pytest.fixture
def publish(endpoints) -> Callable[..., Findings]:
    """Have the guards look and judge, as the publisher does."""

    def one(before: Config, after: Config, limits: Limits | None = None) -> Findings:
        change, known = difference(before, after), endpoints.known
        seen = endpoints.look(needed(change, known))
        return judge(change, known, seen, limits or Limits(), now=NOW)

    return one


def text(pin: Pin) -> str:
    return fingerprint_text(pin.sha256 or b"")


# -- mistakes -------------------------------------------------------------------------------------


def test_a_tired_operator_removes_the_pin_that_is_served(make_config, publish, codes, api) -> None:
    """He meant the old one; this is the one that every app needs tonight."""
    before = make_config({API: [api.pin, BACKUP]})
    found = publish(before, make_config({API: [BACKUP]}))
    assert codes(found)["refused"] == ["drops-served-pin"]
    assert text(api.pin) in found.refused[0].message
    # The key was stolen, and he means it.
    assert found.standing(forced=True) == []
    # What he meant passes without a word.
    assert codes(publish(make_config({API: [api.pin, BACKUP, 7]}), before)) == {}


def test_he_moves_the_host_to_a_shared_set_that_has_not_its_key(
    make_config, publish, codes, api
) -> None:
    before = make_config({API: [api.pin], SHOP: "payments"}, {"payments": [BACKUP, 7]})
    after = make_config({API: "payments", SHOP: "payments"}, {"payments": [BACKUP, 7]})
    found = publish(before, after)
    assert codes(found)["refused"] == ["drops-served-pin"]


def test_he_pins_the_ca_instead_of_the_key(make_config, publish, codes, api) -> None:
    """Apps get in by the chain that this server verified; a device may build another one."""
    before = make_config({API: [api.pin, BACKUP]})
    after = make_config({API: [api.intermediate.pin, BACKUP]})
    found = publish(before, after)
    assert codes(found)["refused"] == ["drops-served-pin"]
    assert text(api.intermediate.pin) in found.refused[0].message
    # First both, then one: the key that apps need was never away.
    both = make_config({API: [api.intermediate.pin, api.pin, BACKUP]})
    assert codes(publish(before, both)) == {}


def test_a_host_is_added_with_a_typo_in_its_pin(make_config, publish, codes, api) -> None:
    found = publish(make_config(), make_config({API: [TYPO, BACKUP]}))
    assert codes(found)["refused"] == ["no-chain-matches"]
    assert f"livepin domain add {API} --pin {text(api.pin)}" in found.refused[0].hint


def test_the_certificate_was_changed_and_the_wrong_key_is_pinned_in_the_hurry(
    make_config, publish, codes, api
) -> None:
    before = make_config({API: [BACKUP]})
    found = publish(before, make_config({API: [BACKUP, TYPO]}))
    assert codes(found)["refused"] == ["no-chain-matches"]
    assert f"livepin pin add {API} {text(api.pin)}" in found.refused[0].hint
    assert codes(publish(before, make_config({API: [BACKUP, api.pin]}))) == {}


def test_the_new_pins_start_tomorrow(make_config, publish, codes, api) -> None:
    """The night until then, no pin would count at all: nobody can insist on that."""
    tomorrow = NOW + timedelta(days=1)
    before = make_config({API: [api.pin, BACKUP]})
    late = [Pin(api.pin.sha256, tomorrow), Pin(pin_of(api.leaf).sha256, None, NOW)]
    found = publish(before, make_config({API: late}))
    assert [each.code for each in found.standing(forced=True)] == ["no-pin-in-force"]
    assert "2026-11-24 12:00 UTC" in found.refused[0].message
    # Beside the pin of today they are what limits in time are for; when it ends, he is told.
    planned = [Pin(api.pin.sha256, None, tomorrow + timedelta(hours=1)), Pin(b"n" * 32, tomorrow)]
    found = publish(before, make_config({API: planned}))
    assert codes(found) == {"warnings": ["served-pin-ends"]}
    assert "from 2026-11-24 13:00 UTC on" in found.warnings[0].message


def test_a_host_is_enforced_that_was_only_reported(make_config, publish, codes, api) -> None:
    before = make_config({API: {"pins": [TYPO, BACKUP], "mode": "report"}})
    after = make_config({API: [TYPO, BACKUP]})
    assert codes(publish(before, after))["refused"] == ["no-chain-matches"]


def test_a_host_is_taken_out_and_the_wildcard_above_it_has_other_pins(
    make_config, publish, codes, api
) -> None:
    """Removing looks harmless, for what is not listed is not pinned. This one still is."""
    any_host = {"*.example.test": [TYPO, BACKUP]}
    found = publish(make_config({API: [api.pin], **any_host}), make_config(any_host))
    assert codes(found)["refused"] == ["drops-served-pin"]
    assert "*.example.test would not pin any more" in found.refused[0].message


def test_a_shared_set_is_changed_that_a_hundred_and_fifty_hosts_follow(
    make_config, endpoints, publish, codes
) -> None:
    chain = endpoints.chain("*.example.test")
    hosts = [f"host-{n:03}.example.test" for n in range(150)]
    endpoints.serve(hosts[0], chain)
    place = endpoints.known[hosts[0]]
    for host in hosts[1:]:
        endpoints.known[host] = place  # one load balancer
    follow = dict.fromkeys(hosts, "payments")
    before = make_config(follow, {"payments": [chain.pin, BACKUP]})
    after = make_config(follow, {"payments": [BACKUP]})
    found = publish(before, after)
    assert [each.code for each in found.standing(forced=True)] == ["too-many-domains"]
    assert "touches 150 domains, and at most 100" in found.refused[0].message
    # An admin has raised the limit: then it is the pin that stands against it, host by host.
    found = publish(before, after, Limits(most_domains=150))
    assert {each.code for each in found.refused[:-1]} == {"drops-served-pin"}
    assert found.refused[-1].message == "and 131 more like these"
    assert found.standing(forced=True) == []
    wider = make_config(follow, {"payments": [chain.pin, BACKUP, 7]})
    assert codes(publish(before, wider, Limits(most_domains=150))) == {}


def test_a_load_balancer_has_two_certificates_and_one_of_them_matches(
    make_config, endpoints, publish, codes
) -> None:
    first, second = endpoints.chain(API), endpoints.chain(API)
    endpoints.serve(API, first, second)
    found = publish(make_config(), make_config({API: [first.pin, BACKUP]}))
    assert codes(found) == {"warnings": ["not-matched-everywhere"]}
    assert text(second.pin) in found.warnings[0].message
    assert "serves at 127.0.0.1" in found.warnings[0].message
    # The pin of either is served at this moment.
    both = make_config({API: [first.pin, second.pin, BACKUP]})
    for gone, kept in ((first, second), (second, first)):
        found = publish(both, make_config({API: [kept.pin, BACKUP]}))
        assert codes(found)["refused"] == ["drops-served-pin"]
        assert text(gone.pin) in found.refused[0].message


def test_the_endpoint_cannot_be_reached_from_the_server(make_config, endpoints, publish) -> None:
    gone = RecordingServer(endpoints.chain(API))
    endpoints.serve(API, endpoints.chain(API))
    gone.close()
    endpoints._places[API] = [f"127.0.0.1:{gone.port}"]
    found = publish(make_config(), make_config({API: [TYPO, BACKUP]}))
    (only,) = found.warnings
    assert (only.code, found.refused) == ("not-seen", [])
    assert "refused the connection" in only.message


# -- who sits between the server and the endpoint -------------------------------------------------


@pytest.fixture
def pinned(authority) -> Pin:
    """The pin of the backup key of the API."""
    return pin_of(make_chain(API, authority=authority).leaf)


def test_a_chain_with_a_pinned_certificate_appended_is_judged_by_what_was_verified(
    make_config, endpoints, publish, codes
) -> None:
    """Anybody can append the certificate whose key is pinned (CVE-2016-2402)."""
    real, hostile = endpoints.chain(API), endpoints.chain(API)
    endpoints.serve(API, hostile.also_presenting(real.leaf))
    found = publish(make_config(), make_config({API: [real.pin, BACKUP]}))
    assert codes(found) == {"refused": ["no-chain-matches"]}
    assert text(hostile.pin) in found.refused[0].message


def test_a_chain_of_a_ca_that_nobody_trusts_makes_nobody_believe_it(
    make_config, endpoints, publish, codes
) -> None:
    """With the pinned leaf in it, or without: it can hide the endpoint, and nothing more."""
    real = endpoints.chain(API)
    hostile = make_chain(API, authority=make_authority("Corp CA"), key=make_key())
    for chain in (hostile, hostile.also_presenting(real.leaf, real.authority.certificate)):
        endpoints.serve(API, chain)
        for pins in ([real.pin, BACKUP], [hostile.pin, BACKUP]):
            found = publish(make_config(), make_config({API: pins}))
            assert codes(found) == {"warnings": ["not-seen"]}
            assert "certificate is not valid" in found.warnings[0].message


def test_who_holds_a_certificate_of_the_ca_can_make_it_refuse_and_no_more(
    make_config, endpoints, publish, codes
) -> None:
    real, hostile = endpoints.chain(API), endpoints.chain(API)
    endpoints.serve(API, hostile)
    before = make_config({API: [real.pin, BACKUP]})
    found = publish(before, make_config({API: [real.pin, 7]}))
    assert codes(found) == {"refused": ["no-chain-matches"]}
    # The hint does not take the key for the owner's.
    assert found.refused[0].hint.startswith("if that key is yours: ")
    assert found.standing(forced=True) == []


def test_a_subject_that_would_rewrite_a_terminal_is_in_no_sentence(
    make_config, authority, endpoints, publish
) -> None:
    hostile = make_authority("\x1b[2J all is well", issuer=authority)
    endpoints.serve(API, make_chain(API, authority=authority, intermediate=hostile))
    found = publish(make_config(), make_config({API: [TYPO, BACKUP]}))
    assert "all is well" not in str(found)


# -- the whole way --------------------------------------------------------------------------------


def test_a_child_process_sees_what_the_guards_need(make_config, endpoints, api, codes) -> None:
    other = endpoints.chain(SHOP)
    endpoints.serve(SHOP, other)
    before = make_config({API: [api.pin, BACKUP], SHOP: [other.pin, BACKUP]})
    after = make_config({API: [BACKUP], SHOP: [other.pin, 7]})
    change = difference(before, after)
    seen = Lookout(seconds=60).look(needed(change, endpoints.known))
    found = judge(change, endpoints.known, seen, Limits(), now=NOW)
    assert [(each.code, each.domain) for each in found.refused] == [("drops-served-pin", API)]
    assert PinSet((other.pin,)).texts(now=NOW)[0] in {e.sha256 for e in seen[
        endpoints.known[SHOP]][0].chain}  # fmt: skip
