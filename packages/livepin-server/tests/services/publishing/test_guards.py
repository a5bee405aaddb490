"""What a change needs a person's word for, and what it only warns of; and no rule has a hole."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.documents import Mode
from livepin.pins import parse_fingerprint
from livepin_server.services.publishing.difference import difference
from livepin_server.services.publishing.findings import Limits
from livepin_server.services.publishing.guards import needed

API, ANY = "api.example.com", "*.example.com"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


# -- how many domains -----------------------------------------------------------------------------


def test_more_domains_than_the_account_allows_are_refused_for_good(make_config, judged) -> None:
    hosts = {f"host-{n}.example.com": {"pins": [1], "mode": "report"} for n in range(4)}
    before, after = make_config(), make_config(hosts)
    assert judged(before, after, limits=Limits(most_domains=4)).refused == []
    found = judged(before, after, limits=Limits(most_domains=3))
    (only,) = found.standing(forced=True, confirmed=True)
    assert (only.code, only.domain) == ("too-many-domains", "")
    assert only.message == ("this change touches 4 domains, and at most 3 may be touched at once")
    assert only.hint == (
        "do it in steps, or have an admin raise the limit: livepin guards set --most-domains 4"
    )
    # To remove them is to touch them.
    assert judged(after, before, limits=Limits(most_domains=3)).refused == [only]


def test_a_new_stream_touches_nobody_for_no_app_follows_it(make_config, judged, codes) -> None:
    hosts = {f"host-{n}.example.com": [1] for n in range(4)}
    config = make_config(hosts | {API: {"pins": [1], "mode": "off", "token": True}})
    assert needed(difference(None, config), {}) == []
    assert codes(judged(None, config, limits=Limits(most_domains=1))) == {}


def test_a_new_stream_has_no_domain_without_a_pin_in_force(make_config, judged, pin, codes) -> None:
    config = make_config({API: [pin(1, NOW + timedelta(days=1))]})
    assert codes(judged(None, config)) == {"refused": ["no-pin-in-force"]}


def test_what_is_signed_again_unchanged_is_asked_nothing(make_config, judged, pin, codes) -> None:
    """Also where its pins have ended: apps would get older ones for ever."""
    config = make_config({API: [pin(1, None, NOW)]})
    assert needed(difference(config, config), {}) == []
    assert codes(judged(config, config)) == {}


# -- to be confirmed ------------------------------------------------------------------------------


def config_of(make_config, said):
    return make_config({} if said is None else {API: {"pins": [1, 2]} | said})


WITH = {"token": True}
NOT_ENFORCED, REMOVED, OFF = "token-domain-not-enforced", "token-domain-removed", "token-off"


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        (WITH, WITH | {"mode": "off"}, [NOT_ENFORCED]),
        (WITH, WITH | {"mode": "report"}, [NOT_ENFORCED]),
        (WITH | {"mode": "off"}, WITH | {"mode": "report"}, [NOT_ENFORCED]),
        ({"mode": "report"}, WITH | {"mode": "report"}, [NOT_ENFORCED]),
        (None, WITH | {"mode": "off"}, [NOT_ENFORCED]),
        (WITH, {"mode": "off"}, [NOT_ENFORCED, OFF]),  # both at once pass by neither
        (WITH, {}, [OFF]),  # nor one after the other
        (WITH, None, [REMOVED]),
        (WITH | {"mode": "off"}, None, [REMOVED]),
        (WITH | {"mode": "off"}, WITH, []),
        (WITH | {"mode": "off"}, WITH | {"mode": "off", "stale": "refuse"}, []),
        ({}, WITH, []),
        (None, WITH, []),
        ({}, {"mode": "off"}, []),
        ({}, None, []),
    ],
)
def test_to_weaken_what_tokens_protect_needs_a_word(
    make_config, judged, codes, before, after, asked
) -> None:
    found = judged(config_of(make_config, before), config_of(make_config, after), {API: [[1]]})
    assert codes(found).get("to confirm", []) == asked
    assert [each.hint for each in found.to_confirm] == ["to agree: --yes"] * len(asked)
    assert found.standing(confirmed=True) == []


def test_each_question_says_what_apps_will_do(make_config, judged) -> None:
    before = config_of(make_config, WITH)

    def asked(said):
        return [each.message for each in judged(before, config_of(make_config, said)).to_confirm]

    whatever = f"apps will connect to {API} whatever key it has"
    assert asked(WITH | {"mode": "off"}) == [f"{whatever}, though it takes tokens"]
    assert asked(WITH | {"mode": "report"}) == [
        f"{whatever}, and only report it, though it takes tokens"
    ]
    assert asked(None) == [f"{whatever}, and send no token there"]
    assert asked({}) == [f"apps will send no token to {API}"]


def test_a_host_below_a_token_wildcard_is_weakened_by_an_entry_of_its_own(
    make_config, judged, codes
) -> None:
    """The longest pattern wins whole: an entry for one host takes it out of the wildcard's."""
    any_host = {ANY: {"pins": [1, 2], "token": True}}
    after = make_config(any_host | {API: {"pins": [1, 2], "mode": "off"}})
    found = judged(make_config(any_host), after)
    assert codes(found) == {"to confirm": [NOT_ENFORCED, OFF]}


# -- warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"mode": "off"}, ""),
        ({"mode": "report"}, ", and only report it"),
        (None, ""),
    ],
)
def test_what_is_not_enforced_any_more_is_said(make_config, judged, codes, after, said) -> None:
    before = make_config({API: [1, 2]}, version=7, stream="canary")
    pinned = {} if after is None else {API: {"pins": [1, 2]} | after}
    found = judged(before, make_config(pinned, version=8, stream="canary"))
    assert codes(found) == {"warnings": ["unpinned"]}
    assert found.warnings[0].message == f"apps will connect to {API} whatever key it has{said}"
    assert found.warnings[0].hint == (
        "if that is not meant: livepin config restore 7 --stream canary"
    )


def test_a_domain_that_was_not_enforced_may_go_in_silence(make_config, judged, codes) -> None:
    before = make_config({API: {"pins": [1], "mode": "report"}})
    assert codes(judged(before, make_config())) == {}


# -- no rule has a hole ---------------------------------------------------------------------------

patterns = ["api.example.com", "www.example.com", "*.example.com", "*.eu.example.com"]
ends = st.sampled_from([None, NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)])
some_pins = st.lists(st.tuples(st.integers(1, 4), ends, ends), min_size=1, max_size=3)
entries = st.fixed_dictionaries(
    {"pins": some_pins},
    optional={"mode": st.sampled_from(["enforce", "report", "off"]), "token": st.booleans()},
)
drafts = st.dictionaries(st.sampled_from(patterns), entries, max_size=4)
chains = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=2)
served = st.fixed_dictionaries(dict.fromkeys(patterns[:2], chains))


@pytest.fixture(scope="session")
def drawn(make_config, pin):
    """Return the config of a draft."""

    def one(draft):
        return make_config(
            {name: e | {"pins": [pin(*each) for each in e["pins"]]} for name, e in draft.items()}
        )

    return one


def decides(domain) -> object:
    """What decides whether apps let a chain in."""
    return domain.mode, frozenset(domain.pins.pins)


@pytest.fixture(scope="session")
def accepts(pin_text):
    """Tell what an app does with a chain: the longest pattern decides, and what its pins match."""

    def one(config, host: str, chain: list[int]) -> bool:
        domain = config.lookup(host)
        if domain is None or domain.mode is not Mode.ENFORCE:
            return True
        keys = [parse_fingerprint(pin_text(number)) for number in chain]
        return domain.pins.match(keys, now=NOW) is not None

    return one


@settings(deadline=None, max_examples=200)
@given(drafts, drafts, served)
def test_what_passes_unforced_shuts_out_no_app_by_what_was_seen(
    drawn, accepts, judged, one, other, live
) -> None:
    before, after = drawn(one), drawn(other)
    refused = {each.domain for each in judged(before, after, live).refused}
    for host in difference(before, after).touched:
        seen = [chain for chain in live.get(host, []) if chain]
        if host in refused or not seen:
            continue
        was, now = before.lookup(host), after.lookup(host)
        anew = was is None or now is None or decides(was) != decides(now)
        assert any(accepts(after, host, chain) for chain in seen) or not anew
        if was is not None and was.mode is Mode.ENFORCE:
            # A leaf that apps accept by its own pin is not given up for one of a CA.
            leaves = [[chain[0]] for chain in seen if accepts(before, host, [chain[0]])]
            assert all(accepts(after, host, leaf) for leaf in leaves)


@settings(deadline=None, max_examples=200)
@given(drafts, drafts, served)
def test_what_is_refused_by_force_would_really_cost_an_app(
    drawn, accepts, judged, one, other, live
) -> None:
    before, after = drawn(one), drawn(other)
    for each in judged(before, after, live).refused:
        if each.forcible:
            seen = [chain for chain in live[each.domain] if chain]
            assert not all(
                accepts(after, each.domain, chain) and accepts(after, each.domain, chain[:1])
                for chain in seen
            )


@settings(deadline=None, max_examples=100)
@given(drafts, drafts, served)
def test_every_finding_says_what_is_wrong_and_what_to_do(drawn, judged, one, other, live) -> None:
    found = judged(drawn(one), drawn(other), live)
    for each in (*found.refused, *found.to_confirm, *found.warnings):
        assert each.message[0].islower() or each.message.startswith("*.")
        assert each.message[-1] != "."
        assert "livepin " in each.hint or "--" in each.hint
        assert "\n" not in each.message + each.hint
