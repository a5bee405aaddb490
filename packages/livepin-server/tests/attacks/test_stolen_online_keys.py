"""A thief has the server: its keys, its database, an admin's API key. The root key is elsewhere."""

import dataclasses

import pytest
from livepin.documents import Role
from livepin.jose import PrivateKey
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services import key_rows
from livepin_server.services.model import Intent

INTENT = Intent(author="the thief")
THIEF = PrivateKey.generate()


@pytest.fixture
def stolen(opened, offline):
    """The private keys that the server has for the account."""
    sealed = load_master_key(opened.data / "master.key", None)
    with opened.services.database.reading() as connection:
        rows = key_rows.of_account(connection, "beta")
    return {row.role: sealed.open(row.sealed, key_rows.label(row)) for row in rows}


def with_root_keys(root, *keys):
    role = Role(keys={each.public.kid: each.public for each in keys})
    return dataclasses.replace(root, roles=root.roles | {"root": role})


@pytest.mark.parametrize("role", ["config", "override"])
def test_a_key_of_the_server_signs_no_root(offline, stolen, role):
    root = offline.prepare(replace_online=True).root
    with pytest.raises(ConflictError, match=r"clients would refuse this root: rule [23]"):
        offline.publish(offline.signed(root, stolen[role]))
    assert offline.version == 1


def test_a_key_of_the_server_cannot_become_a_root_key(offline, stolen):
    # Even signed by the owner: who has a key of the server would own the account.
    root = offline.prepare(replace_online=True).root
    forged = with_root_keys(root, offline.key, stolen["config"])
    with pytest.raises(InvalidError, match="was a config key and would become a root key"):
        offline.publish(offline.signed(forged))
    assert offline.version == 1


def test_the_thiefs_own_key_takes_the_account_from_nobody(offline, stolen):
    root = with_root_keys(offline.prepare(replace_online=True).root, THIEF)
    for signers in ((THIEF,), (THIEF, stolen["config"]), (*stolen.values(), THIEF)):
        with pytest.raises(ConflictError, match="clients would refuse this root"):
            offline.publish(offline.signed(root, *signers))
    assert offline.version == 1


def test_the_server_has_nothing_that_signs_a_root_for_the_thief(offline):
    payload = offline.prepare(replace_online=True).payload
    with pytest.raises(ConflictError, match="no root key of beta is on the server"):
        offline.services.roots.sign("beta", payload, INTENT)


def test_the_owner_ends_it_with_the_next_root(offline, stolen, intent):
    offline.publish(offline.signed(offline.prepare(replace_online=True).payload))
    held = {each.kid for each in offline.services.roots.show("beta").roles["config"].keys}
    assert stolen["config"].public.kid not in held
    assert offline.services.publisher.republish("beta", "main", intent)
