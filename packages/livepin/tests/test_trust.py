"""The rules of trust, one by one: what each accepts and refuses, and by which number."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.bootstrap import Bootstrap
from livepin.documents import Mode
from livepin.errors import MalformedError, RollbackError, VerificationError
from livepin.jose import PrivateKey, b64url_encode, sign_general
from livepin.trust import MAX_STORED, TrustedState

if TYPE_CHECKING:
    from conftest import Account

DAY, HOUR, MINUTE, SECOND = (timedelta(seconds=n) for n in (86400, 3600, 60, 1))
STRANGER = PrivateKey.generate()
KIB, MIB = 1024, 1024 * 1024


def refused(rule: int, step: Callable[..., Any], *args: Any, **options: Any) -> VerificationError:
    """Check that a step is refused by this rule."""
    with pytest.raises(VerificationError) as caught:
        step(*args, **options)
    assert caught.value.rule == rule, str(caught.value)
    assert isinstance(caught.value, RollbackError) is (rule == 7)
    return caught.value


def give(state: TrustedState, account: Account, raw: bytes, **options: Any) -> TrustedState:
    """Give the app an override."""
    settings = {"thumbprint": account.thumbprint, "now": account.now} | options
    return state.advance_override(raw, **settings)


def second_root(account: Account, **roles: Any) -> bytes:
    """Return root 2, of which roles differ."""
    return account.root(2, roles=account.root_members()["roles"] | roles)


def rotated(account: Account) -> TrustedState:
    """Return a state under root 2, which has another config and another override key."""
    raw = second_root(
        account,
        config=account.role(account.keys["config"][1]),
        override=account.role(account.keys["override"][1]),
    )
    return account.state().advance_root(raw)


def deep(levels: int) -> Any:
    """Return arrays in arrays."""
    return [deep(levels - 1)] if levels > 1 else []


# -- the bootstrap -----------------------------------------------------------------------------


def test_an_app_starts_with_what_its_bootstrap_holds(account: Account) -> None:
    state = account.state(version=7)
    assert (state.account, state.stream, state.order) == ("acme", "main", (1, 7))
    assert state.root.version == 1
    assert state.config.version == 7
    assert state.lookup("api.example.com").pins.texts(now=account.now)
    assert state.trusted_override is None


def test_the_latest_issue_of_a_bootstrap_is_the_later_of_root_and_config(account: Account) -> None:
    assert account.state(issued=account.at(days=3)).latest_issued == account.now + 3 * DAY
    assert account.state(issued=account.at(days=-3)).latest_issued == account.now


def bootstraps(account: Account) -> list[tuple[int, Bootstrap]]:
    """Return bootstraps that are refused, each with its rule before it."""
    make = account.bootstrap
    two = account.role(*account.keys["root"][:2], threshold=2)
    roles = account.root_members()["roles"] | {"root": two}
    return [
        (1, make(root=account.root() + b" " * 256 * KIB)),  # root too large
        (1, make(config=b"A" * (8 * MIB + 1))),  # config too large
        (1, make(root=b'{"x":' + b"[" * 8 + b"]" * 8 + b"}")),  # root too deep
        (2, make(root=b"{}")),  # root is no JWS
        (2, make(config=b"..")),  # config is no JWS
        (2, make(config=account.config(by=STRANGER))),  # config of an unknown key
        (2, make(config=account.config(by=account.keys["root"][0]))),  # config by the root key
        (3, make(root=account.root(by=[STRANGER]))),  # root by a stranger
        (3, make(root=account.root(roles=roles))),  # root below its threshold
        (4, make(root=account.root(version=0))),  # root is no document
        (4, make(config=account.config(domains=None))),  # config is no document
        (5, make(config=account.config(account="other"))),  # config of another account
        (6, make(config=account.config(root_version=2))),  # config under another root
    ]


def test_a_bootstrap_whose_parts_do_not_belong_together_is_refused(account: Account) -> None:
    for rule, bootstrap in bootstraps(account):
        refused(rule, TrustedState.from_bootstrap, bootstrap)


def test_a_bootstrap_whose_config_was_altered_is_refused(account: Account) -> None:
    header, _, signature = account.config().split(b".")
    payload = json.dumps(account.config_members(2)).encode()
    altered = b".".join([header, b64url_encode(payload), signature])
    refused(3, TrustedState.from_bootstrap, account.bootstrap(config=altered))


def test_an_expired_bootstrap_is_taken(account: Account) -> None:
    root = account.root(issued=account.at(days=-2000), expires=account.at(days=-900))
    config = account.config(issued=account.at(days=-2000), expires=account.at(days=-1986))
    state = TrustedState.from_bootstrap(account.bootstrap(root, config))
    assert state.is_stale(now=account.now)
    assert state.lookup("api.example.com").mode is Mode.ENFORCE


# -- rule 1: bounded before parsed -------------------------------------------------------------


def filled(account: Account, role: str, limit: int, **members: Any) -> tuple[bytes, bytes]:
    """Return the longest document that fits into `limit`, and one of a few bytes more."""
    payload = json.dumps(getattr(account, f"{role}_members")(2, **members)).encode()
    spare = limit - len(account.sign(payload, role))
    fitting = account.sign(payload + b" " * (spare * 3 // 4), role)
    longer = account.sign(payload + b" " * (spare * 3 // 4 + 3), role)
    assert limit - 4 <= len(fitting) <= limit < len(longer)
    return fitting, longer


def test_a_config_has_at_most_8_mib(account: Account) -> None:
    fitting, longer = filled(account, "config", 8 * MIB)
    assert account.state().advance_config(fitting).order == (1, 2)
    refused(1, account.state().advance_config, longer)
    refused(1, account.state().missing_roots, longer)


def test_an_override_has_at_most_64_kib(account: Account) -> None:
    fitting, longer = filled(account, "override", 64 * KIB)
    assert give(account.state(), account, fitting).trusted_override
    refused(1, give, account.state(), account, longer)


def test_a_root_has_at_most_256_kib(account: Account) -> None:
    raw = account.root(2)
    raw += b" " * (256 * KIB - len(raw))
    assert account.state().advance_root(raw).root.version == 2
    refused(1, account.state().advance_root, raw + b" ")


@pytest.mark.parametrize("size", [8 * MIB + 1, 256 * KIB + 1, 64 * KIB + 1])
def test_rubbish_is_measured_before_it_is_read(account: Account, size: int) -> None:
    state, raw = account.state(), b"A" * size
    refused(1 if size > 64 * KIB else 2, give, state, account, raw)
    refused(1 if size > 256 * KIB else 2, state.advance_root, raw)
    refused(1 if size > 8 * MIB else 2, state.advance_config, raw)


def test_a_payload_nests_at_most_8_levels(account: Account) -> None:
    state = account.state()
    assert state.advance_config(account.config(2, x=deep(7))).order == (1, 2)
    assert give(state, account, account.override(x=deep(7))).trusted_override
    assert state.advance_root(account.root(2, x=deep(7))).root.version == 2
    refused(1, state.advance_config, account.config(2, x=deep(8)))
    refused(1, state.missing_roots, account.config(2, x=deep(8)))
    refused(1, give, state, account, account.override(x=deep(8)))
    refused(1, state.advance_root, account.root(2, x=deep(8)))
    refused(1, state.advance_root, account.root(2)[:-1] + b',"x":' + b"[" * 8 + b"]" * 8 + b"}")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (1, range(2, 2)),
        (2, range(2, 3)),
        (5, range(2, 6)),
        (33, range(2, 34)),
        (34, range(2, 34)),
        (2**53 - 1, range(2, 34)),
    ],
)
def test_at_most_32_roots_are_missing_at_once(
    account: Account, named: int, expected: range
) -> None:
    raw = account.config(2, root_version=named, by=STRANGER)
    found = account.state().missing_roots(raw)
    assert found == expected
    assert len(found) <= 32


def test_who_is_40_roots_behind_catches_up_in_two_updates(account: Account) -> None:
    state = account.state()
    raw = account.config(2, root_version=41)
    steps = []
    while missing := state.missing_roots(raw):
        steps.append(len(missing))
        refused(6, state.advance_config, raw)
        for version in missing:
            state = state.advance_root(account.root(version))
    assert steps == [32, 8]
    assert state.advance_config(raw).order == (41, 2)
    again = TrustedState.load(
        state.advance_config(raw).dump(), account.bootstrap(), now=account.now
    )
    assert again.order == (41, 2)


def test_an_older_root_is_never_missing(account: Account) -> None:
    state = account.state().advance_root(account.root(2))
    assert not state.missing_roots(account.config(2, root_version=1))
    assert state.missing_roots(account.config(2, root_version=3)) == range(3, 4)


def test_what_names_no_root_is_refused_before_a_root_is_fetched(account: Account) -> None:
    state = account.state()
    refused(2, state.missing_roots, b"rubbish")
    refused(2, state.missing_roots, account.override())
    refused(4, state.missing_roots, account.config(2, root_version="2"))
    refused(4, state.missing_roots, account.sign(b"[]", "config"))


def test_the_roots_that_an_override_needs_are_missing_as_those_of_a_config(
    account: Account,
) -> None:
    state = account.state()
    missing = state.missing_roots_of_override
    assert not missing(account.override(root_version=1))
    assert missing(account.override(root_version=3, by=STRANGER)) == range(2, 4)
    assert len(missing(account.override(root_version=2**53 - 1))) == 32
    refused(2, missing, b"rubbish")
    refused(2, missing, account.config(2))
    refused(4, missing, account.override(root_version="2"))
    refused(1, missing, account.override(x=deep(8)))


# -- rule 2: the header ------------------------------------------------------------------------


def test_a_document_counts_only_as_what_its_typ_says(account: Account) -> None:
    state, key = account.state(), account.keys["config"][0]
    as_override = account.sign(json.dumps(account.config_members(2)).encode(), "override", by=key)
    refused(2, state.advance_config, as_override)
    refused(2, give, state, account, account.config(2))
    refused(2, state.advance_root, account.config(2))
    refused(2, state.advance_config, account.root(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"crit": ["exp"]},
        {"jwk": STRANGER.public.jwk()},
        {"jku": "https://evil.example"},
        {"x5u": "https://evil.example"},
        {"x5c": []},
        {"kid": None},
        {"kid": "x" * 43},
        {"typ": "JWT"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_header_that_is_not_as_expected_is_refused(
    account: Account, changes: dict[str, Any]
) -> None:
    for role in ("config", "override"):
        key = account.keys[role][0]
        header = {"alg": "ES256", "kid": key.public.kid, "typ": f"livepin-{role}+jws"} | changes
        members = getattr(account, f"{role}_members")(2)
        parts = [b64url_encode(json.dumps(each).encode()) for each in (header, members)]
        raw = b".".join([*parts, b64url_encode(key.sign(b".".join(parts)))])
        if role == "config":
            refused(2, account.state().advance_config, raw)
        else:
            refused(2, give, account.state(), account, raw)


def test_a_key_without_the_role_is_refused(account: Account) -> None:
    state, keys = account.state(), account.keys
    for key in (STRANGER, keys["root"][0], keys["override"][0], keys["config"][1]):
        refused(2, state.advance_config, account.config(2, by=key))
    for key in (STRANGER, keys["root"][0], keys["config"][0], keys["override"][1]):
        refused(2, give, state, account, account.override(by=key))


def test_a_root_with_a_signature_of_a_stranger_is_refused(account: Account) -> None:
    raw = account.root(2, by=[account.keys["root"][0], STRANGER])
    refused(2, account.state().advance_root, raw)


# -- rule 3: signatures ------------------------------------------------------------------------


def forged(raw: bytes, payload: Any) -> bytes:
    """Return a compact JWS with another payload under the same signature."""
    header, _, signature = raw.split(b".")
    return b".".join([header, b64url_encode(json.dumps(payload).encode()), signature])


def test_a_payload_that_nobody_signed_is_refused(account: Account) -> None:
    state = account.state()
    off = account.config_members(2, domains=[])
    refused(3, state.advance_config, forged(account.config(2), off))
    refused(3, give, state, account, forged(account.override(), account.override_members(2)))
    root = json.loads(account.root(2))
    root["payload"] = b64url_encode(json.dumps(account.root_members(3)).encode()).decode()
    refused(3, state.advance_root, json.dumps(root).encode())


def test_a_key_that_claims_the_kid_of_another_is_refused(account: Account) -> None:
    head = account.config(2).split(b".")[0]
    payload = b64url_encode(json.dumps(account.config_members(2)).encode())
    value = b64url_encode(STRANGER.sign(head + b"." + payload))
    refused(3, account.state().advance_config, b".".join([head, payload, value]))


def two_of_three(account: Account) -> TrustedState:
    """Return a state whose root needs two of three keys."""
    keys = account.keys["root"]
    roles = account.root_members()["roles"] | {"root": account.role(*keys, threshold=2)}
    first = account.root(by=keys[:2], roles=roles)
    return TrustedState.from_bootstrap(account.bootstrap(first))


@pytest.mark.parametrize(
    ("signers", "taken"),
    [([0], False), ([0, 0], False), ([2, 2, 2], False), ([0, 1], True), ([2, 1], True),
     ([0, 1, 2], True), ([0, 0, 1], True)],
)  # fmt: skip
def test_the_threshold_counts_distinct_keys(
    account: Account, signers: list[int], taken: bool
) -> None:
    keys = account.keys["root"]
    state = two_of_three(account)
    roles = account.root_members()["roles"] | {"root": account.role(*keys, threshold=2)}
    raw = account.root(2, by=[keys[n] for n in signers], roles=roles)
    if taken:
        assert state.advance_root(raw).root.version == 2
    else:
        refused(3, state.advance_root, raw)


def test_one_false_signature_spoils_enough_true_ones(account: Account) -> None:
    keys = account.keys["root"]
    raw = json.loads(account.root(2, by=keys))
    raw["signatures"][2]["signature"] = raw["signatures"][1]["signature"]
    refused(3, two_of_three(account).advance_root, json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("signers", "taken"), [([0], False), ([1], False), ([0, 1], True), ([1, 0], True)]
)
def test_a_new_root_key_is_vouched_for_by_the_old_and_signs_itself(
    account: Account, signers: list[int], taken: bool
) -> None:
    keys = account.keys["root"]
    roles = account.root_members()["roles"] | {"root": account.role(keys[1])}
    raw = account.root(2, by=[keys[n] for n in signers], roles=roles)
    if not taken:
        refused(3, account.state().advance_root, raw)
        return
    state = account.state().advance_root(raw)
    refused(3, state.advance_root, account.root(3, by=[keys[0]], roles=roles))
    assert state.advance_root(account.root(3, by=[keys[1]], roles=roles)).root.version == 3


def test_a_raised_threshold_holds_for_the_root_that_raises_it(account: Account) -> None:
    keys = account.keys["root"]
    roles = account.root_members()["roles"] | {"root": account.role(*keys, threshold=3)}
    for number in (1, 2):
        refused(3, account.state().advance_root, account.root(2, by=keys[:number], roles=roles))
    assert account.state().advance_root(account.root(2, by=keys, roles=roles))


def test_a_lowered_threshold_needs_the_old_one(account: Account) -> None:
    keys, state = account.keys["root"], two_of_three(account)
    refused(3, state.advance_root, account.root(2, by=keys[:1]))
    with_both = account.root(2, by=keys[:2])
    assert state.advance_root(with_both).root.roles["root"].threshold == 1


# -- rule 4: the payload -----------------------------------------------------------------------


def test_a_payload_is_read_only_when_it_is_signed(account: Account) -> None:
    state = account.state()
    refused(4, state.advance_config, account.config(2, domains=None))
    refused(4, give, state, account, account.override(installation="x"))
    refused(4, state.advance_root, account.root(2, roles={}))
    refused(3, state.advance_config, forged(account.config(2), []))
    refused(3, state.advance_root, account.root(2, by=[STRANGER], roles={}))


def test_a_critical_member_that_is_not_known_is_refused(account: Account) -> None:
    state = account.state()
    refused(4, state.advance_config, account.config(2, critical=["future"]))
    refused(4, state.advance_root, account.root(2, critical=["future"]))
    refused(4, give, state, account, account.override(critical=["future"]))
    assert state.advance_config(account.config(2, future=1)).order == (1, 2)


@given(data=st.data())
def test_a_signed_payload_of_any_shape_is_taken_or_refused(
    data: st.DataObject, account: Account, mangled, damaged
) -> None:
    state = account.state()
    role = data.draw(st.sampled_from(["config", "override", "root"]))
    members = getattr(account, f"{role}_members")(2)
    changed = mangled(members).map(lambda each: json.dumps(each).encode())
    payload = data.draw(changed | damaged(json.dumps(members).encode()) | st.binary())
    try:
        if role == "config":
            raw = account.sign(payload, role)
            state.missing_roots(raw)
            found = state.advance_config(raw)
        elif role == "override":
            found = give(state, account, account.sign(payload, role))
        else:
            signers = [account.keys["root"][0]]
            found = state.advance_root(
                sign_general(payload, typ="livepin-root+jws", signers=signers)
            )
    except VerificationError as exc:
        found, rule = state, exc.rule
    else:
        rule = 0
    assert rule in (0, 1, 2, 3, 4, 5, 6, 7, 9)
    assert load(found, account) == found


@given(data=st.data())
def test_a_damaged_document_is_refused_or_is_the_same(
    data: st.DataObject, account: Account, damaged, signed: dict[str, bytes]
) -> None:
    state = account.state()
    role = data.draw(st.sampled_from(sorted(signed)))
    raw = data.draw(damaged(signed[role]) | st.binary())
    steps = {
        "config": state.advance_config,
        "root": state.advance_root,
        "override": lambda each: give(state, account, each),
    }
    try:
        found = steps[role](raw)
    except VerificationError:
        return
    if role == "root":  # white space in its JSON is free
        assert found.root == state.advance_root(signed[role]).root
    else:
        assert raw == signed[role]


@pytest.fixture(scope="module")
def signed(account: Account) -> dict[str, bytes]:
    """One valid document of each kind."""
    return {
        "config": account.config(2),
        "root": account.root(2),
        "override": account.override(),
    }


# -- rule 5: ours ------------------------------------------------------------------------------


def test_documents_of_another_account_are_refused(account: Account) -> None:
    state = account.state()
    refused(5, state.advance_config, account.config(2, account="other"))
    refused(5, state.advance_root, account.root(2, account="other"))
    refused(5, give, state, account, account.override(account="other"))


def test_a_config_of_another_stream_is_refused(account: Account) -> None:
    refused(5, account.state().advance_config, account.config(2, stream="canary"))
    state = account.state(stream="canary")
    refused(5, state.advance_config, account.config(2))
    assert state.advance_config(account.config(2, stream="canary")).stream == "canary"


# -- rule 6: roots advance one by one ----------------------------------------------------------


@pytest.mark.parametrize("version", [1, 3, 4, 2**53 - 1])
def test_a_root_that_is_not_the_next_is_refused(account: Account, version: int) -> None:
    refused(6, account.state().advance_root, account.root(version))


def test_an_expired_root_does_not_stop_the_walk(account: Account) -> None:
    state = account.state()
    for version in range(2, 6):
        raw = account.root(version, issued=account.at(days=-3000), expires=account.at(days=-2000))
        state = state.advance_root(raw)
    assert state.root.version == 5
    assert state.advance_config(account.config(1, root_version=5)).order == (5, 1)


def test_a_root_that_expires_before_its_issue_is_one(account: Account) -> None:
    raw = account.root(2, issued=account.at(days=900), expires=0)
    assert account.state().advance_root(raw).root.version == 2


def test_the_older_config_stays_active_until_one_under_the_new_root(account: Account) -> None:
    state = rotated(account)
    assert (state.root.version, state.order) == (2, (1, 1))
    assert state.lookup("api.example.com").mode is Mode.ENFORCE


def test_a_config_is_judged_by_the_root_that_it_names(account: Account) -> None:
    old, new = account.keys["config"][:2]
    state = rotated(account)
    refused(2, state.advance_config, account.config(2, root_version=2, by=old))
    refused(2, state.advance_config, account.config(2, root_version=1, by=new))
    refused(7, state.advance_config, account.config(2, root_version=1, by=old))
    refused(6, state.advance_config, account.config(2, root_version=3, by=new))
    assert state.advance_config(account.config(1, root_version=2, by=new)).order == (2, 1)


def test_a_config_under_a_root_that_is_not_known_yet_is_refused(account: Account) -> None:
    refused(6, account.state().advance_config, account.config(2, root_version=2))


def test_an_override_is_judged_by_the_newest_root(account: Account) -> None:
    old, new = account.keys["override"][:2]
    state = rotated(account)
    refused(2, give, state, account, account.override(root_version=2, by=old))
    refused(6, give, state, account, account.override(root_version=1, by=new))
    refused(6, give, state, account, account.override(root_version=3, by=new))
    assert give(state, account, account.override(root_version=2, by=new)).trusted_override


# -- rule 7: no rollback -----------------------------------------------------------------------


def test_an_older_config_is_refused(account: Account) -> None:
    state = account.state(version=7)
    error = refused(7, state.advance_config, account.config(6))
    assert "root 1, version 7" in str(error)
    assert "root 1, version 6" in str(error)


def test_the_same_version_with_other_content_is_refused(account: Account) -> None:
    refused(7, account.state().advance_config, account.config(1, refresh_interval=301))


def test_the_same_payload_signed_again_changes_nothing(account: Account) -> None:
    state = account.state()
    again = account.config()
    assert again != state.trusted_config.raw
    assert state.advance_config(again) is state


@pytest.mark.parametrize("version", [2, 3, 2**53 - 1])
def test_a_later_version_is_taken_even_if_some_were_missed(account: Account, version: int) -> None:
    assert account.state().advance_config(account.config(version)).order == (1, version)


def test_a_higher_root_starts_the_count_anew_and_cures_a_fast_forward(account: Account) -> None:
    stolen = account.config(2**53 - 1, issued=account.at(days=9000))
    state = account.state().advance_config(stolen)
    refused(7, state.advance_config, account.config(2))
    new = account.keys["config"][1]
    state = state.advance_root(second_root(account, config=account.role(new)))
    assert state.latest_issued == account.now
    state = state.advance_config(account.config(1, root_version=2, by=new))
    assert state.order == (2, 1)
    assert not state.clock_is_wrong(now=account.now)
    refused(7, state.advance_config, stolen)


def test_a_config_from_before_the_root_of_the_bootstrap_is_refused(account: Account) -> None:
    bootstrap = account.bootstrap(account.root(5), account.config(1, root_version=5))
    state = TrustedState.from_bootstrap(bootstrap)
    refused(7, state.advance_config, account.config(9, root_version=4))


def test_an_older_override_is_refused(account: Account) -> None:
    state = give(account.state(), account, account.override(5))
    refused(7, give, state, account, account.override(4))
    refused(7, give, state, account, account.override(5, expires=account.at(days=2)))
    assert give(state, account, account.override(5)) is state
    assert give(state, account, account.override(6)).override_floor == 6


def test_an_override_that_ended_does_not_come_back(account: Account) -> None:
    raw = account.override(5)
    state = give(account.state(), account, raw).with_run_time(2 * DAY, now=account.now)
    assert state.trusted_override is None
    refused(7, give, state, account, raw)


# -- rule 8: time never blocks and never unpins ------------------------------------------------

CLOCKS = {
    "a year slow": (timedelta(days=-365), True),
    "a day slow": (-DAY, True),
    "six minutes slow": (-6 * MINUTE, True),
    "five minutes and a second slow": (-5 * MINUTE - SECOND, True),
    "five minutes slow": (-5 * MINUTE, False),
    "right": (timedelta(), False),
    "20 days fast": (20 * DAY, False),
    "a year fast": (timedelta(days=365), False),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_an_emergency_config_is_taken_whatever_the_clock_says(account: Account, clock: str) -> None:
    off, wrong = CLOCKS[clock]
    now = account.now + off
    emergency = account.config(2, pin_sets={"api": [account.pin(7)]})
    state = load(account.state(), account, now=now).advance_config(emergency)
    state = load(state, account, now=now)
    assert state.order == (1, 2)
    assert state.clock_is_wrong(now=now) is wrong
    assert state.trusted_now(now=now) == max(now, account.now)
    pins = state.lookup("api.example.com").pins
    assert pins.match([b"\7" * 32], now=state.trusted_now(now=now))
    assert not pins.match([b"\1" * 32], now=state.trusted_now(now=now))


def test_an_expired_config_with_a_higher_version_is_taken(account: Account) -> None:
    raw = account.config(2, issued=account.at(days=-99), expires=account.at(days=-85))
    state = account.state().advance_config(raw)
    assert state.order == (1, 2)
    assert state.is_stale(now=account.now)
    assert state.latest_issued == account.now


def test_a_store_after_60_days_offline_is_enforced_and_stale(account: Account) -> None:
    stored = account.state().advance_config(account.config(2)).dump()
    now = account.now + 60 * DAY
    state = TrustedState.load(stored, account.bootstrap(), now=now)
    assert state.order == (1, 2)
    assert state.is_stale(now=now)
    assert state.is_past_grace(now=now)
    domain = state.lookup("api.example.com")
    assert domain.mode is Mode.ENFORCE
    assert domain.pins.match([b"\1" * 32], now=state.trusted_now(now=now))


@pytest.mark.parametrize(
    ("after", "stale", "past_grace"),
    [
        (timedelta(), False, False),
        (14 * DAY - SECOND, False, False),
        (14 * DAY, True, False),
        (17 * DAY - SECOND, True, False),
        (17 * DAY, True, True),
        (-DAY, False, False),
    ],
)
def test_a_config_becomes_stale_and_then_passes_its_grace(
    account: Account, after: timedelta, stale: bool, past_grace: bool
) -> None:
    state = account.state(stale_grace=3 * 86400)
    assert state.is_stale(now=account.now + after) is stale
    assert state.is_past_grace(now=account.now + after) is past_grace


def test_a_clock_set_back_does_not_make_a_config_fresh(account: Account) -> None:
    state = account.state(expires=account.at(days=-1), stale_grace=3600)
    long_ago = account.now - 3000 * DAY
    assert state.is_stale(now=long_ago)
    assert state.is_past_grace(now=long_ago)


def test_the_latest_issue_only_grows_under_one_root(account: Account) -> None:
    state = account.state().advance_config(account.config(2, issued=account.at(days=5)))
    state = state.advance_config(account.config(3, issued=account.at(days=-5)))
    assert state.latest_issued == account.now + 5 * DAY
    state = give(
        state, account, account.override(issued=account.at(days=6), expires=account.at(days=7))
    )
    assert state.latest_issued == account.now + 6 * DAY
    assert load(state, account).latest_issued == account.now + 6 * DAY


def test_a_new_root_resets_the_latest_issue(account: Account) -> None:
    state = account.state().advance_config(account.config(2, issued=account.at(days=5000)))
    state = state.advance_root(account.root(2, issued=account.at(days=1)))
    assert state.latest_issued == account.now + DAY
    assert load(state, account).latest_issued == account.now + DAY


# -- rule 9: overrides -------------------------------------------------------------------------


def test_an_override_replaces_the_domains_that_it_names(account: Account) -> None:
    domains = [{"pattern": "api.example.com", "pin_set": "pentest", "mode": "report"}]
    state = give(account.state(), account, account.override(domains=domains))
    found = state.lookup("API.example.com.")
    assert found.mode is Mode.REPORT
    assert found.pins.match([b"\x09" * 32], now=account.now)
    assert not found.pins.match([b"\1" * 32], now=account.now)
    assert state.lookup("x.example.org").mode is Mode.ENFORCE
    assert state.lookup("elsewhere.example") is None


def test_the_override_of_another_installation_is_refused(account: Account) -> None:
    state, raw = account.state(), account.override()
    refused(9, give, state, account, raw, thumbprint="j" * 43)
    refused(9, give, state, account, raw, thumbprint="")
    assert give(state, account, raw).trusted_override


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("api.example.com", True),
        ("x.example.org", True),
        ("*.example.org", True),
        ("*.x.example.org", True),
        ("*.example.com", False),
        ("example.org", False),
        ("other.example.com", False),
        ("*.org.example", False),
        ("192.0.2.1", False),
        ("pins.example.com", False),
    ],
)
def test_an_override_names_only_hosts_that_the_config_lists(
    account: Account, pattern: str, taken: bool
) -> None:
    raw = account.override(domains=[{"pattern": pattern, "pin_set": "pentest"}])
    if taken:
        found = give(account.state(), account, raw)
        assert found.trusted_override.document.domains[0].pattern == pattern
    else:
        refused(9, give, account.state(), account, raw)


@pytest.mark.parametrize("pattern", ["pins.example.net", "*.example.net", "192.0.2.9"])
@pytest.mark.parametrize("member", ["urls", "recovery_urls"])
def test_an_override_never_touches_delivery(account: Account, member: str, pattern: str) -> None:
    host = "192.0.2.9" if pattern == "192.0.2.9" else "PINS.example.net."
    delivery = {
        "urls": ["https://elsewhere.example"],
        "pins": [account.pin(2)],
        member: [f"https://{host}:8443/x"],
    }
    listed = [{"pattern": pattern, "pin_set": "api"}]
    state = account.state(delivery=delivery, domains=listed)
    raw = account.override(domains=[{"pattern": pattern, "pin_set": "pentest"}])
    assert "delivery" in str(refused(9, give, state, account, raw))
    elsewhere = account.state(domains=listed)
    assert give(elsewhere, account, raw).trusted_override


@pytest.mark.parametrize(
    ("lifetime", "taken"), [(1, True), (86400, True), (7 * 86400, True), (7 * 86400 + 1, False)]
)
def test_an_override_lives_at_most_7_days(account: Account, lifetime: int, taken: bool) -> None:
    raw = account.override(expires=account.at(seconds=lifetime))
    if taken:
        assert give(account.state(), account, raw).trusted_override
    else:
        refused(9, give, account.state(), account, raw)


@pytest.mark.parametrize(
    ("elapsed", "after", "in_force"),
    [
        (timedelta(), timedelta(), True),
        (DAY - SECOND, timedelta(), True),
        (DAY, timedelta(), False),
        (timedelta(), DAY - SECOND, True),
        (timedelta(), DAY, False),
        (DAY - SECOND, -900 * DAY, True),
        (DAY, -900 * DAY, False),
        (-DAY, timedelta(), True),
    ],
)
def test_an_override_ends_by_the_clock_or_by_run_time(
    account: Account, elapsed: timedelta, after: timedelta, in_force: bool
) -> None:
    state = give(account.state(), account, account.override())
    found = state.with_run_time(elapsed, now=account.now + after)
    assert (found.trusted_override is not None) is in_force
    expected = b"\x09" if in_force else b"\1"
    assert found.lookup("api.example.com").pins.match([expected * 32], now=account.now)
    assert found.override_floor == 1


def test_run_time_adds_up_and_is_never_given_back(account: Account) -> None:
    state = give(account.state(), account, account.override())
    for elapsed in (10 * HOUR, -10 * HOUR, 10 * HOUR):
        state = state.with_run_time(elapsed, now=account.now)
    assert state.trusted_override.used == 20 * HOUR
    assert state.with_run_time(4 * HOUR, now=account.now).trusted_override is None


def test_run_time_without_an_override_changes_nothing(account: Account) -> None:
    state = account.state()
    assert state.with_run_time(DAY, now=account.now) is state


@pytest.mark.parametrize("lifetime", [-1, 0])
def test_an_override_that_has_ended_is_dropped_at_once(account: Account, lifetime: int) -> None:
    raw = account.override(3, expires=account.at(seconds=lifetime))
    state = give(account.state(), account, raw)
    assert (state.trusted_override, state.override_floor) == (None, 3)
    late = give(account.state(), account, account.override(3), now=account.now + 2 * DAY)
    assert (late.trusted_override, late.override_floor) == (None, 3)


def test_a_higher_empty_override_ends_one_early(account: Account) -> None:
    state = give(account.state(), account, account.override(1))
    state = give(state, account, account.override(2, domains=[], pin_sets={}))
    assert state.lookup("api.example.com").pins.match([b"\1" * 32], now=account.now)
    refused(7, give, state, account, account.override(1))


def test_an_override_outlives_a_config_that_keeps_its_bounds(account: Account) -> None:
    state = give(account.state(), account, account.override())
    found = state.advance_config(account.config(2))
    assert found.trusted_override == state.trusted_override


def test_an_override_ends_with_a_config_that_sets_other_bounds(account: Account) -> None:
    state = give(account.state(), account, account.override(4))
    no_longer_listed = state.advance_config(account.config(2, domains=[]))
    assert no_longer_listed.trusted_override is None
    assert no_longer_listed.override_floor == 4
    delivery = {"urls": ["https://api.example.com"], "pins": [account.pin(2)]}
    now_delivery = state.advance_config(account.config(2, delivery=delivery))
    assert now_delivery.trusted_override is None


def test_an_override_ends_with_the_root_that_it_names(account: Account) -> None:
    state = give(account.state(), account, account.override(2**53 - 1))
    state = state.advance_root(account.root(2))
    assert (state.trusted_override, state.override_floor) == (None, 0)
    assert give(state, account, account.override(1, root_version=2)).override_floor == 1


# -- rule 10: a refused document changes nothing; stored state ---------------------------------


def load(state: TrustedState, account: Account, **options: Any) -> TrustedState:
    """Return the state after a restart of the app."""
    bootstrap = options.pop("bootstrap", None) or account.bootstrap()
    settings = {"now": account.now, "thumbprint": account.thumbprint} | options
    return TrustedState.load(state.dump(), bootstrap, **settings)


def test_a_state_is_a_value_that_no_step_changes(account: Account) -> None:
    state = account.state()
    before = state.dump()
    refused(7, state.advance_config, account.config(1, refresh_interval=1))
    state.advance_config(account.config(2))
    state.advance_root(account.root(2))
    give(state, account, account.override())
    assert state.dump() == before
    with pytest.raises(AttributeError):
        state.override_floor = 1  # type: ignore[misc]


def test_a_state_survives_being_stored(account: Account) -> None:
    state = account.state()
    assert load(state, account) == state
    state = rotated(account)
    assert load(state, account) == state
    new = account.keys["config"][1]
    state = state.advance_config(account.config(3, root_version=2, by=new))
    assert load(state, account) == state
    raw = account.override(6, root_version=2, by=account.keys["override"][1])
    state = give(state, account, raw).with_run_time(90 * SECOND, now=account.now)
    assert load(state, account) == state


def test_a_stored_state_is_ascii_and_holds_the_documents_as_signed(account: Account) -> None:
    state = give(
        rotated(account), account, account.override(by=account.keys["override"][1], root_version=2)
    )
    found = json.loads(state.dump())
    assert state.dump().isascii()
    assert found["format"] == "livepin-state/1"
    assert [raw.encode() for raw in found["roots"]] == [each.raw for each in state.roots]
    assert found["config"].encode() == state.trusted_config.raw
    assert found["override"].encode() == state.trusted_override.raw


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["config", "root", "override", "run", "load"]),
        st.integers(1, 4),
        st.integers(-3, 3),
    ),
    max_size=8,
)


@given(STEPS)
@settings(max_examples=40)
def test_whatever_happens_nothing_goes_down_and_the_store_says_the_same(
    account: Account, steps: list[tuple[str, int, int]]
) -> None:
    state = account.state()
    for kind, version, days in steps:
        before = state
        try:
            state = _step(state, account, kind, version, account.at(days=days), days)
        except VerificationError:
            assert state is before
        assert state.root.version >= before.root.version
        assert state.order >= before.order
        assert load(state, account) == state


def _step(
    state: TrustedState, account: Account, kind: str, version: int, issued: int, days: int
) -> TrustedState:
    named = min(state.root.version, version)
    if kind == "config":
        return state.advance_config(account.config(version, root_version=named, issued=issued))
    if kind == "root":
        return state.advance_root(account.root(state.root.version + days, issued=issued))
    if kind == "override":
        expires = issued + 4 * 86400
        raw = account.override(version, root_version=named, issued=issued, expires=expires)
        return give(state, account, raw)
    if kind == "run":
        return state.with_run_time(days * HOUR, now=account.now)
    return load(state, account)


def test_roots_before_the_one_of_an_updated_app_are_dropped(account: Account) -> None:
    state = account.state()
    for version in (2, 3, 4):
        state = state.advance_root(account.root(version))
    state = state.advance_config(account.config(1, root_version=4))
    bootstrap = account.bootstrap(account.root(3), account.config(5, root_version=3))
    found = load(state, account, bootstrap=bootstrap)
    assert [each.document.version for each in found.roots] == [3, 4]
    assert found.order == (4, 1)


def test_the_newer_config_of_an_updated_app_is_taken(account: Account) -> None:
    state = account.state().advance_config(account.config(2))
    bootstrap = account.bootstrap(config=account.config(5))
    assert load(state, account, bootstrap=bootstrap).order == (1, 5)
    older = account.bootstrap(config=account.config(1))
    assert load(state, account, bootstrap=older).order == (1, 2)


def test_a_stored_config_from_before_the_root_of_an_updated_app_gives_way(
    account: Account,
) -> None:
    state = account.state(version=9).advance_root(account.root(2))
    bootstrap = account.bootstrap(account.root(2), account.config(1, root_version=2))
    assert load(state, account, bootstrap=bootstrap).order == (2, 1)


def test_a_crash_between_a_root_and_its_config_loses_neither(account: Account) -> None:
    first = account.config(4, issued=account.at(days=2))
    state = account.state().advance_config(first).advance_root(account.root(2))
    found = load(state, account)
    assert (found.root.version, found.order) == (2, (1, 4))
    assert found.latest_issued == account.now


def test_a_stored_chain_without_the_root_of_the_bootstrap_is_refused(account: Account) -> None:
    for version in (1, 3):
        bootstrap = account.bootstrap(
            account.root(version, future=1), account.config(root_version=version)
        )
        refused(10, load, account.state(), account, bootstrap=bootstrap)


def test_a_root_signed_again_is_the_same_root(account: Account) -> None:
    again = account.bootstrap(root=account.root())
    state = account.state()
    assert again.root != state.roots[0].raw
    assert load(state, account, bootstrap=again).order == state.order


def test_a_bootstrap_that_is_refused_refuses_the_store_too(account: Account) -> None:
    bootstrap = account.bootstrap(config=account.config(by=STRANGER))
    refused(2, load, account.state(), account, bootstrap=bootstrap)


def stored(state: TrustedState, **changes: Any) -> bytes:
    found = json.loads(state.dump()) | changes
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def load_bytes(data: bytes, account: Account) -> TrustedState:
    return TrustedState.load(
        data, account.bootstrap(), now=account.now, thumbprint=account.thumbprint
    )


def test_what_is_stored_is_judged_by_the_same_rules(account: Account) -> None:
    state = account.state()
    root = state.roots[0].raw.decode()
    for rule, changes in [
        (2, {"config": "x.y.z"}),
        (2, {"config": account.config(2, by=STRANGER).decode()}),
        (3, {"config": forged(account.config(2), account.config_members(3)).decode()}),
        (4, {"config": account.config(2, domains=None).decode()}),
        (5, {"config": account.config(2, stream="other").decode()}),
        (6, {"config": account.config(2, root_version=2).decode()}),
        (10, {"roots": []}),
        (10, {"roots": [account.root(future=1).decode()]}),
        (2, {"roots": ["rubbish"]}),
        (2, {"roots": [root, "rubbish"]}),
        (3, {"roots": [root, account.root(2, by=[STRANGER]).decode()]}),
        (6, {"roots": [root, root]}),
        (6, {"roots": [root, account.root(3).decode()]}),
        (4, {"roots": [root, account.root(2, roles=None).decode()]}),
        (5, {"roots": [root, account.root(2, account="other").decode()]}),
    ]:
        refused(rule, load_bytes, stored(state, **changes), account)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": ...},
        {"format": "livepin-state/2"},
        {"format": None},
        {"roots": ...},
        {"roots": None},
        {"roots": 1},
        {"roots": [1]},
        {"roots": [None]},
        {"roots": ["\u00e4"]},
        {"config": ...},
        {"config": None},
        {"config": []},
        {"config": "\u00e4"},
        {"config": "\ud800"},
        {"latest_issued": ...},
        {"latest_issued": None},
        {"latest_issued": "soon"},
        {"latest_issued": []},
        {"latest_issued": 10**12},
        {"latest_issued": 10**30},
        {"latest_issued": -(10**30)},
        {"latest_issued": 1e300},
        {"override": ...},
        {"override": 1},
        {"override": []},
        {"override": "\u00e4"},
        {"override_used": ...},
        {"override_used": None},
        {"override_used": 10**30},
        {"override_floor": ...},
        {"override_floor": None},
        {"override_floor": "x"},
        {"override_floor": {}},
        {"x": deep(9)},
    ],
    ids=lambda changes: json.dumps(changes, default=lambda _: "gone")[:40],
)
def test_a_store_of_another_shape_is_refused(account: Account, changes: dict[str, Any]) -> None:
    refused(4, load_bytes, stored(account.state(), **changes), account)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\0" * 100, b"\xff", b"{" * 99])
def test_a_damaged_store_is_refused(account: Account, data: bytes) -> None:
    refused(4, load_bytes, data, account)


def test_a_store_that_is_too_large_is_refused_before_it_is_read(account: Account) -> None:
    refused(1, load_bytes, b" " * (MAX_STORED + 1), account)


@given(data=st.data())
def test_any_store_is_a_state_or_is_refused(
    data: st.DataObject, account: Account, mangled, damaged, full: bytes
) -> None:
    changed = mangled(json.loads(full)).map(lambda each: json.dumps(each).encode())
    text = data.draw(changed | damaged(full) | st.binary())
    try:
        found = load_bytes(text, account)
    except VerificationError:
        return
    assert found.order >= (1, 1)
    assert load(found, account) == found


@pytest.fixture(scope="module")
def full(account: Account) -> bytes:
    """A stored state with everything in it."""
    state = account.state().advance_root(account.root(2))
    state = state.advance_config(account.config(2, root_version=2))
    return give(state, account, account.override(3, root_version=2)).dump()


# -- stored overrides --------------------------------------------------------------------------


def test_a_stored_override_needs_the_key_of_the_installation(account: Account) -> None:
    state = give(account.state(), account, account.override(3))
    assert load(state, account) == state
    for other in (None, "j" * 43):
        found = load(state, account, thumbprint=other)
        assert (found.trusted_override, found.override_floor) == (None, 3)
        assert found.lookup("api.example.com").pins.match([b"\1" * 32], now=account.now)


def test_a_stored_override_goes_on_ageing(account: Account) -> None:
    state = give(account.state(), account, account.override(3))
    assert load(state, account, now=account.now + DAY - SECOND).trusted_override
    assert load(state, account, now=account.now + DAY).trusted_override is None
    state = state.with_run_time(DAY - SECOND, now=account.now)
    assert load(state, account).trusted_override.used == DAY - SECOND
    again = load(state, account).with_run_time(SECOND, now=account.now)
    assert again.trusted_override is None


def test_restarting_often_does_not_prolong_an_override(account: Account) -> None:
    raw = account.override(expires=account.at(seconds=10))
    state = give(account.state(), account, raw)
    restarts = 0
    while state.trusted_override is not None:
        state = load(state.with_run_time(timedelta(milliseconds=1), now=account.now), account)
        restarts += 1
    assert restarts == 10


def test_the_floor_of_overrides_outlives_a_restart(account: Account) -> None:
    state = give(account.state(), account, account.override(3)).with_run_time(DAY, now=account.now)
    found = load(state, account)
    assert found.override_floor == 3
    refused(7, give, found, account, account.override(3))


def test_the_stored_floor_holds_beside_a_stored_override(account: Account) -> None:
    state = give(account.state(), account, account.override(3))
    for floor, expected in ((0, 3), (3, 3), (7, 7)):
        found = load_bytes(stored(state, override_floor=floor), account)
        assert found.override_floor == expected
        assert found.trusted_override == state.trusted_override


def test_a_stored_override_that_is_refused_is_dropped_alone(account: Account) -> None:
    state = account.state().advance_config(account.config(2))
    for raw in (b"rubbish", account.override(by=STRANGER), account.override(installation="j" * 43)):
        found = load_bytes(stored(state, override=raw.decode(), override_floor=7), account)
        assert found == replace(state, override_floor=7)


def test_a_stored_override_out_of_the_bounds_of_an_updated_app_is_dropped(
    account: Account,
) -> None:
    state = give(account.state(), account, account.override(3))
    bootstrap = account.bootstrap(config=account.config(5, domains=[]))
    found = load(state, account, bootstrap=bootstrap)
    assert (found.trusted_override, found.override_floor) == (None, 3)


# -- two states of one app ---------------------------------------------------------------------


def both_ways(one: TrustedState, other: TrustedState) -> TrustedState:
    """Return the newest of two states, which does not depend on who asks."""
    found = one.newest(other)
    assert other.newest(one) == found
    assert found.newest(one) == found.newest(other) == found
    return found


def test_of_two_states_the_newer_config_is_kept(account: Account) -> None:
    state = account.state()
    newer = state.advance_config(account.config(2, issued=account.at(days=-2)))
    assert both_ways(state, newer) == newer
    assert both_ways(state, state) == state


def test_of_two_states_the_latest_issue_is_kept(account: Account) -> None:
    one = account.state().advance_config(account.config(2, issued=account.at(days=2)))
    other = account.state().advance_config(account.config(3, issued=account.at(days=1)))
    found = both_ways(one, other)
    assert (found.order, found.latest_issued) == ((1, 3), account.now + 2 * DAY)


def test_of_two_states_the_longer_chain_and_the_newer_config_are_kept(account: Account) -> None:
    longer = account.state().advance_root(account.root(2))
    shorter = account.state().advance_config(account.config(5, issued=account.at(days=2)))
    found = both_ways(longer, shorter)
    assert (found.root.version, found.order) == (2, (1, 5))
    assert found.latest_issued == account.now
    newest = longer.advance_config(account.config(1, root_version=2))
    assert both_ways(newest, shorter) == newest


def test_a_config_that_the_longer_chain_does_not_vouch_for_is_not_taken(account: Account) -> None:
    keys = account.keys["config"]
    one = account.state().advance_root(second_root(account, config=account.role(keys[1])))
    one = one.advance_config(account.config(9, root_version=2, by=keys[1]))
    other = account.state().advance_root(second_root(account, config=account.role(keys[2])))
    other = other.advance_root(account.root(3))
    assert one.newest(other) == other.newest(one) == other


def test_an_override_that_one_state_has_taken_is_kept(account: Account) -> None:
    overridden = give(account.state(), account, account.override(3))
    newer = account.state().advance_config(account.config(2))
    found = both_ways(overridden, newer)
    assert found.order == (1, 2)
    assert found.trusted_override == overridden.trusted_override


def test_an_override_that_ended_early_in_one_state_has_ended(account: Account) -> None:
    state = give(account.state(), account, account.override(3))
    ended = give(state, account, account.override(4, domains=[]))
    newer = state.advance_config(account.config(2))
    found = both_ways(ended, newer)
    assert (found.order, found.override_floor) == ((1, 2), 4)
    assert found.lookup("api.example.com").pins.match([b"\1" * 32], now=account.now)


def test_run_time_that_one_state_has_counted_is_not_given_back(account: Account) -> None:
    state = give(account.state(), account, account.override(3))
    used = state.with_run_time(9 * HOUR, now=account.now)
    newer = state.advance_config(account.config(2))
    assert both_ways(used, newer).trusted_override.used == 9 * HOUR
    dropped = state.with_run_time(DAY, now=account.now)
    found = both_ways(dropped, newer)
    assert (found.trusted_override, found.override_floor) == (None, 3)


def test_an_override_out_of_the_bounds_of_the_newer_config_is_dropped(account: Account) -> None:
    unlisted = account.state().advance_config(account.config(2, domains=[]))
    overridden = give(account.state(), account, account.override(3))
    assert both_ways(unlisted, overridden).trusted_override is None
    longer = account.state().advance_root(account.root(2))
    longer = give(longer, account, account.override(3, root_version=2))
    found = both_ways(unlisted, longer)
    assert (found.root.version, found.order) == (2, (1, 2))
    assert (found.trusted_override, found.override_floor) == (None, 3)


@given(STEPS, STEPS)
@settings(max_examples=30)
def test_of_any_two_states_nothing_goes_down(account: Account, one: Any, other: Any) -> None:
    states = []
    for steps in (one, other):
        state = account.state()
        for kind, version, days in steps:
            with contextlib.suppress(VerificationError):
                state = _step(state, account, kind, version, account.at(days=days), days)
        states.append(state)
    found = states[0].newest(states[1])
    assert found.root.version == max(each.root.version for each in states)
    assert found.order == max(each.order for each in states)
    assert load(found, account).order == found.order


# -- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["api.example.com", "API.EXAMPLE.COM", "api.example.com.", "ａｐｉ.example.com"]
)
def test_a_host_is_looked_up_in_any_spelling(account: Account, host: str) -> None:
    assert account.state().lookup(host).pattern == "api.example.com"


def test_a_host_that_no_domain_covers_has_none(account: Account) -> None:
    assert account.state().lookup("elsewhere.example") is None


def test_what_is_no_host_cannot_be_looked_up(account: Account) -> None:
    with pytest.raises(MalformedError):
        account.state().lookup("https://api.example.com")
