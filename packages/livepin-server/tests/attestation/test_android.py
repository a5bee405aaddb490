"""Android Key Attestation: what is taken, and the name of the check that refuses all else."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from livepin.jose import PrivateKey
from livepin_server.attestation import android
from livepin_server.attestation.android import AndroidApp
from livepin_server.attestation.attested import EvidenceError
from minted_android import (
    APP,
    BOOT_KEY,
    PACKAGE,
    SIGNED_BY,
    application,
    asked,
    boolean,
    evidence,
    number,
    root_of_trust,
    sample,
)


def verify(chain, **told):
    found = evidence(chain) if isinstance(chain, list) else chain
    return android.verify(found, **sample().told() | told)


def refusal(chain, **told):
    with pytest.raises(EvidenceError) as caught:
        verify(chain, **told)
    assert str(caught.value).isprintable()
    return caught.value.check


def attest(**changes):
    return sample().device.attest(sample().asked.nonce, **changes)


def with_app(**changes):
    return msgspec.structs.replace(APP, **changes)


# -- what is taken -----------------------------------------------------------------------------


def test_a_key_that_was_made_just_now_says_which_app_asked():
    found = verify(attest())
    assert (found.format, found.level, found.bound) == (
        "android-key-attestation",
        "hardware_app",
        True,
    )
    assert found.said == {
        "security level": "trusted environment",
        "boot": "verified",
        "patch level": "2026-10",
        "package version": "42",
        "attestation version": "400",
        "attesting key": "provisioned remotely",
    }


def test_the_installations_own_key_may_be_in_hardware():
    key = PrivateKey.generate()
    about = asked(key)
    chain = sample().device.attest(about.key_nonce, key=key.public.key, security=2, mint_security=2)
    found = verify(chain, asked=about)
    assert found.level == "hardware_key"
    assert found.said["security level"] == "StrongBox"


def test_of_two_security_levels_the_lower_one_counts():
    assert verify(attest(security=2)).said["security level"] == "trusted environment"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_of_any_kind_says_which_app_asked(kind):
    make = {"rsa": lambda: rsa.generate_private_key(65537, 2048)}
    key = make.get(kind, ed25519.Ed25519PrivateKey.generate)()
    assert verify(attest(key=key.public_key())).level == "hardware_app"


def test_another_system_is_taken_whose_boot_key_is_registered():
    changes = {"hardware": {704: root_of_trust(boot_state=1)}}
    found = verify(attest(**changes), app=with_app(boot_keys=["00" * 32, BOOT_KEY.hex()]))
    assert found.said["boot"] == "verified, by a registered key"


def test_an_app_that_shares_its_user_id_and_has_two_signers_is_taken_if_both_are_registered():
    both = [SIGNED_BY, "cd" * 32]
    named = application([("com.example.other", 1), (PACKAGE, 7)], both)
    chain = attest(software={709: named})
    assert verify(chain, app=with_app(certificates=both)).said["package version"] == "7"
    assert refusal(chain) == "signing_certificate"


# -- what is refused ---------------------------------------------------------------------------


def test_a_challenge_of_another_request_and_a_key_of_another_installation_are_refused():
    assert refusal(attest(), asked=asked()) == "challenge"
    theirs = PrivateKey.generate()
    chain = sample().device.attest(asked(theirs).key_nonce, key=theirs.public.key)
    assert refusal(chain) == "key"


def test_a_boot_key_that_is_not_registered_and_an_unlocked_device_are_refused():
    assert refusal(attest(hardware={704: root_of_trust(boot_state=1)})) == "boot_key"
    unlocked = root_of_trust(locked=boolean(False))
    assert refusal(attest(hardware={704: unlocked})) == "unlocked"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"security": 0}, "security_level"),
        ({"mint_security": 0}, "security_level"),
        ({"security": 100}, "security_level"),
        ({"hardware": {704: None}}, "boot_state"),
        ({"hardware": {704: root_of_trust(boot_state=2)}}, "boot_state"),
        ({"hardware": {704: root_of_trust(boot_state=3)}}, "boot_state"),
        ({"hardware": {704: root_of_trust(locked=b"\x01\x01\x01")}}, "malformed"),
        ({"software": {709: None}}, "package"),
        ({"software": {709: application([])}}, "package"),
        ({"software": {709: application(certificates=[])}}, "signing_certificate"),
    ],
)
def test_what_the_hardware_does_not_vouch_for_is_refused(changes, check):
    assert refusal(attest(**changes)) == check


def test_more_may_be_asked_of_a_device():
    assert refusal(attest(), app=with_app(strongbox=True)) == "security_level"
    strong = attest(security=2, mint_security=2)
    assert verify(strong, app=with_app(strongbox=True)).level == "hardware_app"
    assert verify(attest(), app=with_app(patched="2026-10")).level == "hardware_app"
    assert refusal(attest(), app=with_app(patched="2026-11")) == "patch_level"
    unsaid = attest(hardware={706: None})
    assert verify(unsaid).said["patch level"] == "not said"
    assert refusal(unsaid, app=with_app(patched="2020-01")) == "patch_level"


def test_a_key_that_was_brought_into_the_hardware_may_have_copies():
    key = PrivateKey.generate()
    about = asked(key)
    for origin in (None, number(2), number(4)):
        chain = sample().device.attest(about.key_nonce, key=key.public.key, hardware={702: origin})
        assert refusal(chain, asked=about) == "origin"


# -- how an app is registered ------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"package": "a b"},
        {"package": ""},
        {"certificates": []},
        {"certificates": ["AB" * 32]},
        {"certificates": ["ab" * 31]},
        {"boot_keys": ["x"]},
        {"patched": "2026-13"},
        {"other": 1},
    ],
)
def test_an_app_is_checked_when_it_is_registered(changes):
    members = {"package": PACKAGE, "certificates": [SIGNED_BY]}
    assert msgspec.convert(members, AndroidApp) == APP
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(members | changes, AndroidApp)
