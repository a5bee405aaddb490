"""Who can write the database swaps sealed keys, to have one account's key sign for another."""

import pytest
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, sign_general
from livepin_server.errors import CustodyError
from livepin_server.services.model import Intent
from livepin_server.storage.schema import keys
from sqlalchemy import select, update

INTENT = Intent(author="bob")


@pytest.fixture
def held(services):
    """The sealed keys of the accounts acme and beta, by account and role."""
    key = PrivateKey.generate()
    payload = services.accounts.prepare("beta", [dict(key.public.jwk())], INTENT)
    services.accounts.create("beta", sign_general(payload, typ=TYP, signers=[key]), INTENT)
    with services.database.reading() as connection:
        return {(row.account, row.role): row for row in connection.execute(select(keys))}


def plant(services, row, sealed):
    statement = update(keys).where(keys.c.kid == row.kid).values(sealed=sealed)
    services.database.write(lambda each: each.execute(statement))


@pytest.mark.parametrize(
    "source", [("beta", "config"), ("acme", "override"), ("acme", "root")], ids="-".join
)
def test_a_key_of_another_account_or_role_signs_no_config(services, held, intent, source):
    before = services.published.version("acme", "main")
    plant(services, held["acme", "config"], held[source].sealed)
    with pytest.raises(CustodyError, match=r"the config key .* of acme does not open"):
        services.publisher.republish("acme", "main", intent)
    assert services.published.version("acme", "main") == before


def test_a_row_that_claims_to_be_another_key_signs_no_config(services, held, intent):
    # The override key, its row relabelled as a config key under the config key's id.
    genuine, other = held["acme", "config"], held["acme", "override"]
    services.database.write(
        lambda each: each.execute(
            update(keys).where(keys.c.kid == genuine.kid).values(kid="x" * 43)
        )
    )
    services.database.write(
        lambda each: each.execute(
            update(keys).where(keys.c.kid == other.kid).values(kid=genuine.kid, role="config")
        )
    )
    with pytest.raises(CustodyError, match="does not open"):
        services.publisher.republish("acme", "main", intent)


def test_the_swap_back_signs_again(services, held, intent):
    plant(services, held["acme", "config"], held["beta", "config"].sealed)
    plant(services, held["acme", "config"], held["acme", "config"].sealed)
    assert services.publisher.republish("acme", "main", intent).version == 2
