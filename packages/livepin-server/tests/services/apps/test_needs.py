"""A policy asks for nothing that no registered app could prove."""

from __future__ import annotations

import pytest
from livepin_server.attestation.policy import AppPolicy, Policy
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services.apps.model import NewApp, NewRelease

MANIFEST = f"{'0' * 64} 0 app.py\n"


@pytest.fixture
def refused(services, intent):
    """Expect that a policy is refused, tried or set; return the hint."""

    def one(policy, match):
        for step in (
            lambda: services.policies.effect("acme", policy),
            lambda: services.policies.set("acme", policy, intent),
        ):
            with pytest.raises(InvalidError, match=match) as caught:
                step()
        return caught.value.hint

    return one


def test_an_app_that_is_not_registered_proves_nothing_above_self(services, intent, refused):
    policy = Policy(apps={"shop": AppPolicy(level="platform")})
    hint = refused(policy, "shop could never prove the level platform")
    assert hint == "livepin app add shop --help"
    services.policies.set("acme", Policy(apps={"shop": AppPolicy(level="self")}), intent)


def test_an_app_proves_no_more_than_its_identities_do(services, said, intent, refused) -> None:
    services.apps.add("acme", NewApp(name="shop", workload=said["workload"]), intent)
    policy = Policy(apps={"shop": AppPolicy(level="hardware_key")})
    hint = refused(policy, "shop could never prove the level hardware_key")
    assert hint == "livepin app set shop --help"
    services.policies.set("acme", Policy(apps={"shop": AppPolicy(level="platform")}), intent)


def test_a_level_of_every_app_must_be_provable_by_one(services, said, intent, refused) -> None:
    policy = Policy(level="platform")
    refused(policy, "no app could ever prove the level platform")
    services.apps.add("acme", NewApp(name="shop", workload=said["workload"]), intent)
    refused(Policy(level="hardware_app"), "no app could ever prove")
    services.policies.set("acme", policy, intent)


def test_a_release_must_be_in_force_where_it_is_asked_for(services, intent, refused) -> None:
    services.apps.add("acme", NewApp(name="shop"), intent)
    policy = Policy(apps={"shop": AppPolicy(release=True)})
    hint = refused(policy, "there is no release of shop in force")
    assert hint.startswith("livepin app release add shop")
    services.releases.add("acme", "shop", NewRelease(version="1", manifest=MANIFEST), intent)
    services.policies.set("acme", policy, intent)
    for step in (
        lambda: services.releases.end("acme", "shop", "1", intent),
        lambda: services.apps.remove("acme", "shop", intent),
    ):
        with pytest.raises(ConflictError, match="registered releases of shop alone"):
            step()
    other = MANIFEST.replace("app", "main")
    services.releases.add("acme", "shop", NewRelease(version="2", manifest=other), intent)
    services.releases.end("acme", "shop", "1", intent)
