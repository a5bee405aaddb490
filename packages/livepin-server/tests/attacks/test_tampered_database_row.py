"""Who can write the database, but has no master key, changes what was or is to be published."""

import json

import pytest
from livepin.documents import config
from livepin.documents.root import TYP
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, parse_compact, parse_general, sign_compact, sign_general
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, CustodyError
from livepin_server.storage.schema import accounts, configs, keys, roots
from sqlalchemy import delete, insert, select, update

ATTACKER = PrivateKey.generate()


@pytest.fixture
def client(services, add_domain):
    """A client that was installed before the attack."""
    add_domain()
    return TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))


def change(services, *statements):
    def transaction(connection):
        for each in statements:
            connection.execute(each)

    services.database.write(transaction)


def publish(services, intent):
    return services.publisher.republish("acme", "main", intent)


def newest(services):
    return services.published.version("acme", "main")[1]


def forged(raw, **members):
    """Return the newest config with other members, signed by the attacker."""
    payload = json.loads(parse_compact(raw, typ=config.TYP).payload) | members
    return sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=ATTACKER)


def test_a_published_config_that_was_exchanged_is_refused_by_clients_and_stops_publishing(
    services, client, intent
):
    bad = forged(newest(services), version=3, domains=[], pin_sets={})
    change(services, update(configs).where(configs.c.version == 2).values(document=bad))
    with pytest.raises(VerificationError):
        client.advance_config(newest(services))
    with pytest.raises(ConflictError, match=r"rule [23]"):
        publish(services, intent)


def test_a_published_config_with_one_changed_byte_is_refused(services, client, intent):
    raw = bytearray(newest(services))
    place = raw.index(b".") + 40  # within the payload
    raw[place] = ord("A") if raw[place] != ord("A") else ord("B")
    change(services, update(configs).where(configs.c.version == 2).values(document=bytes(raw)))
    with pytest.raises(VerificationError):
        client.advance_config(newest(services))
    with pytest.raises(ConflictError):
        publish(services, intent)


def test_a_counter_set_back_makes_no_second_version_of_one_number(services, client, intent, clock):
    clock.advance(seconds=1)
    for last in (0, 1):
        change(services, update(accounts).values(last_version=last))
        with pytest.raises(ConflictError, match="rule 7"):
            publish(services, intent)
    change(services, update(accounts).values(last_version=2))
    assert publish(services, intent).version == 3


def test_deleted_history_and_a_counter_set_back_do_not_move_clients_back(services, client, intent):
    change(services, delete(configs), update(accounts).values(last_version=0))
    publish(services, intent)
    with pytest.raises(VerificationError) as caught:
        client.advance_config(newest(services))
    assert caught.value.rule == 7


def attackers_root(services, version):
    jwk = dict(ATTACKER.public.jwk())
    with services.database.reading() as connection:
        raw = connection.scalars(select(roots.c.document)).one()
    payload = json.loads(parse_general(raw, typ=TYP).payload)
    payload["version"] = version
    payload["roles"]["root"] = {"threshold": 1, "keys": [jwk]}
    payload["roles"]["config"] = {
        "threshold": 1,
        "keys": [dict(PrivateKey.generate().public.jwk())],
    }
    return sign_general(json.dumps(payload).encode(), typ=TYP, signers=[ATTACKER])


def test_a_root_of_the_attackers_is_followed_by_nobody(services, client, intent):
    root = attackers_root(services, 2)
    with services.database.reading() as connection:
        row = connection.execute(select(roots)).one()._asdict()
    change(services, insert(roots).values(**row | {"version": 2, "document": root}))
    with pytest.raises(ConflictError):
        publish(services, intent)
    with pytest.raises(VerificationError):
        client.advance_root(services.published.documents("acme").roots[2])


def test_a_root_exchanged_in_place_stops_publishing(services, client, intent):
    change(services, update(roots).values(document=attackers_root(services, 1)))
    with pytest.raises(ConflictError, match="holds no config key that root 1 of acme names"):
        publish(services, intent)


def test_a_key_that_the_attacker_put_in_signs_nothing(services, client, intent):
    # Its seal cannot be made without the master key, whatever the row says.
    with services.database.reading() as connection:
        row = connection.execute(select(keys).where(keys.c.role == "config")).one()
    change(
        services,
        update(keys).where(keys.c.kid == row.kid).values(sealed=b"\x01" + bytes(12) + b"x" * 150),
    )
    with pytest.raises(CustodyError, match="does not open"):
        publish(services, intent)
    assert client.advance_config(newest(services)).order == (1, 2)
